"""The text that was taken out of a file that is no plain text, so that it is found by what it says.

A row for each document that is there: of its newest version, waiting until somebody has looked inside, then
with the text, or with why there is none. It can be taken out anew, and counts for nobody. Owns the table
`file_texts`.
"""

from typing import Any

import apsw
from msgspec import Struct

from aios.abi.errors import Corrupt
from aios.drivers.documents.text import DOCUMENTS, HTML
from aios.drivers.migrations import Cursor
from aios.drivers.packing import pack, unpack
from aios.kernel.files.entries import File
from aios.kernel.files.media import media_of
from aios.kernel.files.tables import seal

PIECE_FILES = 1_000
"""Files looked at in one transaction of taking over."""

TABLE = """
    CREATE TABLE file_texts (
        docid INTEGER PRIMARY KEY REFERENCES files, version INTEGER NOT NULL, why TEXT, size INTEGER NOT NULL,
        text BLOB, checksum BLOB NOT NULL
    );
    CREATE INDEX file_texts_waiting ON file_texts (docid) WHERE text IS NULL AND why IS NULL;
"""


class Text(Struct, frozen=True):
    """A row: without `text` and `why` while it waits. `size` is in bytes, before it was packed."""

    docid: int
    version: int
    why: str | None = None
    size: int = 0
    text: bytes | None = None


def is_document(path: str) -> bool:
    """Whether a file of this name has its text taken out of it."""
    return media_of(path) in DOCUMENTS


def changed(connection: apsw.Connection, file: File) -> None:
    """Note down that a file has a new version."""
    if not is_document(file.path):
        return
    if file.deleted:
        connection.execute("DELETE FROM file_texts WHERE docid = ?", (file.docid,))
    else:
        _save(connection, Text(file.docid, file.version))


def keep(connection: apsw.Connection, file: File, text: str | None, why: str) -> None:
    """Keep what was taken out of a file, or why nothing was."""
    if text is None:
        _save(connection, Text(file.docid, file.version, why))
    else:
        data = text.encode("utf-8", "replace")
        _save(connection, Text(file.docid, file.version, None, len(data), pack(data)))


def extracted(connection: apsw.Connection, file: File, version: int) -> str | None:
    """The text that was taken out of this version; None where none is kept, or it is damaged."""
    if version != file.version or not is_document(file.path):
        return None
    row = find(connection, file)
    if row is None or row.text is None:
        return None
    try:
        return unpack(row.text, row.size).decode()
    except (Corrupt, UnicodeDecodeError):
        return None


def searched(connection: apsw.Connection, file: File) -> str | None:
    """What of a document a search looks through; None for its content as it is.

    That is for what is no document, and for HTML as long as it waits.
    """
    if not is_document(file.path):
        return None
    row = find(connection, file)
    is_waiting = row is None or (row.text is None and row.why is None)
    if is_waiting and media_of(file.path) == HTML:
        return None
    return extracted(connection, file, file.version) or ""


def told(connection: apsw.Connection, file: File) -> str:
    """As an entry tells of it; empty for what is no document."""
    if file.deleted or not is_document(file.path):
        return ""
    row = find(connection, file)
    if row is None or (row.text is None and row.why is None):
        return "waiting"
    return "extracted" if row.why is None else f"none: {row.why}"


def find(connection: apsw.Connection, file: File) -> Text | None:
    """The row of a file's newest version; None where it is missing or damaged."""
    row = connection.execute("SELECT * FROM file_texts WHERE docid = ?", (file.docid,)).fetchone()
    if row is None:
        return None
    *fields, check = row
    if check != seal(*fields) or fields[1] != file.version:
        return None
    return Text(*fields)


def waiting(connection: apsw.Connection, after: int) -> int | None:
    """The `docid` of the next file that waits, beyond `after`."""
    docid: int | None = connection.execute(
        "SELECT min(docid) FROM file_texts WHERE docid > ? AND text IS NULL AND why IS NULL", (after,)
    ).get
    return docid


def take_over(connection: apsw.Connection, cursor: Cursor | None) -> Cursor | None:
    """The step that has the documents of before wait, too: in pieces."""
    rows: list[Any] = connection.execute(
        "SELECT docid, version, path, deleted FROM files WHERE docid > ? ORDER BY docid LIMIT ?",
        (0 if cursor is None else cursor[0], PIECE_FILES),
    ).fetchall()
    for docid, version, path, deleted in rows:
        if not deleted and is_document(path):
            _save(connection, Text(docid, version))
    return (rows[-1][0],) if rows else None


def _save(connection: apsw.Connection, one: Text) -> None:
    fields = (one.docid, one.version, one.why, one.size, one.text)
    connection.execute("REPLACE INTO file_texts VALUES (?, ?, ?, ?, ?, ?)", (*fields, seal(*fields)))
