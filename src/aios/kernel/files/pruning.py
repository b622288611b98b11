"""Forgetting old versions for good: the only way in which anything of a file is lost.

It goes on in pieces, each a transaction of its own after which all is sound: cut off anywhere, what is left
of each file is its versions from some point on.
"""

from typing import Any

import apsw
from msgspec import Struct, structs

from aios.abi.syscalls import Pruned, StoragePrune
from aios.kernel.files import entries, folders, holdings, pieces, reading, sharing, states
from aios.kernel.files.asking import Asking
from aios.kernel.files.changing import check_version
from aios.kernel.files.entries import IS_BELOW, File, span
from aios.kernel.files.holdings import ROW_BYTES
from aios.kernel.files.tables import moment_of
from aios.kernel.files.writing import live_version

PIECE_VERSIONS = 1000
"""Versions forgotten, and files looked at, in one transaction."""


class Progress(Struct, frozen=True):
    """How far a prune has come."""

    is_file: bool
    """Whether it is of one file, else of all in a folder."""
    versions: int = 0
    bytes: int = 0
    after: str = ""
    """The path of the last file that is done."""
    is_done: bool = False

    @property
    def reply(self) -> Pruned | None:
        """What the call is answered; None as long as there is more to do."""
        return Pruned(self.versions, self.bytes) if self.is_done else None


def begin(connection: apsw.Connection, asking: Asking, call: StoragePrune) -> Progress:
    """Raises `NotFound` or `Conflict` before anything is forgotten."""
    file = entries.find(connection, asking.owner, call.path)
    is_file = reading.is_file(connection, file)
    found = live_version(file) if is_file else folders.version(connection, asking.owner, call.path)
    if not (is_file or found) and call.path:
        raise entries.absent(call.path)
    check_version(call.path, found, call.if_version)
    return Progress(is_file)


def prune(connection: apsw.Connection, asking: Asking, call: StoragePrune, done: Progress) -> Progress:
    """Do some more of it. Raises `Corrupt`."""
    held = holdings.load(connection, asking.owner)
    room = PIECE_VERSIONS
    files = _following(connection, asking.owner, call.path, done)
    for file in files:
        oldest = _oldest(connection, file, call)
        step = min(oldest, file.oldest + room)
        num_versions = step - file.oldest
        num_bytes = _forget(connection, file, step) if num_versions else 0
        held.count(0, -num_bytes)
        done = structs.replace(done, versions=done.versions + num_versions, bytes=done.bytes + num_bytes)
        if step < oldest:
            break
        room -= num_versions
        done = structs.replace(done, after=file.path)
    else:
        done = structs.replace(done, is_done=len(files) < PIECE_VERSIONS)
    holdings.save(connection, held)
    return done


def _following(connection: apsw.Connection, owner: str, path: str, done: Progress) -> list[File]:
    """The next files to be looked at."""
    if done.is_file:
        return [] if done.after else [entries.find(connection, owner, path)]
    first, end = span(path)
    rows: list[tuple[Any, ...]] = connection.execute(
        f"SELECT path FROM files WHERE owner = ?1 AND {IS_BELOW} ORDER BY path LIMIT ?4",
        (owner, max(first, done.after), end, PIECE_VERSIONS),
    ).fetchall()
    return [entries.find(connection, owner, name) for (name,) in rows]


def _oldest(connection: apsw.Connection, file: File, call: StoragePrune) -> int:
    """The oldest version that is to stay; the one after the newest where none is."""
    then = file.version
    if call.before is not None:
        then = states.number_at(connection, file, moment_of(call.before)) or file.oldest
    if file.deleted and not call.keep and then == file.version:
        return file.version + 1
    return max(file.oldest, min(then, file.version - max(call.keep, 1) + 1))


def _forget(connection: apsw.Connection, file: File, oldest: int) -> int:
    """Forget all before version `oldest`, the file itself where that is all; how many bytes it counted."""
    num_bytes = (oldest - file.oldest) * ROW_BYTES
    if oldest > file.version:
        num_bytes += pieces.forget(connection, file.docid, oldest, oldest)
        sharing.end_of(connection, file)
        connection.execute("DELETE FROM file_versions WHERE docid = ?", (file.docid,))
        connection.execute("DELETE FROM files WHERE docid = ?", (file.docid,))
        return num_bytes
    base = states.of(connection, file, oldest).base
    num_bytes += pieces.forget(connection, file.docid, oldest, base)
    connection.execute("DELETE FROM file_versions WHERE docid = ? AND version < ?", (file.docid, oldest))
    entries.save(connection, structs.replace(file, oldest=oldest))
    return num_bytes
