"""DISPATCHER: the one place that starts calls, awaits them and has them settled.

A free slot asks the scheduler for the next task; a slice of it runs; interrupted, it waits again while the
context manager has its snapshot; else it is settled, exactly once, on every path. Nothing polls or sleeps.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from aios.abi import syscalls as sc
from aios.abi import wire
from aios.abi.errors import (
    AiosError,
    ApprovalDenied,
    Cancelled,
    Internal,
    InvalidArgument,
    OutcomeUnknown,
    Overloaded,
    QuotaExceeded,
    Unavailable,
    UnknownCall,
)
from aios.abi.messages import Usage
from aios.drivers.clock import Clock, Timer
from aios.kernel.access import WRITES, AccessManager, Verdict
from aios.kernel.approvals import Approvals
from aios.kernel.audit import AuditLog
from aios.kernel.config import RetryConfig
from aios.kernel.context import ContextManager, Kept
from aios.kernel.cores.core import LASTING, Cores
from aios.kernel.cores.gate import DONE, Outcome, outcome_of
from aios.kernel.effects import FREES, tell
from aios.kernel.flight import Flight
from aios.kernel.journal import Journal
from aios.kernel.managers import Managers
from aios.kernel.payers import Payers
from aios.kernel.process import Process
from aios.kernel.program import Demand
from aios.kernel.scheduling.scheduler import Resource, Scheduler
from aios.kernel.task import Emit, State, Task

log = logging.getLogger(__name__)

STOP_S = 10.0
"""What a running call gets to stop when the kernel shuts down."""

Run = asyncio.Task[sc.Reply | None]


class Dispatcher:
    """Takes calls that the trap has authenticated."""

    def __init__(
        self,
        retry: RetryConfig,
        clock: Clock,
        journal: Journal,
        flight: Flight,
        scheduler: Scheduler,
        access: AccessManager,
        approvals: Approvals,
        audit: AuditLog,
        context: ContextManager,
        cores: Cores,
        managers: Managers,
        payers: Payers,
    ) -> None:
        self._retry = retry
        self._clock = clock
        self._journal = journal
        self._flight = flight
        self._scheduler = scheduler
        self._access = access
        self._approvals = approvals
        self._audit = audit
        self._context = context
        self._cores = cores
        self._managers = managers
        self._payers = payers
        self._runs: set[Run] = set()
        self._openings: dict[str, Timer] = {}
        """By core, the one timer that fills it when its gate may open by time alone."""
        self._is_closed = False
        approvals.on_decision = self._decided
        payers.on_ready = self._submit
        payers.on_failed = self._settle
        flight.on_deadline = self.end
        cores.on_limits = self._limits_told

    async def call(
        self,
        process: Process,
        call: sc.SystemCall,
        emit: Emit | None = None,
        timeout_s: float | None = None,
        *,
        key: str = "",
        is_nested: bool = False,
    ) -> sc.Reply:
        """Answer one system call of `process`, `is_nested` where a tool that it runs makes it.

        Cancelling the awaiting task ends the call. `key` is its idempotency key; empty for none.
        """
        row = sc.ROW_OF.get(type(call))
        if row is None:
            raise UnknownCall(f"{type(call).__name__} is not a system call")
        if self._is_closed:
            raise Unavailable("the kernel is shutting down")
        if key and wire.takes_key(row.name):
            return await self._call_once(process, row, call, emit, timeout_s, wire.check_key(key))
        return await self._call(process, row, call, emit, timeout_s, "", is_nested)

    async def _call_once(
        self,
        process: Process,
        row: sc.Row,
        call: sc.SystemCall,
        emit: Emit | None,
        timeout_s: float | None,
        key: str,
    ) -> sc.Reply:
        """Answer a call that may have been made before. An error: none with its key has taken effect."""
        effects = self._managers.effects
        async with effects.alone(process, key):
            if self._access.authorize(process, call, self._clock.time()).must_ask:
                # A person who has been asked already is not asked again.
                earlier = await effects.find(process, key, call)
                if earlier is not None:
                    tell(earlier, emit)
                    return earlier
            try:
                return await self._call(process, row, call, emit, timeout_s, key, False)
            except AiosError as error:
                try:
                    earlier = await effects.find(process, key, call)
                except AiosError:
                    earlier = None
                if earlier is None:
                    raise error from None
                return earlier

    async def _call(
        self,
        process: Process,
        row: sc.Row,
        call: sc.SystemCall,
        emit: Emit | None,
        timeout_s: float | None,
        key: str,
        is_nested: bool,
    ) -> sc.Reply:
        verdict = self._access.authorize(process, call, self._clock.time())
        task = self._flight.create(process, row, call, emit, timeout_s)
        task.key, task.is_nested = key, is_nested
        if verdict.owner is not None or verdict.must_ask:
            self._note(task, process, verdict)
        else:
            self._admit(task, process, verdict)
        try:
            return await task.future
        except asyncio.CancelledError:
            # It may have been answered in the same moment, and nobody wants the answer.
            if task.future.done() and not task.future.cancelled() and task.future.exception() is None:
                self._disown(process, task.future.result())
            self.end(task, Cancelled("the caller went away"))
            raise

    # ---- from the trap to a queue

    def _note(self, task: Task, process: Process, verdict: Verdict) -> None:
        """Decisions on others' things, and questions to people, are in the audit log before they count.

        A person is asked about the thing as it is now: bound to that, a call may turn out to need no asking.
        """

        async def note() -> None:
            nonlocal verdict
            if verdict.must_ask:
                task.call = await self._managers.bind(task, process)
                verdict = self._access.authorize(process, task.call, self._clock.time())
            subject = f"{task.row.name} of {verdict.owner}" if verdict.owner else task.row.name
            frees = type(task.call) in FREES
            await self._audit.append(process.pid, process.principal, verdict.decision, subject, frees=frees)

        def noted(run: Run) -> None:
            failure = _outcome_of(task, run)
            if task.is_settled:
                return
            if isinstance(failure, AiosError):
                self._settle(task, failure)
            else:
                self._admit(task, process, verdict)

        self._begin(note(), noted)

    def _admit(self, task: Task, process: Process, verdict: Verdict) -> None:
        task.owner = verdict.owner
        if verdict.error is not None:
            self._settle(task, verdict.error)
            return
        if not verdict.must_ask:
            self._enqueue(task)
            return
        try:
            task.approval = self._approvals.open(task.id, process.caller, task.row, task.call)
        except AiosError as error:
            self._settle(task, error)
        else:
            self._journal.record(self._clock.now(), "asked", task.id, task.pid, task.row.name)

    def _enqueue(self, task: Task) -> None:
        if task.row.group in ("process", "access", "core"):
            task.state = State.RUNNING
            self._start(task, self._clock.now())
            return
        try:
            if not isinstance(task.call, sc.LlmCall) or self._is_paid_for(task, task.call):
                self._submit(task)
        except AiosError as error:
            self._settle(task, error)

    def _is_paid_for(self, task: Task, call: sc.LlmCall) -> bool:
        """Hold what a core's call may take; if that has to wait for others to end, it is submitted then."""
        process = self._flight.process_of(task)
        task.demand = self._scheduler.programs.demand(process, call, task.created)
        account = self._payers.account_of(process, call, task.id)
        if account is None:
            return True
        ends = self._payers.ends(account, task.created)
        if ends < (task.due or math.inf):
            error = QuotaExceeded(f"{task.row.name} was not done within the time of its budget")
            self._flight.set_due(task, ends, error)
        return self._payers.reserve(task, account)

    def _submit(self, task: Task) -> None:
        try:
            queue = self._queue_for(task)
            if (refusal := self._stopped(queue)) is not None:
                raise refusal
            evicted = self._scheduler.submit(task, queue, self._clock.now())
        except AiosError as error:
            self._settle(task, error)
            return
        if evicted is not None:
            self._settle(evicted, self._scheduler.overloaded(queue))
        self._waits(task, queue)

    def _queue_for(self, task: Task) -> str:
        match task.call:
            case sc.LlmGenerate(model=model):
                kept = self._context.kept(task.id)
                if kept is None:
                    return self._cores.queue_for(model)
                return self._queue_to_go_on(kept)
            case sc.LlmEmbed(model=model):
                return self._cores.queue_for_embedding(model)
            case sc.ToolRun() as call:
                queue = self._managers.tool.queue_of(call, self._flight.process_of(task).caller)
                self._scheduler.add_queue(queue, ["tool"], is_passing=True)
                return queue
            case _:
                return task.row.group

    def _queue_to_go_on(self, kept: Kept) -> str:
        """Where a call waits that goes on: at its own core, unless that cannot and another can."""
        own = self._cores.queue_to_go_on(kept.core, kept.snapshot.kind)
        if self._scheduler.resources[kept.core].is_sound:
            return own
        away = self._cores.queue_to_go_on(kept.core, kept.snapshot.kind, elsewhere=True)
        return away if any(one.is_sound for one in self._scheduler.resources_of(away)) else own

    def _decided(self, task_id: int, refusal: str) -> None:
        task = self._flight.task(task_id)
        if refusal:
            self._settle(task, ApprovalDenied(f"{task.row.name}: {refusal}"))
        else:
            self._enqueue(task)

    def _put_back(self, task: Task, *, first: bool) -> None:
        queue = self._queue_for(task)
        if (refusal := self._stopped(queue)) is not None:
            self._settle(task, refusal)
            return
        self._scheduler.put_back(task, queue, self._clock.now(), first=first)
        self._waits(task, queue)

    def _waits(self, task: Task, queue: str) -> None:
        """A task has come to its queue, or was set aside where its process is suspended."""
        if task.is_held:
            self._payers.set_aside(task)
        else:
            self._serve(queue, task)

    def _stopped(self, queue: str) -> AiosError | None:
        """Why none of its cores takes a call until somebody has done something; None where one may."""
        now = self._clock.now()
        served_by = self._scheduler.resources_of(queue)
        if not served_by or not all(one.is_stopped(now) for one in served_by):
            return None
        cores = [self._cores[one.name] for one in served_by]
        waits_s, first = min((core.gate.opens_at(now, 0) - now, core.name) for core in cores)
        fault = self._cores[first].fault
        if fault is None:
            return None  # An older call has just been answered, and its slot is not free yet.
        return type(fault)(f"core {first}: {fault.message}", retry_after=round(waits_s, 1))

    # ---- from a queue to a slot, and back

    def _serve(self, queue: str, task: Task) -> None:
        for resource in self._scheduler.resources_of(queue, task):
            self._fill(resource)

    def _limits_told(self, core: str) -> None:
        """An endpoint told of its limits: there may be more room than was known."""
        resource = self._scheduler.resources.get(core)
        if resource is not None and resource.num_waiting and not self._is_closed:
            self._fill(resource)

    def _refill(self, queue: str) -> None:
        """One has left `queue` that may have kept others from a core with less room than it wanted."""
        for resource in self._scheduler.resources_of(queue):
            if resource.gate is not None and not self._is_closed:
                self._fill(resource)

    def _fill(self, resource: Resource) -> None:
        """Give every free slot a task, as long as there are tasks."""
        can_start = self._can_start if resource.is_selective else None
        now = self._clock.now()
        has_taken = False
        while (task := self._scheduler.next(resource, now, can_start)) is not None:
            has_taken = True
            refusal = None
            if task.owner is not None or task.approval is not None:
                refusal = self._reconsider(task)
            elif task.hold is not None:
                refusal = self._refuse_dear(task)
            if refusal is None:
                self._start(task, now)
            else:
                self._scheduler.release(task, 0.0, now)
                self._settle(task, refusal)
        if resource.gate is not None and resource.opens_at < math.inf:
            self._await_opening(resource)
        if has_taken:
            for one in self._scheduler.kept_out(resource):
                self._fill(one)

    def _await_opening(self, core: Resource) -> None:
        """Fill a core when its gate may open by itself: the only timer that scheduling needs."""
        timer = self._openings.pop(core.name, None)
        if timer is not None:
            timer.cancel()
        delay = max(0.0, core.opens_at - self._clock.now())
        self._openings[core.name] = self._clock.call_later(delay, partial(self._fill, core))

    def _can_start(self, task: Task) -> bool:
        if not isinstance(task.call, sc.ToolRun):
            return True
        return self._managers.tool.can_start(task.call, self._flight.process_of(task).caller)

    def _refuse_dear(self, task: Task) -> AiosError | None:
        try:
            self._payers.place(task)
        except AiosError as error:
            return error
        return None

    def _reconsider(self, task: Task) -> AiosError | None:
        """Rights may have been taken back while it waited; what a person approved must be this very call."""
        process = self._flight.process_of(task)
        verdict = self._access.authorize(process, task.call, self._clock.time())
        if verdict.error is not None or not verdict.must_ask:
            return verdict.error
        if task.approval is None or not self._approvals.use(task.approval, process.caller, task.call):
            return ApprovalDenied(f"{task.row.name}: nobody approved this very call")
        return None

    def _start(self, task: Task, now: float) -> None:
        task.slice_began = now
        if task.first_run is None:
            task.first_run = now
        self._journal.record(now, "started", task.id, task.pid, task.row.name)
        process = self._flight.process_of(task)
        tool = (
            self._managers.tool.started(task.call, process.caller)
            if isinstance(task.call, sc.ToolRun)
            else None
        )
        task.run = self._begin(self._managers.execute(task, process), partial(self._ran, task, process, tool))

    def _begin(self, work: Coroutine[Any, Any, sc.Reply | None], ended: Callable[[Run], None]) -> Run:
        """Run `work`, say when it has ended, and have the shutdown wait for it."""
        run: Run = asyncio.get_running_loop().create_task(work)
        self._runs.add(run)
        run.add_done_callback(partial(self._over, ended))
        return run

    def _over(self, ended: Callable[[Run], None], run: Run) -> None:
        self._runs.discard(run)
        ended(run)

    def _ran(self, task: Task, process: Process, tool: Any, run: Run) -> None:
        """A slice is over, however it ended: its slot is free."""
        if isinstance(task.call, sc.ToolRun):
            self._managers.tool.ended(tool)
        outcome = _outcome_of(task, run)
        task.run = None
        now = self._clock.now()
        held_s = now - task.slice_began
        task.running_s += held_s
        resource = None
        was_sound = True
        if task.resource is not None:
            was_sound = self._scheduler.resources[task.resource].is_sound
            usage = outcome.usage if isinstance(outcome, (sc.LlmAnswer, sc.Embeddings)) else None
            if isinstance(outcome, InvalidArgument):
                usage = Usage()  # The endpoint did nothing for it.
            resource = self._scheduler.release(
                task, held_s, now, _lesson_of(outcome), usage, was_interrupted=outcome is None
            )
        if task.is_settled or task.future.cancelled():
            self._disown(process, outcome)
        if not task.is_settled:
            self._go_on(task, outcome, resource)
        if resource is not None:
            self._fill(resource)
            if resource.is_sound != was_sound:
                self._changed(resource)

    def _go_on(self, task: Task, outcome: sc.Reply | AiosError | None, resource: Resource | None) -> None:
        if outcome is None:
            self._put_back(task, first=False)
        elif isinstance(outcome, (Overloaded, Unavailable)) and isinstance(task.call, sc.LlmCall):
            assert resource is not None
            self._failed(task, outcome, resource)
        else:
            self._settle(task, outcome)

    def _failed(self, task: Task, error: AiosError, resource: Resource) -> None:
        """A core had no room for a generation, or failed it.

        It goes back to the head of its queue, and the gates say when it is tried again: a core without room
        costs a call nothing but time, one that fails it a try. Never where a part would come twice.
        Nor on a core of which somebody has to mend something first, but on others as long as there are any.
        When nothing has come from any of its cores for long enough, all that wait for them learn why.
        """
        queue = self._queue_for(task)
        served_by = self._scheduler.resources_of(queue)
        now = self._clock.now()
        is_given_up = all(self._cores[one.name].silent_s(now) > self._retry.give_up_s for one in served_by)
        if isinstance(error, LASTING):
            may_try = resource.is_stopped(now) and not all(one.is_stopped(now) for one in served_by)
        else:
            task.attempts += isinstance(error, Unavailable)
            may_try = task.attempts < self._retry.max_attempts
        if may_try and not is_given_up and not task.has_emitted:
            self._journal.num_retried += 1
            self._journal.record(now, "retried", task.id, task.pid, task.row.name, error.code)
            assert task.demand is not None
            kept = self._context.kept(task.id)
            task.demand.begin_again(0 if kept is None else kept.snapshot.num_tokens)
            self._put_back(task, first=True)
        else:
            self._settle(task, error)
        if is_given_up:
            for waiting in self._scheduler.waiting_for(queue):
                self.end(waiting, error)
        elif resource.is_stopped(now):
            self._end_hopeless(resource)

    def _end_hopeless(self, core: Resource) -> None:
        """A core has stopped: who waits where none is left learns why."""
        for queue in list(core.draws):
            if (refusal := self._stopped(queue)) is not None:
                for waiting in self._scheduler.waiting_for(queue):
                    self.end(waiting, refusal)

    # ---- the end

    def end(self, task: Task, error: AiosError) -> None:
        """End a call from outside: answered now; its slot is free once what runs has stopped."""
        if task.is_settled or (task.run is not None and _has_answered(task.run)):
            return
        queue = task.queue
        if task.run is None:
            self._scheduler.discard(task, self._clock.now())
        else:
            # It may or may not take effect, so the answer says what is known. A write is let finish; a tool
            # is cut off, for it may never end.
            is_write = type(task.call) in WRITES
            if is_write or isinstance(task.call, (sc.ToolRun, sc.ToolRegister)):
                error = OutcomeUnknown(
                    f"{task.row.name} was under way: look whether it took effect ({error})"
                )
            if not is_write:
                task.run.cancel()
        self._settle(task, error)
        if queue is not None:
            self._refill(queue)

    def _settle(self, task: Task, outcome: sc.Reply | AiosError) -> None:
        """Give back what it holds but its slot, and answer."""
        self._context.drop(task.id)
        if task.demand is not None and self._payers.is_counted(task):
            self._payers.settle(task, _usage_of(task.demand, outcome))
        if task.approval is not None:
            self._approvals.close(task.approval)
        self._flight.settle(task, outcome)

    def _disown(self, process: Process, outcome: sc.Reply | AiosError | None) -> None:
        """End a child whose token reached nobody: nobody could make its calls, nor know that it is there."""
        if isinstance(outcome, sc.Spawned):
            kill = sc.ProcessKill(pid=outcome.pid)
            self._begin(self._managers.process.execute(process, kill), partial(_disowned, outcome.pid))

    # ---- processes

    def end_process(self, process: Process) -> None:
        """End every call of a process that has ended."""
        self._scheduler.let_go(process.pid)
        for task in self._flight.tasks_of(process):
            # The very call that ends its own process is let finish.
            if task.run is None or not isinstance(task.call, (sc.ProcessExit, sc.ProcessKill)):
                self.end(task, Cancelled(f"process {process.pid} has ended"))

    def suspend_process(self, process: Process) -> None:
        """Set its waiting calls aside, and have its running generations interrupted."""
        tasks = self._flight.tasks_of(process)
        queues = {task.queue for task in tasks if task.queue is not None}
        self._scheduler.hold(process.pid, tasks, self._clock.now())
        for task in tasks:
            task.must_stop = task.run is not None
            if task.is_held:
                self._payers.set_aside(task)
        for queue in queues:
            self._refill(queue)

    def resume_process(self, process: Process) -> None:
        """Let its calls wait in their queues again, and run on."""
        for task in self._flight.tasks_of(process):
            task.must_stop = False
        for task in self._scheduler.let_go(process.pid):
            try:
                is_paid_for = self._payers.take_up(task)
            except AiosError as error:
                self._settle(task, error)
                continue
            if is_paid_for:
                self._put_back(task, first=False)

    # ---- cores

    def drain(self, core: str, is_draining: bool) -> None:
        """Have a core take no new calls, and what it runs go on elsewhere; or have it take calls again."""
        resource = self._scheduler.resources[core]
        if resource.is_draining == is_draining:
            return
        resource.is_draining = is_draining
        if is_draining:
            kind = self._cores[core].driver.snapshot_kind
            away = self._cores.queue_to_go_on(core, kind, elsewhere=True)
            if any(one.is_sound for one in self._scheduler.resources_of(away)):
                for task in resource.running:
                    task.must_stop = True
        else:
            self._fill(resource)
        self._changed(resource)

    def _changed(self, core: Resource) -> None:
        """From here on others stand in for a core, and go on with what it began; or no longer do."""
        sharing = self._scheduler.sharing_with(core)
        for one in (core, *sharing):
            if not one.is_sound:
                self._move_away(one)
        for one in sharing:
            self._fill(one)

    def _move_away(self, core: Resource) -> None:
        """What waits for this very core waits for others, too, if there are any."""
        own = self._cores.queue_to_go_on(core.name, "state")
        now = self._clock.now()
        for task in sorted(self._scheduler.waiting_for(own), key=lambda task: -task.id):
            queue = self._queue_for(task)
            if queue != own:
                self._scheduler.discard(task, now)
                self._scheduler.put_back(task, queue, now, first=True)

    # ---- shutdown and looking

    async def close(self) -> None:
        """End every call, refuse new ones, and wait until nothing runs."""
        self._is_closed = True
        for timer in self._openings.values():
            timer.cancel()
        for task in self._flight.tasks():
            self.end(task, Cancelled("the kernel is shutting down"))
        stuck: set[Run] = set()
        while self._runs - stuck:  # What ends may begin another: see `_disown`.
            _, stuck = await asyncio.wait(self._runs, timeout=STOP_S)
        for run in stuck:
            log.error("still running %g s after it was ended: %r", STOP_S, run)

    def check(self) -> None:
        """Assert what must always hold."""
        self._flight.check()
        self._scheduler.check()
        self._context.check({task.id for task in self._flight.tasks()})


