"""The tables of notes, and every change ever made to them."""

import apsw

from aios.drivers.migrations import Cursor, Step

_FIRST = """
    CREATE TABLE note_owners (
        owner TEXT PRIMARY KEY, last INTEGER NOT NULL, num_notes INTEGER NOT NULL, stamp INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE notes (
        docid INTEGER PRIMARY KEY, owner TEXT NOT NULL, number INTEGER NOT NULL, stamp INTEGER NOT NULL,
        body BLOB NOT NULL, checksum BLOB NOT NULL, UNIQUE (owner, number)
    );
    CREATE UNIQUE INDEX notes_by_stamp ON notes (owner, stamp);
    CREATE TABLE note_tags (
        owner TEXT NOT NULL, tag TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (owner, tag, number)
    ) WITHOUT ROWID;
    CREATE INDEX note_tags_by_number ON note_tags (owner, number);
    CREATE VIRTUAL TABLE note_words USING fts5 (
        owner, body, content='', contentless_delete=1, tokenize='porter unicode61 remove_diacritics 2'
    );
    INSERT INTO note_words (note_words, rank) VALUES ('rank', 'bm25(0.0, 1.0)');
    CREATE TABLE notes_pending (place INTEGER PRIMARY KEY, docid INTEGER NOT NULL);
"""

_SHELVED = """
    DROP TABLE note_words;
    DROP TABLE notes_pending;
    DROP TABLE note_tags;
    ALTER TABLE note_owners ADD COLUMN num_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE notes ADD COLUMN source TEXT;
    ALTER TABLE notes ADD COLUMN expires REAL;
    CREATE INDEX notes_by_source ON notes (owner, source) WHERE source IS NOT NULL;
    CREATE INDEX notes_by_expiry ON notes (expires) WHERE expires IS NOT NULL;
    CREATE TABLE note_versions (
        owner TEXT NOT NULL, number INTEGER NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL,
        checksum BLOB NOT NULL, PRIMARY KEY (owner, number, version)
    ) WITHOUT ROWID;
    CREATE TABLE note_shelves (shelf TEXT PRIMARY KEY, stamp INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE note_shares (
        shelf TEXT NOT NULL, stamp INTEGER NOT NULL, docid INTEGER NOT NULL, PRIMARY KEY (shelf, stamp)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX note_shares_by_docid ON note_shares (docid);
"""
"""The search is by shelves from here on; notes have a source, an end, and a history."""


def _count_bytes(connection: apsw.Connection, after: Cursor | None) -> Cursor | None:
    """What the notes of one more owner take."""
    last = "" if after is None else after[0]
    owner = connection.execute("SELECT min(owner) FROM note_owners WHERE owner > ?", (last,)).get
    if owner is None:
        return None
    connection.execute(
        "UPDATE note_owners SET num_bytes = "
        "(SELECT ifnull(sum(length(body)), 0) FROM notes WHERE owner = ?1) WHERE owner = ?1",
        (owner,),
    )
    return (owner,)


SCHEMA: tuple[Step, ...] = (_FIRST, _SHELVED, _count_bytes)
