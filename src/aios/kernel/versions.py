"""Versions of files: what was done, by whom and when, and the content that each one had.

A version stays for ever. An append keeps only what was added: a version's content is that of the `depth`
versions before it, and its own, joined. Owns their table and checksums; knows neither owners nor limits.
"""

from typing import Any, Literal

import apsw
from msgspec import Struct

from aios.abi.errors import Corrupt, NotFound
from aios.drivers.sqlite import checksum, get_blob

SCHEMA = """
    CREATE TABLE file_versions (
        id INTEGER PRIMARY KEY, docid INTEGER NOT NULL REFERENCES files, version INTEGER NOT NULL,
        verb TEXT NOT NULL, size INTEGER NOT NULL, depth INTEGER NOT NULL, blob INTEGER REFERENCES blobs,
        author TEXT NOT NULL, modified REAL NOT NULL, checksum BLOB NOT NULL, UNIQUE (docid, version)
    );
"""

MAX_DEPTH = 64
"""Appends in a row after which the whole content is kept anew, so that reading stays quick."""

Verb = Literal["create", "write", "append", "delete", "rollback"]


class Change(Struct, frozen=True):
    """Who makes a version, how and when. `now` is in seconds since the epoch."""

    verb: Verb
    author: str
    now: float


def add(
    connection: apsw.Connection,
    docid: int,
    version: int,
    size: int,
    depth: int,
    blob: int | None,
    change: Change,
) -> None:
    """Keep a version."""
    fields = (version, change.verb, size, depth, blob, change.author, change.now)
    connection.execute(
        "INSERT INTO file_versions (docid, version, verb, size, depth, blob, author, modified, checksum) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (docid, *fields, _seal(docid, *fields)),
    )


def content(connection: apsw.Connection, docid: int, path: str, version: int) -> bytes:
    """What the file was in that version. Raises `NotFound` where it was deleted, or `Corrupt`."""
    depth = _depth(connection, docid, path, version)
    rows = connection.execute(
        "SELECT version, verb, size, depth, blob, author, modified, checksum FROM file_versions "
        "WHERE docid = ? AND version BETWEEN ? AND ? ORDER BY version",
        (docid, version - depth, version),
    ).fetchall()
    try:
        pieces = [_piece(connection, docid, row) for row in rows]
    except Corrupt as error:
        raise Corrupt(f"version {version} of '{path}' is damaged: {error}") from error
    whole = b"".join(pieces)
    if not rows or len(pieces) != depth + 1 or len(whole) != rows[-1][2]:
        raise Corrupt(f"version {version} of '{path}' is damaged: a part is missing")
    return whole


def _piece(connection: apsw.Connection, docid: int, row: tuple[Any, ...]) -> bytes:
    *fields, check = row
    if check != _seal(docid, *fields):
        raise Corrupt("a version does not match its checksum")
    return get_blob(connection, fields[4])


def _depth(connection: apsw.Connection, docid: int, path: str, version: int) -> int:
    row = connection.execute(
        "SELECT depth, verb FROM file_versions WHERE docid = ? AND version = ?", (docid, version)
    ).fetchone()
    if row is None:
        raise Corrupt(f"version {version} of '{path}' is missing")
    if row[1] == "delete":
        raise NotFound(f"version {version} of '{path}' is its deletion; there is no content")
    return int(row[0])


def _seal(*fields: object) -> bytes:
    return checksum(repr(fields).encode())
