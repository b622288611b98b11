"""The order of calls: who is refused or makes room, whose turn it is, and that no core idles for nothing.

What may come next is the oldest task of each lane, whatever heaps the scheduler keeps.
"""

import asyncio
import math
from collections import Counter, defaultdict
from itertools import count
from typing import Any, NamedTuple

from aios.abi.errors import AiosError
from aios.kernel.program import Demand
from aios.kernel.scheduling.policies import Key
from aios.kernel.scheduling.runqueue import Queue
from aios.kernel.scheduling.scheduler import Resource
from aios.kernel.task import Task
from simulated.facts import Facts

EXACT = (
    "fifo",
    "program_fifo",
    "rr",
    "priority",
    "fair",
    "plas",
    "mlfq",
    "atlas",
    "virtual_finish",
    "oracle",
)
"""Policies whose order is kept at every moment; others draw on what is learnt from any call's end."""
BLINK_S = 2e-6
"""What changed by time alone so lately may not have been seen yet."""


class Lane(NamedTuple):
    """Tasks that are served in order."""

    queue: str
    band: int
    tenant: str
    id: int


class Seen(NamedTuple):
    """What a core could have taken."""

    first: list[Task]
    """Those that may have been its first."""
    shut_out: set[Task]
    """For whom there was room only once another had left."""


