"""The store: one SQLite database, one writer thread that commits in groups, a few readers.

All writes that wait are done in one transaction and acknowledged together after its COMMIT, so that one
flush of the disk serves many callers. Owns the threads, the connections and the lock on the data; knows
no table of the managers.
"""

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, TypeVar
from weakref import WeakKeyDictionary

import apsw
from msgspec import Struct

from aios.abi.errors import Conflict, InvalidArgument, Overloaded, Unavailable
from aios.drivers.migrations import Step, advance, version_of
from aios.drivers.reserve import Reserve
from aios.drivers.sqlite import open_reader, renew_log, typed
from aios.drivers.writer import Job, Outcome, Work, Writer, close, freed

T = TypeVar("T")
Jobs = SimpleQueue[Job | None]
ReplyOf = Callable[[Any], Any]
"""What a call is answered, told from what the work of its write returned."""

MAX_BATCH = 256
"""Writes in one transaction at most, so that the first of them does not wait for ever."""


class Manner(Struct, frozen=True):
    """How a task's writes are done."""

    around: Callable[[Work, ReplyOf | None, apsw.Connection], Any] | None = None
    """Does a write's work, and in the same transaction what belongs to it; None where nothing does."""
    frees: bool = False
    """They give room back: they are done on a full disk, too."""


PLAIN = Manner()


