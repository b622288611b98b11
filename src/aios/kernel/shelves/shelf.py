"""Shelves in memory: brought up to date when they are searched, and dropped when they take too much.

A shelf is its segments in the database and a tail of small ones in memory, of what was put there since. Owns
the locks; where the documents are is its `Source`'s to know.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

import apsw
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from aios.kernel.shelves import tables
from aios.kernel.shelves.ranking import Mode, Part, Scores, by_likeness, by_words, fuse
from aios.kernel.shelves.segment import Bools, Document, Segment, build, merge
from aios.kernel.shelves.tables import Stored
from aios.kernel.shelves.terms import Tokenize, gram_keys, tokenizer, word_keys

PIECE = 256
"""Documents read at a time to be put into a tail."""
SPARE = 16
"""Hits given beyond those asked for, in the place of some that turn out to be damaged."""
_OVERHEAD = 4096
"""Bytes of an open shelf besides its arrays, about."""


class Source(Protocol):
    """Where the documents of shelves are. Each change of one gives it the shelf's next stamp."""

    def last_stamp(self, connection: apsw.Connection, shelf: str) -> int:
        """The highest that was given; 0 for none."""
        ...

    def changed_since(
        self, connection: apsw.Connection, shelf: str, stamp: int, limit: int
    ) -> Sequence[Document]:
        """What has a higher stamp, lowest first."""
        ...


class Place(Struct, frozen=True):
    """A shelf to be searched; what carries the mark `hidden` counts as not there."""

    shelf: str
    hidden: str | None = None


class Query(Struct, frozen=True, kw_only=True):
    """What is asked of shelves. Without words in `text` the documents changed last are the best."""

    places: tuple[Place, ...]
    text: str
    mode: Mode
    limit: int
    now: float
    """What has expired by then counts as not there."""
    marks: tuple[str, ...] = ()
    """Only documents with all of these,"""
    without: tuple[str, ...] = ()
    """and none of these,"""
    since: float = float("-inf")
    """from then on,"""
    until: float = float("inf")
    """and before that."""


class Hit(Struct, frozen=True):
    shelf: str
    stamp: int
    score: float


