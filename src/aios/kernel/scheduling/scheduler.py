"""SCHEDULER: all run queues, all slots, and every transition between waiting and running.

Decides without awaiting: no clock, no I/O; `now` is seconds of the kernel's clock. A resource has slots, and
a core a gate besides; it draws from one or more run queues. What runs in a slot is the dispatcher's.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import count

from aios.abi.errors import Overloaded
from aios.abi.messages import Usage
from aios.abi.syscalls import LlmGenerate
from aios.kernel.cores.gate import DONE, NEUTRAL, Gate, Outcome
from aios.kernel.cores.placement import Candidate, Placement, prefixes_of
from aios.kernel.program import Decision, Demand
from aios.kernel.scheduling.lanes import Lanes
from aios.kernel.scheduling.policies import Key, Policy, RoundRobin
from aios.kernel.scheduling.programs import Programs
from aios.kernel.scheduling.runqueue import Queue, RunQueue
from aios.kernel.task import State, Task

PATIENCE = 4.0
"""How many times as long as reading its prompt would take a call waits for the core that has it cached.

Measured with docs/results/prefixes.md: with 1, conversations under load lose their caches to each other.
"""


class Resource:
    """Slots, and the queues they are filled from."""

    __slots__ = (
        "draws",
        "gate",
        "is_draining",
        "is_selective",
        "is_shut",
        "load",
        "mean_s",
        "name",
        "num_slots",
        "num_yielding",
        "opens_at",
        "rate",
        "running",
        "stands_in",
    )

    def __init__(self, name: str, num_slots: int, is_selective: bool, gate: Gate | None) -> None:
        self.name = name
        self.num_slots = num_slots
        self.is_selective = is_selective
        """Whether a task may be passed over although there is a slot."""
        self.gate = gate
        """A core's; None where slots are all there is."""
        self.running: set[Task] = set()
        self.draws: dict[str, Queue] = {}
        self.stands_in: set[str] = set()
        """The queues it draws from only while none of those that they are meant for can serve."""
        self.num_yielding = 0
        """Running tasks that have been told to stop."""
        self.mean_s = 0.1
        """How long a task holds a slot, smoothed."""
        self.load = 0.0
        """The service that what runs there was expected to need."""
        self.rate = 100.0
        """Service a second in one slot, smoothed."""
        self.opens_at = math.inf
        """When its gate may open by time alone, found shut for a task that waits."""
        self.is_shut = False
        """Whether its gate was found shut for the first task that waits for it."""
        self.is_draining = False
        """Whether it takes no new calls, as it was told to."""

    @property
    def is_sound(self) -> bool:
        """Whether it takes calls: others stand in for it as long as it does not."""
        return not self.is_draining and (self.gate is None or self.gate.is_sound)

    def is_stopped(self, now: float) -> bool:
        """Whether it takes no call because somebody has to do something about it first."""
        return self.gate is not None and self.gate.is_stopped(now)

    @property
    def has_room(self) -> bool:
        return len(self.running) < self.num_slots

    @property
    def bears(self) -> float:
        """How many calls it bears at once, as far as that is known."""
        return self.num_slots if self.gate is None else min(self.num_slots, self.gate.window)

    @property
    def num_waiting(self) -> int:
        return sum([queue.size for queue in self.draws.values()])


