"""The pieces that a file's content is made of: which chunk stands where, from which version on.

A version that sets the whole content brings all its pieces; one that appends brings what was added, and goes
on from the pieces before. Where many small ones stand at the end, an append merges them: they stay what older
versions are made of, and newer ones have the merged piece. So a content is the pieces of the versions from
its `base` on that have not been merged by then. Owns the table `file_pieces`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import apsw
from msgspec import Struct

from aios.abi.errors import Corrupt
from aios.kernel.files import chunks
from aios.kernel.files.chunks import Chunk
from aios.kernel.files.cutting import MIN_CHUNK
from aios.kernel.files.entries import File
from aios.kernel.files.states import State
from aios.kernel.files.tables import seal

MAX_TAIL = 64
"""Small pieces at a file's end, beyond which an append merges them."""

_LIVE = "docid = ?1 AND version BETWEEN ?2 AND ?3 AND (merged IS NULL OR merged > ?3)"
"""The pieces of a content: of a file, from its base to its version."""


class Piece(Struct, frozen=True):
    """A stretch of content: a chunk, and where it begins."""

    start: int
    size: int
    chunk: int
    hash: bytes


def stored(connection: apsw.Connection, parts: Iterable[Chunk], start: int) -> list[Piece]:
    """Keep these chunks; the pieces that they are, one after the other, from `start` on."""
    found: list[Piece] = []
    for part in parts:
        found.append(Piece(start, part.size, chunks.put(connection, part), part.hash))
        start += part.size
    return found


def add(connection: apsw.Connection, docid: int, version: int, pieces: Sequence[Piece]) -> int:
    """Keep the pieces that a version brings; how many bytes they have together."""
    connection.executemany(
        "INSERT INTO file_pieces VALUES (?, ?, ?, ?, ?, NULL, ?)",
        [
            (docid, version, one.start, one.size, one.chunk, _seal(docid, version, one, None))
            for one in pieces
        ],
    )
    return sum(one.size for one in pieces)


def of(connection: apsw.Connection, state: State) -> list[Piece]:
    """All pieces of a version, in order, without their content. Raises `Corrupt`."""
    rows = connection.execute(
        f"SELECT version, start, size, chunk, merged, p.checksum, hash FROM file_pieces p "
        f"JOIN file_chunks ON id = chunk WHERE {_LIVE} ORDER BY start",
        (state.docid, state.base, state.version),
    )
    found = [_checked(state.docid, *row) for row in rows]
    _check_order(found, 0, state.size)
    return found


def read(connection: apsw.Connection, state: State, start: int, end: int) -> bytes:
    """The content of a version from `start` to `end`, both within it. Raises `Corrupt`."""
    if start == end:
        return b""
    rows = connection.execute(
        f"SELECT version, start, size, chunk, merged, p.checksum, hash, content FROM file_pieces p "
        f"JOIN file_chunks ON id = chunk WHERE {_LIVE} AND start < ?5 AND start + size > ?4 ORDER BY start",
        (state.docid, state.base, state.version, start, end),
    )
    found: list[Piece] = []
    parts: list[bytes] = []
    for *fields, content in rows:
        found.append(_checked(state.docid, *fields))
        parts.append(chunks.checked(found[-1].hash, content))
    _check_order(found, start, end)
    first = found[0].start
    return b"".join(parts)[start - first : end - first]


def merge(connection: apsw.Connection, file: File, version: int) -> tuple[int, bytes]:
    """Take the small pieces at a file's end out of it from `version` on.

    Where they began, and their content. Raises `Corrupt`.
    """
    rows = connection.execute(
        f"SELECT version, start, size, chunk, merged, p.checksum, hash, content FROM file_pieces p "
        f"JOIN file_chunks ON id = chunk WHERE {_LIVE} ORDER BY start DESC LIMIT ?4",
        (file.docid, file.base, file.version, file.tail),
    ).fetchall()
    found: list[Piece] = []
    parts: list[bytes] = []
    for *fields, content in reversed(rows):
        piece = _checked(file.docid, *fields)
        found.append(piece)
        parts.append(chunks.checked(piece.hash, content))
        connection.execute(
            "UPDATE file_pieces SET merged = ?, checksum = ? WHERE docid = ? AND version = ? AND start = ?",
            (version, _seal(file.docid, fields[0], piece, version), file.docid, fields[0], piece.start),
        )
    _check_order(found, found[0].start if found else 0, file.size)
    return found[0].start, b"".join(parts)


def tail_of(sizes: Sequence[int]) -> int:
    """How many small ones stand at the end of pieces of these sizes."""
    tail = 0
    for size in reversed(sizes):
        if size >= MIN_CHUNK:
            break
        tail += 1
    return tail


def forget(connection: apsw.Connection, docid: int, oldest: int, base: int) -> int:
    """Remove the pieces that no version from `oldest` on needs; its content begins with version `base`.

    Frees what nothing else holds, and answers how many bytes the pieces had.
    """
    rows: list[tuple[Any, ...]] = connection.execute(
        "DELETE FROM file_pieces WHERE docid = ?1 AND version < ?2 AND (version < ?3 OR merged <= ?2) "
        "RETURNING chunk, size",
        (docid, oldest, base),
    ).fetchall()
    chunks.free(connection, (chunk for chunk, _ in rows))
    return sum(size for _, size in rows)


def _checked(
    docid: int, version: int, start: int, size: int, chunk: int, merged: int | None, check: Any, hash: bytes
) -> Piece:
    piece = Piece(start, size, chunk, hash)
    if check != _seal(docid, version, piece, merged):
        raise Corrupt("a piece does not match its checksum")
    return piece


def _seal(docid: int, version: int, piece: Piece, merged: int | None) -> bytes:
    return seal(docid, version, piece.start, piece.size, piece.chunk, merged, piece.hash)


def _check_order(found: Sequence[Piece], start: int, end: int) -> None:
    """Raises `Corrupt` unless the pieces cover all from `start` to `end`, each byte once."""
    if not found:
        if start < end:
            raise Corrupt("a piece is missing")
        return
    place = found[0].start
    for piece in found:
        if piece.start != place:
            raise Corrupt("a piece is missing")
        place += piece.size
    if found[0].start > start or place < end:
        raise Corrupt("a piece is missing")
