"""A segment: some documents of a shelf, and for each term which of them hold it. It never changes.

A document is known by its stamp, which is given anew whenever it changes; inside a segment by its place, in
the order of stamps. The layout is that of an inverted file (Zobel and Moffat, Inverted Files for Text Search
Engines, ACM Computing Surveys 38, 2006) as flat arrays. Knows neither what is ranked nor where it is kept.
"""

from collections.abc import Sequence
from typing import Protocol

import apsw
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from aios.kernel.shelves.terms import (
    KIND_SHIFT,
    MARK,
    MAX_PLACES,
    PLACE_SHIFT,
    Keys,
    Tokenize,
    mark_key,
    word_key,
)

Bools = NDArray[np.bool_]
Places = NDArray[np.uint16]
Counts = NDArray[np.uint8]
_PLACE_BITS = np.uint64(MAX_PLACES - 1)
_SHIFT = np.uint64(PLACE_SHIFT)
_FIRST_MARK = np.uint64(MARK << KIND_SHIFT)


class Document(Struct, frozen=True):
    """What is put on a shelf. Times are seconds since the epoch."""

    stamp: int
    """Higher than of any document put there, or changed, before it."""
    text: str
    marks: tuple[str, ...] = ()
    """What it can be asked for besides its words."""
    time: float = 0.0
    expires: float = float("inf")


class Columns(Struct, frozen=True):
    """What is known of each document, by place."""

    stamps: NDArray[np.int64]
    lengths: NDArray[np.int64]
    """In words."""
    times: NDArray[np.float64]
    expires: NDArray[np.float64]

    def take(self, order: NDArray[np.intp]) -> "Columns":
        return Columns(*(getattr(self, name)[order] for name in self.__struct_fields__))


class Postings(Protocol):
    """Where the postings of a segment are; those of words come first, and have counts."""

    def places(self, connection: apsw.Connection, begin: int, end: int) -> Places: ...

    def counts(self, connection: apsw.Connection, begin: int, end: int) -> Counts: ...

    @property
    def num_bytes(self) -> int: ...


class Held(Struct, frozen=True):
    """Postings in memory."""

    all_places: Places
    all_counts: Counts

    def places(self, connection: apsw.Connection, begin: int, end: int) -> Places:
        return self.all_places[begin:end]

    def counts(self, connection: apsw.Connection, begin: int, end: int) -> Counts:
        return self.all_counts[begin:end]

    @property
    def num_bytes(self) -> int:
        return self.all_places.nbytes + self.all_counts.nbytes