class Order:
    """Stands between the dispatcher and the scheduler, and judges what the scheduler decides."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._scheduler = facts.scheduler
        self._policy = facts.scheduler._policy
        self._is_exact = facts.kernel.config.scheduler.policy in EXACT
        self._takes_turns = facts.kernel.config.scheduler.policy == "rr"
        self._order = count(1)
        self._ranks: dict[Task, int] = {}
        """The place of each waiting task in its lane, the smallest first."""
        self._retried: int | None = None
        """The task that is put back at the head of its lane."""
        self._seen: dict[str, Seen] = {}
        """What there was when a core was last asked."""
        self._passed: defaultdict[Lane, Counter[int]] = defaultdict(Counter)
        """How often others of its queue were served since a lane lined up."""
        for name in ("submit", "put_back", "next"):
            setattr(self._scheduler, name, getattr(self, name))

    # ---- coming to a queue

    def submit(self, task: Task, queue: str, now: float) -> Task | None:
        found = self._scheduler._queues[queue]
        before = list(found.tasks())
        is_full = len(before) >= self._scheduler._max_waiting
        try:
            evicted = type(self._scheduler).submit(self._scheduler, task, queue, now)
        except AiosError:
            self._facts.counts["refused"] += 1
            if not is_full:
                self._facts.fail(f"{task} was refused, and {queue} has room")
            if any(_band(one) > _band(task) for one in before):
                self._facts.fail(f"{task} was refused, and others would have made room")
            raise
        if evicted is not None:
            self._facts.counts["evicted"] += 1
            self._judge_eviction(task, evicted, before, is_full=is_full)
        self._waits(task)
        return evicted

    def _judge_eviction(self, task: Task, evicted: Task, before: list[Task], *, is_full: bool) -> None:
        lowest = max(_band(one) for one in before)
        if not is_full or _band(evicted) != lowest or lowest <= _band(task):
            self._facts.fail(f"{evicted} had to make room for {task}")

    def put_back(self, task: Task, queue: str, now: float, *, first: bool) -> None:
        type(self._scheduler).put_back(self._scheduler, task, queue, now, first=first)
        is_retried, self._retried = self._retried == task.id, None
        self._waits(task, first=is_retried)

    def left(self, resource: str) -> None:
        """A slot is free: the core must be asked anew."""
        self._seen.pop(resource, None)

    def retried(self, task: int) -> None:
        """Whoever is put back next goes to the head of its lane."""
        self._retried = task

    def _waits(self, task: Task, *, first: bool = False) -> None:
        if task.queue is None or task.demand is None:
            return
        rank = next(self._order)
        self._ranks[task] = -rank if first else rank
        lane = self._lane(task)
        if not any(self._lane(one) == lane for one in self._facts.waiting() if one is not task):
            self._passed[lane].clear()

    # ---- getting a slot

    def next(self, resource: Resource, now: float, can_start: Any = None) -> Task | None:
        original = type(self._scheduler).next
        if resource.gate is None or not resource.has_room:
            return original(self._scheduler, resource, now, can_start)
        heads = self._heads(resource)
        shut_out = {head for head in heads if _opens_at(resource, head, now) == math.inf}
        self._seen[resource.name] = Seen(self._first(heads, now), shut_out)
        keys = {head: (self._key(head, now), self._key(head, now - BLINK_S)) for head in heads}
        queues = {task: task.queue or "" for task in self._drawable(resource)}
        task = original(self._scheduler, resource, now, can_start)
        if task is not None:
            self._judge_choice(resource, task, keys, queues)
        return task

    def _judge_choice(
        self, resource: Resource, task: Task, keys: dict[Task, tuple[Key, Key]], queues: dict[Task, str]
    ) -> None:
        """`keys` are those of now and of a moment ago, of the heads of all lanes."""
        self._facts.counts["contended" if len(keys) > 1 else "alone"] += 1
        if task not in queues:
            self._facts.fail(f"{resource.name} took {task}, which was not for it")
            return
        if task not in keys:
            self._facts.fail(f"{task} was taken before an older one of its lane")
            return
        self._facts.counts["stood in"] += queues[task] in resource.stands_in
        own, _ = keys[task]
        lane = self._lane(task, queues[task])
        for head, (_, key) in keys.items():
            is_comparable = self._is_exact and self._lane(head, queues[head]).tenant == lane.tenant
            length = None if is_comparable else 2
            if key[:length] < own[:length]:
                self._facts.fail(f"{resource.name} took {task} {own} before {head} {key}")
        self._fits(resource, task)
        if self._takes_turns:
            self._take_turn(lane, {self._lane(head, queues[head]) for head in keys})

    def _take_turn(self, lane: Lane, lanes: set[Lane]) -> None:
        self._passed[lane].clear()
        for other in lanes:
            if other != lane and other[:3] == lane[:3]:
                self._passed[other][lane.id] += 1
                if self._passed[other][lane.id] > 1:
                    self._facts.fail(f"{lane} was served twice while {other} waited for its turn")

    def _fits(self, resource: Resource, task: Task) -> None:
        """The limits that the kernel was told hold with the one that has just entered."""
        core = self._facts.kernel._cores[resource.name].config
        running = [one.demand for one in resource.running if one.demand is not None]
        if core.slots and len(running) > core.slots:
            self._facts.fail(f"{len(running)} calls at {core.name}, which has {core.slots} slots")
        most, held = core.tokens_in_flight, most_together(running)
        if most and len(running) > 1 and held > most:
            self._facts.fail(f"{held} tokens in flight at {core.name} with {task}, which bears {most}")

    # ---- who could be next

    def _drawable(self, resource: Resource) -> list[Task]:
        """The tasks that this core may take, by what is known of the health of others."""
        draws: dict[str, Queue] = resource.draws
        return [
            task for name, queue in draws.items() if self._may_draw(resource, name) for task in queue.tasks()
        ]

    def _may_draw(self, resource: Resource, queue: str) -> bool:
        """Whether it is meant for the queue, or none of those that are can serve."""
        if queue not in resource.stands_in:
            return True
        meant = [one.name for one in self._scheduler._served_by[queue] if queue not in one.stands_in]
        return not any(self._facts.health[name].is_sound for name in meant)

    def _lane(self, task: Task, queue: str = "") -> Lane:
        assert task.demand is not None
        tenant = task.demand.program.tenant.name if self._scheduler._is_shared else ""
        return Lane(queue or task.queue or "", task.demand.band, tenant, self._policy.lane(task))

    def _heads(self, resource: Resource) -> list[Task]:
        heads: dict[Lane, Task] = {}
        for task in self._drawable(resource):
            lane = self._lane(task)
            if lane not in heads or self._ranks[task] < self._ranks[heads[lane]]:
                heads[lane] = task
        return list(heads.values())

    def _first(self, heads: list[Task], now: float) -> list[Task]:
        """Those that may be the first: of the first band, of the tenants that got least, by the policy."""
        keys = {head: self._key(head, now) for head in heads}
        least = min((key[:2] for key in keys.values()), default=())
        found = [head for head in heads if keys[head][:2] == least]
        if not self._is_exact:
            return found
        best: dict[str, Key] = {}
        for head in found:
            tenant = self._lane(head).tenant
            best[tenant] = min(keys[head], best.get(tenant, keys[head]))
        return [head for head in found if keys[head] == best[self._lane(head).tenant]]

    def _key(self, head: Task, now: float) -> Key:
        demand = head.demand
        assert demand is not None
        counter = demand.program.tenant.counter if self._scheduler._is_shared else 0.0
        return (demand.band, counter, *self._policy.key(head, now, 0))

    # ---- whenever a moment is over

    def check(self) -> None:
        """No core has room while a call waits that could enter; where time can open it, a timer is set."""
        for name in self._facts.endpoints:
            resource = self._scheduler.resources[name]
            if resource.has_room and (heads := self._heads(resource)):
                self._check_idle(resource, heads, self._facts.now)

    def _check_idle(self, resource: Resource, heads: list[Task], now: float) -> None:
        # Who is first, and for whom there is room, may change as time passes and tokens come. A core is asked
        # again when something happens.
        seen = self._seen.get(resource.name, Seen([], set()))
        first = {*self._first(heads, now), *(head for head in heads if head in seen.first)}
        opens_at = max(
            math.inf if head in seen.shut_out else _opens_at(resource, head, now) for head in first
        )
        if opens_at <= now:
            self._facts.fail(f"{resource.name} stands idle while {first} could enter")
        elif opens_at < math.inf:
            timer = self._facts.kernel._dispatcher._openings.get(resource.name)
            is_set = isinstance(timer, asyncio.TimerHandle) and not timer.cancelled()
            if not is_set or not now <= timer.when() <= opens_at + 1e-6:
                self._facts.fail(
                    f"no timer fills {resource.name} at {opens_at:.6f}, when it opens for {first}"
                )


def most_together(demands: list[Demand]) -> int:
    """The most tokens that these calls have in flight, if all go on at one speed to their expected ends."""
    calls = [(demand.num_now, demand.num_more) for demand in demands]
    found = 0
    while calls:
        step = min(more for _, more in calls)
        found = max(found, sum(now + step for now, _ in calls))
        calls = [(now + step, more - step) for now, more in calls if more > step]
    return found


def _opens_at(resource: Resource, head: Task, now: float) -> float:
    assert resource.gate is not None
    assert head.demand is not None
    return resource.gate.opens_at(now, head.demand.num_tokens, head.demand)


def _band(task: Task) -> int:
    return 0 if task.demand is None else task.demand.band