class Store:
    """A database at `path` (a file; its folder is made where missing).

    `max_waiting` bounds the reads and writes in flight; beyond it they are refused with `Overloaded`.
    `reserve_bytes` of the disk are kept back, so that deleting is possible when it is full.
    """

    def __init__(
        self,
        path: Path,
        *,
        num_readers: int = 2,
        max_waiting: int = 10_000,
        reserve_bytes: int = 0,
        vfs: str | None = None,
    ) -> None:
        self._path = path
        self._vfs = vfs
        self._num_readers = num_readers
        self._max_waiting = max_waiting
        self._num_waiting = 0
        self._is_open = False
        self._writes: Jobs = SimpleQueue()
        self._reads: Jobs = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock: IO[str] | None = None
        self._writer = Writer(path, vfs, Reserve(Path(f"{path}.reserve"), reserve_bytes))
        self._manners: WeakKeyDictionary[asyncio.Task[Any], Manner] = WeakKeyDictionary()

    @property
    def num_commits(self) -> int:
        """Transactions committed since the start."""
        return self._writer.num_commits

    async def start(self) -> None:
        """Open the database. Raises `Conflict` where another kernel has it, `Unavailable` where it cannot."""
        self._loop = asyncio.get_running_loop()
        self._lock = _lock(self._path)
        try:
            await asyncio.to_thread(self._open)
        except BaseException:
            self._lock.close()
            raise
        self._threads = [_thread("store-writer", self._write_all)]
        for number in range(self._num_readers):
            self._threads.append(_thread(f"store-reader-{number}", self._read_all))
        self._is_open = True

    async def close(self) -> None:
        """Do what has been accepted, then close. Later reads and writes are refused with `Unavailable`."""
        if not self._is_open:
            return
        self._is_open = False
        writer, *readers = self._threads
        for _ in readers:
            self._reads.put(None)
        for thread in readers:
            await asyncio.to_thread(thread.join)
        # The writer goes last: the last connection to close copies the log into the database.
        self._writes.put(None)
        await asyncio.to_thread(writer.join)
        assert self._lock is not None
        self._lock.close()

    async def write(
        self, work: Callable[[apsw.Connection], T], *, reply: Callable[[T], Any] | None = None
    ) -> T:
        """Run `work` on the writer and return what it returned, once that is on the disk.

        Where that is not what the call is answered, `reply` tells it, for calls that may be made again.

        Where `work` raises, only its own changes are undone, and the error is raised here. `StorageFull`,
        `Unavailable` and `Corrupt` mean that nothing was changed, `OutcomeUnknown` that the commit failed and
        so did finding out what became of it. A task cancelled before its turn changes nothing.
        """
        manner = self.manner()
        if manner.around is not None:
            work = partial(manner.around, work, reply)
        result: T = await self._submit(self._writes, work, manner.frees)
        return result

    @contextmanager
    def writing(self, manner: Manner) -> Iterator[None]:
        """What the running task (and no other that it starts) writes meanwhile is done in this manner."""
        task = asyncio.current_task()
        assert task is not None
        before = self._manners.get(task, PLAIN)
        self._manners[task] = manner
        try:
            yield
        finally:
            self._manners[task] = before

    def manner(self) -> Manner:
        """How the running task's writes are done, for a task that it starts to write in its place."""
        task = asyncio.current_task() if self._manners else None
        return PLAIN if task is None else self._manners.get(task, PLAIN)

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` on a reader, which sees one state of the database, and return what it returned."""
        result: T = await self._submit(self._reads, work)
        return result

    async def migrate(self, name: str, steps: Sequence[Step]) -> None:
        """Bring the tables called `name` up to date; call it before using them.

        `steps` are all the changes ever made to them, oldest first, each SQL or a function that moves data
        in pieces (`migrations.Pieces`); those that this database has not seen are run, each once. Every step,
        and every piece, is a transaction of its own: interrupted anywhere, the next call goes on from there.
        Raises `Conflict` where the database has seen more steps than there are.
        """
        if await self.read(lambda connection: version_of(connection, name)) == len(steps):
            return
        with self.writing(Manner(frees=True)):  # A kernel whose disk is full starts all the same.
            while await self.write(lambda connection: advance(connection, name, steps)):
                pass

    def statistics(self) -> dict[str, int]:
        return {"waiting": self._num_waiting, "commits": self.num_commits}

    def _submit(self, queue: Jobs, work: Work, frees: bool = False) -> "asyncio.Future[Any]":
        if not self._is_open:
            raise Unavailable("the store is closed")
        if self._num_waiting >= self._max_waiting:
            raise Overloaded(
                f"{self._max_waiting} reads and writes are waiting for the disk", retry_after=0.1
            )
        future = self._loop.create_future()
        self._num_waiting += 1
        queue.put(Job(work, future, frees))
        return future

    def _settle(self, outcomes: Iterable[Outcome]) -> None:
        for future, value, error in outcomes:
            self._num_waiting -= 1
            if future.done():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

    # ---- below, everything runs on the store's own threads

    def _open(self) -> None:
        try:
            renew_log(self._path, self._vfs)
        except apsw.Error as error:
            raise typed(error) from error
        self._writer.open()

    def _write_all(self) -> None:
        writer = self._writer
        while jobs := _take(self._writes):
            self._report(writer.do(jobs))
            writer.tend()
        writer.close()

    def _read_all(self) -> None:
        connection: apsw.Connection | None = None
        while job := self._reads.get():
            value, failure = None, None
            try:
                connection = connection or open_reader(self._path, self._vfs)
                connection.execute("BEGIN")
                value = job.work(connection)
                connection.execute("COMMIT")
            except BaseException as error:  # noqa: BLE001 - it is raised where the read is awaited
                failure = freed(error)
                if connection is not None:
                    connection = _ended(connection, error)
            self._report([(job.future, value, failure)])
        if connection is not None:
            close(connection)

    def _report(self, outcomes: list[Outcome]) -> None:
        with suppress(RuntimeError):  # A loop that was closed before the store leaves nobody to tell.
            self._loop.call_soon_threadsafe(self._settle, outcomes)


def _ended(connection: apsw.Connection, error: BaseException) -> apsw.Connection | None:
    """The connection after a read that failed; None where the disk failed, and it is open no more."""
    if isinstance(error, apsw.Error) or not connection.in_transaction:
        close(connection)
        return None
    connection.execute("ROLLBACK")
    return connection


def _thread(name: str, target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def _take(queue: Jobs) -> list[Job]:
    """All jobs that wait, waiting for the first; empty at the end."""
    first = queue.get()
    if first is None:
        return []
    batch = [first]
    while len(batch) < MAX_BATCH:
        try:
            job = queue.get_nowait()
        except Empty:
            break
        if job is None:
            queue.put(None)
            break
        batch.append(job)
    return batch


def _lock(path: Path) -> IO[str]:
    """Take the data for this process; it is free again when the process ends, however it ends."""
    if path.is_dir():
        raise InvalidArgument(f"{path} is a folder; the store needs the name of a file in it")
    try:
        _make(path)
        file = open(os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")  # noqa: SIM115
    except OSError as error:
        raise Unavailable(f"the data cannot be kept at {path}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    except BlockingIOError:
        owner = file.read().strip()
        file.close()
        raise Conflict(f"the data at {path} is in use by another kernel, process {owner}") from None
    except OSError as error:
        file.close()
        raise Unavailable(f"the data at {path} cannot be locked: {error.strerror}") from error
    return file


def _make(path: Path) -> None:
    """An empty file in its folder, each where it is missing, to be found again after a power loss."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    for made in missing:
        folder = os.open(made.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
