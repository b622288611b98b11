"""Removes expired notes: many at a time, woken by writes, never by a timer.

Nobody gets an expired note, whether it has been removed or not.
"""

import asyncio
import logging
import math

from aios.abi.errors import AiosError
from aios.drivers.store import Store
from aios.kernel.notes import rows

log = logging.getLogger(__name__)

LATE_S = 60.0
"""For how long an expired note stays at least, so that many are removed together."""


class Sweeper:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._due = math.inf
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look what was left to do."""
        await self._look()

    async def close(self) -> None:
        """Leave off."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def idle(self) -> None:
        """Wait until what goes on is done."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    def wrote(self, expires: float | None, now: float) -> None:
        """Something was written at `now`, perhaps a note that expires."""
        if expires is not None:
            self._due = min(self._due, expires + LATE_S)
        if now >= self._due and (self._task is None or self._task.done()):
            self._due = math.inf
            self._task = asyncio.get_running_loop().create_task(self._sweep(now))

    async def _sweep(self, now: float) -> None:
        try:
            while await self._store.write(lambda c: rows.sweep(c, now)):
                pass
            await self._look()
        except AiosError as error:
            self._due = now + LATE_S
            log.warning("expired notes are left where they are: %s", error)

    async def _look(self) -> None:
        first = await self._store.read(rows.first_to_expire)
        if first is not None:
            self._due = min(self._due, first + LATE_S)
