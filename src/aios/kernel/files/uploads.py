"""Files that come in parts: what has come is kept as chunks, and becomes a version when it is committed.

Owns the tables `uploads` and `upload_parts`. Parts are cut each by itself, so that nothing of one is held in
memory until the next comes, and the same part sent twice is the same rows.
"""

import secrets
from typing import Any

import apsw
from msgspec import Struct, structs

from aios.abi.errors import Conflict, Corrupt, NotFound, QuotaExceeded, TooLarge
from aios.abi.syscalls import (
    Done,
    FileEntry,
    StorageAbort,
    StorageCommit,
    StoragePart,
    StorageUpload,
    Upload,
)
from aios.kernel.files import chunks, entries, holdings, locks, pieces
from aios.kernel.files.asking import Asking
from aios.kernel.files.changing import Change, check_version
from aios.kernel.files.holdings import ROW_BYTES
from aios.kernel.files.pieces import Piece
from aios.kernel.files.tables import MICROSECONDS, seal
from aios.kernel.files.writing import live_version

IDLE_S = 86_400
"""After which an upload that nobody goes on with is dropped."""
SWEPT_PARTS = 500
"""Rows dropped in one transaction."""


class Row(Struct, frozen=True):
    """A row of `uploads`. `touched` is when a part came last, in microseconds since the epoch."""

    id: str
    owner: str
    principal: str
    """Who began it: nobody else may go on with it."""
    received: int
    touched: int

    @property
    def reply(self) -> Upload:
        return Upload(self.id, self.received)


def begin(connection: apsw.Connection, asking: Asking, call: StorageUpload) -> Upload:
    """Raises `QuotaExceeded`."""
    most = asking.limits.max_uploads
    if connection.execute("SELECT count(*) FROM uploads WHERE owner = ?", (asking.owner,)).get >= most:
        raise QuotaExceeded(f"{asking.owner} has {most} uploads under way; commit or abort one first")
    held = holdings.load(connection, asking.owner)
    held.count(0, ROW_BYTES)
    held.check(asking.limits)
    holdings.save(connection, held)
    return _keep(connection, Row(secrets.token_hex(16), asking.owner, asking.author, 0, asking.moment)).reply


def part(connection: apsw.Connection, asking: Asking, call: StoragePart) -> Upload:
    """Raises `NotFound`, `Conflict`, `TooLarge` or `QuotaExceeded`."""
    row = _find(connection, asking, call.upload_id)
    end = call.start + len(call.data)
    if end > asking.limits.max_file_bytes:
        raise TooLarge(f"a file may have {asking.limits.max_file_bytes} bytes, this part ends at {end}")
    num_new = 0
    for piece in pieces.stored(connection, asking.content, call.start):
        num_new += _add(connection, row.id, piece)
    held = holdings.load(connection, row.owner)
    held.count(0, num_new)
    held.check(asking.limits)
    holdings.save(connection, held)
    touched = structs.replace(row, received=row.received + num_new, touched=asking.moment)
    return _keep(connection, touched).reply


def commit(connection: apsw.Connection, asking: Asking, call: StorageCommit) -> FileEntry:
    """Raises `NotFound`, `Conflict`, `TooLarge`, `QuotaExceeded` or `Corrupt`."""
    locks.check(connection, asking, call.path, call.lock)
    change = Change(connection, asking)
    content = taken(connection, asking, change, call.upload_id, call.size)
    file = entries.find(connection, asking.owner, call.path)
    check_version(call.path, live_version(file), call.if_version)
    new = change.put(file, content, "write", label=call.label, source=call.source)
    change.close()
    return new.entry


def taken(
    connection: apsw.Connection, asking: Asking, change: Change, upload_id: str, size: int
) -> list[Piece]:
    """The content of an upload, which ends here: for a version that `change` makes. Raises as `commit`."""
    row = _find(connection, asking, upload_id)
    if row.owner != asking.owner:
        raise _absent(row.id)
    content = _whole(connection, row, size)
    change.held.count(0, -row.received - ROW_BYTES)
    connection.execute("DELETE FROM upload_parts WHERE upload = ?", (row.id,))
    connection.execute("DELETE FROM uploads WHERE id = ?", (row.id,))
    return content


def abort(connection: apsw.Connection, asking: Asking, call: StorageAbort) -> Done:
    """Mark it as one to be dropped; `sweep` does it. Raises `NotFound`."""
    _keep(connection, structs.replace(_find(connection, asking, call.upload_id), touched=0))
    return Done()


