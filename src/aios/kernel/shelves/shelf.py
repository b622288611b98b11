"""Shelves in memory: brought up to date when they are searched, and dropped when they take too much.

A shelf is its segments in the database and a tail of small ones in memory, of what was put there since. Owns
the locks; where the documents are is its `Source`'s to know.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

import apsw
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from aios.kernel.shelves import tables
from aios.kernel.shelves.lexicon import Lexicon
from aios.kernel.shelves.ranking import Mode, Part, Ranking, Scores
from aios.kernel.shelves.segment import Bools, Document, Segment, build, merge
from aios.kernel.shelves.tables import Stored
from aios.kernel.shelves.terms import Tokenize, tokenizer, words_of
from aios.kernel.shelves.vectors import Held, Meaning

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

    def num_waiting(self, connection: apsw.Connection, shelf: str, stamp: int) -> int:
        """How much has a higher stamp, in documents of a few lines."""
        ...

    def changed_since(
        self, connection: apsw.Connection, shelf: str, stamp: int, limit: int
    ) -> Sequence[Document]:
        """What has a higher stamp, lowest first: the first of it, none only where there is none."""
        ...

    def num_after(self, connection: apsw.Connection, shelf: str, stamp: int) -> int:
        """How many documents have a higher stamp."""
        ...

    def has(self, connection: apsw.Connection, shelf: str, stamp: int) -> bool:
        """Whether a document has this stamp."""
        ...

    def shelves(self, connection: apsw.Connection) -> Sequence[str]:
        """Those on which there is something."""
        ...


class Sources:
    """Several as one: each has the shelves whose names begin with its own, up to `/` or `:`."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources

    def last_stamp(self, connection: apsw.Connection, shelf: str) -> int:
        return self._of(shelf).last_stamp(connection, shelf)

    def num_waiting(self, connection: apsw.Connection, shelf: str, stamp: int) -> int:
        return self._of(shelf).num_waiting(connection, shelf, stamp)

    def changed_since(
        self, connection: apsw.Connection, shelf: str, stamp: int, limit: int
    ) -> Sequence[Document]:
        return self._of(shelf).changed_since(connection, shelf, stamp, limit)

    def num_after(self, connection: apsw.Connection, shelf: str, stamp: int) -> int:
        return self._of(shelf).num_after(connection, shelf, stamp)

    def has(self, connection: apsw.Connection, shelf: str, stamp: int) -> bool:
        return self._of(shelf).has(connection, shelf, stamp)

    def shelves(self, connection: apsw.Connection) -> Sequence[str]:
        return [shelf for source in self._sources.values() for shelf in source.shelves(connection)]

    def _of(self, shelf: str) -> Source:
        return self._sources[shelf.partition("/")[0].partition(":")[0]]


class Place(Struct, frozen=True):
    """A shelf to be searched."""

    shelf: str
    hidden: str | None = None
    """What carries this mark counts as not there,"""
    only: str | None = None
    """and what does not carry this one."""


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
    """and before that,"""
    chosen: NDArray[np.int64] | None = None
    """and of these stamps; None for any."""
    meaning: Meaning | None = None
    """Of the text; None where it is not known, or not asked for."""


_Best = tuple[float, float, int, int]
"""Score, time, number of its shelf, stamp of a document, negated so that the best is the least."""


class Hit(Struct, frozen=True):
    shelf: str
    stamp: int
    score: float


