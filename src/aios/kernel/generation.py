"""What a core does for a call: all of an embedding, or one slice of a generation.

A slice lasts until the answer is there or the scheduler wants the slot back.
"""

import secrets
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from hashlib import blake2b
from math import ceil
from typing import Any, TypeVar

from msgspec import structs

from aios.abi.errors import (
    AiosError,
    ContextOverflow,
    InvalidArgument,
    Misconfigured,
    Overloaded,
    Unavailable,
)
from aios.abi.messages import Delta, Message, Sampling, ToolSpec, Usage
from aios.abi.syscalls import Embeddings, Fit, Fitted, LlmAnswer, LlmEmbed, LlmGenerate
from aios.drivers.clock import Clock
from aios.drivers.llm import Embedder, Finished, Generation, Mover, Preempted, Severed, Snapshot
from aios.kernel.context import ContextManager, fit
from aios.kernel.cores.core import Core, Cores
from aios.kernel.effects import Effects
from aios.kernel.fitting import Fitting, room_for_answer
from aios.kernel.flight import Flight
from aios.kernel.journal import Journal
from aios.kernel.payers import Payers
from aios.kernel.scheduling.programs import num_chars
from aios.kernel.scheduling.scheduler import Scheduler
from aios.kernel.task import Emit, Task

T = TypeVar("T")
MustYield = Callable[[int], bool]

_MOST_FITS = 5
"""How often a conversation is fitted into the window of an endpoint that refuses it."""
_OF_A_MESSAGE = 4
"""Tokens that a message takes beside its text, about."""


