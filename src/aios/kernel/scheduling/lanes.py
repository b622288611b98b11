"""Tasks in lanes, and the lanes in the order of a policy. O(log n) an event, nothing polls.

The heap is lazy: a key that has risen is put right when it comes up. A lane whose key may have fallen is
looked at before the next task is taken: by time, which has a heap of its own, or by what its program
declared, was given or took back.
"""

import heapq
import math
from collections.abc import Callable, Iterator

from aios.kernel.program import Program
from aios.kernel.scheduling.policies import Key, Policy
from aios.kernel.task import Task

CanStart = Callable[[Task], bool]
Passes = Callable[[Task], bool]
"""Whether a task lets others go before it: it would rather wait for another slot than have this one."""

MAX_PASSED = 16
"""Lanes that are looked at beyond those that let others pass."""


class Lane:
    """Tasks of one program, or one task alone, oldest first."""

    __slots__ = ("id", "key", "program", "stale", "tasks", "turn")

    def __init__(self, id: int, program: Program | None, stale: set[int]) -> None:
        self.id = id
        self.program = program
        """Whose calls all of this queue wait in it; None for one of a single task."""
        self.stale = stale
        self.tasks: dict[Task, None] = {}
        self.key: Key | None = None
        """Its place in the heap; None while it is not in it."""
        self.turn = 0

    @property
    def head(self) -> Task:
        return next(iter(self.tasks))

    def line_up(self) -> None:
        """Take the place of its key anew before the next is taken."""
        self.stale.add(self.id)


