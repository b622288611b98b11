"""The tables of shelves: their segments, and the stamps of documents that are no longer what they were.

All of it can be made anew from the documents; a row that does not match its checksum is found when it is
read.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from aios.kernel.shelves import vectors
from aios.kernel.shelves.segment import Columns, Places, Segment
from aios.kernel.shelves.vectors import check_of

SCHEMA = (
    """
    CREATE TABLE shelf_segments (
        id INTEGER PRIMARY KEY AUTOINCREMENT, shelf TEXT NOT NULL, upto INTEGER NOT NULL,
        head BLOB NOT NULL, checksum BLOB NOT NULL
    );
    CREATE INDEX shelf_segments_by_shelf ON shelf_segments (shelf);
    CREATE TABLE shelf_chunks (id INTEGER PRIMARY KEY, data BLOB NOT NULL, checksum BLOB NOT NULL);
    CREATE TABLE shelf_gone (
        place INTEGER PRIMARY KEY AUTOINCREMENT, shelf TEXT NOT NULL, stamp INTEGER NOT NULL
    );
    CREATE INDEX shelf_gone_by_shelf ON shelf_gone (shelf);
    """,
    vectors.SCHEMA,
)

TABLES = ("shelf_segments", "shelf_chunks", "shelf_gone", "shelf_embedded", "shelf_vectors")

CHUNK = 16 * 1024
"""Postings in one row."""
_CHUNKS = 1 << 20
"""More than a segment has."""


class Damaged(Exception):
    """What is kept of a shelf is not what was written."""

    def __init__(self, shelf: str, what: str) -> None:
        super().__init__(f"{what} of the shelf {shelf!r} does not match its checksum")
        self.shelf = shelf


class _Head(Struct, frozen=True):
    """All of a segment but its postings, as bytes of arrays."""

    keys: bytes
    starts: bytes
    words: str
    columns: tuple[bytes, ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Head)


class Stored:
    """Postings in the database, read a chunk at a time and then held, until `forget`."""

    def __init__(self, shelf: str, segment: int, num_words: int) -> None:
        self._shelf = shelf
        self._segment = segment
        self._num_words = num_words
        self._chunks: dict[int, tuple[Places, NDArray[np.uint8]]] = {}
        self.num_bytes = 0

    def places(self, connection: apsw.Connection, begin: int, end: int) -> Places:
        pieces = [chunk[0][first:last] for chunk, first, last in self._pieces(connection, begin, end)]
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, np.uint16), *pieces])

    def counts(self, connection: apsw.Connection, begin: int, end: int) -> NDArray[np.uint8]:
        pieces = [chunk[1][first:last] for chunk, first, last in self._pieces(connection, begin, end)]
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, np.uint8), *pieces])

    def forget(self) -> None:
        """Let go of what is held; it is read again when needed."""
        self._chunks.clear()
        self.num_bytes = 0

    def _pieces(
        self, connection: apsw.Connection, begin: int, end: int
    ) -> Iterator[tuple[tuple[Places, NDArray[np.uint8]], int, int]]:
        for number in range(begin // CHUNK, (end - 1) // CHUNK + 1):
            first = number * CHUNK
            chunk = self._chunks.get(number) or self._read(connection, number)
            yield chunk, max(begin - first, 0), min(end - first, CHUNK)

    def _read(self, connection: apsw.Connection, number: int) -> tuple[Places, NDArray[np.uint8]]:
        id = self._segment * _CHUNKS + number
        row = connection.execute("SELECT data, checksum FROM shelf_chunks WHERE id = ?", (id,)).fetchone()
        if row is None or row[1] != check_of(self._shelf, id, row[0]):
            raise Damaged(self._shelf, f"part {number} of segment {self._segment}")
        num_words = min(max(self._num_words - number * CHUNK, 0), CHUNK)
        places = np.frombuffer(row[0], np.uint16, (len(row[0]) - num_words) // 2)
        chunk = places, np.frombuffer(row[0], np.uint8, num_words, 2 * len(places))
        self._chunks[number] = chunk
        self.num_bytes += len(row[0])
        return chunk


def insert(connection: apsw.Connection, shelf: str, segment: Segment, upto: int) -> int:
    """Keep a segment that covers a shelf's stamps up to `upto`; its id."""
    columns = tuple(getattr(segment.columns, name).tobytes() for name in Columns.__struct_fields__)
    head = _encoder.encode(_Head(segment.keys.tobytes(), segment.starts.tobytes(), segment.words, columns))
    connection.execute(
        "INSERT INTO shelf_segments (shelf, upto, head, checksum) VALUES (?, ?, ?, ?)",
        (shelf, upto, head, check_of(shelf, upto, head)),
    )
    id = connection.last_insert_rowid()
    num_words = segment.num_word_postings
    for number, begin in enumerate(range(0, segment.num_postings, CHUNK), id * _CHUNKS):
        places = segment.postings.places(connection, begin, min(begin + CHUNK, segment.num_postings))
        counts = segment.postings.counts(connection, min(begin, num_words), min(begin + CHUNK, num_words))
        data = places.tobytes() + counts.tobytes()
        row = number, data, check_of(shelf, number, data)
        connection.execute("INSERT INTO shelf_chunks VALUES (?, ?, ?)", row)
    return id