class Shelf:
    """One shelf as it is in memory. Use it with `lock` held."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self._kept: dict[int, tuple[Segment, Bools]] = {}
        """By id: what is in the database, and which documents are alive."""
        self._tail: list[tuple[Segment, Bools]] = []
        self._stamp = 0
        """Up to which the documents are in a segment or in the tail."""
        self._place = 0
        """Up to which it knows what is gone."""

    @property
    def num_bytes(self) -> int:
        return _OVERHEAD + sum(part.num_bytes + alive.nbytes for part, alive in self.parts())

    def parts(self) -> list[tuple[Segment, Bools]]:
        return [*self._kept.values(), *self._tail]

    def forget_postings(self) -> None:
        """Let go of what can be read again."""
        for segment, _ in self._kept.values():
            if isinstance(segment.postings, Stored):
                segment.postings.forget()

    def catch_up(self, connection: apsw.Connection, source: Source, tokenize: Tokenize) -> None:
        """Take in what has changed. Raises `tables.Damaged`."""
        kept = tables.segments_of(connection, self.name)
        if self._kept.keys() != {id for id, _ in kept}:
            self._reload(connection, kept)
        gone = tables.gone_since(connection, self.name, self._place)
        if gone:
            self._place = gone[-1][0]
            _bury(self.parts(), [stamp for _, stamp in gone])
        while documents := source.changed_since(connection, self.name, self._stamp, PIECE):
            self._append(connection, build(tokenize, documents))

    def _reload(self, connection: apsw.Connection, kept: list[tuple[int, int]]) -> None:
        segments = {id: self._kept[id] for id, _ in kept if id in self._kept}
        new = [id for id, _ in kept if id not in segments]
        for id in new:
            segment = tables.load(connection, self.name, id)
            segments[id] = segment, np.ones(len(segment), np.bool_)
        _bury([segments[id] for id in new], [at for _, at in tables.gone_since(connection, self.name, 0)])
        self._kept = segments
        covered = max((upto for _, upto in kept), default=0)
        self._stamp = max(self._stamp, covered)
        for segment, is_alive in self._tail:
            is_alive &= segment.columns.stamps > covered
        self._tail = [one for one in self._tail if one[1].any()]

    def _append(self, connection: apsw.Connection, segment: Segment) -> None:
        """Small segments become larger ones, so that there are few."""
        self._tail.append((segment, np.ones(len(segment), np.bool_)))
        self._stamp = int(segment.columns.stamps[-1])
        while len(self._tail) > 1 and len(self._tail[-2][0]) <= 2 * len(self._tail[-1][0]):
            merged = merge(connection, self._tail[-2:])
            self._tail[-2:] = [(merged, np.ones(len(merged), np.bool_))]


class Shelves:
    """The shelves that were searched last, within `max_bytes`; others are read again.

    The one in use stays even where it alone is larger, but for what can be read a piece at a time.
    """

    def __init__(self, source: Source, max_bytes: int) -> None:
        self._source = source
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Shelf] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self.num_bytes = 0

    def search(self, connection: apsw.Connection, query: Query) -> list[Hit]:
        """The best documents, best first, and a few more than asked for.

        Among equals those changed last come first. The first look at the database is under the locks, so
        that it is never older than what the shelves hold. Raises `tables.Damaged`.
        """
        tokenize = tokenizer(connection)
        with self._use([place.shelf for place in query.places]) as shelves:
            for shelf in shelves:
                shelf.catch_up(connection, self._source, tokenize)
            parts = [
                (place.shelf, _part(connection, segment, is_alive, place, query))
                for place, shelf in zip(query.places, shelves, strict=True)
                for segment, is_alive in shelf.parts()
            ]
            scores = _scores(connection, [part for _, part in parts], query, tokenize)
            return _best(parts, scores, query.limit + SPARE)

    def drop(self, shelf: str) -> None:
        """Forget one, so that it is read again."""
        with self._lock:
            self._drop(shelf)

    def drop_all(self) -> None:
        """Forget all."""
        with self._lock:
            for name in list(self._open):
                self._drop(name)

    @contextmanager
    def _use(self, names: Sequence[str]) -> Iterator[list[Shelf]]:
        with self._lock:
            shelves = [self._open.setdefault(name, Shelf(name)) for name in names]
            for name in names:
                self._open.move_to_end(name)
        with ExitStack() as locks:
            for shelf in sorted(shelves, key=lambda one: one.name):
                locks.enter_context(shelf.lock)
            yield shelves
            with self._lock:
                self._measure(shelves)

    def _measure(self, used: Sequence[Shelf]) -> None:
        for shelf in used:
            if self._open.get(shelf.name) is shelf:
                self._resize(shelf)
        while self.num_bytes > self._max_bytes and len(self._open) > len(used):
            self._drop(next(iter(self._open)))
        if self.num_bytes > self._max_bytes:
            for shelf in used:
                shelf.forget_postings()
                if self._open.get(shelf.name) is shelf:
                    self._resize(shelf)

    def _resize(self, shelf: Shelf) -> None:
        size = shelf.num_bytes
        self.num_bytes += size - self._sizes.get(shelf.name, 0)
        self._sizes[shelf.name] = size

    def _drop(self, name: str) -> None:
        self._open.pop(name, None)
        self.num_bytes -= self._sizes.pop(name, 0)


def _bury(parts: Sequence[tuple[Segment, Bools]], stamps: Sequence[int]) -> None:
    wanted = np.array(stamps, np.int64)
    for segment, is_alive in parts:
        is_alive[segment.places_of(wanted)] = False


def _part(connection: apsw.Connection, segment: Segment, is_alive: Bools, place: Place, query: Query) -> Part:
    columns = segment.columns
    is_visible = is_alive & (columns.expires > query.now)
    if place.hidden is not None:
        is_visible &= ~segment.marked(connection, place.hidden)
    is_wanted = is_visible & (columns.times >= query.since) & (columns.times < query.until)
    for mark in query.marks:
        is_wanted &= segment.marked(connection, mark)
    for mark in query.without:
        is_wanted &= ~segment.marked(connection, mark)
    return Part(segment, is_visible, is_wanted)


def _scores(
    connection: apsw.Connection, parts: Sequence[Part], query: Query, tokenize: Tokenize
) -> list[Scores] | None:
    """None for a query that says nothing."""
    words, grams = word_keys(tokenize, query.text), gram_keys(query.text)
    if not (len(words) or len(grams)):
        return None
    if query.mode == "keyword":
        return by_words(connection, parts, words)
    likeness = by_likeness(connection, parts, grams)
    return likeness if query.mode == "meaning" else fuse(by_words(connection, parts, words), likeness)


def _best(parts: Sequence[tuple[str, Part]], scores: Sequence[Scores] | None, limit: int) -> list[Hit]:
    wanted: list[NDArray[np.intp]] = []
    for number, (_, part) in enumerate(parts):
        is_hit = part.is_wanted if scores is None else part.is_wanted & (scores[number] > 0)
        wanted.append(np.flatnonzero(is_hit))
    if not wanted:
        return []
    whose = np.repeat(np.arange(len(parts)), [len(places) for places in wanted])
    chosen = list(zip(parts, wanted, strict=True))
    stamps = np.concatenate([part.segment.columns.stamps[places] for (_, part), places in chosen])
    times = np.concatenate([part.segment.columns.times[places] for (_, part), places in chosen])
    if scores is None:
        found = np.zeros(len(stamps))
        first = times
    else:
        found = np.concatenate([one[places] for one, places in zip(scores, wanted, strict=True)])
        first = found
    rows = _highest(first, limit)
    order = rows[np.lexsort((-stamps[rows], -times[rows], -found[rows]))][:limit]
    return [Hit(parts[whose[row]][0], int(stamps[row]), float(found[row])) for row in order]


def _highest(values: NDArray[np.float64], limit: int) -> NDArray[np.intp]:
    """Where the highest values are, and all that equal the least of them."""
    if len(values) <= limit:
        return np.arange(len(values))
    least = np.partition(values, len(values) - limit)[len(values) - limit]
    return np.flatnonzero(values >= least)
