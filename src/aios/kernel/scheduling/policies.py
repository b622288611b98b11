"""The scheduling policies: which program is next, and for how long. Small functions of what a task is.

Every policy gives a lane (what is kept in the order of arrival) a key; the smallest is next, ties go to the
older. No clock and no I/O: `now` is an argument, and what was learnt is asked of `Estimates`.
"""

import math
import sys
from collections.abc import Callable
from typing import Protocol

from aios.kernel.program import Demand, Program
from aios.kernel.scheduling.estimates import Estimates
from aios.kernel.task import Task

Key = tuple[float, ...]

UNBOUNDED = sys.maxsize


class Policy(Protocol):
    """Orders lanes. Tasks of one lane are served in order."""

    @property
    def quantum(self) -> int:
        """Tokens after which a running generation may be interrupted for one with a smaller key."""
        ...

    def lane(self, task: Task) -> int:
        """The lane that it waits in."""
        ...

    def key(self, head: Task, now: float, turn: int) -> Key:
        """The key of the lane whose oldest task is `head`. `turn` rises with every lane that lines up."""
        ...

    def changes_at(self, head: Task, now: float) -> float:
        """When the key becomes smaller by time alone; infinity for never."""
        ...

    def started(self, task: Task, now: float) -> None:
        """A task got a slot."""
        ...


class _Ordered:
    """What most policies have in common: a lane for each program, and keys that time does not change."""

    def __init__(self, quantum: int = UNBOUNDED) -> None:
        self.quantum = quantum

    def lane(self, task: Task) -> int:
        return task.program

    def changes_at(self, head: Task, now: float) -> float:
        return math.inf

    def started(self, task: Task, now: float) -> None:
        pass


class _ByCall(_Ordered):
    """Each call by itself."""

    def lane(self, task: Task) -> int:
        return task.id


class Fifo(_ByCall):
    """The oldest call first; never interrupts."""

    def key(self, head: Task, now: float, turn: int) -> Key:
        return (head.id,)


class ProgramFifo(_Ordered):
    """The program that came first, its calls in order; never interrupts."""

    def key(self, head: Task, now: float, turn: int) -> Key:
        return (_program(head).order,)


class RoundRobin(_Ordered):
    """Each program in turn, one call a turn, so that fanning out into children buys no share."""

    def key(self, head: Task, now: float, turn: int) -> Key:
        return (turn,)


class Priority(_ByCall):
    """The highest given priority first. One step of priority is worth `aging_s` of waiting, so all waits end.

    That is the order of priority plus wait / aging at any moment, and needs no clock.
    """

    def __init__(self, quantum: int, aging_s: float) -> None:
        super().__init__(quantum)
        self._aging_s = aging_s

    def key(self, head: Task, now: float, turn: int) -> Key:
        return (head.created - self._aging_s * _demand(head).priority, head.id)


class _Levels(_Ordered):
    """Less attained service first, in geometric levels, so that programs of a level are served in order.

    Level 0 ends at `first` tokens of service, each other at `ratio` times the one before. A program whose
    waiting passes `patience` times the seconds it ran is promoted to level 0 (Autellix, arXiv 2502.13965,
    section 4.3), where it stands before those that came after it: no program waits for ever.
    """

    def __init__(self, quantum: int, first: float, ratio: float, patience: float) -> None:
        super().__init__(quantum)
        self._first = first
        self._ratio = math.log(ratio)
        self._patience = patience

    def key(self, head: Task, now: float, turn: int) -> Key:
        program = _program(head)
        attained = self._attained(head)
        if attained < self._first or self._is_starved(program, now):
            return (0, program.order)
        return (1 + int(math.log(attained / self._first) / self._ratio), program.order)

    def changes_at(self, head: Task, now: float) -> float:
        program = _program(head)
        if self._attained(head) < self._first or program.waits_since is None:
            return math.inf  # It is at the first level already.
        if self._is_starved(program, now):
            return math.inf
        return now + self._bound_s(program) - program.waited(now)

    def started(self, task: Task, now: float) -> None:
        program = _program(task)
        if self._attained(task) >= self._first and self._is_starved(program, now):
            program.promote(now)

    def _attained(self, head: Task) -> float:
        program = _program(head)
        return program.service - program.mark

    def _bound_s(self, program: Program) -> float:
        return self._patience * max(program.ran_s, 1.0)

    def _is_starved(self, program: Program, now: float) -> bool:
        # A little late rather than never: `changes_at` rounds.
        return program.waited(now) >= self._bound_s(program) - 1e-6


class Plas(_Levels):
    """Least attained service of the program first (Autellix, arXiv 2502.13965, section 4.2)."""


class Mlfq(_Levels):
    """As `Plas`, but a program joins at the first level whose quantum covers its prefill."""

    def _attained(self, head: Task) -> float:
        return max(super()._attained(head), _demand(head).num_in)


