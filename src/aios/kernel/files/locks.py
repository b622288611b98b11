"""Locks on files and folders: who holds one may change what is below it, nobody else. Owns `file_locks`.

A lock's token is a moment of its owner's, so a later lock has a higher one. A token opens what it was given
for as long as its lock lasts and never after, also where nobody has locked since: others may have changed
what was locked.
"""

import json

import apsw
from msgspec import Struct, structs

from aios.abi.errors import Conflict, Corrupt, QuotaExceeded
from aios.abi.syscalls import Done, FileLock, StorageLock, StorageUnlock
from aios.kernel.files import holdings
from aios.kernel.files.asking import Asking
from aios.kernel.files.entries import IS_BELOW, span
from aios.kernel.files.folders import ancestors
from aios.kernel.files.tables import MICROSECONDS, seal


class Lock(Struct, frozen=True):
    """A row of the table; `expires` is in microseconds since the epoch."""

    owner: str
    path: str
    token: int
    pid: int
    expires: int

    @property
    def reply(self) -> FileLock:
        return FileLock(self.path, self.token, self.expires / MICROSECONDS)


def check(
    connection: apsw.Connection, asking: Asking, path: str, token: int | None, *, deep: bool = False
) -> None:
    """`Conflict` where another has locked this, or what it is in, or with `deep` anything in it.

    And where the lock with `token` has ended, or is of something else.
    """
    held = _around(connection, asking, path, deep=deep)
    if token is not None and not any(one.token == token and _covers(one, path) for one in held):
        raise _ended(token, path)
    _check_others(held, asking, token)


def check_others(
    connection: apsw.Connection, asking: Asking, path: str, token: int | None, *, deep: bool = False
) -> None:
    """The same of a path that the lock with `token` need not be of."""
    _check_others(_around(connection, asking, path, deep=deep), asking, token)


def _check_others(held: list[Lock], asking: Asking, token: int | None) -> None:
    for one in held:
        if one.token != token:
            left = (one.expires - asking.moment) / MICROSECONDS
            raise Conflict(f"'{one.path}' is locked for another {left:.0f} s", retry_after=left)


def _ended(token: int, path: str) -> Conflict:
    return Conflict(f"lock {token} on '{path}' has ended, or was never there")


def lock(connection: apsw.Connection, asking: Asking, call: StorageLock) -> FileLock:
    """Raises `Conflict`, or `QuotaExceeded` for too many locks."""
    expires = asking.moment + round(call.lease_s * MICROSECONDS)
    check(connection, asking, call.path, call.token, deep=True)
    if call.token is not None:
        (own,) = [one for one in _around(connection, asking, call.path) if one.token == call.token]
        return _keep(connection, structs.replace(own, expires=expires)).reply
    connection.execute(
        "DELETE FROM file_locks WHERE owner = ? AND expires <= ?", (asking.owner, asking.moment)
    )
    most = asking.limits.max_locks
    if connection.execute("SELECT count(*) FROM file_locks WHERE owner = ?", (asking.owner,)).get >= most:
        raise QuotaExceeded(f"there are {most} locks on things of {asking.owner}; unlock one first")
    held = holdings.load(connection, asking.owner)
    token = held.next_moment(asking.now)
    holdings.save(connection, held)
    return _keep(connection, Lock(asking.owner, call.path, token, asking.pid, expires)).reply


def unlock(connection: apsw.Connection, asking: Asking, call: StorageUnlock) -> Done:
    """Raises `Conflict`."""
    held = _around(connection, asking, call.path)
    if not any((one.path, one.token) == (call.path, call.token) for one in held):
        raise _ended(call.token, call.path)
    connection.execute("DELETE FROM file_locks WHERE owner = ? AND path = ?", (asking.owner, call.path))
    return Done()


def is_any(connection: apsw.Connection) -> bool:
    return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM file_locks)").get)


def end_of_process(connection: apsw.Connection, pid: int) -> None:
    """Give up what a process has locked."""
    connection.execute("DELETE FROM file_locks WHERE pid = ?", (pid,))


def end_all(connection: apsw.Connection) -> None:
    """Give up every lock: of processes that were there before the kernel was."""
    connection.execute("DELETE FROM file_locks")


def _keep(connection: apsw.Connection, held: Lock) -> Lock:
    fields = structs.astuple(held)
    connection.execute("REPLACE INTO file_locks VALUES (?, ?, ?, ?, ?, ?)", (*fields, seal(*fields)))
    return held


def _around(connection: apsw.Connection, asking: Asking, path: str, *, deep: bool = False) -> list[Lock]:
    """The locks on a path and the folders it is in, with `deep` on what is in it, too. Raises `Corrupt`."""
    rows = connection.execute(
        "SELECT * FROM file_locks WHERE owner = ?1 AND expires > ?4 "
        f"AND (path IN (SELECT value FROM json_each(?5)) OR ?6 AND {IS_BELOW})",
        (asking.owner, *span(path), asking.moment, json.dumps([*ancestors(path), path]), deep),
    )
    found = []
    for *fields, check in rows:
        if check != seal(*fields):
            raise Corrupt(f"the lock on '{fields[1]}' does not match its checksum; run aios fsck")
        found.append(Lock(*fields))
    return found


def _covers(one: Lock, path: str) -> bool:
    return path == one.path or path.startswith(f"{one.path}/")
