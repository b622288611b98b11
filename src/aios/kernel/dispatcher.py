"""DISPATCHER: the one place that starts calls, awaits them and settles them.

A free slot asks the scheduler for the next task; a slice of it runs; interrupted, it goes to the context manager and waits
again; else it is settled, exactly once, on every path. Event-driven: nothing polls, nothing sleeps.
"""

import asyncio
import itertools
import logging
import math
from functools import partial
from typing import Any, Protocol

from msgspec import Struct

from aios.abi import syscalls as sc
from aios.abi.errors import (
    AiosError,
    ApprovalDenied,
    Cancelled,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    OutcomeUnknown,
    QuotaExceeded,
    Unavailable,
    UnknownCall,
)
from aios.drivers.clock import Clock
from aios.kernel.access import WRITES, AccessManager, Verdict
from aios.kernel.approvals import Approvals
from aios.kernel.audit import AuditLog
from aios.kernel.config import Config
from aios.kernel.context import ContextManager
from aios.kernel.core import Cores, queue_of, retry_delay_s
from aios.kernel.generation import Emit, Generations
from aios.kernel.journal import Journal
from aios.kernel.process import Caller, Process
from aios.kernel.scheduler import Resource, Scheduler
from aios.kernel.task import State, Task

log = logging.getLogger(__name__)

MAX_TIMEOUT_S = 7 * 86_400.0
STOP_S = 10.0
"""What a running call gets to stop when the kernel shuts down."""


class Manager(Protocol):
    """Executes the calls of a group, and is given no others."""

    async def execute(self, caller: Caller, call: Any) -> sc.Reply: ...


class Tools(Manager, Protocol):
    """Executes tool calls; those that cannot run now are passed over. `ended` is told what `started` gave."""

    def can_start(self, call: sc.ToolRun, caller: Caller) -> bool: ...

    def started(self, call: sc.ToolRun, caller: Caller) -> Any: ...

    def ended(self, started: Any) -> None: ...

    def forget_owner(self, principal: str) -> None: ...


class Control(Protocol):
    """Executes the calls that steer the kernel itself: at once, holding no slot."""

    async def execute(self, process: Process, call: sc.SystemCall) -> sc.Reply: ...


class Managers(Struct, frozen=True):
    """One executor for each group but `llm`, which the cores serve."""

    memory: Manager
    storage: Manager
    tool: Tools
    access: Control
    process: Control