class Atlas(_Levels):
    """By the longest chain of calls before this one: what parallel calls attain together does not count.

    (Autellix, arXiv 2502.13965, section 4.2, for programs of several threads.)
    """

    def lane(self, task: Task) -> int:
        return task.id

    def key(self, head: Task, now: float, turn: int) -> Key:
        return (*super().key(head, now, turn), head.id)

    def _attained(self, head: Task) -> float:
        demand = _demand(head)
        return max(0.0, demand.path + demand.service - demand.program.path_mark)


class Srpt(_Ordered):
    """The shortest remaining work first, as far as it was declared or can be told from programs alike.

    Of a kind that is not known yet, as much again is expected as there was: that is `plas`, in the same unit.
    """

    def __init__(self, quantum: int, estimates: Estimates) -> None:
        super().__init__(quantum)
        self._estimates = estimates

    def key(self, head: Task, now: float, turn: int) -> Key:
        demand = _demand(head)
        program = demand.program
        remaining = left_of(program)
        if remaining is None:
            known = self._estimates.remaining(program.agent, len(program.steps), program.service)
            remaining = program.service if known is None else known[0]
        return (remaining, program.order)


class Gittins(_Ordered):
    """The smallest Gittins rank of what the program attained: the best mean that a distribution can give."""

    def __init__(self, quantum: int, estimates: Estimates) -> None:
        super().__init__(quantum)
        self._estimates = estimates

    def key(self, head: Task, now: float, turn: int) -> Key:
        program = _program(head)
        known = self._estimates.gittins(program.agent, program.service)
        return (program.service if known is None else known[0], program.order)


class Oracle(_Ordered):
    """The shortest declared remaining work first, and what declares nothing last: a bound for benches."""

    def key(self, head: Task, now: float, turn: int) -> Key:
        program = _program(head)
        remaining = left_of(program)
        return (math.inf if remaining is None else remaining, program.order)


class CriticalPath(_Ordered):
    """The longest remaining path first, declared or learnt: for the shortest makespan, not for the mean.

    A kind that nobody knows yet goes before all: it may be the longest, and then nothing makes up for a late
    begin.
    """

    def __init__(self, quantum: int, estimates: Estimates) -> None:
        super().__init__(quantum)
        self._estimates = estimates

    def key(self, head: Task, now: float, turn: int) -> Key:
        demand = _demand(head)
        program = demand.program
        if demand.work_left is not None:
            return (-demand.work_left, program.order)
        left: float | None = demand.steps_left
        if left is None:
            left = self._estimates.steps_left(program.agent, len(program.steps))
        return (-math.inf if left is None else -left, program.order)


class VirtualFinish(_Ordered):
    """In the order of the ends under ideal fair sharing of all programs, each then run at full speed.

    (arXiv 2510.17015.) Virtual time passes by the service given over the number of programs that share it.
    """

    def __init__(self, quantum: int, estimates: Estimates, clock: "VirtualTime") -> None:
        super().__init__(quantum)
        self._estimates = estimates
        self._clock = clock

    def key(self, head: Task, now: float, turn: int) -> Key:
        program = _program(head)
        if program.finish is None:
            work = program.work
            if work is None:
                known = self._estimates.remaining(program.agent, 0, 0.0)
                work = 0.0 if known is None else known[0]
            program.finish = self._clock.time + work / program.tenant.weight
        return (program.finish, program.order)


class VirtualTime:
    """The service that each of the programs at work would have been given by now under ideal sharing."""

    def __init__(self) -> None:
        self.time = 0.0
        self.num_sharing = 0

    def given(self, service: float) -> None:
        if self.num_sharing:
            self.time += service / self.num_sharing


class EarliestDeadline(_ByCall):
    """The earliest deadline first; what can no longer be done in time goes behind what can.

    `rate_s` is what a token of service takes, in seconds, as measured.
    """

    def __init__(self, quantum: int, seconds_of: Callable[[Task], float]) -> None:
        super().__init__(quantum)
        self._seconds_of = seconds_of

    def key(self, head: Task, now: float, turn: int) -> Key:
        due = _demand(head).due
        is_late = due < math.inf and now + self._seconds_of(head) > due
        return (is_late, self._urgency(head, due), head.id)

    def _urgency(self, head: Task, due: float) -> float:
        return due


class LeastLaxity(EarliestDeadline):
    """The least time to spare first: deadline less what remains. All that wait lose it alike."""

    def _urgency(self, head: Task, due: float) -> float:
        return due - self._seconds_of(head)


def left_of(program: Program) -> float | None:
    """The service that a program says it still needs."""
    return None if program.work is None else max(0.0, program.work - program.service)


def _demand(task: Task) -> Demand:
    assert task.demand is not None, task
    return task.demand


def _program(task: Task) -> Program:
    return _demand(task).program
