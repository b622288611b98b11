"""Notes: their tables, and what the memory manager does with them inside one transaction.

A note's key begins with its owner, so whoever asks reaches that owner's notes only. Owns ids, limits and
the search; knows neither callers nor threads: each function gets a connection.
"""

import re
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from aios.abi.errors import Corrupt, NotFound, QuotaExceeded
from aios.abi.syscalls import Done, Note, NoteHit, NoteHits
from aios.drivers.sqlite import checksum
from aios.drivers.vectors import VectorCache, VectorIndex
from aios.kernel.indexing import index_in_pieces, index_or_mend, keep_up
from aios.kernel.words import TOKENIZER, match_any, owner_word

SCHEMA = (
    f"""
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
        owner, body, content='', contentless_delete=1, tokenize='{TOKENIZER}'
    );
    INSERT INTO note_words (note_words, rank) VALUES ('rank', 'bm25(0.0, 1.0)');
    CREATE TABLE notes_pending (place INTEGER PRIMARY KEY, docid INTEGER NOT NULL);
    """,
)

_START_OVER = """
    INSERT INTO note_words (note_words) VALUES ('delete-all');
    DELETE FROM notes_pending;
    INSERT INTO notes_pending (docid) SELECT docid FROM notes;
"""

WEIGHT_OF_WORDS = 0.5
"""Of the score that words give; the rest is given by likeness."""
HALF_BM25 = 2.0
"""The BM25 score that counts as half of the best there is: one rare word, about."""

CATCH_UP = 256
"""Notes read at a time to be put into the index of likeness."""

_ID = re.compile(r"n([1-9]\d{0,17})")
_encoder = msgspec.json.Encoder()


class Body(Struct, frozen=True):
    """What a row holds of a note besides its key."""

    text: str
    tags: tuple[str, ...]
    created: float
    updated: float

    @property
    def words(self) -> str:
        """What a search looks through."""
        return " ".join((self.text, *self.tags))


_decoder = msgspec.json.Decoder(Body)


def add(connection: apsw.Connection, owner: str, body: Body, max_notes: int) -> Note:
    """Raises `QuotaExceeded`. An id is never given twice, not even after its note is gone."""
    number, num_notes, stamp = _step(connection, owner, 1, 1)
    if num_notes > max_notes:
        raise QuotaExceeded(f"{owner} has {max_notes} notes, which is all it may have")
    data, check = _sealed(owner, number, body)
    connection.execute(
        "INSERT INTO notes (owner, number, stamp, body, checksum) VALUES (?, ?, ?, ?, ?)",
        (owner, number, stamp, data, check),
    )
    _changed(connection, connection.last_insert_rowid())
    _tag(connection, owner, number, body.tags)
    return _note(owner, number, body)


def get(connection: apsw.Connection, owner: str, note_id: str) -> Note:
    """Raises `NotFound`, or `Corrupt` where it is not what was kept."""
    number = _number(note_id)
    return _note(owner, number, _open(owner, number, *_row(connection, owner, number)[1:]))


def update(
    connection: apsw.Connection, owner: str, note_id: str, text: str, tags: tuple[str, ...] | None, now: float
) -> Note:
    """Set the text, and the tags unless None. Raises `NotFound` or `Corrupt`."""
    number = _number(note_id)
    docid, data, check = _row(connection, owner, number)
    old = _open(owner, number, data, check)
    body = Body(text, old.tags if tags is None else tags, old.created, max(now, old.created))
    data, check = _sealed(owner, number, body)
    _, _, stamp = _step(connection, owner, 0, 0)
    connection.execute(
        "UPDATE notes SET stamp = ?, body = ?, checksum = ? WHERE docid = ?", (stamp, data, check, docid)
    )
    _changed(connection, docid)
    if body.tags != old.tags:
        _untag(connection, owner, number)
        _tag(connection, owner, number, body.tags)
    return _note(owner, number, body)


def remove(connection: apsw.Connection, owner: str, note_id: str) -> Done:
    """Raises `NotFound`. A corrupt note can be removed."""
    number = _number(note_id)
    docid, _, _ = _row(connection, owner, number)
    connection.execute("DELETE FROM notes WHERE docid = ?", (docid,))
    _changed(connection, docid)
    _untag(connection, owner, number)
    _step(connection, owner, 0, -1)
    return Done()


