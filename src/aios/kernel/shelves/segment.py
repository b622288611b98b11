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
    LIKENESS_LETTERS,
    MAX_PLACES,
    PLACE_SHIFT,
    Keys,
    Tokenize,
    grams_in,
    mark_key,
    word_key,
)

Bools = NDArray[np.bool_]
Places = NDArray[np.uint16]
_PLACE_BITS = np.uint64(MAX_PLACES - 1)
_SHIFT = np.uint64(PLACE_SHIFT)


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
    num_grams: NDArray[np.int64]
    """Distinct ones."""
    times: NDArray[np.float64]
    expires: NDArray[np.float64]

    def take(self, order: NDArray[np.intp]) -> "Columns":
        return Columns(*(getattr(self, name)[order] for name in self.__struct_fields__))


class Found(Struct, frozen=True):
    """Postings of several terms, one after another."""

    terms: NDArray[np.intp]
    """Which of the terms asked for, for each posting."""
    places: Places
    counts: NDArray[np.uint8]
    """How often, of words; empty for other terms."""


class Postings(Protocol):
    """Where the postings of a segment are; those of words come first, and have counts."""

    def places(self, connection: apsw.Connection, begin: int, end: int) -> Places: ...

    def counts(self, connection: apsw.Connection, begin: int, end: int) -> NDArray[np.uint8]: ...

    @property
    def num_bytes(self) -> int: ...


class Held(Struct, frozen=True):
    """Postings in memory."""

    all_places: Places
    all_counts: NDArray[np.uint8]

    def places(self, connection: apsw.Connection, begin: int, end: int) -> Places:
        return self.all_places[begin:end]

    def counts(self, connection: apsw.Connection, begin: int, end: int) -> NDArray[np.uint8]:
        return self.all_counts[begin:end]

    @property
    def num_bytes(self) -> int:
        return self.all_places.nbytes + self.all_counts.nbytes


class Segment(Struct, frozen=True):
    """`starts` says where the postings of each key begin; its last is where all end."""

    keys: Keys
    starts: NDArray[np.int64]
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
        return int(self.keys.nbytes + self.starts.nbytes + columns + self.postings.num_bytes)

    @property
    def num_word_postings(self) -> int:
        return int(self.starts[np.searchsorted(self.keys, np.uint64(1 << KIND_SHIFT))])

    def places_of(self, stamps: NDArray[np.int64]) -> NDArray[np.intp]:
        """The places of those of the stamps that are here."""
        if not len(self):
            return np.zeros(0, np.intp)
        places = np.minimum(np.searchsorted(self.columns.stamps, stamps), len(self) - 1)
        found: NDArray[np.intp] = places[self.columns.stamps[places] == stamps]
        return found

    def find(self, connection: apsw.Connection, keys: Keys) -> Found:
        """The postings of words, or of other terms: of one kind at a time."""
        at = np.searchsorted(self.keys, keys)
        at[at == len(self.keys)] = 0
        is_here = self.keys[at] == keys if len(self.keys) else np.zeros(len(keys), np.bool_)
        terms = np.flatnonzero(is_here)
        begins, ends = self.starts[at[terms]], self.starts[at[terms] + 1]
        ranges = list(zip(begins.tolist(), ends.tolist(), strict=True))
        places = [self.postings.places(connection, *one) for one in ranges]
        are_words = bool(len(keys)) and int(keys[0]) >> KIND_SHIFT == 0
        counts = [self.postings.counts(connection, *one) for one in ranges] if are_words else []
        return Found(
            np.repeat(terms, ends - begins),
            np.concatenate(places) if places else np.zeros(0, np.uint16),
            np.concatenate(counts) if counts else np.zeros(0, np.uint8),
        )

    def marked(self, connection: apsw.Connection, mark: str) -> Bools:
        """Which documents carry a mark, by place."""
        found = np.zeros(len(self), np.bool_)
        found[self.find(connection, np.array([mark_key(mark)], np.uint64)).places] = True
        return found


