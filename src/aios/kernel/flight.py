"""The calls in flight: each is created here and settled here, and nowhere else.

Owns which task belongs to which process, deadlines, and what a settled call adds to the books. Knows no queue
and no slot.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial

from aios.abi.errors import AiosError, Cancelled, DeadlineExceeded, InvalidArgument, QuotaExceeded
from aios.abi.syscalls import Embeddings, LlmAnswer, Reply, Row, SystemCall
from aios.drivers.clock import Clock
from aios.kernel.journal import EventKind, Journal
from aios.kernel.process import Process
from aios.kernel.task import Emit, State, Task

MAX_TIMEOUT_S = 7 * 86_400.0


class Flight:
    """`max_calls` bounds those of one process. `on_deadline` is told of a task whose time is up."""

    def __init__(self, clock: Clock, journal: Journal, max_calls: int) -> None:
        self._clock = clock
        self._journal = journal
        self._max_calls = max_calls
        self._ids = itertools.count(1)
        self._in_flight: dict[int, tuple[Task, Process]] = {}
        self.on_deadline: Callable[[Task, AiosError], None] = lambda task, error: None

    def __len__(self) -> int:
        return len(self._in_flight)

    def create(
        self, process: Process, row: Row, call: SystemCall, emit: Emit | None, timeout_s: float | None
    ) -> Task:
        """A new task, READY. `Cancelled` when its process has ended, `QuotaExceeded` when it has too many."""
        if process.has_ended:
            raise Cancelled(f"process {process.pid} has ended")
        if len(process.calls_in_flight) >= self._max_calls:
            raise QuotaExceeded(f"process {process.pid} has {len(process.calls_in_flight)} calls in flight")
        now = process.last_call = self._clock.now()
        process.num_calls += 1
        task = Task(next(self._ids), process.pid, process.program, process.num_calls, row, call, now, emit)
        if timeout_s is not None:
            self._set_deadline(task, timeout_s)
        process.calls_in_flight[task.id] = row.name
        self._in_flight[task.id] = task, process
        self._journal.record(now, "created", task.id, task.pid, row.name)
        return task

    def process_of(self, task: Task) -> Process:
        return self._in_flight[task.id][1]

    def task(self, id: int) -> Task:
        return self._in_flight[id][0]

    def tasks_of(self, process: Process) -> list[Task]:
        return [self._in_flight[id][0] for id in process.calls_in_flight]

    def tasks(self) -> list[Task]:
        return [task for task, _ in self._in_flight.values()]

    def settle(self, task: Task, outcome: Reply | AiosError) -> None:
        """Give the answer: the one place where a task's life ends."""
        _, process = self._in_flight.pop(task.id)
        del process.calls_in_flight[task.id]
        for timer in (task.deadline, task.timer):
            if timer is not None:
                timer.cancel()
        now = self._clock.now()
        if task.run is not None:
            task.running_s += now - task.slice_began
        # First the answer: a subscriber of the journal that raises shall not lose it.
        task.settle(_state_of(outcome), outcome, now)
        self._account(task, process, outcome, now)

    def check(self) -> None:
        """Assert what must always hold."""
        for id, (task, process) in self._in_flight.items():
            assert id in process.calls_in_flight, task
            assert not task.is_settled, task
            assert not process.has_ended or task.run is not None, task

    def set_due(self, task: Task, due: float, error: AiosError) -> None:
        """End a task with `error` at `due` by the kernel's clock, in place of its own deadline."""
        if task.deadline is not None:
            task.deadline.cancel()
        task.due = due
        delay = max(0.0, due - self._clock.now())
        task.deadline = self._clock.call_later(delay, partial(self.on_deadline, task, error))

    def _set_deadline(self, task: Task, timeout_s: float) -> None:
        if not (math.isfinite(timeout_s) and 0 < timeout_s <= MAX_TIMEOUT_S):
            raise InvalidArgument(f"a timeout is more than 0 and at most {MAX_TIMEOUT_S:g} seconds")
        error = DeadlineExceeded(f"{task.row.name} was not done within {timeout_s:g} s")
        self.set_due(task, task.created + timeout_s, error)

    def _account(self, task: Task, process: Process, outcome: Reply | AiosError, now: float) -> None:
        group = task.row.group
        process.calls[group] = process.calls.get(group, 0) + 1
        process.num_switches += task.num_switches
        process.running_s += task.running_s
        process.waiting_s += (now if task.first_run is None else task.first_run) - task.created
        if isinstance(outcome, (LlmAnswer, Embeddings)):
            process.prompt_tokens += outcome.usage.prompt_tokens
            process.completion_tokens += outcome.usage.completion_tokens
        if isinstance(outcome, LlmAnswer):
            self._journal.generated(outcome.waiting_s, outcome.turnaround_s, outcome.usage)
        code = outcome.code if isinstance(outcome, AiosError) else ""
        kind = _EVENT_OF[_state_of(outcome)]
        self._journal.record(now, kind, task.id, task.pid, task.row.name, code)
        self._journal.settled(task.row.name, code)


_EVENT_OF: dict[State, EventKind] = {
    State.DONE: "done",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}


def _state_of(outcome: Reply | AiosError) -> State:
    if not isinstance(outcome, AiosError):
        return State.DONE
    return State.CANCELLED if isinstance(outcome, Cancelled) else State.FAILED