class Shelf:
    """One shelf as it is in memory. Use it with `lock` held."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.lexicon = Lexicon()
        self.vectors = Held()
        self._kept: dict[int, tuple[Segment, Bools]] = {}
        """By id: what is in the database, and which documents are alive."""
        self._tail: list[tuple[Segment, Bools]] = []
        self._stamp = 0
        """Up to which the documents are in a segment or in the tail."""
        self._place = 0
        """Up to which it knows what is gone."""

    @property
    def num_bytes(self) -> int:
        parts = sum(part.num_bytes + alive.nbytes for part, alive in self.parts())
        return _OVERHEAD + parts + self.lexicon.num_bytes + self.vectors.num_bytes

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
            self.lexicon.add(segment.keys[: segment.num_words], segment.words)
        _bury([segments[id] for id in new], [at for _, at in tables.gone_since(connection, self.name, 0)])
        self._kept = segments
        covered = max((upto for _, upto in kept), default=0)
        self._stamp = max(self._stamp, covered)
        for segment, is_alive in self._tail:
            is_alive &= segment.columns.stamps > covered
        self._tail = [one for one in self._tail if one[1].any()]

    def _append(self, connection: apsw.Connection, segment: Segment) -> None:
        """Small segments become larger ones, so that there are few."""
        self.lexicon.add(segment.keys[: segment.num_words], segment.words)
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
                (number, _part(connection, segment, is_alive, query.places[number], query))
                for number, shelf in enumerate(shelves)
                for segment, is_alive in shelf.parts()
            ]
            words = words_of(tokenize, query.text)
            scores = None
            if words:
                ranking = Ranking(connection, [part for _, part in parts], [one.lexicon for one in shelves])
                scores = ranking.scores(words, query.mode, _cosines(connection, shelves, query))
            return [
                Hit(shelves[number].name, -stamp, 0.0 if scores is None else -value)
                for value, _, number, stamp in _best(parts, scores, query.limit + SPARE)
            ]

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


def _cosines(connection: apsw.Connection, shelves: Sequence[Shelf], query: Query) -> list[Scores] | None:
    """How alike in meaning the documents of all parts are to what is asked; None where nobody asked."""
    if query.meaning is None:
        return None
    found: list[Scores] = []
    for shelf in shelves:
        if bad := shelf.vectors.catch_up(connection, shelf.name, query.meaning.embedding):
            raise tables.Damaged(shelf.name, f"the vector of {bad[0]}")
        found += shelf.vectors.likeness([segment for segment, _ in shelf.parts()], query.meaning.vector)
    return found


def _bury(parts: Sequence[tuple[Segment, Bools]], stamps: Sequence[int]) -> None:
    wanted = np.array(stamps, np.int64)
    for segment, is_alive in parts:
        is_alive[segment.places_of(wanted)] = False


def _part(connection: apsw.Connection, segment: Segment, is_alive: Bools, place: Place, query: Query) -> Part:
    columns = segment.columns
    is_visible = (
        is_alive
        if columns.expires.min(initial=float("inf")) > query.now
        else (is_alive & (columns.expires > query.now))
    )
    if place.hidden is not None:
        is_visible = is_visible & ~segment.marked(connection, place.hidden)
    if place.only is not None:
        is_visible = is_visible & segment.marked(connection, place.only)
    is_wanted = is_visible
    if query.since > float("-inf"):
        is_wanted = is_wanted & (columns.times >= query.since)
    if query.until < float("inf"):
        is_wanted = is_wanted & (columns.times < query.until)
    for mark in query.marks:
        is_wanted = is_wanted & segment.marked(connection, mark)
    for mark in query.without:
        is_wanted = is_wanted & ~segment.marked(connection, mark)
    if query.chosen is not None:
        is_chosen = np.zeros(len(segment), np.bool_)
        is_chosen[segment.places_of(query.chosen)] = True
        is_wanted = is_wanted & is_chosen
    return Part(segment, _or_none(is_visible), _or_none(is_wanted))


def _or_none(chosen: Bools) -> Bools | None:
    return None if chosen.all() else chosen


def _best(parts: Sequence[tuple[int, Part]], scores: Sequence[Scores] | None, limit: int) -> list[_Best]:
    """The `limit` best of parts and their shelves' numbers; the last changed where there are no scores."""
    found: list[_Best] = []
    for number, (shelf, part) in enumerate(parts):
        columns = part.segment.columns
        values = columns.times if scores is None else scores[number]
        least = float("-inf") if scores is None else 0.0
        if len(found) >= limit:  # What equals the last of them may still go before it.
            least = max(least, float(np.nextafter(-found[-1][0], -np.inf)))
        places = _highest(values, part.is_wanted, least, limit)
        order = np.lexsort((-columns.stamps[places], -columns.times[places], -values[places]))[:limit]
        rows = places[order]
        keys = (-values[rows], -columns.times[rows], np.full(len(rows), shelf), -columns.stamps[rows])
        found += zip(*(key.tolist() for key in keys), strict=True)
        found = sorted(found)[:limit]
    return found


def _highest(values: Scores, is_wanted: Bools | None, least: float, limit: int) -> NDArray[np.intp]:
    """Where the highest values above `least` are, and all that equal the least of them."""
    is_hit = values > least
    if is_wanted is not None:
        is_hit &= is_wanted
    places = np.flatnonzero(is_hit)
    if len(places) <= limit:
        return places
    found = values[places]
    highest: NDArray[np.intp] = places[found >= np.partition(found, len(found) - limit)[len(found) - limit]]
    return highest
