"""The store: one SQLite database, one writer thread that commits in groups, a few readers.

All writes that wait are done in one transaction and acknowledged together after its COMMIT, so that one
flush of the disk serves many callers. Owns the threads, the connections and the lock on the data; knows
no table of the managers.
"""

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from traceback import clear_frames
from typing import IO, Any, TypeVar

import apsw

from aios.abi.errors import AiosError, Conflict, InvalidArgument, OutcomeUnknown, Overloaded, Unavailable
from aios.drivers.migrations import Step, advance
from aios.drivers.sqlite import bound_log, open_reader, open_writer, typed

T = TypeVar("T")
Work = Callable[[apsw.Connection], Any]
Job = tuple[Work, "asyncio.Future[Any]"]
Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]
"""A job's future, with what it returned or why it failed."""

MAX_BATCH = 256
"""Writes in one transaction at most, so that the first of them does not wait for ever."""


class Store:
    """A database at `path` (a file; its folder is made where missing).

    `max_waiting` bounds the reads and writes in flight; beyond it they are refused with `Overloaded`.
    """

    def __init__(
        self, path: Path, *, num_readers: int = 2, max_waiting: int = 10_000, vfs: str | None = None
    ) -> None:
        self._path = path
        self._vfs = vfs
        self._num_readers = num_readers
        self._max_waiting = max_waiting
        self._num_waiting = 0
        self._is_open = False
        self._writes: SimpleQueue[Job | None] = SimpleQueue()
        self._reads: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock: IO[str] | None = None
        self.num_commits = 0
        """Transactions committed since the start."""

    async def start(self) -> None:
        """Open the database. Raises `Conflict` where another kernel has it, `Unavailable` where it cannot."""
        self._loop = asyncio.get_running_loop()
        self._lock = _lock(self._path)
        try:
            writer = await asyncio.to_thread(self._open_writer)
        except BaseException:
            self._lock.close()
            raise
        self._threads = [_thread("store-writer", partial(self._write_all, writer))]
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

    async def write(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` on the writer and return what it returned, once that is on the disk.

        Where `work` raises, only its own changes are undone, and the error is raised here. `StorageFull`,
        `Unavailable` and `Corrupt` mean that nothing was changed; `OutcomeUnknown` that the commit failed.
        A task cancelled before its turn changes nothing.
        """
        result: T = await self._submit(self._writes, work)
        return result

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
        while await self.write(lambda connection: advance(connection, name, steps)):
            pass

    def statistics(self) -> dict[str, int]:
        return {"waiting": self._num_waiting, "commits": self.num_commits}

    def _submit(self, queue: "SimpleQueue[Job | None]", work: Work) -> "asyncio.Future[Any]":
        if not self._is_open:
            raise Unavailable("the store is closed")
        if self._num_waiting >= self._max_waiting:
            raise Overloaded(
                f"{self._max_waiting} reads and writes are waiting for the disk", retry_after=0.1
            )
        future = self._loop.create_future()
        self._num_waiting += 1
        queue.put((work, future))
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

    def _open_writer(self) -> apsw.Connection:
        try:
            return open_writer(self._path, self._vfs)
        except apsw.Error as error:
            raise typed(error) from error

    def _write_all(self, connection: apsw.Connection | None) -> None:
        while batch := _take(self._writes):
            if connection is None:
                connection = self._reopen(batch)
                if connection is None:
                    continue
            outcomes, is_broken = _commit(connection, batch)
            if is_broken:
                _close(connection)
                connection = None
            else:
                self.num_commits += 1
            self._report(outcomes)
            if connection is not None:
                bound_log(connection)
        if connection is not None:
            _close(connection)

    def _reopen(self, batch: list[Job]) -> apsw.Connection | None:
        try:
            return self._open_writer()
        except AiosError as error:
            self._report(_failed(batch, error))
            return None

    def _read_all(self) -> None:
        connection: apsw.Connection | None = None
        while job := self._reads.get():
            work, future = job
            value, failure = None, None
            try:
                connection = connection or open_reader(self._path, self._vfs)
                with connection:
                    value = work(connection)
            except BaseException as error:  # noqa: BLE001 - it is raised where the read is awaited
                failure = _freed(error)
                if isinstance(error, apsw.Error) and connection is not None:
                    _close(connection)
                    connection = None
            self._report([(future, value, failure)])
        if connection is not None:
            _close(connection)

    def _report(self, outcomes: list[Outcome]) -> None:
        with suppress(RuntimeError):  # A loop that was closed before the store leaves nobody to tell.
            self._loop.call_soon_threadsafe(self._settle, outcomes)


def _thread(name: str, target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def _take(queue: "SimpleQueue[Job | None]") -> list[Job]:
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


def _commit(connection: apsw.Connection, batch: list[Job]) -> tuple[list[Outcome], bool]:
    """Do the jobs in one transaction; their outcomes, and whether the connection should be opened anew."""
    outcomes: list[Outcome] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        for work, future in batch:
            if not future.cancelled():
                outcomes.append(_savepoint(connection, work, future))
            else:
                outcomes.append((future, None, None))
    except BaseException as error:  # noqa: BLE001 - it is raised where each write is awaited
        return _failed(batch, typed(error)), True
    try:
        connection.execute("COMMIT")
    except apsw.FullError as error:
        return _failed(batch, typed(error)), True
    except BaseException as error:  # noqa: BLE001 - as above
        # The log may hold the whole transaction although flushing it failed: after a crash it may be there.
        unknown = OutcomeUnknown(f"the commit failed, and may or may not be found after a restart: {error}")
        return _failed(batch, unknown), True
    return outcomes, False


def _savepoint(connection: apsw.Connection, work: Work, future: "asyncio.Future[Any]") -> Outcome:
    """Do one job. Raises only where SQLite has given up the whole transaction."""
    connection.execute("SAVEPOINT job")
    try:
        value, failure = work(connection), None
    except BaseException as error:
        if not connection.in_transaction:
            raise
        value, failure = None, _freed(error)
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")
    return future, value, failure


def _freed(error: BaseException) -> BaseException:
    """What it means to a caller. A query read halfway that its traceback holds would hold an old state."""
    cause: BaseException | None = error
    while cause is not None:
        clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__
    return typed(error)


def _failed(batch: list[Job], error: BaseException) -> list[Outcome]:
    # Each caller raises an error of its own: one that is shared would gather all their tracebacks.
    return [(future, None, copy(error)) for _, future in batch]


def _close(connection: apsw.Connection) -> None:
    """Close it, undoing what was not committed. A disk that fails even then has nothing left to lose."""
    try:
        connection.close(force=True)
    except apsw.Error:
        return


def _lock(path: Path) -> IO[str]:
    """Take the data for this process; it is free again when the process ends, however it ends."""
    if path.is_dir():
        raise InvalidArgument(f"{path} is a folder; the store needs the name of a file in it")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
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
