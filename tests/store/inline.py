"""A store without threads or disk, whose reads and writes are over when they return."""

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

import apsw
import numpy as np
import pytest

from aios.abi import syscalls as sc
from aios.drivers import migrations
from aios.drivers.clock import ManualClock
from aios.drivers.documents.extracting import Extractor
from aios.drivers.sqlite import typed
from aios.drivers.store import Manner
from aios.kernel.config import StorageConfig
from aios.kernel.files import chunks, cutting, pieces, pruning, uploads
from aios.kernel.finding.extracting import Extracting
from aios.kernel.finding.shelving import FileShelves
from aios.kernel.process import Caller
from aios.kernel.shelves.shelf import Source
from aios.kernel.shelves.tender import Tender
from aios.kernel.storage import StorageManager

T = TypeVar("T")


class InlineStore:
    """What managers use of `Store`."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        self.connection.pragma("foreign_keys", True)
        self.connection.execute(migrations.SCHEMA)

    async def write(
        self, work: Callable[[apsw.Connection], T], *, reply: Callable[[T], Any] | None = None
    ) -> T:
        return await self.read(work)

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        try:
            with self.connection:
                return work(self.connection)
        except apsw.Error as error:
            raise typed(error) from error

    def writing(self, manner: Manner) -> AbstractContextManager[None]:
        return nullcontext()

    async def migrate(self, name: str, steps: Sequence[migrations.Step]) -> None:
        while await self.write(lambda connection: migrations.advance(connection, name, steps)):
            pass


class Untended(Tender):
    """Nothing goes on in the background: it notes down only what would be seen to."""

    def __init__(self, store: InlineStore, source: Source, max_bytes: int) -> None:
        super().__init__(store, source, max_bytes)
        self.woken: list[str] = []

    def wake(self, shelf: str) -> None:
        self.woken.append(shelf)


class Unextracted(Extracting):
    """Documents wait."""

    def __init__(self, store: InlineStore) -> None:
        super().__init__(store, ManualClock(), Extractor(ManualClock()))

    def wake(self) -> None: ...


class InlineFiles:
    """A storage manager over such a store, on a clock that stands still."""

    def __init__(self, config: StorageConfig | None = None, store: InlineStore | None = None) -> None:
        self.store = store or InlineStore()
        self.clock = ManualClock()
        self.tender = Untended(self.store, FileShelves(), 1 << 20)
        self.storage = StorageManager(
            self.store, config or StorageConfig(), self.clock, self.tender, Unextracted(self.store)
        )
        at_once(self.tender.start())
        at_once(self.storage.start())

    def agent(self, principal: str = "alice", pid: int = 1) -> Callable[[sc.SystemCall], Awaitable[sc.Reply]]:
        """Makes calls of one principal."""
        return partial(self.storage.execute, Caller(pid, principal))


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of what never has to wait."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    work.close()
    raise AssertionError("it waited")


@contextmanager
def tiny_chunks() -> Iterator[None]:
    """Limits so small that a few bytes are many chunks, and a few appends are merged."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (cutting, chunks, pieces):
            patch.setattr(module, "MIN_CHUNK", 4)
        patch.setattr(cutting, "MAX_CHUNK", 12)
        patch.setattr(cutting, "_MASK", np.uint32(0xC0000000))
        patch.setattr(pieces, "MAX_TAIL", 3)
        patch.setattr(pruning, "PIECE_VERSIONS", 2)
        patch.setattr(uploads, "SWEPT_PARTS", 2)
        yield
