"""The connection that writes: many jobs in one transaction, and what becomes of them on a disk that fails.

Everything here runs on the store's writer thread. What it answers is certain wherever it can be: after a
commit that failed, another one that works shows whether the first is there, and sees to it that it stays so.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from pathlib import Path
from traceback import clear_frames
from typing import Any

import apsw
from msgspec import Struct

from aios.abi.errors import OutcomeUnknown, StorageFull
from aios.drivers.reserve import Reserve
from aios.drivers.sqlite import bound_log, open_reader, open_writer, restart_log, typed

Work = Callable[[apsw.Connection], Any]


class Job(Struct, eq=False):
    """One write, and who waits for it. One that `frees` gives room back: it is done on a full disk, too."""

    work: Work
    future: "asyncio.Future[Any]"
    frees: bool = False


Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]
"""A job's future, with what it returned or why it failed."""


class Writer:
    """Opens its connection when it needs one, and drops it when the disk has failed."""

    def __init__(self, path: Path, vfs: str | None, reserve: Reserve) -> None:
        self._path = path
        self._vfs = vfs
        self._reserve = reserve
        self._connection: apsw.Connection | None = None
        self._keeper: apsw.Connection | None = None
        """Never writes and is never dropped: while it is there, SQLite does not read its log anew, in which a
        failed commit may stand whole. So what failed is not there, until the next commit writes over it."""
        self._is_full = False
        self.num_commits = 0

    def open(self) -> None:
        """Raises errors of `aios.abi.errors`."""
        try:
            self._connection = open_writer(self._path, self._vfs)
            self._keeper = open_reader(self._path, self._vfs)
            self._seen()  # It takes part in the log from its first look at it.
        except apsw.Error as error:
            self.close()
            raise typed(error) from error
        self._is_full = not self._reserve.restore()

    def close(self) -> None:
        """The last connection to close copies the log into the database."""
        for connection in (self._keeper, self._connection):
            if connection is not None:
                close(connection)
        self._keeper = self._connection = None

    def do(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Do the jobs in one transaction. Their outcomes hold when this returns."""
        outcomes: list[Outcome] = []
        if not self._has_room():
            full = StorageFull("the disk is full: only what gives room back is written until there is some")
            outcomes = failed([job for job in jobs if not job.frees], full)
            jobs = [job for job in jobs if job.frees]
        return outcomes + self._commit(jobs) if jobs else outcomes

    def tend(self) -> None:
        """What may wait until the outcomes were told."""
        if self._connection is not None:
            bound_log(self._connection)

    # ---- one transaction

    def _commit(self, jobs: Sequence[Job]) -> list[Outcome]:
        try:
            connection = self._open_again()
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [_run(connection, job) for job in jobs]
            number = _next_number(connection)
        except BaseException as error:  # noqa: BLE001 - it is raised where each write is awaited
            return self._failed(jobs, error)
        try:
            connection.execute("COMMIT")
        except apsw.FullError as error:
            if not self._is_seen(number):  # Its last page did not reach the log.
                return self._failed(jobs, error)
        except BaseException as error:  # noqa: BLE001 - as above
            return self._resolved(jobs, outcomes, number, error)
        self.num_commits += 1
        return outcomes

    def _failed(self, jobs: Sequence[Job], error: BaseException) -> list[Outcome]:
        """The transaction came to nothing. Where it had no room, what frees some is done with the reserve."""
        self._drop()
        if self._is_full or not isinstance(error, apsw.FullError):
            return failed(jobs, typed(error))
        self._make_room()
        outcomes = failed([job for job in jobs if not job.frees], typed(error))
        freeing = [job for job in jobs if job.frees]
        return outcomes + self._commit(freeing) if freeing else outcomes

    def _resolved(
        self, jobs: Sequence[Job], outcomes: list[Outcome], number: int, error: BaseException
    ) -> list[Outcome]:
        """A commit failed: is it there? Until another one works, nobody knows what a crash would leave."""
        self._drop()
        try:
            connection = self._open_again()
            is_there = self._seen() == number
            _next_number(connection)
        except apsw.Error:
            self._drop()
            unknown = OutcomeUnknown(f"the commit failed, and may or may not be there after a crash: {error}")
            return failed(jobs, unknown)
        return outcomes if is_there else failed(jobs, typed(error))

    # ---- the connection

    def _open_again(self) -> apsw.Connection:
        if self._connection is None:
            self._connection = open_writer(self._path, self._vfs)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            close(self._connection)
        self._connection = None

    def _is_seen(self, number: int) -> bool:
        """Whether a commit is there: then it was what came after it, copying the log, that had no room."""
        with suppress(apsw.Error):
            return self._seen() == number
        return False

    def _seen(self) -> int:
        """The number of the last commit that the keeper can see."""
        assert self._keeper is not None
        number: int = self._keeper.execute("SELECT number FROM barrier").get
        return number

    # ---- a full disk

    def _has_room(self) -> bool:
        """Whether all may be written. A database that has room inside needs none of the disk's."""
        if self._is_full and self._reserve.restore():
            self._is_full = False
        return not self._is_full or self._num_free_inside() >= self._reserve.num_bytes

    def _num_free_inside(self) -> int:
        try:
            connection = self._open_again()
            return int(connection.pragma("freelist_count")) * int(connection.pragma("page_size"))
        except apsw.Error:
            return 0

    def _make_room(self) -> None:
        """Use the reserve, first for what the database has to grow by: then the log can begin anew."""
        self._is_full = True
        with suppress(OSError, apsw.Error):
            self._reserve.release()
            restart_log(self._open_again())


def _next_number(connection: apsw.Connection) -> int:
    """Number a transaction, so that it can be told whether it is there. (What `data_version` tells changes
    with a log that begins anew, too.)"""
    number: int = connection.execute("UPDATE barrier SET number = number + 1 RETURNING number").get
    return number


def _run(connection: apsw.Connection, job: Job) -> Outcome:
    """Do one job. Raises only where the whole transaction is lost."""
    if job.future.cancelled():
        return job.future, None, None
    connection.execute("SAVEPOINT job")
    try:
        value, failure = job.work(connection), None
    except BaseException as error:
        if isinstance(error, apsw.FullError) or not connection.in_transaction:
            raise
        value, failure = None, freed(error)
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")
    return job.future, value, failure


def freed(error: BaseException) -> BaseException:
    """What it means to a caller. A query read halfway that its traceback holds would hold an old state."""
    cause: BaseException | None = error
    while cause is not None:
        clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__
    return typed(error)


def failed(jobs: Sequence[Job], error: BaseException) -> list[Outcome]:
    """Each caller raises an error of its own: one that is shared would gather all their tracebacks."""
    return [(job.future, None, copy(error)) for job in jobs]


def close(connection: apsw.Connection) -> None:
    """Close it, undoing what was not committed. A disk that fails even then has nothing left to lose."""
    try:
        connection.close(force=True)
    except apsw.Error:
        return
