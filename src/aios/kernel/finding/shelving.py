"""What a file says on its owner's shelf, and what it can be asked for there."""

from collections.abc import Sequence
from typing import Any

import apsw

from aios.abi.errors import Corrupt, NotFound
from aios.kernel.files import folders, reading, states, texts
from aios.kernel.files.entries import File
from aios.kernel.files.media import kinds_of
from aios.kernel.files.tables import MICROSECONDS, seal
from aios.kernel.shelves.segment import Document
from aios.kernel.shelves.tending import FLUSH

INDEXED_BYTES = 256 * 1024
"""Of each file, what a search looks through."""
PIECE_BYTES = 4 * 1024 * 1024
"""Of the files that are read at once."""
DUE_BYTES = 2 * 1024 * 1024
"""Waiting to be indexed, so many are as good as `FLUSH` documents."""
UNTRUSTED = "untrusted"
"""The mark of files that are that."""


def folder_mark(folder: str) -> str:
    """On all files in a folder or below it."""
    return f"in:{folder}"


def kind_mark(kind: str) -> str:
    """On all files of a kind; see `media.kinds_of`."""
    return f"kind:{kind}"


class FileShelves:
    """Where the documents of the files' shelves are: see `aios.kernel.shelves.shelf.Source`."""

    def last_stamp(self, connection: apsw.Connection, shelf: str) -> int:
        sql = "SELECT max(stamp) FROM file_documents WHERE owner = ?"
        stamp: int = connection.execute(sql, (_owner_of(shelf),)).get or 0
        return stamp

    def num_waiting(self, connection: apsw.Connection, shelf: str, stamp: int) -> int:
        row = connection.execute(
            "SELECT count(*), ifnull(sum(min(size, ?)), 0) FROM (SELECT size FROM file_documents "
            "WHERE owner = ? AND stamp > ? LIMIT ?)",
            (INDEXED_BYTES, _owner_of(shelf), stamp, FLUSH),
        ).fetchone()
        assert row is not None
        num_files, num_bytes = row
        return max(int(num_files), int(num_bytes) * FLUSH // DUE_BYTES)

    def changed_since(
        self, connection: apsw.Connection, shelf: str, stamp: int, limit: int
    ) -> Sequence[Document]:
        rows = connection.execute(
            "SELECT stamp, f.* FROM file_documents d JOIN files f USING (docid) "
            "WHERE d.owner = ? AND stamp > ? ORDER BY stamp LIMIT ?",
            (_owner_of(shelf), stamp, limit),
        )
        found: list[Document] = []
        room = PIECE_BYTES
        for stamp, *fields, check in rows:
            found.append(_document(connection, stamp, fields, check))
            room -= len(found[-1].text)
            if room <= 0:
                break
        return found

    def num_after(self, connection: apsw.Connection, shelf: str, stamp: int) -> int:
        sql = "SELECT count(*) FROM file_documents WHERE owner = ? AND stamp > ?"
        return int(connection.execute(sql, (_owner_of(shelf), stamp)).get)

    def has(self, connection: apsw.Connection, shelf: str, stamp: int) -> bool:
        sql = "SELECT 1 FROM file_documents WHERE owner = ? AND stamp = ?"
        return connection.execute(sql, (_owner_of(shelf), stamp)).get is not None

    def shelves(self, connection: apsw.Connection) -> Sequence[str]:
        sql = "SELECT DISTINCT 'files/' || owner FROM file_documents"
        return [shelf for (shelf,) in connection.execute(sql)]


def owners_due(connection: apsw.Connection) -> list[str]:
    """The shelves on which so much waits that it should not wait for a search."""
    shelves, source = [], FileShelves()
    for shelf in source.shelves(connection):
        covered = connection.execute("SELECT max(upto) FROM shelf_segments WHERE shelf = ?", (shelf,)).get
        if source.num_waiting(connection, shelf, covered or 0) >= FLUSH:
            shelves.append(shelf)
    return shelves


def hit(connection: apsw.Connection, shelf: str, stamp: int) -> File | None:
    """The file of this stamp; None where it is gone or damaged."""
    row = connection.execute(
        "SELECT f.* FROM file_documents d JOIN files f USING (docid) WHERE d.owner = ? AND stamp = ?",
        (_owner_of(shelf), stamp),
    ).fetchone()
    if row is None:
        return None
    *fields, check = row
    return File(*fields) if check == seal(*fields) else None


def text_of(connection: apsw.Connection, file: File) -> str:
    """What a search looks through: the beginning of its text, taken out of it where it is a document.

    Nothing where it is no text, or not sound.
    """
    if (kept := texts.searched(connection, file)) is not None:
        return kept[:INDEXED_BYTES]
    try:
        state = states.with_content(connection, file, file.version)
        head = reading.part(connection, file.path, state, 0, min(state.size, INDEXED_BYTES)).data
    except (Corrupt, NotFound):
        return ""
    return "" if b"\0" in head else head.decode("utf-8", "ignore")


def _owner_of(shelf: str) -> str:
    return shelf.removeprefix("files/")


def _document(connection: apsw.Connection, stamp: int, fields: list[Any], check: Any) -> Document:
    """A file whose entry is damaged is there without words: reading it tells what it is."""
    if check != seal(*fields):
        return Document(stamp, "")
    file = File(*fields)
    marks = [folder_mark(folder) for folder in folders.ancestors(file.path)]
    marks += [kind_mark(kind) for kind in kinds_of(file.path)]
    if file.label == UNTRUSTED:
        marks.append(UNTRUSTED)
    text = f"{file.path}\n{text_of(connection, file)}"
    return Document(stamp, text, tuple(marks), file.moment / MICROSECONDS)
