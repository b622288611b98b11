"""SCHEDULER: all run queues, all slots, and every transition between waiting and running.

Decides without awaiting: no clock, no I/O. A resource has slots and draws from one or more run queues; what
runs in a slot, and how, is the dispatcher's.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import count

from aios.abi.errors import Overloaded
from aios.kernel.policy import Policy
from aios.kernel.runqueue import RunQueue
from aios.kernel.task import State, Task


class Resource:
    """Slots, and the queues they are filled from."""

    __slots__ = (
        "draws",
        "is_selective",
        "mean_s",
        "name",
        "num_slots",
        "num_yielding",
        "rests_until",
        "running",
    )

    def __init__(self, name: str, num_slots: int, is_selective: bool) -> None:
        self.name = name
        self.num_slots = num_slots
        self.is_selective = is_selective
        """Whether a task may be passed over although there is a slot."""
        self.running: set[Task] = set()
        self.draws: dict[str, RunQueue] = {}
        self.num_yielding = 0
        """Running tasks that have been told to stop."""
        self.mean_s = 0.1
        """How long a task holds a slot, smoothed."""
        self.rests_until: float | None = None
        """Set while it fails: it leaves what it shares to sound ones, and after this time tries one."""

    @property
    def is_failing(self) -> bool:
        return self.rests_until is not None

    @property
    def has_room(self) -> bool:
        return len(self.running) < self.num_slots

    @property
    def num_waiting(self) -> int:
        return sum(map(len, self.draws.values()))


class Scheduler:
    """`max_waiting` bounds each queue; a task beyond it is refused with `Overloaded`."""

    def __init__(self, policy: Policy, max_waiting: int) -> None:
        self._policy = policy
        self._max_waiting = max_waiting
        self._turns = count()
        self._queues: dict[str, RunQueue] = {}
        self._served_by: dict[str, list[Resource]] = {}
        self._passing: set[str] = set()
        self._held: dict[int, set[Task]] = {}
        self.resources: dict[str, Resource] = {}

    # ---- what there is

    def add_resource(self, name: str, num_slots: int, *, is_selective: bool = False) -> None:
        self.resources[name] = Resource(name, num_slots, is_selective)

    def add_queue(self, queue: str, resources: Iterable[str], *, is_passing: bool = False) -> None:
        """Make a run queue that these resources draw from; nothing where it is there already.

        A passing one is gone as soon as the last task has left it.
        """
        if queue in self._queues:
            return
        if is_passing:
            self._passing.add(queue)
        self._queues[queue] = RunQueue(self._policy, self._turns)
        self._served_by[queue] = [self.resources[name] for name in resources]
        for resource in self._served_by[queue]:
            resource.draws[queue] = self._queues[queue]

    # ---- transitions

    def submit(self, task: Task, queue: str) -> None:
        """A new task waits in `queue`. `Overloaded` when the queue is full."""
        num_waiting = len(self._queues[queue])
        if num_waiting >= self._max_waiting:
            raise Overloaded(f"{num_waiting} calls wait for {queue}", retry_after=self._backlog_s(queue))
        self._wait(task, queue, first=False)

    def put_back(self, task: Task, queue: str, *, first: bool) -> None:
        """A task that gave up its slot waits again: at the end of its turn, or at its head."""
        task.state = State.READY
        self._wait(task, queue, first=first)

    def next(
        self, resource: Resource, now: float, can_start: Callable[[Task], bool] | None = None
    ) -> Task | None:
        """The task that gets a slot of `resource` now, if there is a slot and a task; it is RUNNING then."""
        if not resource.has_room:
            return None
        for queue in self._in_order(resource, now):
            task = queue.take(can_start)
            if task is not None:
                self._left(task)
                task.state = State.RUNNING
                task.resource = resource.name
                resource.running.add(task)
                return task
        return None

    def release(self, task: Task, held_s: float) -> Resource:
        """A task leaves its slot after `held_s` seconds. Gives the resource that has room now."""
        assert task.resource is not None
        resource = self.resources[task.resource]
        resource.running.remove(task)
        resource.num_yielding -= task.is_yielding
        resource.mean_s += 0.05 * (held_s - resource.mean_s)
        task.is_yielding = task.must_stop = False
        task.resource = None
        return resource

    def discard(self, task: Task) -> None:
        """Take a task out of where it waits, if it waits."""
        if task.is_held:
            task.is_held = False
            self._held[task.pid].remove(task)
        elif task.queue is not None:
            self._queues[task.queue].discard(task)
            self._left(task)

    def resources_of(self, queue: str) -> list[Resource]:
        """Those that draw from `queue`, the sound before the failing, the least loaded first."""
        served_by = self._served_by.get(queue, [])
        if len(served_by) <= 1:
            return served_by
        return sorted(served_by, key=lambda one: (one.is_failing, len(one.running) / one.num_slots))

    def sharing_with(self, resource: Resource) -> list[Resource]:
        """It, and the failing ones that draw from its queues: a slot may stand empty there by its health."""
        failing = [one for one in self.resources.values() if one.rests_until is not None]
        if not failing:
            return [resource]
        sharing = (one for one in failing if one.draws.keys() & resource.draws.keys())
        return [resource, *(one for one in sharing if one is not resource)]

    def must_yield(self, task: Task, num_tokens: int) -> bool:
        """Whether a running task stops now, `num_tokens` into its slice. It stays True once it is."""
        if task.is_yielding:
            return True
        if task.resource is None:
            return False
        resource = self.resources[task.resource]
        if not task.must_stop and (
            num_tokens < self._policy.quantum or resource.num_waiting <= resource.num_yielding
        ):
            return False
        task.is_yielding = True
        resource.num_yielding += 1
        return True

    # ---- suspended processes

    def hold(self, pid: int, tasks: Sequence[Task]) -> None:
        """Set those of a process's `tasks` that wait aside, and those that come: they wait in no queue.

        What its running tools ask for is not set aside: they would hold their slots for as long.
        """
        held = self._held.setdefault(pid, set())
        for task in tasks:
            if task.queue is not None and not task.is_nested:
                self.discard(task)
                task.is_held = True
                held.add(task)

    def let_go(self, pid: int) -> list[Task]:
        """End the hold. Gives the tasks set aside, oldest first, to be put back."""
        held = self._held.pop(pid, set())
        for task in held:
            task.is_held = False
        return sorted(held, key=lambda task: task.id)

    # ---- looking

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
            may_idle = resource.is_selective or resource.is_failing
            assert may_idle or not (resource.has_room and resource.num_waiting), resource.name
        for pid, held in self._held.items():
            assert all(task.is_held and task.pid == pid for task in held)

    def statistics(self) -> dict[str, dict[str, int]]:
        return {
            name: {"slots": one.num_slots, "running": len(one.running), "waiting": one.num_waiting}
            for name, one in self.resources.items()
        }

    # ---- inside

    def _wait(self, task: Task, queue: str, *, first: bool) -> None:
        held = None if task.is_nested else self._held.get(task.pid)
        if held is None:
            task.queue = queue
            self._queues[queue].add(task, first=first)
        else:
            task.is_held = True
            held.add(task)
            self._let_pass(queue)

    def _left(self, task: Task) -> None:
        """A task has left its queue."""
        queue, task.queue = task.queue, None
        if queue is not None:
            self._let_pass(queue)

    def _let_pass(self, queue: str) -> None:
        """Take a passing queue away once nothing waits in it."""
        if queue in self._passing and not self._queues[queue]:
            self._passing.remove(queue)
            del self._queues[queue]
            for resource in self._served_by.pop(queue):
                del resource.draws[queue]

    def _in_order(self, resource: Resource, now: float) -> list[RunQueue]:
        """Its queues that are not empty, the one whose turn it is first."""
        queues = [queue for queue in resource.draws.values() if queue]
        if resource.rests_until is not None and (resource.running or now < resource.rests_until):
            draws = resource.draws.items()
            alone = {name for name, _ in draws if all(one.is_failing for one in self._served_by[name])}
            queues = [queue for name, queue in draws if queue and name in alone]
        if len(queues) > 1:
            queues.sort(key=lambda queue: queue.head_key() or 0)
        return queues

    def _backlog_s(self, queue: str) -> float:
        served_by = self._served_by[queue]
        rate = sum(one.num_slots / max(one.mean_s, 1e-4) for one in served_by)
        return round(min(60.0, max(0.1, len(self._queues[queue]) / rate)), 1)