class Generations:
    """`max_answer_tokens` bounds an answer where neither the call nor the model's window does.

    `fit` says what becomes of a conversation that does not fit, where the call does not.
    """

    def __init__(
        self,
        cores: Cores,
        context: ContextManager,
        scheduler: Scheduler,
        journal: Journal,
        clock: Clock,
        payers: Payers,
        flight: Flight,
        effects: Effects,
        *,
        max_answer_tokens: int,
        fit: Fit,
        seed: int | None,
    ) -> None:
        self._cores = cores
        self._context = context
        self._scheduler = scheduler
        self._journal = journal
        self._clock = clock
        self._payers = payers
        self._flight = flight
        self._effects = effects
        self.on_broke: Callable[[Task, AiosError], None] = lambda task, error: None
        """Told of a call that nobody can pay for any longer."""
        self._max_answer_tokens = max_answer_tokens
        self._fit = fit
        self._seed = seed

    async def run_slice(self, task: Task) -> LlmAnswer | Embeddings | None:
        """Go on with a task that holds a slot of a core: its answer, or None when it was interrupted."""
        assert task.resource is not None
        core = self._cores[task.resource]
        if isinstance(task.call, LlmEmbed):
            return await self._embed(task, core, task.call)
        assert isinstance(task.call, LlmGenerate)
        outcome = await self._fit_and_go_on(task, core, task.call)
        if isinstance(outcome, Preempted):
            self._interrupt(task, core, outcome)
            return None
        if task.num_prompts == 1:
            assert task.job is not None
            core.read(num_chars(task.job.messages, task.job.tools), outcome.usage.prompt_tokens)
        usage = outcome.usage + task.extra
        core.answered(usage, self._clock.now())
        return self._answer(task, core, outcome, usage)

    async def _fit_and_go_on(self, task: Task, core: Core, call: LlmGenerate) -> Finished | Preempted:
        """One slice. An endpoint whose tokens are but estimated may refuse what should fit: fit it again."""
        way = call.fit or self._fit
        refused = None
        for _ in range(_MOST_FITS):
            if task.job is None:
                task.job = await self._job(task, core, call, way)
            try:
                return await self._go_on(task, core, task.job)
            except ContextOverflow as error:
                if way == "refuse" or core.counts_tokens or task.num_prompts > 1 or task.has_emitted:
                    raise
                refused = error
                core.overflowed(num_chars(task.job.messages, task.job.tools), error)
                task.job = None
        assert refused is not None
        raise refused

    async def _go_on(self, task: Task, core: Core, job: Generation) -> Finished | Preempted:
        """One slice. A text that a core fails to go on with is kept, as long as nothing came after it."""
        resume = await self._resumed(task, core)
        had_emitted = task.has_emitted
        if resume is None:
            task.num_prompts = 1
        elif resume.kind == "text":
            task.num_prompts += 1
            task.has_emitted = False
        try:
            return await self._asked(core, core.driver.run(job, resume, *self._face(task, core)))
        except Severed as severed:
            task.has_emitted = False
            self._keep(task, core, severed.snapshot)
            raise
        except (Overloaded, Unavailable):
            if resume is not None and resume.kind == "text" and not task.has_emitted:
                self._keep(task, core, resume)
            raise
        except ContextOverflow:
            raise
        except InvalidArgument as error:
            if resume is None or resume.kind != "text":
                raise
            core.goes_on = False
            task.has_emitted |= had_emitted
            raise Unavailable(
                f"core {core.name} refused to go on with its own answer, and is not interrupted any more "
                f'(continuation = "none" says so from the begin): {error.message}'
            ) from error

    async def _resumed(self, task: Task, core: Core) -> Snapshot | None:
        """What there is to go on from; another core's is brought to where this one finds it."""
        kept = self._context.take(task.id)
        if kept is None:
            return None
        driver = self._cores[kept.core].driver
        if kept.core != core.name and isinstance(driver, Mover):
            await driver.move_out(kept.snapshot)
        elif kept.core != core.name:
            kept.drop(kept.snapshot)
        return kept.snapshot

    async def _embed(self, task: Task, core: Core, call: LlmEmbed) -> Embeddings:
        assert isinstance(core.driver, Embedder)
        assert task.first_run is not None
        found = await self._asked(core, core.driver.embed(call.texts, call.dimensions))
        now = self._clock.now()
        core.answered(found.usage, now)
        waiting_s, turnaround_s = task.first_run - task.created, now - task.created
        return Embeddings(found.vectors, found.usage, found.model, core.name, waiting_s, turnaround_s)

    async def _asked(self, core: Core, work: Coroutine[Any, Any, T]) -> T:
        """What a core answers. That it failed is noted with it."""
        try:
            return await work
        except (Overloaded, Unavailable) as error:
            core.failed(error, self._clock.now())
            if isinstance(error, Misconfigured):
                raise Misconfigured(f"core {core.name}: {error.message}") from error
            raise

    async def _job(self, task: Task, core: Core, call: LlmGenerate, way: Fit) -> Generation:
        sampling = call.sampling
        max_tokens = sampling.max_tokens or self._most_tokens(core)
        messages = call.messages
        if way != "refuse" and core.window:
            messages, task.fitted = await self._fitted(task, core, call, way)
            max_tokens = fit(await self._count(core, call.tools, messages), max_tokens, core.window)
        elif core.narrows_window:
            num_prompt_tokens = await core.driver.num_prompt_tokens(call.messages, call.tools)
            max_tokens = fit(num_prompt_tokens or 0, max_tokens, core.window)
        if sampling.max_tokens != max_tokens or sampling.seed is None:
            seed = sampling.seed if sampling.seed is not None else self._draw_seed(task)
            sampling = structs.replace(sampling, max_tokens=max_tokens, seed=seed)
        return Generation(
            messages,
            call.tools,
            sampling,
            call.tool_choice,
            call.response_schema,
            scope=self._flight.process_of(task).tenant,
            is_kept=bool(task.key),
        )

    async def _fitted(
        self, task: Task, core: Core, call: LlmGenerate, way: Fit
    ) -> tuple[tuple[Message, ...], Fitted | None]:
        """The messages of a call that fit, and what was left out."""
        num_answer = room_for_answer(call.sampling.max_tokens, core.window)
        count = partial(self._count, core, call.tools)
        fitting = Fitting(call.messages, core.window, num_answer, count)
        if way == "drop":
            return await fitting.drop()
        return await fitting.summarise(partial(self._write, task, core), partial(self._count, core, ()))

    async def _count(self, core: Core, tools: Sequence[ToolSpec], messages: Sequence[Message]) -> int:
        """The tokens of a prompt; estimated where its driver cannot tell."""
        size = num_chars(messages, tools)
        if not core.counts_tokens:
            return ceil(size / core.chars_per_token) + _OF_A_MESSAGE * len(messages)
        try:
            return await core.driver.num_prompt_tokens(messages, tools) or 0
        except ContextOverflow:
            return max(size, core.window)  # So long that it was not even counted.

    async def _write(self, task: Task, core: Core, messages: Sequence[Message], max_tokens: int) -> str:
        """What a core answers for a task besides its answer; the task's payers pay for it."""
        num_tokens = await self._count(core, (), messages)
        self._payers.read_more(task, num_tokens + max_tokens)
        scope = self._flight.process_of(task).tenant
        sampling = Sampling(max_tokens=max_tokens, seed=0)
        job = Generation(tuple(messages), sampling=sampling, scope=scope)

        def emit(delta: Delta) -> None:
            core.num_tokens += delta.num_tokens

        outcome = await self._asked(core, core.driver.run(job, None, emit, lambda num_tokens: False))
        assert isinstance(outcome, Finished)
        task.extra += outcome.usage
        return outcome.text

    def _most_tokens(self, core: Core) -> int:
        """Of an answer without a limit. Where nobody can tell what the prompt leaves of the window, few."""
        if core.window and core.counts_tokens:
            return core.window
        return min(core.window or self._max_answer_tokens, self._max_answer_tokens)

    def _draw_seed(self, task: Task) -> int:
        """At random, or from the call's key, or from the kernel's seed and the call's place among its
        process's: not from timing.
        """
        if task.key:
            return self._effects.seed(self._flight.process_of(task), task.key)
        if self._seed is None:
            return secrets.randbits(63)
        place = f"{self._seed}/{task.pid}/{task.ordinal}".encode()
        return int.from_bytes(blake2b(place, digest_size=8).digest()) >> 1

    def _face(self, task: Task, core: Core) -> tuple[Emit, MustYield]:
        """What the driver tells of each delta, and asks after each token."""

        demand, programs, payers = task.demand, self._scheduler.programs, self._payers
        assert demand is not None

        def emit(delta: Delta) -> None:
            core.num_tokens += delta.num_tokens
            core.silent_since = None
            demand.num_out += delta.num_tokens
            if demand.num_out >= demand.charge_at:
                programs.charge(demand)
            has_content = bool(delta.text) or delta.tool_call is not None
            if task.emit is not None and has_content and not task.is_settled:
                task.has_emitted = True
                task.emit(delta)
            if task.hold is not None and not payers.may_go_on(task, demand.num_out):
                assert task.hold.refused is not None
                self.on_broke(task, task.hold.refused)

        def must_yield(num_tokens: int) -> bool:
            return task.is_yielding or (may_yield() and self._scheduler.must_yield(task, num_tokens))

        def may_yield() -> bool:
            if core.driver.snapshot_kind != "text":
                return self._context.has_room
            # After it the prompt is read, and paid, once more: not out of somebody's budget.
            return self._context.has_room and core.goes_on and (task.hold is None or task.must_stop)

        return emit, must_yield

    def _interrupt(self, task: Task, core: Core, outcome: Preempted) -> None:
        self._keep(task, core, outcome.snapshot)
        if task.is_settled:
            return
        task.num_switches += 1
        self._journal.num_preempted += 1
        self._journal.record(self._clock.now(), "preempted", task.id, task.pid, task.row.name)

    def _keep(self, task: Task, core: Core, snapshot: Snapshot) -> None:
        """Have a snapshot to go on from, as long as anybody waits for it."""
        if task.is_settled:
            core.driver.drop(snapshot)
        else:
            self._context.keep(task.id, snapshot, core.name, core.driver.drop)

    def _answer(self, task: Task, core: Core, outcome: Finished, usage: Usage) -> LlmAnswer:
        assert task.first_run is not None
        return LlmAnswer(
            outcome.text,
            outcome.tool_calls,
            outcome.finish_reason,
            usage,
            outcome.model,
            core.name,
            task.first_run - task.created,
            self._clock.now() - task.created,
            task.num_switches,
            outcome.logprobs,
            outcome.others,
            task.fitted,
        )