class Segment(Struct, frozen=True):
    """`starts` says where the postings of each key begin; its last is where all end."""

    keys: Keys
    """Of words first, then of marks."""
    starts: NDArray[np.int64]
    words: str
    """The words themselves in the order of their keys, a line each."""
    columns: Columns
    postings: Postings

    def __len__(self) -> int:
        return len(self.columns.stamps)

    @property
    def num_postings(self) -> int:
        return int(self.starts[-1])

    @property
    def num_bytes(self) -> int:
        columns = sum(getattr(self.columns, name).nbytes for name in self.columns.__struct_fields__)
        own = self.keys.nbytes + self.starts.nbytes + len(self.words)
        return int(own + columns + self.postings.num_bytes)

    @property
    def num_words(self) -> int:
        """Distinct ones."""
        return int(np.searchsorted(self.keys, _FIRST_MARK))

    @property
    def num_word_postings(self) -> int:
        return int(self.starts[self.num_words])

    def places_of(self, stamps: NDArray[np.int64]) -> NDArray[np.intp]:
        """The places of those of the stamps that are here."""
        if not len(self):
            return np.zeros(0, np.intp)
        places = np.minimum(np.searchsorted(self.columns.stamps, stamps), len(self) - 1)
        found: NDArray[np.intp] = places[self.columns.stamps[places] == stamps]
        return found

    def ranges(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the postings of each key begin and end; the same number twice where there are none."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
        at = np.searchsorted(self.keys, keys)
        at[at == len(self.keys)] = 0
        begins = self.starts[at]
        return begins, np.where(self.keys[at] == keys, self.starts[at + 1], begins)

    def marked(self, connection: apsw.Connection, mark: str) -> Bools:
        """Which documents carry a mark, by place."""
        found = np.zeros(len(self), np.bool_)
        begins, ends = self.ranges(np.array([mark_key(mark)], np.uint64))
        if begins[0] < ends[0]:
            found[self.postings.places(connection, int(begins[0]), int(ends[0]))] = True
        return found


def build(tokenize: Tokenize, documents: Sequence[Document]) -> Segment:
    """A segment of documents in the order of their stamps, 65,536 at most."""
    word_codes: list[int] = []
    mark_codes: list[int] = []
    lengths: list[int] = []
    words: set[str] = set()
    for place, document in enumerate(documents):
        found = tokenize(document.text)
        lengths.append(len(found))
        words.update(found)
        word_codes += [word_key(word) << PLACE_SHIFT | place for word in found]
        mark_codes += [mark_key(mark) << PLACE_SHIFT | place for mark in document.marks]
    codes, counts = np.unique(np.array(word_codes, np.uint64), return_counts=True)
    columns = Columns(
        np.array([document.stamp for document in documents], np.int64),
        np.array(lengths, np.int64),
        np.array([document.time for document in documents], np.float64),
        np.array([document.expires for document in documents], np.float64),
    )
    marks = np.unique(np.array(mark_codes, np.uint64))
    by_key = {word_key(word): word for word in words}
    return _packed(columns, codes, np.minimum(counts, 255).astype(np.uint8), marks, by_key)


def merge(connection: apsw.Connection, parts: Sequence[tuple[Segment, Bools]]) -> Segment:
    """One segment of those documents of each that are alive, by place. 65,536 at most."""
    kept = [np.flatnonzero(is_alive) for _, is_alive in parts]
    columns = [segment.columns.take(places) for (segment, _), places in zip(parts, kept, strict=True)]
    names = Columns.__struct_fields__
    together = Columns(*(np.concatenate([getattr(one, name) for one in columns]) for name in names))
    order = np.argsort(together.stamps, kind="stable")
    new_place = np.empty(len(order), np.uint64)
    new_place[order] = np.arange(len(order), dtype=np.uint64)
    words, counts, marks = [], [], []
    by_key: dict[int, str] = {}
    first = 0
    for (segment, is_alive), places in zip(parts, kept, strict=True):
        moved = np.zeros(len(segment), np.uint64)
        moved[places] = new_place[first : first + len(places)]
        first += len(places)
        codes, stays = _codes(connection, segment, is_alive, moved)
        num_words = segment.num_word_postings
        words.append(codes[:num_words][stays[:num_words]])
        counts.append(segment.postings.counts(connection, 0, num_words)[stays[:num_words]])
        marks.append(codes[num_words:][stays[num_words:]])
        keys = segment.keys[: segment.num_words].tolist()
        by_key.update(zip(keys, segment.words.splitlines(), strict=True))
    word_codes = np.concatenate(words)
    by_code = np.argsort(word_codes, kind="stable")
    mark_codes = np.sort(np.concatenate(marks))
    all_counts = np.concatenate(counts)[by_code]
    return _packed(together.take(order), word_codes[by_code], all_counts, mark_codes, by_key)


def _codes(connection: apsw.Connection, segment: Segment, is_alive: Bools, moved: Keys) -> tuple[Keys, Bools]:
    """All postings as codes with new places, and which of them are of documents alive."""
    places = segment.postings.places(connection, 0, segment.num_postings)
    keys = np.repeat(segment.keys, np.diff(segment.starts))
    return (keys << _SHIFT) | moved[places], is_alive[places]


def _packed(columns: Columns, words: Keys, counts: Counts, marks: Keys, by_key: dict[int, str]) -> Segment:
    """A segment of sorted codes, `by_key` telling the words."""
    codes = np.concatenate([words, marks])
    keys, starts = np.unique(codes >> _SHIFT, return_index=True)
    starts = np.append(starts, len(codes)).astype(np.int64)
    lines = "\n".join(by_key[key] for key in keys[: np.searchsorted(keys, _FIRST_MARK)].tolist())
    return Segment(keys, starts, lines, columns, Held((codes & _PLACE_BITS).astype(np.uint16), counts))


EMPTY = _packed(
    Columns(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0)),
    np.zeros(0, np.uint64),
    np.zeros(0, np.uint8),
    np.zeros(0, np.uint64),
    {},
)
"""Of no documents."""
