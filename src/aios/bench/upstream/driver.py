"""An upstream as an LLM core, in process: what it refuses is raised as the OpenAI driver would raise it."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import structs

from aios.abi.errors import AiosError, Cancelled, InvalidArgument, Unavailable
from aios.abi.messages import Delta, FinishReason, Message, ToolSpec, Usage
from aios.bench.upstream.model import Broken, Call, Refused, Upstream, never
from aios.bench.upstream.work import Work, work_in
from aios.drivers.limits import OnLimits, ignore_limits, rate_limits
from aios.drivers.llm import Finished, Generation, Preempted, Snapshot, SnapshotKind
from aios.drivers.refusals import failure, refusal


class UpstreamDriver:
    """An `LLMDriver`. With `snapshot_kind` "state" it gives its slot back whenever it is told to stop.

    It asks `must_yield` once for all tokens of a piece, so it may stop a piece late. Several drivers may
    share one upstream, as several clients would.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        model: str = "upstream",
        snapshot_kind: SnapshotKind = "none",
        window: int = 0,
    ) -> None:
        self._upstream = upstream
        self.model = model
        self.snapshot_kind: SnapshotKind = snapshot_kind
        self.window = window
        self.on_limits: OnLimits = ignore_limits
        self._handles = itertools.count(1)
        self._paused: dict[str, Call] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._cut_off: set[asyncio.Task[Any]] = set()
        """Those of them that ran when the core was closed."""

    async def start(self) -> None:
        """There is nothing to make ready."""

    async def close(self) -> None:
        self._cut_off |= self._running
        for running in self._running:
            running.cancel()
        for call in self._paused.values():
            self._upstream.forget(call)
        self._paused.clear()

    async def run(
        self,
        job: Generation,
        resume: Snapshot | None,
        emit: Callable[[Delta], None],
        must_yield: Callable[[int], bool],
    ) -> Finished | Preempted:
        running = asyncio.current_task()
        assert running is not None
        self._running.add(running)
        try:
            return await self._generate(job, resume, emit, must_yield)
        except asyncio.CancelledError:
            if running not in self._cut_off:
                raise
            running.uncancel()
            raise Cancelled("the core was closed") from None
        finally:
            self._running.discard(running)
            self._cut_off.discard(running)

    def drop(self, snapshot: Snapshot) -> None:
        call = self._paused.pop(snapshot.handle, None)
        if call is not None:
            self._upstream.forget(call)

    async def num_prompt_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int | None:
        return None

    async def _generate(
        self,
        job: Generation,
        resume: Snapshot | None,
        emit: Callable[[Delta], None],
        must_yield: Callable[[int], bool],
    ) -> Finished | Preempted:
        work, reason = _work_of(job)
        paused = None if resume is None else self._take(resume)
        if self.snapshot_kind == "none":
            must_yield = never

        def emit_tokens(num_tokens: int) -> None:
            emit(Delta(_text(num_tokens), num_tokens=num_tokens))

        try:
            interrupted = await self._upstream.serve(
                work, emit_tokens, must_yield, paused, on_let_in=self._tell_limits
            )
        except Refused as refused:
            self._tell(refused.headers)
            raise refusal(refused.status, refused.headers, refused.body, time.time()) from None
        except Broken as broken:
            raise _as_error(broken) from None
        if interrupted is not None:
            return Preempted(self._keep(interrupted))
        return Finished(_text(work.n_out), (), reason, Usage(work.n_in, work.n_out), self.model)

    def _tell_limits(self) -> None:
        self._tell(self._upstream.headers())

    def _tell(self, headers: dict[str, str]) -> None:
        limits = rate_limits(headers, time.time()) if headers else None
        if limits is not None:
            self.on_limits(limits)

    def _keep(self, call: Call) -> Snapshot:
        handle = f"{self.model}-{next(self._handles)}"
        self._paused[handle] = call
        return Snapshot(self.snapshot_kind, handle, call.num_tokens, 16 * call.num_tokens)

    def _take(self, snapshot: Snapshot) -> Call:
        call = self._paused.pop(snapshot.handle, None)
        if call is None:
            raise Unavailable(f"the snapshot {snapshot.handle} is gone")
        return call


def _text(num_tokens: int) -> str:
    return "word" * num_tokens


def _work_of(job: Generation) -> tuple[Work, FinishReason]:
    """What the newest message asks for, as far as the job's limit lets it, and why it ends there."""
    work = work_in(job.messages[-1].text)
    if work is None:
        raise InvalidArgument("an upstream is asked with `work ID TOKENS_IN TOKENS_OUT`")
    limit = job.sampling.max_tokens
    if limit is not None and limit < work.n_out:
        return structs.replace(work, n_out=limit), "length"
    return work, "stop"


def _as_error(broken: Broken) -> AiosError:
    if broken.body:
        return failure(broken.body, time.time())
    return Unavailable("the endpoint broke off in the middle of its answer")
