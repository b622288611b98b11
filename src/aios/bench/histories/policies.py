"""Who leaves a full memory: LRU-K as the kernel has it, LRU, and Belady's, which knows what comes.

Each is told of the same references under the same budget. A reference to what is not there is a miss; what an
agent has just written is there without one. L. A. Belady, "A study of replacement algorithms for a
virtual-storage computer", IBM Systems Journal 5(2), 1966: the one that is needed last leaves first, which is
the best there is where all are of one size.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Protocol

from aios.bench.histories.accesses import End, Event, Growth, Reference
from aios.kernel.histories.lruk import NEVER, Queue, refer


class Policy(Protocol):
    """Orders what is in memory."""

    def refer(self, event: Reference) -> None:
        """It is in memory, and was referred to."""

    def grown(self, node_id: int, size: int) -> None:
        """It is in memory, and has another size now."""

    def leave(self) -> int:
        """Whoever is to leave now; it is in memory no more."""

    def gone(self, node_id: int) -> None:
        """It is in memory no more."""

    def ended(self, by: int) -> None:
        """An agent has ended."""


def misses(events: Sequence[Event], policy: Policy, budget: int) -> int:
    """How many references find nothing in a memory of `budget` bytes."""
    sizes: dict[int, int] = {}
    num_bytes = num_misses = 0
    for event in events:
        match event:
            case Reference(node_id=node_id, size=size):
                num_misses += node_id not in sizes and not event.is_new
                num_bytes += size - sizes.get(node_id, 0)
                sizes[node_id] = size
                policy.refer(event)
            case Growth(node_id=node_id, size=size) if node_id in sizes:
                num_bytes += size - sizes[node_id]
                sizes[node_id] = size
                if size:
                    policy.grown(node_id, size)
                else:
                    del sizes[node_id]
                    policy.gone(node_id)
            case End(by=by):
                policy.ended(by)
        while num_bytes > budget:
            num_bytes -= sizes.pop(policy.leave())
    return num_misses


class Lru:
    """Least recently used first."""

    def __init__(self) -> None:
        self._order: dict[int, None] = {}

    def refer(self, event: Reference) -> None:
        self._order.pop(event.node_id, None)
        self._order[event.node_id] = None

    def grown(self, node_id: int, size: int) -> None:
        pass

    def leave(self) -> int:
        node_id = next(iter(self._order))
        del self._order[node_id]
        return node_id

    def gone(self, node_id: int) -> None:
        del self._order[node_id]

    def ended(self, by: int) -> None:
        pass


class Belady:
    """Who is needed last first: never again, if there is one."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._coming: dict[int, deque[int]] = defaultdict(deque)
        reads = [event for event in events if isinstance(event, Reference)]
        for at, event in enumerate(reads):
            self._coming[event.node_id].append(at)
        self._next: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []
        self._never = len(reads)

    def refer(self, event: Reference) -> None:
        coming = self._coming[event.node_id]
        coming.popleft()
        self._next[event.node_id] = coming[0] if coming else self._never
        heapq.heappush(self._heap, (-self._next[event.node_id], event.node_id))

    def grown(self, node_id: int, size: int) -> None:
        pass

    def leave(self) -> int:
        while True:
            at, node_id = heapq.heappop(self._heap)
            if self._next.get(node_id) == -at:
                del self._next[node_id]
                return node_id

    def gone(self, node_id: int) -> None:
        del self._next[node_id]

    def ended(self, by: int) -> None:
        pass


class _Entry:
    """What the queue of LRU-K orders."""

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.size = self.by = 0
        self.last = self.previous = NEVER
        self.users: set[int] = set()


class LruK:
    """The kernel's own queue, told what the kernel tells it."""

    def __init__(self) -> None:
        self._queue: Queue[_Entry] = Queue()
        self._entries: dict[int, _Entry] = {}
        self._here: set[int] = set()
        self._now = 0.0

    def refer(self, event: Reference) -> None:
        entry = self._entries.setdefault(event.node_id, _Entry(event.node_id))
        if entry.last == NEVER:
            entry.by, entry.last = event.by, event.now
        entry.size, self._now = event.size, event.now
        entry.users.add(event.by)
        refer(entry, event.by, event.now)
        self._here.add(event.node_id)
        self._queue.touched(entry)

    def grown(self, node_id: int, size: int) -> None:
        self._entries[node_id].size = size

    def leave(self) -> int:
        [entry] = self._queue.coldest(1, self._now, 1)
        self.gone(entry.node_id)
        return entry.node_id

    def gone(self, node_id: int) -> None:
        self._queue.remove(self._entries[node_id])
        self._here.discard(node_id)

    def ended(self, by: int) -> None:
        own = [entry for entry in map(self._entries.__getitem__, self._here) if entry.users == {by}]
        self._queue.leave(sorted(own, key=lambda entry: entry.last))
