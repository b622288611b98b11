"""The vectors of documents: kept for each shelf in the order of stamps, all of one embedding.

A shelf has vectors up to a stamp, and of what has a higher one none: a document that changes gets one. Which
embedding they are of is kept with them; where another is asked for there are none. All of it can be made anew
from the documents.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from aios.drivers.sqlite import checksum
from aios.kernel.shelves.segment import Segment

SCHEMA = """
    CREATE TABLE shelf_embedded (
        shelf TEXT PRIMARY KEY, embedding TEXT NOT NULL, upto INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE shelf_vectors (
        shelf TEXT NOT NULL, stamp INTEGER NOT NULL, data BLOB NOT NULL, checksum BLOB NOT NULL,
        PRIMARY KEY (shelf, stamp)
    ) WITHOUT ROWID;
"""

DROPPED = 2_000
"""Vectors that are dropped in one transaction."""
LEAST = 0.2
"""A cosine that says nothing: of texts that have nothing to do with each other, about."""

Vector = NDArray[np.float32]


class Meaning(Struct, frozen=True):
    """The meaning of a text as a vector of length 1, and by which embedding."""

    embedding: str
    vector: Vector


class Progress(Struct, frozen=True):
    """Up to which stamp a shelf has vectors."""

    embedding: str
    upto: int


def check_of(shelf: str, number: int, data: object) -> bytes:
    """The checksum that ties data of a shelf to its number there."""
    return checksum(shelf.encode(), str(number).encode(), data) if isinstance(data, bytes) else b""


def progress(connection: apsw.Connection, shelf: str) -> Progress:
    """Of a shelf without any, 0, and of no embedding."""
    sql = "SELECT embedding, upto FROM shelf_embedded WHERE shelf = ?"
    row = connection.execute(sql, (shelf,)).fetchone()
    return Progress("", 0) if row is None else Progress(*row)


def advance(connection: apsw.Connection, shelf: str, progress: Progress) -> None:
    """Keep how far it has come."""
    sql = "REPLACE INTO shelf_embedded VALUES (?, ?, ?)"
    connection.execute(sql, (shelf, progress.embedding, progress.upto))


def known(connection: apsw.Connection, shelf: str, stamps: Sequence[int]) -> set[int]:
    """Those of the stamps, in their order, that have a vector."""
    sql = "SELECT stamp FROM shelf_vectors WHERE shelf = ? AND stamp BETWEEN ? AND ?"
    rows = connection.execute(sql, (shelf, stamps[0], stamps[-1])) if stamps else ()
    return {stamp for (stamp,) in rows}


def put(connection: apsw.Connection, shelf: str, stamp: int, vector: Vector) -> None:
    """Keep the vector of a document, in half as many bits as it came with."""
    data = vector.astype("<f2").tobytes()
    row = shelf, stamp, data, check_of(shelf, stamp, data)
    connection.execute("REPLACE INTO shelf_vectors VALUES (?, ?, ?, ?)", row)


def drop_some(connection: apsw.Connection, shelf: str) -> bool:
    """Drop some of a shelf's vectors, which are of none from here on; whether there are more."""
    advance(connection, shelf, Progress("", 0))
    sql = "SELECT stamp FROM shelf_vectors WHERE shelf = ? ORDER BY stamp LIMIT ?"
    stamps = [stamp for (stamp,) in connection.execute(sql, (shelf, DROPPED))]
    if stamps:
        sql = "DELETE FROM shelf_vectors WHERE shelf = ? AND stamp <= ?"
        connection.execute(sql, (shelf, stamps[-1]))
    return len(stamps) == DROPPED


def mend(connection: apsw.Connection, shelf: str) -> None:
    """Drop what is damaged, and have it be made anew."""
    first: int | None = None
    for stamp, is_whole in list(_checked(connection, shelf)):
        if not is_whole:
            connection.execute("DELETE FROM shelf_vectors WHERE shelf = ? AND stamp = ?", (shelf, stamp))
            first = stamp if first is None else first
    if first is not None:
        sql = "UPDATE shelf_embedded SET upto = min(upto, ?) WHERE shelf = ?"
        connection.execute(sql, (first - 1, shelf))


def damaged(connection: apsw.Connection) -> Iterator[tuple[str, int]]:
    """The shelf and stamp of each vector that is not what was written."""
    shelves: Any = connection.execute("SELECT DISTINCT shelf FROM shelf_vectors")
    for (shelf,) in shelves:
        for stamp, is_whole in _checked(connection, shelf):
            if not is_whole:
                yield shelf, stamp


class Held:
    """The vectors of a shelf in memory, as far as they were read."""

    def __init__(self) -> None:
        self._embedding = ""
        self._upto = 0
        self._stamps: list[NDArray[np.int64]] = []
        self._blocks: list[NDArray[np.float32]] = []

    @property
    def num_bytes(self) -> int:
        return sum(stamps.nbytes for stamps in self._stamps) + sum(one.nbytes for one in self._blocks)

    def catch_up(self, connection: apsw.Connection, shelf: str, embedding: str) -> list[int]:
        """Read what was made since. The stamps of what is damaged, which is left out.

        Where the shelf's are of another embedding there are none.
        """
        now = progress(connection, shelf)
        if now.embedding != embedding or now.upto < self._upto or self._embedding != embedding:
            self._embedding, self._upto, self._stamps, self._blocks = embedding, 0, [], []
        if now.embedding != embedding or now.upto == self._upto:
            return []
        sql = "SELECT stamp, data, checksum FROM shelf_vectors WHERE shelf = ? AND stamp > ? AND stamp <= ? "
        sql += "ORDER BY stamp"
        bad, stamps, pieces = [], [], []
        for stamp, data, check in connection.execute(sql, (shelf, self._upto, now.upto)):
            if check != check_of(shelf, stamp, data):
                bad.append(stamp)
            elif data:
                stamps.append(stamp)
                pieces.append(data)
        self._upto = now.upto
        if pieces:
            block = np.frombuffer(b"".join(pieces), "<f2").astype(np.float32)
            self._add(np.array(stamps, np.int64), block.reshape(len(pieces), -1))
        return bad

    def likeness(self, segments: Sequence[Segment], vector: Vector) -> list[NDArray[np.float64]]:
        """The cosine to `vector` of each document of each segment; 0 where it has none or a low one."""
        found = [np.zeros(len(segment)) for segment in segments]
        for stamps, block in zip(self._stamps, self._blocks, strict=True):
            cosines = (block @ vector).astype(np.float64)
            cosines[cosines < LEAST] = 0.0
            for scores, segment in zip(found, segments, strict=True):
                at = np.minimum(np.searchsorted(stamps, segment.columns.stamps), len(stamps) - 1)
                is_here = stamps[at] == segment.columns.stamps
                scores[is_here] = cosines[at[is_here]]
        return found

    def _add(self, stamps: NDArray[np.int64], block: NDArray[np.float32]) -> None:
        """Small blocks become larger ones, so that there are few."""
        self._stamps.append(stamps)
        self._blocks.append(block)
        while len(self._blocks) > 1 and len(self._blocks[-2]) <= 2 * len(self._blocks[-1]):
            self._stamps[-2:] = [np.concatenate(self._stamps[-2:])]
            self._blocks[-2:] = [np.concatenate(self._blocks[-2:])]


def _checked(connection: apsw.Connection, shelf: str) -> Iterator[tuple[int, bool]]:
    sql = "SELECT stamp, data, checksum FROM shelf_vectors WHERE shelf = ? ORDER BY stamp"
    for stamp, data, check in connection.execute(sql, (shelf,)):
        yield stamp, check == check_of(shelf, stamp, data)
