"""One run queue of cores: bands by strict priority, in a band tenants by fair share, in a tenant its lanes.

Each stage lies over the next and has a heap of its own: O(log n) an event.
"""

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Protocol

from aios.abi.syscalls import BANDS
from aios.kernel.program import Demand, Tenant
from aios.kernel.scheduling.fairness import Fairness
from aios.kernel.scheduling.lanes import CanStart, Lanes, Passes
from aios.kernel.scheduling.policies import Key, Policy
from aios.kernel.task import Task


class Queue(Protocol):
    """What a resource draws tasks from. `Lanes` is one, too."""

    @property
    def size(self) -> int:
        """How many tasks wait in it."""
        ...

    def add(self, task: Task, now: float, *, first: bool = False) -> None: ...

    def discard(self, task: Task, now: float) -> None: ...

    def head_key(self, now: float) -> Key | None: ...

    def take(
        self, now: float, can_start: CanStart | None = None, passes: Passes | None = None
    ) -> Task | None: ...

    def in_order(self, now: float) -> list[Task]: ...

    def tasks(self) -> list[Task]: ...

    def check(self) -> None: ...


class Share:
    """What one tenant has waiting in one band of one queue."""

    __slots__ = ("band", "key", "lanes", "tenant")

    def __init__(self, tenant: Tenant | None, lanes: Lanes, band: "Band") -> None:
        self.tenant = tenant
        self.lanes = lanes
        self.band = band
        self.key: float | None = None
        """Its place in the band's heap; None while it is not in it."""

    @property
    def counter(self) -> float:
        return 0.0 if self.tenant is None else self.tenant.counter

    def line_up(self) -> None:
        """Take the place that the tenant's counter gives now."""
        if self.key != self.counter:
            self.key = self.counter
            heapq.heappush(self.band.heap, (self.key, next(self.band.order), self))


class Band:
    """One strict class: its tenants' shares in a lazy heap."""

    def __init__(self, policy: Policy, turns: Iterator[int]) -> None:
        self._policy = policy
        self._turns = turns
        self.shares: dict[str, Share] = {}
        self.heap: list[tuple[float, int, Share]] = []
        self.order = count()
        self.tasks: dict[Task, None] = {}
        """All that wait here, those that came last at the end."""

    def add(self, task: Task, tenant: Tenant | None, now: float, *, first: bool) -> None:
        name = tenant.name if tenant else ""
        share = self.shares.get(name)
        if share is None:
            share = self.shares[name] = Share(tenant, Lanes(self._policy, self._turns), self)
            if tenant is not None:
                tenant.shares.append(share)
        share.lanes.add(task, now, first=first)
        self.tasks[task] = None
        share.line_up()

    def discard(self, task: Task, tenant: Tenant | None, now: float) -> None:
        self.shares[tenant.name if tenant else ""].lanes.discard(task, now)
        del self.tasks[task]

    def first(self) -> Share | None:
        """The share whose turn it is."""
        while self.heap:
            key, _, share = self.heap[0]
            if share.key != key:
                heapq.heappop(self.heap)
            elif not share.lanes.size:
                heapq.heappop(self.heap)
                share.key = None
            elif share.counter != key:
                heapq.heappop(self.heap)
                share.line_up()
            else:
                return share
        return None

    def next(self, now: float, passes: Passes | None) -> tuple[Share, Task] | None:
        """The next task that does not let others pass, and in whose share it waits."""
        passed: list[tuple[float, int, Share]] = []
        found = None
        while found is None and (share := self.first()) is not None:
            task = share.lanes.first(now, passes)
            if task is None:
                passed.append(heapq.heappop(self.heap))
            else:
                found = share, task
        for entry in passed:
            heapq.heappush(self.heap, entry)
        return found


class RunQueue:
    """`fairness` None leaves the stage of tenants out."""

    def __init__(self, policy: Policy, fairness: Fairness | None, turns: Iterator[int]) -> None:
        self._fairness = fairness
        self._bands = [Band(policy, turns) for _ in BANDS]
        self.size = 0

    def add(self, task: Task, now: float, *, first: bool = False) -> None:
        """Put a task at the end of its program's tasks, or at their head."""
        demand = _demand(task)
        tenant = None
        if self._fairness is not None:
            tenant = demand.program.tenant
            self._fairness.queued(tenant)
        self._bands[demand.band].add(task, tenant, now, first=first)
        self.size += 1

    def discard(self, task: Task, now: float) -> None:
        """Take a task out, wherever it stands."""
        demand = _demand(task)
        self._bands[demand.band].discard(task, self._left(demand), now)
        self.size -= 1

    def head_key(self, now: float) -> Key | None:
        """The key of the next task: its band, its tenant's counter, the policy's."""
        for number, band in enumerate(self._bands):
            if band.tasks and (share := band.first()) is not None:
                key = share.lanes.head_key(now)
                assert key is not None
                return (number, share.counter, *key)
        return None

    def take(
        self, now: float, can_start: CanStart | None = None, passes: Passes | None = None
    ) -> Task | None:
        """The next that does not let others pass, unless it cannot start: nothing goes before it then."""
        for band in self._bands:
            if band.tasks and (found := band.next(now, passes)) is not None:
                share, task = found
                if can_start is not None and not can_start(task):
                    return None
                share.lanes.start(task, now)
                del band.tasks[task]
                self.size -= 1
                self._left(_demand(task))
                return task
        return None

    def newest_of_lowest_band(self) -> Task | None:
        """Who makes room when the queue is full: the last that came of those that may wait longest."""
        for band in reversed(self._bands):
            for task in reversed(band.tasks):
                return task
        return None

    def tasks(self) -> list[Task]:
        """All that wait, in no order."""
        return [task for band in self._bands for task in band.tasks]

    def in_order(self, now: float) -> list[Task]:
        """The heads of all lanes, as they would be taken now. For looking: O(n log n)."""
        found: list[Task] = []
        for band in self._bands:
            for share in sorted(band.shares.values(), key=lambda share: share.counter):
                found += share.lanes.in_order(now)
        return found

    def check(self) -> None:
        """Assert that every task is counted and can be reached."""
        assert self.size == sum(len(band.tasks) for band in self._bands)
        for band in self._bands:
            assert len(band.tasks) == sum(share.lanes.size for share in band.shares.values())
            listed = {id(share) for key, _, share in band.heap if share.key == key}
            for share in band.shares.values():
                share.lanes.check()
                assert id(share) in listed or not share.lanes.size

    def _left(self, demand: Demand) -> Tenant | None:
        if self._fairness is None:
            return None
        self._fairness.unqueued(demand.program.tenant)
        return demand.program.tenant


def _demand(task: Task) -> Demand:
    assert task.demand is not None, task
    return task.demand