class Dispatcher:
    """Takes calls that the trap has authenticated."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        scheduler: Scheduler,
        access: AccessManager,
        approvals: Approvals,
        audit: AuditLog,
        context: ContextManager,
        cores: Cores,
        generations: Generations,
        journal: Journal,
        managers: Managers,
    ) -> None:
        self._config = config
        self._clock = clock
        self._scheduler = scheduler
        self._access = access
        self._approvals = approvals
        self._audit = audit
        self._context = context
        self._cores = cores
        self._generations = generations
        self._journal = journal
        self._managers = managers
        self._ids = itertools.count(1)
        self._in_flight: dict[int, tuple[Task, Process]] = {}
        self._runs: set[asyncio.Task[sc.Reply | None]] = set()
        self._is_closed = False
        approvals.on_decision = self._decided

    async def call(
        self, process: Process, call: sc.SystemCall, emit: Emit | None = None, timeout_s: float | None = None
    ) -> sc.Reply:
        """Answer one system call of `process`. Cancelling the awaiting task ends the call."""
        row = sc.ROW_OF.get(type(call))
        if row is None:
            raise UnknownCall(f"{type(call).__name__} is not a system call")
        verdict = self._access.authorize(process, call, self._clock.time())
        if verdict.owner is not None or verdict.must_ask:
            await self._note(process, row, verdict)
        if verdict.error is not None:
            self._journal.settled(row.name, verdict.error.code)
            raise verdict.error
        task = self._create(process, row, call, emit, timeout_s)
        self._admit(task, process, verdict)
        try:
            return await task.future
        except asyncio.CancelledError:
            if task.future.done() and not task.future.cancelled():
                task.future.exception()  # It was answered in the same moment; nobody wants the answer.
            self.end(task, Cancelled("the caller went away"))
            raise

    # ---- from the trap to a queue

    async def _note(self, process: Process, row: sc.Row, verdict: Verdict) -> None:
        """Decisions on others' things, and questions to people, go into the audit log."""
        subject = f"{row.name} of {verdict.owner}" if verdict.owner else row.name
        await self._audit.append(process.pid, process.principal, verdict.decision, subject)

    def _create(
        self, process: Process, row: sc.Row, call: sc.SystemCall, emit: Emit | None, timeout_s: float | None
    ) -> Task:
        if self._is_closed:
            raise Unavailable("the kernel is shutting down")
        if process.has_ended:
            raise Cancelled(f"process {process.pid} has ended")
        if len(process.calls_in_flight) >= self._config.processes.max_calls:
            raise QuotaExceeded(f"process {process.pid} has {len(process.calls_in_flight)} calls in flight")
        now = self._clock.now()
        process.num_calls += 1
        process.last_call = now
        task = Task(next(self._ids), process.pid, process.program, process.num_calls, row, call, now, emit)
        if timeout_s is not None:
            self._set_deadline(task, timeout_s)
        process.calls_in_flight[task.id] = row.name
        self._in_flight[task.id] = task, process
        self._journal.record(now, "created", task.id, task.pid, row.name)
        return task

    def _set_deadline(self, task: Task, timeout_s: float) -> None:
        if not (math.isfinite(timeout_s) and 0 < timeout_s <= MAX_TIMEOUT_S):
            raise InvalidArgument(f"a timeout is more than 0 and at most {MAX_TIMEOUT_S:g} seconds")
        task.due = task.created + timeout_s
        error = DeadlineExceeded(f"{task.row.name} was not done within {timeout_s:g} s")
        task.deadline = self._clock.call_later(timeout_s, partial(self.end, task, error))

    def _admit(self, task: Task, process: Process, verdict: Verdict) -> None:
        task.owner = verdict.owner
        try:
            if verdict.must_ask:
                task.approval = self._approvals.open(task.id, process.caller, task.row, task.call)
                self._journal.record(self._clock.now(), "asked", task.id, task.pid, task.row.name)
            else:
                self._enqueue(task)
        except AiosError as error:
            self._settle(task, error)

    def _enqueue(self, task: Task) -> None:
        group = task.row.group
        if group in ("process", "access"):
            task.state = State.RUNNING
            self._start(task)
            return
        queue = self._queue_for(task)
        self._scheduler.submit(task, queue)
        for resource in self._scheduler.resources_of(queue):
            self._fill(resource)

    def _queue_for(self, task: Task) -> str:
        match task.call:
            case sc.LlmGenerate(model=model):
                return self._cores.queue_for(model)
            case sc.ToolRun(name=name):
                # A queue for each tool: one that cannot run now keeps no other waiting.
                self._scheduler.add_queue(f"tool:{name}", ["tool"])
                return f"tool:{name}"
            case _:
                return task.row.group

    def _decided(self, task_id: int, refusal: str) -> None:
        task, _ = self._in_flight[task_id]
        if refusal:
            self._settle(task, ApprovalDenied(f"{task.row.name}: {refusal}"))
            return
        try:
            self._enqueue(task)
        except AiosError as error:
            self._settle(task, error)

    # ---- from a queue to a slot, and back

    def _fill(self, resource: Resource) -> None:
        """Give every free slot a task, as long as there are tasks."""
        can_start = self._can_start if resource.is_selective else None
        while (task := self._scheduler.next(resource, can_start)) is not None:
            if task.owner is not None and (refusal := self._reconsider(task)) is not None:
                self._scheduler.release(task, 0.0)
                self._settle(task, refusal)
            else:
                self._start(task)

    def _can_start(self, task: Task) -> bool:
        if not isinstance(task.call, sc.ToolRun):
            return True
        _, process = self._in_flight[task.id]
        return self._managers.tool.can_start(task.call, process.caller)

    def _reconsider(self, task: Task) -> AiosError | None:
        """Rights may have been taken back while it waited; what a person approved must be this very call."""
        _, process = self._in_flight[task.id]
        verdict = self._access.authorize(process, task.call, self._clock.time())
        if verdict.error is not None or not verdict.must_ask:
            return verdict.error
        if task.approval is None or not self._approvals.use(task.approval, process.caller, task.call):
            return ApprovalDenied(f"{task.row.name}: nobody approved this very call")
        return None

    def _start(self, task: Task) -> None:
        now = self._clock.now()
        if task.first_run is None:
            task.first_run = now
        task.slice_began = now
        task.num_slices += 1
        _, process = self._in_flight[task.id]
        self._journal.record(now, "started", task.id, task.pid, task.row.name)
        run = task.run = asyncio.get_running_loop().create_task(self._execute(task, process))
        self._runs.add(run)
        if isinstance(task.call, sc.ToolRun):
            tool = self._managers.tool.started(task.call, process.caller)
            run.add_done_callback(lambda run: self._managers.tool.ended(tool))
        run.add_done_callback(partial(self._ran, task))

    async def _execute(self, task: Task, process: Process) -> sc.Reply | None:
        """One slice. None: it was interrupted and waits again."""
        managers = self._managers
        match task.row.group:
            case "llm":
                return await self._generations.run_slice(task)
            case "memory":
                return await managers.memory.execute(process.caller, task.call)
            case "storage":
                return await managers.storage.execute(process.caller, task.call)
            case "tool":
                return await managers.tool.execute(process.caller, task.call)
            case "access":
                return await managers.access.execute(process, task.call)
            case "process":
                return await managers.process.execute(process, task.call)
            case group:
                raise Internal(f"no manager serves the group {group!r}")

    def _ran(self, task: Task, run: "asyncio.Task[sc.Reply | None]") -> None:
        """A slice is over, however it ended."""
        self._runs.discard(run)
        task.run = None
        outcome = _outcome_of(task, run)
        held_s = self._clock.now() - task.slice_began
        task.running_s += held_s
        resource = self._scheduler.release(task, held_s) if task.resource is not None else None
        if not task.is_settled:
            self._go_on(task, outcome)
        if resource is not None:
            self._fill(resource)

    def _go_on(self, task: Task, outcome: sc.Reply | AiosError | None) -> None:
        if outcome is None:
            self._requeue(task, first=False)
        elif isinstance(outcome, AiosError) and (delay := self._retry_delay(task, outcome)) is not None:
            task.state = State.READY
            self._journal.num_retried += 1
            self._journal.record(self._clock.now(), "retried", task.id, task.pid, task.row.name, outcome.code)
            task.timer = self._clock.call_later(delay, partial(self._try_again, task))
        else:
            self._settle(task, outcome)

    def _retry_delay(self, task: Task, error: AiosError) -> float | None:
        """Only what has had no effect that the caller saw: a generation of which no delta was delivered."""
        if not isinstance(task.call, sc.LlmGenerate) or task.has_emitted:
            return None
        task.attempts += 1
        delay = retry_delay_s(error, task.attempts, self._config.retry)
        if delay is None or (task.due is not None and self._clock.now() + delay >= task.due):
            return None
        return delay

    def _try_again(self, task: Task) -> None:
        task.timer = None
        self._requeue(task, first=True)

    def _requeue(self, task: Task, *, first: bool) -> None:
        core = self._context.core_of(task.id)
        queue = self._queue_for(task) if core is None else queue_of([core])
        self._scheduler.put_back(task, queue, first=first)
        for resource in self._scheduler.resources_of(queue):
            self._fill(resource)

    # ---- the end

    def end(self, task: Task, error: AiosError) -> None:
        """End a call from outside: answered now; its slot is free once what runs has stopped."""
        if task.is_settled:
            return
        if task.run is None:
            self._scheduler.discard(task)
        elif type(task.call) in WRITES:
            # Its effect may come about or not: it is let finish, and the answer says what is known.
            error = OutcomeUnknown(
                f"{task.row.name} was under way ({error.message}); look whether it took effect"
            )
        else:
            task.run.cancel()
        self._settle(task, error)

    def _settle(self, task: Task, outcome: sc.Reply | AiosError) -> None:
        """Give the answer. The one place where a task's life ends."""
        _, process = self._in_flight.pop(task.id)
        del process.calls_in_flight[task.id]
        for timer in (task.deadline, task.timer):
            if timer is not None:
                timer.cancel()
        self._context.drop(task.id)
        if isinstance(task.call, sc.ToolRun):
            self._scheduler.drop_queue_if_empty(f"tool:{task.call.name}")
        if task.approval is not None:
            self._approvals.close(task.approval)
        now = self._clock.now()
        if task.run is not None:
            task.running_s += now - task.slice_began
        code = outcome.code if isinstance(outcome, AiosError) else ""
        state = State.DONE if not code else State.CANCELLED if code == Cancelled.code else State.FAILED
        self._account(task, process, outcome, now)
        self._journal.record(now, state.value, task.id, task.pid, task.row.name, code)  # type: ignore[arg-type]
        self._journal.settled(task.row.name, code)
        task.settle(state, outcome, now)

    def _account(self, task: Task, process: Process, outcome: sc.Reply | AiosError, now: float) -> None:
        group = task.row.group
        process.calls[group] = process.calls.get(group, 0) + 1
        process.num_switches += task.num_switches
        process.running_s += task.running_s
        process.waiting_s += (now if task.first_run is None else task.first_run) - task.created
        if isinstance(outcome, sc.LlmAnswer):
            usage = outcome.usage
            process.prompt_tokens += usage.prompt_tokens
            process.completion_tokens += usage.completion_tokens
            self._journal.generated(outcome.waiting_s, outcome.turnaround_s, usage)

    # ---- processes

    def end_process(self, process: Process) -> None:
        """End every call of a process that has ended."""
        self._scheduler.let_go(process.pid)
        for task in self._tasks_of(process):
            # The very call that ends its own process is let finish.
            if task.run is None or not isinstance(task.call, (sc.ProcessExit, sc.ProcessKill)):
                self.end(task, Cancelled(f"process {process.pid} has ended"))

    def suspend_process(self, process: Process) -> None:
        """Set its waiting calls aside, and have its running generations interrupted."""
        tasks = self._tasks_of(process)
        self._scheduler.hold(process.pid, tasks)
        for task in tasks:
            task.must_stop = task.run is not None

    def resume_process(self, process: Process) -> None:
        """Let its calls wait in their queues again."""
        for task, _ in self._scheduler.let_go(process.pid):
            self._requeue(task, first=False)

    def _tasks_of(self, process: Process) -> list[Task]:
        return [self._in_flight[id][0] for id in process.calls_in_flight]

    # ---- shutdown and looking

    async def close(self) -> None:
        """End every call, refuse new ones, and wait until nothing runs."""
        self._is_closed = True
        for task, _ in list(self._in_flight.values()):
            self.end(task, Cancelled("the kernel is shutting down"))
        if self._runs:
            _, stuck = await asyncio.wait(self._runs, timeout=STOP_S)
            for run in stuck:
                log.error("still running %g s after it was ended: %r", STOP_S, run)

    @property
    def num_in_flight(self) -> int:
        return len(self._in_flight)

    def check(self) -> None:
        """Assert what must always hold."""
        self._scheduler.check()
        self._context.check(set(self._in_flight))
        for id, (task, process) in self._in_flight.items():
            assert id in process.calls_in_flight, task
            assert not task.is_settled, task
            assert not process.has_ended or task.run is not None, task


def _outcome_of(task: Task, run: "asyncio.Task[sc.Reply | None]") -> sc.Reply | AiosError | None:
    """What a finished slice says. What is no `AiosError` is a defect of ours: it is logged, and told without details."""
    if run.cancelled():
        return Cancelled(f"{task.row.name} was ended")
    error = run.exception()
    if error is None:
        return run.result()
    if isinstance(error, AiosError):
        return error
    log.error("%r failed", task, exc_info=error)
    return Internal(f"{task.row.name} failed inside the kernel ({type(error).__name__}); its log says more")
