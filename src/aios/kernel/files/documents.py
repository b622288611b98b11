"""Which files a search can find: each that is there, under the stamp of its last change.

A stamp is a moment of the owner, as a version's is, so that no two of an owner's are the same. Owns the table
`file_documents`; what a file says there is `aios.kernel.finding`'s to know.
"""

import apsw

from aios.drivers.migrations import Cursor
from aios.kernel.files.entries import File
from aios.kernel.shelves import tables

PIECE_FILES = 5_000
"""Files taken over in one transaction."""

_FORMER = """
    DROP TABLE IF EXISTS file_words;
    DROP TABLE IF EXISTS files_pending;
    CREATE TABLE file_documents (
        docid INTEGER PRIMARY KEY, owner TEXT NOT NULL, stamp INTEGER NOT NULL, size INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX file_documents_by_stamp ON file_documents (owner, stamp);
"""


def shelf_of(owner: str) -> str:
    """The shelf of an owner's files."""
    return f"files/{owner}"


def add(connection: apsw.Connection, file: File, stamp: int) -> None:
    """Have a file be found as it is from `stamp` on; `drop` what it was before."""
    connection.execute(
        "INSERT INTO file_documents VALUES (?, ?, ?, ?)", (file.docid, file.owner, stamp, file.size)
    )


def drop(connection: apsw.Connection, file: File) -> None:
    """Have what a file was before be found no more."""
    stamp = connection.execute(
        "DELETE FROM file_documents WHERE docid = ? RETURNING stamp", (file.docid,)
    ).get
    if stamp is not None:
        tables.gone(connection, shelf_of(file.owner), stamp)


def take_over(connection: apsw.Connection, cursor: Cursor | None) -> Cursor | None:
    """The step from one index of words over all owners' files to documents of each: in pieces.

    Of two files of a moment, which only damage leaves, the second waits for `aios fsck --repair`.
    """
    if cursor is None:
        connection.execute(_FORMER)
        return (0,)
    last = connection.execute(
        "SELECT max(docid) FROM (SELECT docid FROM files WHERE docid > ? ORDER BY docid LIMIT ?)",
        (cursor[0], PIECE_FILES),
    ).get
    if last is None:
        return None
    connection.execute(
        "INSERT OR IGNORE INTO file_documents SELECT docid, owner, moment, size FROM files "
        "WHERE docid > ? AND docid <= ? AND NOT deleted",
        (cursor[0], last),
    )
    return (last,)