def build(tokenize: Tokenize, documents: Sequence[Document]) -> Segment:
    """A segment of documents in the order of their stamps, 65,536 at most."""
    word_codes: list[int] = []
    mark_codes: list[int] = []
    lengths: list[int] = []
    for place, document in enumerate(documents):
        found = tokenize(document.text)
        lengths.append(len(found))
        word_codes += [word_key(word) << PLACE_SHIFT | place for word in found]
        mark_codes += [mark_key(mark) << PLACE_SHIFT | place for mark in document.marks]
    words, counts = np.unique(np.array(word_codes, np.uint64), return_counts=True)
    grams = grams_in([document.text for document in documents], LIKENESS_LETTERS)
    columns = Columns(
        np.array([document.stamp for document in documents], np.int64),
        np.array(lengths, np.int64),
        np.bincount((grams & _PLACE_BITS).astype(np.intp), minlength=len(documents)),
        np.array([document.time for document in documents], np.float64),
        np.array([document.expires for document in documents], np.float64),
    )
    others = np.concatenate([grams, np.unique(np.array(mark_codes, np.uint64))])
    return _packed(columns, words, np.minimum(counts, 255).astype(np.uint8), others)


def merge(connection: apsw.Connection, parts: Sequence[tuple[Segment, Bools]]) -> Segment:
    """One segment of those documents of each that are alive, by place. 65,536 at most."""
    kept = [np.flatnonzero(is_alive) for _, is_alive in parts]
    columns = [segment.columns.take(places) for (segment, _), places in zip(parts, kept, strict=True)]
    names = Columns.__struct_fields__
    together = Columns(*(np.concatenate([getattr(one, name) for one in columns]) for name in names))
    order = np.argsort(together.stamps, kind="stable")
    new_place = np.empty(len(order), np.uint64)
    new_place[order] = np.arange(len(order), dtype=np.uint64)
    words, counts, others = [], [], []
    first = 0
    for (segment, is_alive), places in zip(parts, kept, strict=True):
        moved = np.zeros(len(segment), np.uint64)
        moved[places] = new_place[first : first + len(places)]
        first += len(places)
        codes, stays = _codes(connection, segment, is_alive, moved)
        num_words = segment.num_word_postings
        words.append(codes[:num_words][stays[:num_words]])
        counts.append(segment.postings.counts(connection, 0, num_words)[stays[:num_words]])
        others.append(codes[num_words:][stays[num_words:]])
    word_codes = np.concatenate(words)
    by_key = np.argsort(word_codes, kind="stable")
    other_codes = np.concatenate(others)
    other_codes.sort()
    return _packed(together.take(order), word_codes[by_key], np.concatenate(counts)[by_key], other_codes)


def _codes(connection: apsw.Connection, segment: Segment, is_alive: Bools, moved: Keys) -> tuple[Keys, Bools]:
    """All postings as codes with new places, and which of them are of documents alive."""
    places = segment.postings.places(connection, 0, segment.num_postings)
    keys = np.repeat(segment.keys, np.diff(segment.starts))
    return (keys << _SHIFT) | moved[places], is_alive[places]


def _packed(columns: Columns, words: Keys, counts: NDArray[np.uint8], others: Keys) -> Segment:
    """A segment of sorted codes: of words with their counts, and of terms of other kinds."""
    codes = np.concatenate([words, others])
    keys, starts = np.unique(codes >> _SHIFT, return_index=True)
    starts = np.append(starts, len(codes)).astype(np.int64)
    return Segment(keys, starts, columns, Held((codes & _PLACE_BITS).astype(np.uint16), counts))


EMPTY = _packed(
    Columns(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0)),
    np.zeros(0, np.uint64),
    np.zeros(0, np.uint8),
    np.zeros(0, np.uint64),
)
"""Of no documents."""
