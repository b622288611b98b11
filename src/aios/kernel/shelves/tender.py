"""Who tends the shelves while the kernel runs: one at a time, woken by writes, never by a timer."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import apsw
from msgspec import structs

from aios.abi.errors import AiosError, Corrupt
from aios.drivers.store import Store
from aios.kernel.shelves import tables, tending
from aios.kernel.shelves.embedding import Embedding
from aios.kernel.shelves.shelf import Hit, Query, Shelves, Source

log = logging.getLogger(__name__)

T = TypeVar("T")


class Tender:
    """Searches shelves, and mends them where they are damaged."""

    def __init__(
        self, store: Store, source: Source, max_bytes: int, embedding: Embedding | None = None
    ) -> None:
        """Without an `embedding` what is alike is found by letters alone."""
        self._store = store
        self._embedding = embedding
        self._source = source
        self._shelves = Shelves(source, max_bytes)
        self._woken: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make the tables. Raises what `Store.migrate` and the embedding's start raise."""
        await self._store.migrate("shelves", tables.SCHEMA)
        if self._embedding is not None:
            await self._embedding.start()

    async def begin(self) -> None:
        """Go on with the vectors that wait, once calls are answered."""
        if self._embedding is not None:
            await self._embedding.begin()

    async def close(self) -> None:
        """Leave off: what is not done yet is done after the next start."""
        if self._embedding is not None:
            await self._embedding.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def wrote(self, shelf: str, stamp: int) -> None:
        """Something was put on a shelf, or taken off it, under this stamp."""
        if stamp % tending.FLUSH == 0:
            self.wake(shelf)
        self.changed(shelf)

    def changed(self, shelf: str) -> None:
        """Have the vectors of what was put on a shelf be made."""
        if self._embedding is not None:
            self._embedding.wake(shelf)

    def wake(self, shelf: str) -> None:
        """See whether there is something to do for it."""
        self._woken[shelf] = None
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._tend())

    async def search(self, query: Query, read: Callable[[apsw.Connection, list[Hit]], T]) -> T:
        """What `read` makes of what `Shelves.search` finds, in the same state of the database.

        What is damaged is made anew first; `Corrupt` where it cannot be.
        """

        query = await self._with_meaning(query)

        def work(connection: apsw.Connection) -> T:
            return read(connection, self._shelves.search(connection, query))

        try:
            return await self._store.read(work)
        except (tables.Damaged, Corrupt) as error:
            await self._mend([place.shelf for place in query.places], error)
        try:
            return await self._store.read(work)
        except tables.Damaged as error:
            raise Corrupt(f"the index for searching is damaged again: {error}") from None

    async def idle(self) -> None:
        """Wait until there is nothing to do."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])
        if self._embedding is not None:
            await self._embedding.idle()

    def statistics(self) -> dict[str, int]:
        """Of the vectors; nothing where there are none."""
        return {} if self._embedding is None else self._embedding.statistics()

    async def _with_meaning(self, query: Query) -> Query:
        if self._embedding is None or query.mode == "keyword" or not query.text.strip():
            return query
        return structs.replace(query, meaning=await self._embedding.meaning_of(query.text))

    async def _tend(self) -> None:
        while self._woken:
            shelf = next(iter(self._woken))
            del self._woken[shelf]
            try:
                await self._tend_one(shelf)
            except (tables.Damaged, Corrupt) as error:
                await self._mend_quietly(shelf, error)
            except AiosError as error:
                log.warning("the index of %s is left as it is: %s", shelf, error)

    async def _tend_one(self, shelf: str) -> None:
        while plan := await self._store.read(lambda c: tending.plan(c, self._source, shelf)):
            if not await self._store.write(partial(tending.install, plan=plan)):
                return

    async def _mend_quietly(self, shelf: str, error: Exception) -> None:
        try:
            await self._mend([shelf], error)
        except AiosError as failure:
            log.error("the index of %s cannot be made anew: %s", shelf, failure)

    async def _mend(self, shelves: list[str], error: Exception) -> None:
        log.error("an index for searching is damaged, and is made anew: %s", error)
        try:
            await self._store.write(lambda c: _forget(c, shelves))
        except Corrupt:
            await self._store.write(tables.start_over)
            self._shelves.drop_all()
        for shelf in shelves:
            self._shelves.drop(shelf)
            self.wake(shelf)
            self.changed(shelf)


def _forget(connection: apsw.Connection, shelves: list[str]) -> None:
    for shelf in shelves:
        tables.forget_shelf(connection, shelf)