def index_pending(connection: apsw.Connection) -> None:
    """Bring the search by words up to date, made anew where it is damaged."""
    index_or_mend(connection, _index_pending, _START_OVER)


def _index_pending(connection: apsw.Connection) -> None:
    query = (
        "SELECT DISTINCT p.docid, owner, number, body, checksum "
        "FROM notes_pending p LEFT JOIN notes USING (docid) WHERE place < ?"
    )
    index_in_pieces(connection, "notes_pending", query, _index)


def _index(connection: apsw.Connection, rows: list[tuple[Any, ...]]) -> None:
    for docid, owner, number, data, check in rows:
        connection.execute("DELETE FROM note_words WHERE rowid = ?", (docid,))
        if owner is not None and check == _check(owner, number, data):
            connection.execute(
                "INSERT INTO note_words (rowid, owner, body) VALUES (?, ?, ?)",
                (docid, owner_word(owner), _decoder.decode(data).words),
            )


def newest(connection: apsw.Connection, owner: str, tags: tuple[str, ...], limit: int) -> NoteHits:
    """The notes that carry all tags, those changed last first."""
    among = _tagged(connection, owner, tags)
    rows = connection.execute(
        "SELECT number, body, checksum FROM notes WHERE owner = ? ORDER BY stamp DESC", (owner,)
    )
    hits: list[NoteHit] = []
    for number, data, check in rows:
        if len(hits) == limit:
            break
        if among is None or number in among:
            hits += _hit(owner, number, data, check, 0.0)
    return NoteHits(tuple(hits))


def search(
    connection: apsw.Connection,
    vectors: VectorCache,
    owner: str,
    text: str,
    tags: tuple[str, ...],
    limit: int,
) -> NoteHits:
    """The notes that carry all tags, best first: by words (BM25) and by likeness, each from 0 to 1.

    The two are added, weighted: the convex combination that Bruch, Gai and Ingber (ACM TOIS 42, 2023) found
    better than fusing ranks. Corrupt notes are left out; getting them says so.
    """
    num_candidates = 4 * limit + 32
    # The first look at the database is under the lock, so that it is never older than what the index holds.
    with vectors.use(owner) as index:
        _catch_up(connection, owner, index)
        among = _tagged(connection, owner, tags)
        by_likeness = index.nearest(text, num_candidates, among)
    by_words = _by_words(connection, owner, text, num_candidates, among)
    scores = _fuse(by_words, by_likeness)
    hits: list[NoteHit] = []
    for number in sorted(scores, key=lambda number: (-scores[number], -number)):
        if len(hits) == limit:
            break
        if row := _find(connection, owner, number):
            hits += _hit(owner, number, *row[1:], scores[number])
    return NoteHits(tuple(hits))


def _fuse(by_words: dict[int, float], by_likeness: dict[int, float]) -> dict[int, float]:
    scores = {number: (1 - WEIGHT_OF_WORDS) * score for number, score in by_likeness.items()}
    for number, score in by_words.items():
        scores[number] = scores.get(number, 0.0) + WEIGHT_OF_WORDS * score / (score + HALF_BM25)
    return scores


def _by_words(
    connection: apsw.Connection, owner: str, text: str, limit: int, among: set[int] | None
) -> dict[int, float]:
    expression = match_any(owner, text)
    if expression is None:
        return {}
    rows = connection.execute(
        "SELECT number, -rank FROM note_words JOIN notes ON docid = note_words.rowid "
        "WHERE note_words MATCH ? AND notes.owner = ? ORDER BY rank LIMIT ?",
        (expression, owner, limit if among is None else -1),
    )
    found = {number: score for number, score in rows if among is None or number in among}
    return dict(list(found.items())[:limit])