class Lanes:
    """Made of at least one task each. What the heaps hold of lanes that are gone is cleared away in time."""

    def __init__(self, policy: Policy, turns: Iterator[int]) -> None:
        self._policy = policy
        self._turns = turns
        self._lanes: dict[int, Lane] = {}
        self._heap: list[tuple[Key, int]] = []
        self._changes: list[tuple[float, int]] = []
        """When the key of a lane's head may change by time alone: at most one entry of a lane counts."""
        self._next_change: dict[int, float] = {}
        self._stale: set[int] = set()
        """The lanes whose keys may have fallen by what their programs declared or were given."""
        self.size = 0

    def add(self, task: Task, now: float, *, first: bool = False) -> None:
        """Put a task at the end of its lane, or at its head."""
        id = self._policy.lane(task)
        lane = self._lanes.get(id)
        if lane is None:
            lane = self._lanes[id] = self._open(id, task)
        if first:
            lane.tasks = {task: None, **lane.tasks}
        else:
            lane.tasks[task] = None
        self.size += 1
        if lane.key is None:
            self._line_up(lane, now)
        elif first:
            self._place(lane, now)

    def discard(self, task: Task, now: float) -> None:
        """Take a task out, wherever it stands."""
        lane = self._lanes[self._policy.lane(task)]
        del lane.tasks[task]
        self.size -= 1
        if not lane.tasks:
            self._close(lane)
            self._tidy()
        else:
            self._stale.add(lane.id)

    def head_key(self, now: float) -> Key | None:
        """The key of the next task; None when there is none."""
        lane = self._first_lane(now)
        return None if lane is None else lane.key

    def first(self, now: float, passes: Passes | None = None) -> Task | None:
        """The next task, of those that do not let others pass: nothing is taken out."""
        if passes is None:
            lane = self._first_lane(now)
            return None if lane is None else lane.head
        passed: list[tuple[Key, int]] = []
        found = None
        while found is None and len(passed) < MAX_PASSED and (lane := self._first_lane(now)) is not None:
            if passes(lane.head):
                passed.append(heapq.heappop(self._heap))
            else:
                found = lane.head
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return found

    def start(self, task: Task, now: float) -> None:
        """Take out one that `first` gave."""
        lane = self._lanes[self._policy.lane(task)]
        if task.demand is not None and lane.key is not None:
            task.demand.key = lane.key
        del lane.tasks[task]
        self.size -= 1
        is_top = self._heap[0] == (lane.key, lane.id)
        if is_top:
            heapq.heappop(self._heap)
            lane.key = None
        if lane.tasks:
            self._line_up(lane, now)  # An entry that is not at the top stands, where the key is the same.
        else:
            self._close(lane)
        if not is_top:
            self._tidy()

    def take(
        self, now: float, can_start: CanStart | None = None, passes: Passes | None = None
    ) -> Task | None:
        """The next task, unless it cannot start: nothing goes before it then."""
        task = self.first(now, passes)
        if task is None or (can_start is not None and not can_start(task)):
            return None
        self.start(task, now)
        return task

    def tasks(self) -> list[Task]:
        """All that wait, in no order."""
        return [task for lane in self._lanes.values() for task in lane.tasks]

    def in_order(self, now: float) -> list[Task]:
        """The oldest task of each lane, as they would be taken now. For looking: O(n log n)."""
        lanes = list(self._lanes.values())
        lanes.sort(key=lambda lane: (self._policy.key(lane.head, now, lane.turn), lane.id))
        return [lane.head for lane in lanes]

    def check(self) -> None:
        """Assert that every task is counted and can be reached."""
        assert self.size == sum(len(lane.tasks) for lane in self._lanes.values())
        assert all(lane.tasks for lane in self._lanes.values())
        assert {(lane.key, lane.id) for lane in self._lanes.values()} <= set(self._heap)

    def _open(self, id: int, task: Task) -> Lane:
        program = task.demand.program if task.demand is not None and id == task.program else None
        lane = Lane(id, program, self._stale)
        if program is not None:
            program.lines[lane] = None
        return lane

    def _close(self, lane: Lane) -> None:
        del self._lanes[lane.id]
        if lane.program is not None:
            del lane.program.lines[lane]

    def _line_up(self, lane: Lane, now: float) -> None:
        lane.turn = next(self._turns)
        self._place(lane, now)

    def _place(self, lane: Lane, now: float) -> None:
        """Give a lane the key it has now. What the heap has of the one before is passed over there."""
        head = lane.head
        key = self._policy.key(head, now, lane.turn)
        if key != lane.key:
            lane.key = key
            heapq.heappush(self._heap, (key, lane.id))
        changes_at = self._policy.changes_at(head, now)
        # An earlier entry does as well: when it comes up, the lane is looked at again.
        if changes_at < self._next_change.get(lane.id, math.inf):
            self._next_change[lane.id] = changes_at
            heapq.heappush(self._changes, (changes_at, lane.id))

    def _first_lane(self, now: float) -> Lane | None:
        """The lane whose turn it is, once keys that no longer hold are cleared away."""
        if self._changes:
            self._keep_time(now)
        if self._stale:
            self._refresh(now)
        while self._heap:
            key, id = self._heap[0]
            lane = self._lanes.get(id)
            if lane is None or lane.key != key:
                heapq.heappop(self._heap)
            elif self._policy.key(lane.head, now, lane.turn) == key:
                return lane
            else:  # Its head, or what its program has been given, is another since it lined up.
                self._place(lane, now)
        return None

    def _keep_time(self, now: float) -> None:
        while self._changes and self._changes[0][0] <= now:
            changes_at, id = heapq.heappop(self._changes)
            if self._next_change.get(id) == changes_at:
                del self._next_change[id]
            lane = self._lanes.get(id)
            if lane is not None:
                self._place(lane, now)

    def _refresh(self, now: float) -> None:
        for id in self._stale:
            lane = self._lanes.get(id)
            if lane is not None:
                self._place(lane, now)
        self._stale.clear()

    def _tidy(self) -> None:
        """Make the heaps anew once most of what they hold is of lanes that are gone."""
        if len(self._heap) + len(self._changes) > 4 * len(self._lanes) + 64:
            self._heap = [(lane.key, lane.id) for lane in self._lanes.values() if lane.key is not None]
            heapq.heapify(self._heap)
            self._next_change = {id: at for id, at in self._next_change.items() if id in self._lanes}
            self._changes = [(at, id) for id, at in self._next_change.items()]
            heapq.heapify(self._changes)