def load(connection: apsw.Connection, shelf: str, id: int) -> Segment:
    """A segment whose postings are read when they are needed. Raises `Damaged`."""
    row = connection.execute("SELECT upto, head, checksum FROM shelf_segments WHERE id = ?", (id,)).fetchone()
    if row is None or row[2] != check_of(shelf, row[0], row[1]):
        raise Damaged(shelf, f"segment {id}")
    head = _decoder.decode(row[1])
    stamps, lengths = (np.frombuffer(data, np.int64) for data in head.columns[:2])
    times, expires = (np.frombuffer(data, np.float64) for data in head.columns[2:])
    keys, starts = np.frombuffer(head.keys, np.uint64), np.frombuffer(head.starts, np.int64)
    columns = Columns(stamps, lengths, times, expires)
    found = Segment(keys, starts, head.words, columns, Stored(shelf, id, 0))
    return msgspec.structs.replace(found, postings=Stored(shelf, id, found.num_word_postings))


def segments_of(connection: apsw.Connection, shelf: str) -> list[tuple[int, int]]:
    """The id of each segment of a shelf, and up to which stamp it covers it."""
    sql = "SELECT id, upto FROM shelf_segments WHERE shelf = ? ORDER BY id"
    rows: list[Any] = connection.execute(sql, (shelf,)).fetchall()
    return rows


def delete(connection: apsw.Connection, ids: Sequence[int]) -> None:
    """Remove segments."""
    for id in ids:
        connection.execute("DELETE FROM shelf_segments WHERE id = ?", (id,))
        ends = id * _CHUNKS, (id + 1) * _CHUNKS
        connection.execute("DELETE FROM shelf_chunks WHERE id >= ? AND id < ?", ends)


def gone(connection: apsw.Connection, shelf: str, stamp: int) -> None:
    """Note down that the document of this stamp is no longer there, or has a new one."""
    connection.execute("INSERT INTO shelf_gone (shelf, stamp) VALUES (?, ?)", (shelf, stamp))
    connection.execute("DELETE FROM shelf_vectors WHERE shelf = ? AND stamp = ?", (shelf, stamp))


def gone_all(connection: apsw.Connection, query: str, values: Sequence[object]) -> int:
    """The same of many: `query` gives shelves and stamps. The place of the last that was noted down."""
    connection.execute(f"INSERT INTO shelf_gone (shelf, stamp) {query}", tuple(values))
    place = connection.last_insert_rowid()
    connection.execute(f"DELETE FROM shelf_vectors WHERE (shelf, stamp) IN ({query})", tuple(values))
    return place


def gone_since(connection: apsw.Connection, shelf: str, place: int) -> list[tuple[int, int]]:
    """What was noted down after `place`: places and stamps."""
    sql = "SELECT place, stamp FROM shelf_gone WHERE shelf = ? AND place > ? ORDER BY place"
    rows: list[Any] = connection.execute(sql, (shelf, place)).fetchall()
    return rows


def forget_shelf(connection: apsw.Connection, shelf: str) -> None:
    """Remove all that is kept of a shelf, so that it is made anew."""
    delete(connection, [id for id, _ in segments_of(connection, shelf)])
    connection.execute("DELETE FROM shelf_gone WHERE shelf = ?", (shelf,))
    vectors.mend(connection, shelf)


def damaged(connection: apsw.Connection) -> Iterator[tuple[str, str]]:
    """The shelf and a name of each part that is not what was written, and of those that belong to none."""
    whole: set[int] = set()
    heads: Any = connection.execute("SELECT id, shelf, upto, head, checksum FROM shelf_segments")
    for id, shelf, upto, head, check in heads:
        if check != check_of(shelf, upto, head):
            yield shelf, f"segment {id}"
            continue
        segment = load(connection, shelf, id)
        for number, begin in enumerate(range(0, segment.num_postings, CHUNK), id * _CHUNKS):
            whole.add(number)
            sql = "SELECT data, checksum FROM shelf_chunks WHERE id = ?"
            row = connection.execute(sql, (number,)).fetchone()
            if row is None or row[1] != check_of(shelf, number, row[0]):
                yield shelf, f"part {begin // CHUNK} of segment {id}"
    for (number,) in connection.execute("SELECT id FROM shelf_chunks"):
        if number not in whole:
            yield "", f"part {number}"
    for shelf, stamp in vectors.damaged(connection):
        yield shelf, f"the vector of {stamp}"


def start_over(connection: apsw.Connection) -> None:
    """Remove all that is kept of all shelves, however damaged it is."""
    for table in TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    for step in SCHEMA:
        connection.execute(step)