def _outcome_of(task: Task, run: Run) -> sc.Reply | AiosError | None:
    """What a slice came to. What is no `AiosError` is a defect of ours: logged, and told without details."""
    if run.cancelled():
        return Cancelled(f"{task.row.name} was ended")
    error = run.exception()
    if error is None:
        return run.result()
    if isinstance(error, AiosError):
        return error
    log.error("%r failed", task, exc_info=error)
    return Internal(f"{task.row.name} failed inside the kernel ({type(error).__name__}); its log says more")


def _lesson_of(outcome: sc.Reply | AiosError | None) -> Outcome:
    """What the gate of a core learns from how a slice ended there."""
    return outcome_of(outcome) if isinstance(outcome, AiosError) else DONE


def _usage_of(demand: Demand, outcome: sc.Reply | AiosError) -> Usage | None:
    """What has to be paid for a call that ended; None where it came to nothing."""
    if isinstance(outcome, (sc.LlmAnswer, sc.Embeddings)):
        return outcome.usage
    if demand.num_out:
        return Usage(demand.num_in, demand.num_out)
    return None


def _has_answered(run: Run) -> bool:
    """Whether it is over and came to an answer, which is then given: what was done would be lost with it."""
    return run.done() and not run.cancelled() and run.exception() is None and run.result() is not None


def _disowned(pid: int, run: Run) -> None:
    if not run.cancelled() and (error := run.exception()) is not None:
        log.error("process %d, whose token nobody has, could not be ended: %s", pid, error)
