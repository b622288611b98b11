"""Writing what changes all the time: one batch after the other, as fast as the store takes them, no timer.

What changed while a batch was on its way is in the next. A crash loses what changed since the last batch that
was begun.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

import apsw

from aios.abi.errors import AiosError
from aios.drivers.store import Store

log = logging.getLogger(__name__)

Row = TypeVar("Row")


class Keeper(Generic[Row]):
    """`take` hands over the rows to write, none where nothing changed; `put_back` gets them if that fails."""

    def __init__(
        self,
        store: Store,
        take: Callable[[], list[Row]],
        write: Callable[[apsw.Connection, list[Row]], None],
        put_back: Callable[[list[Row]], None],
    ) -> None:
        self._store = store
        self._take = take
        self._write = write
        self._put_back = put_back
        self._writing: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Something changed."""
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_all())

    async def close(self) -> None:
        """Write what is left."""
        self.wake()
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write_all(self) -> None:
        rows: list[Row] = []
        try:
            while rows := self._take():
                await self._store.write(lambda connection: self._write(connection, rows))
        except AiosError as error:
            self._put_back(rows)
            log.error("%d changes could not be written yet: %s", len(rows), error)
        finally:
            self._writing = None