class Scheduler:
    """`max_waiting` bounds each queue; a task beyond it is refused with `Overloaded`."""

    def __init__(self, policy: Policy, programs: Programs, max_waiting: int, *, is_shared: bool) -> None:
        """`is_shared` serves tenants by fair share, before the policy orders the programs of one."""
        self._policy = policy
        self._in_turn = RoundRobin()
        self._is_shared = is_shared
        self._max_waiting = max_waiting
        self._turns = count()
        self._queues: dict[str, Queue] = {}
        self._served_by: dict[str, list[Resource]] = {}
        self._passing: set[str] = set()
        self._going_on: set[str] = set()
        self._held: dict[int, set[Task]] = {}
        self._now = 0.0
        self._placement = Placement()
        self._num_cores = 0
        self.programs = programs
        self.resources: dict[str, Resource] = {}

    # ---- what there is

    def add_resource(
        self, name: str, num_slots: int, *, is_selective: bool = False, gate: Gate | None = None
    ) -> None:
        self.resources[name] = Resource(name, num_slots, is_selective, gate)
        self._num_cores += gate is not None

    def add_queue(
        self,
        queue: str,
        resources: Iterable[str],
        *,
        is_passing: bool = False,
        is_going_on: bool = False,
        stand_ins: Iterable[str] = (),
    ) -> None:
        """Make a run queue that these resources draw from; nothing where it is there already.

        A passing one is gone as soon as the last task has left it. In one that `is_going_on` wait calls that
        have begun: a core that is drained goes on with them if no other can. `stand_ins` draw from it only
        while none of `resources` is sound. Queues of cores are ordered by the policy, others in turn.
        """
        if queue in self._queues:
            return
        if is_passing:
            self._passing.add(queue)
        if is_going_on:
            self._going_on.add(queue)
        served_by = [self.resources[name] for name in resources]
        made = self._queues[queue] = self._make_queue(is_of_cores=served_by[0].gate is not None)
        for name in stand_ins:
            self.resources[name].stands_in.add(queue)
            served_by.append(self.resources[name])
        self._served_by[queue] = served_by
        for resource in served_by:
            resource.draws[queue] = made

    def _make_queue(self, *, is_of_cores: bool) -> Queue:
        if not is_of_cores:
            return Lanes(self._in_turn, self._turns)
        return RunQueue(self._policy, self.programs.fairness if self._is_shared else None, self._turns)

    # ---- transitions

    def submit(self, task: Task, queue: str, now: float) -> Task | None:
        """A new task waits in `queue`. Gives another that must make room for it, out of the queue already.

        `Overloaded` when the queue is full and nothing in it is of a lower band.
        """
        found = self._queues[queue]
        evicted = None
        if found.size >= self._max_waiting:
            evicted = self._make_room(task, found)
            if evicted is None:
                raise self.overloaded(queue)
            self.discard(evicted, now)
        self._wait(task, queue, now, first=False)
        return evicted

    def put_back(self, task: Task, queue: str, now: float, *, first: bool) -> None:
        """A task that gave up its slot waits again: at the end of its turn, or at its head."""
        task.state = State.READY
        self._wait(task, queue, now, first=first)

    def next(
        self, resource: Resource, now: float, can_start: Callable[[Task], bool] | None = None
    ) -> Task | None:
        """The task that gets a slot of `resource` now, if there is a slot and a task; it is RUNNING then."""
        self._now = now
        resource.opens_at, resource.is_shut = math.inf, False
        if not resource.has_room:
            return None
        if resource.gate is not None:
            return self._next_of_core(resource, resource.gate, now)
        for queue in self._in_order(resource, now):
            task = queue.take(now, can_start)
            if task is not None:
                self._starts(task, resource, now)
                return task
        return None

    def release(
        self,
        task: Task,
        held_s: float,
        now: float,
        outcome: Outcome = NEUTRAL,
        usage: Usage | None = None,
        *,
        was_interrupted: bool = False,
    ) -> Resource:
        """A task leaves its slot after `held_s` seconds. Gives the resource that has room now.

        `outcome` is what the gate of a core learns from, `usage` the tokens of a call that ended well.
        """
        assert task.resource is not None
        resource = self.resources[task.resource]
        resource.running.remove(task)
        resource.num_yielding -= task.is_yielding
        resource.mean_s += 0.05 * (held_s - resource.mean_s)
        task.is_yielding = task.must_stop = False
        task.resource = None
        demand = task.demand
        if resource.gate is not None and demand is not None:
            demand.program.stopped(held_s)
            resource.load -= demand.expected
            if outcome is DONE and held_s > 0:
                resource.rate += 0.05 * (demand.service / max(task.running_s, 1e-6) - resource.rate)
            used = None
            if usage is not None:
                used = max(0, usage.prompt_tokens + usage.completion_tokens - demand.num_settled)
            elif was_interrupted:
                used = demand.num_now
                demand.num_settled += used
            resource.gate.leave(now, demand.num_reserved, used, outcome, demand)
            if outcome.kind == "overloaded":
                demand.is_wary = True
            if usage is not None and outcome is DONE:
                self.programs.finished(task, usage)
        return resource

    def discard(self, task: Task, now: float) -> None:
        """Take a task out of where it waits, if it waits."""
        if task.is_held:
            task.is_held = False
            self._held[task.pid].remove(task)
        elif task.queue is not None:
            self._queues[task.queue].discard(task, now)
            self._left(task, now)

    def resources_of(self, queue: str, task: Task | None = None) -> list[Resource]:
        """Those that draw from `queue`; first those with room, the best for `task` before others."""
        served_by = self._served_by.get(queue, [])
        if len(served_by) <= 1 or task is None or task.demand is None:
            return served_by
        open = [one for one in served_by if one.gate is not None and one.has_room and one.is_sound]
        if len(open) <= 1 or task.demand.prefixes is None:
            return open + [one for one in served_by if one not in open]
        candidates = [Candidate(one.name, one.load, one.rate, one.bears) for one in open]
        order = self._placement.order(candidates, task.demand.prefixes, task.demand.num_in)
        return [self.resources[name] for name in order] + [one for one in served_by if one not in open]

    def sharing_with(self, resource: Resource) -> list[Resource]:
        """The others that draw from its queues: what it cannot serve, they may."""
        sharing = (one for one in self.resources.values() if one.draws.keys() & resource.draws.keys())
        return [one for one in sharing if one is not resource]

    def kept_out(self, resource: Resource) -> list[Resource]:
        """Those that found their gate shut for a task which `resource` may just have taken."""
        shut = [one for one in self.resources.values() if one.is_shut and one is not resource]
        return [one for one in shut if one.draws.keys() & resource.draws.keys()]

    def must_yield(self, task: Task, num_tokens: int) -> bool:
        """Whether a running task stops now, `num_tokens` into its slice. It stays True once it is."""
        if task.is_yielding:
            return True
        if task.resource is None:
            return False
        resource = self.resources[task.resource]
        if not task.must_stop:
            if num_tokens < self._policy.quantum or resource.num_waiting <= resource.num_yielding:
                return False
            if not self._goes_before(resource, task):
                return False
        task.is_yielding = True
        resource.num_yielding += 1
        return True

    # ---- suspended processes

    def hold(self, pid: int, tasks: Sequence[Task], now: float) -> None:
        """Set those of a process's `tasks` that wait aside, and those that come: they wait in no queue.

        What its running tools ask for is not set aside: they would hold their slots for as long.
        """
        held = self._held.setdefault(pid, set())
        for task in tasks:
            if task.queue is not None and not task.is_nested:
                self.discard(task, now)
                task.is_held = True
                held.add(task)

    def let_go(self, pid: int) -> list[Task]:
        """End the hold. Gives the tasks set aside, oldest first, to be put back."""
        held = self._held.pop(pid, set())
        for task in held:
            task.is_held = False
        return sorted(held, key=lambda task: task.id)

    # ---- looking

    def waiting_for(self, queue: str) -> list[Task]:
        """All that wait in `queue`, in no order."""
        found = self._queues.get(queue)
        return [] if found is None else found.tasks()

    def ahead_of(self, task: Task, now: float) -> int:
        """How many lanes would be served before the one that `task` waits in, if nothing else happened."""
        assert task.queue is not None
        for place, head in enumerate(self._queues[task.queue].in_order(now)):
            if head is task or (head.program == task.program and self._policy.lane(head) != head.id):
                return place
        return 0

    def key_of(self, task: Task, now: float) -> Key:
        """What the policy orders a task of a core by."""
        return self._policy.key(task, now, 0)

    def better_elsewhere_until(self, task: Task, resource: Resource) -> float:
        """Until when a task does better to wait for the core that has its beginning than to be read here.

        Where it goes, its conversation stays and takes the place of others': reading it again is the smaller
        part of what a move costs when all cores are busy.
        """
        demand = task.demand
        assert demand is not None
        home = self.resources.get(demand.home)
        if home is None or home is resource or not home.is_sound or task.queue not in home.draws:
            return -math.inf
        assert demand.prefixes is not None
        placement = self._placement
        more = placement.share(home.name, demand.prefixes) - placement.share(resource.name, demand.prefixes)
        return task.waits_since + PATIENCE * more * demand.num_in / max(resource.rate, 1e-9)

    def check(self) -> None:
        """Assert what must always hold."""
        for name, queue in self._queues.items():
            queue.check()
            assert self._served_by[name]
        for resource in self.resources.values():
            assert len(resource.running) <= resource.num_slots
            assert resource.num_yielding == sum(task.is_yielding for task in resource.running)
            for task in resource.running:
                assert task.resource == resource.name
                assert task.queue is None
            if resource.gate is not None:
                resource.gate.check()
                assert resource.gate.num_running == len(resource.running), resource.name
            may_idle = resource.is_selective or resource.gate is not None
            assert may_idle or not (resource.has_room and resource.num_waiting), resource.name
        for pid, held in self._held.items():
            assert all(task.is_held and task.pid == pid for task in held)

    def statistics(self) -> dict[str, dict[str, int]]:
        return {
            name: {"slots": one.num_slots, "running": len(one.running), "waiting": one.num_waiting}
            for name, one in self.resources.items()
        }

    def overloaded(self, queue: str) -> Overloaded:
        """The refusal of a task for which there is no room in `queue`."""
        num_waiting = self._queues[queue].size
        return Overloaded(f"{num_waiting} calls wait for {queue}", retry_after=self._backlog_s(queue))

    # ---- inside

    def _next_of_core(self, resource: Resource, gate: Gate, now: float) -> Task | None:
        queues = self._in_order(resource, now)
        if not queues:
            return None
        gate.look()

        is_refused = False
        until = math.inf

        def may_enter(task: Task) -> bool:
            nonlocal is_refused
            assert task.demand is not None
            resource.opens_at = gate.opens_at(now, task.demand.num_tokens, task.demand)
            is_refused = resource.opens_at > now
            return not is_refused

        def passes(task: Task) -> bool:
            nonlocal until
            better = self.better_elsewhere_until(task, resource)
            if better <= now:
                return False
            until = min(until, better)
            return True

        for queue in queues:
            task = queue.take(now, may_enter, passes if self._num_cores > 1 else None)
            if task is not None:
                self._starts(task, resource, now)
                self._enters(task, resource, gate, now)
                return task
            if is_refused:
                resource.is_shut = True
                return None  # The first does not fit yet: what came after it would keep it out.
        resource.opens_at = until
        return None

    def _starts(self, task: Task, resource: Resource, now: float) -> None:
        self._left(task, now)
        task.state = State.RUNNING
        task.resource = resource.name
        resource.running.add(task)

    def _enters(self, task: Task, resource: Resource, gate: Gate, now: float) -> None:
        demand = task.demand
        assert demand is not None
        demand.num_reserved = demand.num_tokens
        num_in = float(demand.num_in)
        if demand.prefixes is not None:
            share = self._placement.placed(resource.name, demand.prefixes)
            num_in *= 1 - share if not demand.service else 1
        demand.expected = max(0.0, num_in + 2.0 * demand.max_out - demand.service)
        resource.load += demand.expected
        gate.enter(now, demand.num_reserved, demand)
        program = demand.program
        program.started()
        waited_s = now - task.waits_since
        program.decisions.append(
            Decision(now, task.id, resource.name, waited_s, resource.num_waiting, demand.key)
        )
        self._policy.started(task, now)
        if not demand.service:
            self.programs.began(demand)

    def _goes_before(self, resource: Resource, task: Task) -> bool:
        """Whether a task that waits for `resource` would go before a running one, if that waited, too."""
        demand = task.demand
        if demand is None:
            return False
        counter = demand.program.tenant.counter if self._is_shared else 0.0
        key = (demand.band, counter, *self._policy.key(task, self._now, next(self._turns)))
        waiting = (queue.head_key(self._now) for queue in resource.draws.values() if queue.size)
        return any(head is not None and head < key for head in waiting)

    def _make_room(self, task: Task, queue: Queue) -> Task | None:
        """The newest of the lowest band, where that is below the band of `task`."""
        if not isinstance(queue, RunQueue) or task.demand is None:
            return None
        newest = queue.newest_of_lowest_band()
        if newest is None or newest.demand is None or newest.demand.band <= task.demand.band:
            return None
        return newest

    def _wait(self, task: Task, queue: str, now: float, *, first: bool) -> None:
        self._now = now
        held = None if task.is_nested else self._held.get(task.pid)
        if held is None:
            task.queue = queue
            task.waits_since = now
            if task.demand is not None:
                task.demand.program.queued(now)
                self._finds_home(task, task.demand)
            self._queues[queue].add(task, now, first=first)
        else:
            task.is_held = True
            held.add(task)
            self._let_pass(queue)

    def _finds_home(self, task: Task, demand: Demand) -> None:
        """Look which core has the beginning of a generation, where there are several."""
        if self._num_cores > 1 and isinstance(task.call, LlmGenerate):
            if demand.prefixes is None:
                demand.prefixes = prefixes_of(task.call.messages)
            demand.home = self._placement.home(demand.prefixes)

    def _left(self, task: Task, now: float) -> None:
        """A task has left its queue."""
        queue, task.queue = task.queue, None
        if task.demand is not None:
            task.demand.program.unqueued(now)
        if queue is not None:
            self._let_pass(queue)

    def _let_pass(self, queue: str) -> None:
        """Take a passing queue away once nothing waits in it."""
        if queue in self._passing and not self._queues[queue].size:
            self._passing.remove(queue)
            del self._queues[queue]
            for resource in self._served_by.pop(queue):
                del resource.draws[queue]

    def _in_order(self, resource: Resource, now: float) -> list[Queue]:
        """Its queues that are not empty, the one whose turn it is first."""
        queues = [queue for queue in resource.draws.values() if queue.size]
        if resource.stands_in and queues:
            draws = resource.draws.items()
            queues = [queue for name, queue in draws if queue.size and self._may_draw(resource, name)]
        if resource.is_draining:
            queues = [queue for name, queue in resource.draws.items() if queue.size and self._ends_here(name)]
        if len(queues) > 1:
            queues.sort(key=lambda queue: queue.head_key(now) or ())
        return queues

    def _may_draw(self, resource: Resource, queue: str) -> bool:
        if queue not in resource.stands_in:
            return True
        meant = (one for one in self._served_by[queue] if queue not in one.stands_in)
        return not any(one.is_sound for one in meant)

    def _ends_here(self, queue: str) -> bool:
        """Whether what waits in `queue` is let finish by cores that are drained."""
        return queue in self._going_on and not any(one.is_sound for one in self._served_by[queue])

    def _backlog_s(self, queue: str) -> float:
        served_by = self._served_by[queue]
        rate = sum(one.num_slots / max(one.mean_s, 1e-4) for one in served_by)
        return round(min(60.0, max(0.1, self._queues[queue].size / rate)), 1)
