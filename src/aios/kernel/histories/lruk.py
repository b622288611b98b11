"""LRU-K, K = 2: who is to leave, when there is no more room.

What counts is the time of an entry's last reference but one: an entry that was used by several, or came back
to, stays before one that was used once, however lately. References in one burst count as one; as long as the
burst may go on, an entry leaves only when nothing else can. After E. O'Neil, P. O'Neil and G. Weikum, "The
LRU-K Page Replacement Algorithm for Database Disk Buffering", SIGMOD 1993: its correlated references
(section 2.1.1, which names those of one process), retained information (2.1.2) and LRU among the entries
that have no last but one (2.1). What a burst is here: references by the same history, each at most
`BURST_S` after the one before, as long as its owner runs.

Time is passed in; knows nothing of what entries are.
"""

import heapq
import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

BURST_S = 300.0
"""Seconds between two references by one history after which the second is no more of the same burst."""
NEVER = float("-inf")


class Entry(Protocol):
    """What a queue orders."""

    size: int
    """Bytes that are won when it leaves."""
    by: int
    """Who referred to it last."""
    last: float
    """When it was referred to last."""
    previous: float
    """When the burst before this one ended; `NEVER` where there was none."""


_PLACE_BYTES = sys.getsizeof((0.0, 0, None)) + sys.getsizeof(2**40)
"""What a place in a heap takes: itself and its number."""

E = TypeVar("E", bound=Entry)


def refer(entry: Entry, by: int, now: float) -> None:
    """Note that `by` refers to an entry; its queues are to be told (`Queue.touched`)."""
    if entry.by != by or now - entry.last > BURST_S:
        entry.previous = entry.last
        entry.by = by
    entry.last = now


def rank(entry: Entry, now: float) -> tuple[int, float]:
    """Who has less leaves first: the entries of a queue are in this order but for those that were left."""
    is_over = now - entry.last > BURST_S
    if entry.previous == NEVER:
        return (0 if is_over else 2, entry.last)
    return (1 if is_over else 3, entry.previous)


class Queue(Generic[E]):
    """Entries in the order in which they are to leave."""

    def __init__(self) -> None:
        self._left: dict[E, None] = {}
        """Had one burst, and whoever it was by has ended: who ended first, first."""
        self._once: dict[E, None] = {}
        """Had one burst; least recently used first."""
        self._again: dict[E, int] = {}
        """Had more; each with the number of its place in the heap."""
        self._heap: list[tuple[float, int, E]] = []
        """Those in `_again` by a time before which none had its last burst but one; and places given up."""
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._left) + len(self._once) + len(self._again)

    def __iter__(self) -> Iterator[E]:
        return itertools.chain(self._left, self._once, self._again)

    def __sizeof__(self) -> int:
        tables = (self._left, self._once, self._again, self._heap)
        return object.__sizeof__(self) + sum(map(sys.getsizeof, tables)) + _PLACE_BYTES * len(self._heap)

    def touched(self, entry: E) -> None:
        """Put in an entry, or put it where it belongs now."""
        if entry in self._again:
            return  # It is found to be later than its place in the heap when its turn comes.
        self._left.pop(entry, None)
        self._once.pop(entry, None)
        if entry.previous == NEVER:
            self._once[entry] = None
        else:
            self._push(entry)

    def remove(self, entry: E) -> None:
        self._left.pop(entry, None)
        self._once.pop(entry, None)
        self._again.pop(entry, None)
        if len(self._heap) > 2 * len(self._again) + 64:
            self._heap = [place for place in self._heap if self._again.get(place[2]) == place[1]]
            heapq.heapify(self._heap)

    def leave(self, entries: Iterable[E]) -> None:
        """Whoever these were used by has ended."""
        for entry in entries:
            if entry in self._once:
                del self._once[entry]
                self._left[entry] = None

    def coldest(self, num_bytes: int, now: float, limit: int = sys.maxsize) -> list[E]:
        """The entries that are to leave, in their order: so that so many bytes are won, `limit` at most.

        They stay in here. It takes as long as there are entries to leave, not as long as there are entries.
        """
        chosen = _Chosen[E](num_bytes, limit)
        chosen.take(self._left)
        chosen.take(itertools.takewhile(lambda entry: _is_over(entry, now), self._once))
        if not chosen.are_enough:
            over, busy = self._drawn(chosen, now)
            chosen.take(over)
            chosen.take(itertools.dropwhile(lambda entry: _is_over(entry, now), self._once))
            chosen.take(busy)
        return chosen.entries

    def _drawn(self, chosen: "_Chosen[E]", now: float) -> tuple[list[E], list[E]]:
        """Of those that had more than one burst, the first to leave: whose last is over, and the others."""
        over: list[E] = []
        busy: list[E] = []
        num_bytes, limit = chosen.num_bytes, chosen.limit
        while self._heap and num_bytes > 0 and limit > 0:
            time, number, entry = heapq.heappop(self._heap)
            if self._again.get(entry) != number:
                continue
            if entry.previous > time:
                self._push(entry)
            elif _is_over(entry, now):
                over.append(entry)
                num_bytes, limit = num_bytes - entry.size, limit - 1
            else:
                busy.append(entry)
        for entry in (*over, *busy):
            self._push(entry)
        return over, busy

    def _push(self, entry: E) -> None:
        number = self._again[entry] = next(self._numbers)
        heapq.heappush(self._heap, (entry.previous, number, entry))


def _is_over(entry: Entry, now: float) -> bool:
    return now - entry.last > BURST_S


class _Chosen(Generic[E]):
    """Entries, until they are enough."""

    def __init__(self, num_bytes: int, limit: int) -> None:
        self.num_bytes = num_bytes
        self.limit = limit
        self.entries: list[E] = []

    @property
    def are_enough(self) -> bool:
        return self.num_bytes <= 0 or self.limit <= 0

    def take(self, entries: Iterable[E]) -> None:
        for entry in entries:
            if self.are_enough:
                return
            self.entries.append(entry)
            self.num_bytes -= entry.size
            self.limit -= 1