def abandon(connection: apsw.Connection, owner: str, principal: str) -> None:
    """Mark all that one has begun for an owner as to be dropped, as `abort` does."""
    rows: list[Any] = connection.execute(
        "SELECT * FROM uploads WHERE owner = ? AND principal = ?", (owner, principal)
    ).fetchall()
    for row in rows:
        _keep(connection, structs.replace(_checked(row), touched=0))


def sweep(connection: apsw.Connection, moment: int) -> bool:
    """Drop some of what belongs to uploads that were given up before `moment`; whether there is more."""
    row = connection.execute(
        "SELECT * FROM uploads WHERE touched <= ? LIMIT 1", (moment - IDLE_S * MICROSECONDS,)
    ).fetchone()
    if row is None:
        return False
    given_up = _checked(row)
    rows: list[tuple[Any, ...]] = connection.execute(
        "DELETE FROM upload_parts WHERE upload = ?1 AND start IN "
        "(SELECT start FROM upload_parts WHERE upload = ?1 LIMIT ?2) RETURNING chunk, size",
        (given_up.id, SWEPT_PARTS),
    ).fetchall()
    chunks.free(connection, (chunk for chunk, _ in rows))
    held = holdings.load(connection, given_up.owner)
    num_bytes = sum(size for _, size in rows)
    if rows:
        _keep(connection, structs.replace(given_up, received=given_up.received - num_bytes))
    else:
        connection.execute("DELETE FROM uploads WHERE id = ?", (given_up.id,))
        num_bytes = ROW_BYTES
    held.count(0, -num_bytes)
    holdings.save(connection, held)
    return True


def _keep(connection: apsw.Connection, row: Row) -> Row:
    fields = structs.astuple(row)
    connection.execute(
        "INSERT INTO uploads VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
        "ON CONFLICT DO UPDATE SET received = ?4, touched = ?5, checksum = ?6",
        (*fields, seal(*fields)),
    )
    return row


def _find(connection: apsw.Connection, asking: Asking, id: str) -> Row:
    row = connection.execute("SELECT * FROM uploads WHERE id = ?", (id,)).fetchone()
    if row is None:
        raise _absent(id)
    found = _checked(row)
    if found.principal != asking.author or found.touched <= asking.moment - IDLE_S * MICROSECONDS:
        raise _absent(id)
    return found


def _checked(row: tuple[Any, ...]) -> Row:
    *fields, check = row
    if check != seal(*fields):
        raise Corrupt("an upload does not match its checksum")
    return Row(*fields)


def _absent(id: str) -> NotFound:
    return NotFound(f"there is no upload '{id}'")


def _add(connection: apsw.Connection, id: str, piece: Piece) -> int:
    """Keep a piece of a part; how many bytes of it are new."""
    fields = (id, piece.start, piece.size, piece.chunk)
    connection.execute(
        "INSERT INTO upload_parts VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (*fields, seal(*fields, piece.hash)),
    )
    if connection.changes():
        return piece.size
    there = connection.execute(
        "SELECT size, chunk FROM upload_parts WHERE upload = ? AND start = ?", (id, piece.start)
    ).fetchone()
    if there != (piece.size, piece.chunk):
        raise Conflict(f"other bytes have come already that begin at {piece.start}")
    return 0


def _whole(connection: apsw.Connection, row: Row, size: int) -> list[Piece]:
    """All parts in order. `Conflict` where they do not make up `size` bytes."""
    content: list[Piece] = []
    place = 0
    for *fields, check, hash in connection.execute(
        "SELECT p.*, hash FROM upload_parts p JOIN file_chunks ON id = chunk WHERE upload = ? ORDER BY start",
        (row.id,),
    ):
        if check != seal(*fields, hash):
            raise Corrupt("a part of the upload does not match its checksum")
        piece = Piece(fields[1], fields[2], fields[3], hash)
        if piece.start != place:
            raise Conflict(_wrong_at(place, piece.start))
        content.append(piece)
        place += piece.size
    if place != size:
        raise Conflict(_wrong_at(place, size))
    return content


def _wrong_at(place: int, following: int) -> str:
    if following > place:
        return f"the bytes from {place} to {following} have not come"
    return f"what has come overlaps or goes on from {following} to {place}"