def _catch_up(connection: apsw.Connection, owner: str, index: VectorIndex) -> None:
    """Put into the index what has changed since it was last used."""
    while rows := _changed_since(connection, owner, index.stamp):
        index.put([number for number, *_ in rows], [_words(owner, *row[:3]) for row in rows])
        index.stamp = rows[-1][3]
    num_notes = connection.execute("SELECT num_notes FROM note_owners WHERE owner = ?", (owner,)).get or 0
    if len(index) > num_notes:
        numbers = connection.execute("SELECT number FROM notes WHERE owner = ?", (owner,))
        index.keep_only({number for (number,) in numbers})


def _changed_since(connection: apsw.Connection, owner: str, stamp: int) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT number, body, checksum, stamp FROM notes WHERE owner = ? AND stamp > ? "
        "ORDER BY stamp LIMIT ?",
        (owner, stamp, CATCH_UP),
    ).fetchall()


def _words(owner: str, number: int, data: bytes, check: bytes) -> str:
    """What likeness looks at. None of a corrupt note, which is put in all the same, so that counts agree."""
    return _decoder.decode(data).words if check == _check(owner, number, data) else ""


def _tagged(connection: apsw.Connection, owner: str, tags: tuple[str, ...]) -> set[int] | None:
    """The numbers of the notes that carry all of these; None for no such condition."""
    found: set[int] | None = None
    for tag in tags:
        rows = connection.execute("SELECT number FROM note_tags WHERE owner = ? AND tag = ?", (owner, tag))
        numbers = {number for (number,) in rows}
        found = numbers if found is None else found & numbers
    return found


def _step(connection: apsw.Connection, owner: str, num_ids: int, num_notes: int) -> tuple[int, int, int]:
    """Count on: the owner's last id, number of notes, and stamp of this change."""
    row = connection.execute(
        "INSERT INTO note_owners VALUES (?1, ?2, ?3, 1) ON CONFLICT DO UPDATE SET "
        "last = last + ?2, num_notes = num_notes + ?3, stamp = stamp + 1 RETURNING last, num_notes, stamp",
        (owner, num_ids, num_notes),
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _changed(connection: apsw.Connection, docid: int) -> None:
    connection.execute("INSERT INTO notes_pending (docid) VALUES (?)", (docid,))
    keep_up(connection, index_pending)


def _tag(connection: apsw.Connection, owner: str, number: int, tags: tuple[str, ...]) -> None:
    for tag in tags:
        connection.execute("INSERT INTO note_tags VALUES (?, ?, ?)", (owner, tag, number))


def _untag(connection: apsw.Connection, owner: str, number: int) -> None:
    connection.execute("DELETE FROM note_tags WHERE number = ?2 AND owner = ?1", (owner, number))


def _find(connection: apsw.Connection, owner: str, number: int) -> tuple[int, bytes, bytes] | None:
    return connection.execute(
        "SELECT docid, body, checksum FROM notes WHERE owner = ? AND number = ?", (owner, number)
    ).fetchone()


def _row(connection: apsw.Connection, owner: str, number: int) -> tuple[int, bytes, bytes]:
    row = _find(connection, owner, number)
    if row is None:
        raise NotFound(f"there is no note 'n{number}'")
    return row


def _hit(owner: str, number: int, data: bytes, check: bytes, score: float) -> list[NoteHit]:
    try:
        return [NoteHit(_note(owner, number, _open(owner, number, data, check)), score)]
    except Corrupt:
        return []


def _number(note_id: str) -> int:
    match = _ID.fullmatch(note_id)
    if match is None:
        raise NotFound(f"there is no note '{note_id}'")
    return int(match[1])


def _sealed(owner: str, number: int, body: Body) -> tuple[bytes, bytes]:
    data = _encoder.encode(body)
    return data, _check(owner, number, data)


def _check(owner: str, number: int, data: object) -> bytes:
    if not isinstance(data, bytes):
        return b""
    return checksum(owner.encode(), str(number).encode(), data)


def _open(owner: str, number: int, data: bytes, check: bytes) -> Body:
    if check != _check(owner, number, data):
        raise Corrupt(f"note 'n{number}' does not match its checksum")
    return _decoder.decode(data)


def _note(owner: str, number: int, body: Body) -> Note:
    return Note(f"n{number}", body.text, body.tags, owner, body.created, body.updated)
