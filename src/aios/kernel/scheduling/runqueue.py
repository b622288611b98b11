"""One run queue: tasks that wait for the same thing, in the order of a policy. O(log n) an event."""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator

from aios.kernel.policy import Policy
from aios.kernel.task import Task


class Lane:
    """Tasks of one process or program, oldest first."""

    __slots__ = ("id", "key", "tasks")

    def __init__(self, id: int) -> None:
        self.id = id
        self.tasks: OrderedDict[Task, None] = OrderedDict()
        self.key: int | None = None
        """Its place in the heap; None while it is not in it."""


class RunQueue:
    """Lanes in a heap. A lane emptied by cancellations stays until its turn comes, and is dropped then."""

    def __init__(self, policy: Policy, turns: Iterator[int]) -> None:
        self._policy = policy
        self._turns = turns
        self._lanes: dict[int, Lane] = {}
        self._heap: list[tuple[int, int]] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, task: Task, *, first: bool = False) -> None:
        """Put a task at the end of its lane, or at its head."""
        id = self._policy.lane(task)
        lane = self._lanes.get(id)
        if lane is None:
            lane = self._lanes[id] = Lane(id)
        lane.tasks[task] = None
        if first:
            lane.tasks.move_to_end(task, last=False)
        self._size += 1
        if lane.key is None:
            self._line_up(lane)
        elif first:
            self._move(lane, self._policy.key(task, lane.key))

    def discard(self, task: Task) -> None:
        """Take a task out, wherever it stands."""
        del self._lanes[self._policy.lane(task)].tasks[task]
        self._size -= 1

    def head_key(self) -> int | None:
        """The key of the next task; None when there is none."""
        lane = self._first_lane()
        return None if lane is None else lane.key

    def take(self, can_start: Callable[[Task], bool] | None = None) -> Task | None:
        """The next task, unless it cannot start."""
        lane = self._first_lane()
        if lane is None:
            return None
        task = next(iter(lane.tasks))
        if can_start is not None and not can_start(task):
            return None
        heapq.heappop(self._heap)
        lane.key = None
        del lane.tasks[task]
        self._size -= 1
        if lane.tasks:
            self._line_up(lane)
        else:
            del self._lanes[lane.id]
        return task

    def check(self) -> None:
        """Assert that every task is counted and can be reached."""
        assert self._size == sum(len(lane.tasks) for lane in self._lanes.values())
        assert {(lane.key, lane.id) for lane in self._lanes.values()} <= set(self._heap)

    def _line_up(self, lane: Lane) -> None:
        lane.key = self._policy.key(next(iter(lane.tasks)), next(self._turns))
        heapq.heappush(self._heap, (lane.key, lane.id))

    def _move(self, lane: Lane, key: int) -> None:
        """Give a lane another key. What the heap has of the one before is passed over when it comes up."""
        if key != lane.key:
            lane.key = key
            heapq.heappush(self._heap, (key, lane.id))

    def _first_lane(self) -> Lane | None:
        """The lane whose turn it is, once empty lanes and keys that no longer hold are cleared away."""
        while self._heap:
            key, id = self._heap[0]
            lane = self._lanes.get(id)
            if lane is None or lane.key != key:
                heapq.heappop(self._heap)
            elif not lane.tasks:
                heapq.heappop(self._heap)
                del self._lanes[id]
            elif (now := self._policy.key(next(iter(lane.tasks)), key)) == key:
                return lane
            else:  # Its head has changed since it lined up.
                self._move(lane, now)
        return None
