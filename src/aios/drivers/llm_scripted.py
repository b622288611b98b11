"""A scripted model: it answers what it is told to, at once or token by token, and can fail or hang on order.

For tests, ours and those of users: the same job gives the same tokens, however often it is interrupted.
"""

import asyncio
import itertools
import math
import random
import re
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any
from zlib import crc32

from aios.abi.errors import AiosError, Cancelled, ContextOverflow, Unavailable
from aios.abi.messages import Delta, FinishReason, Message, ToolSpec, Usage
from aios.drivers.limits import OnLimits, ignore_limits
from aios.drivers.llm import Embedded, Finished, Generation, Preempted, Snapshot, SnapshotKind

HANG = object()
"""An answer that never comes."""

Answer = str | Message | AiosError | object
"""A text, an assistant's message with tool calls, an error to raise, or `HANG`."""

DIMENSIONS = 64
"""Of its vectors, where nobody says."""
_WORDS = ("agent", "core", "slot", "note", "file", "tool", "task", "waits", "runs", "reads", "then", "and")


def babble(job: Generation) -> str:
    """Some words drawn from the job's seed: between 1 and 64 of them."""
    draw = random.Random(job.sampling.seed)
    return " ".join(draw.choice(_WORDS) for _ in range(draw.randint(1, 64)))


async def _next_turn() -> None:
    await asyncio.sleep(0)


class ScriptedDriver:
    """An `LLMDriver` whose answers are given: by a function of the job, or one after the other from a list.

    `at_once` gives whole answers without a pause. Otherwise `pace` is awaited before each token (a token is a
    word with the space before it), so that a test decides when the next one comes.
    """

    def __init__(
        self,
        answers: Callable[[Generation], Answer] | Iterable[Answer] = babble,
        *,
        model: str = "scripted",
        at_once: bool = False,
        pace: Callable[[], Awaitable[None]] = _next_turn,
        snapshot_kind: SnapshotKind = "state",
        window: int = 0,
    ) -> None:
        self._answer = answers if callable(answers) else _one_after_the_other(answers)
        self.model = model
        self.snapshot_kind: SnapshotKind = snapshot_kind
        self.window = window
        self._at_once = at_once
        self._pace = pace
        self._handles = itertools.count(1)
        self._snapshots: dict[str, tuple[list[Delta], int]] = {}
        self.jobs: list[Generation] = []
        """Every job begun, in order."""
        self.embedded: list[tuple[str, ...]] = []
        """The texts of every embedding, in order."""
        self.max_running = 0
        """The most that ever ran at the same time."""
        self.is_open = False
        self.on_limits: OnLimits = ignore_limits
        self._running: set[asyncio.Task[Any]] = set()
        """Who waits for the generations that run."""
        self._cut_off: set[asyncio.Task[Any]] = set()
        """Those of them that waited when the core was closed."""

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_snapshots(self) -> int:
        """Snapshots neither resumed nor dropped."""
        return len(self._snapshots)

    async def start(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False
        self._cut_off |= self._running
        for running in self._running:
            running.cancel()

    async def run(
        self,
        job: Generation,
        resume: Snapshot | None,
        emit: Callable[[Delta], None],
        must_yield: Callable[[int], bool],
    ) -> Finished | Preempted:
        if not self.is_open:
            raise Unavailable(f"{self.model} is not running")
        running = asyncio.current_task()
        assert running is not None
        self._running.add(running)
        self.max_running = max(self.max_running, self.num_running)
        try:
            tokens, position = await self._begin(job) if resume is None else self._restore(resume)
            return await self._go_on(job, tokens, position, emit, must_yield)
        except asyncio.CancelledError:
            if running not in self._cut_off:
                raise
            running.uncancel()
            raise Cancelled("the core was closed") from None
        finally:
            self._running.discard(running)
            self._cut_off.discard(running)

    async def embed(self, texts: Sequence[str], dimensions: int | None) -> Embedded:
        """Texts that share words are close."""
        if not self.is_open:
            raise Unavailable(f"{self.model} is not running")
        await self._pace()
        self.embedded.append(tuple(texts))
        num_words = sum(len(_split(text)) for text in texts)
        vectors = tuple(_vector(text, dimensions or DIMENSIONS) for text in texts)
        return Embedded(vectors, Usage(num_words), self.model)

    def drop(self, snapshot: Snapshot) -> None:
        self._snapshots.pop(snapshot.handle, None)

    def forget_snapshots(self) -> None:
        """Lose every snapshot, as an engine that dies does."""
        self._snapshots.clear()

    async def num_prompt_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
        return sum(len(_split(message.text)) for message in messages)

    async def _begin(self, job: Generation) -> tuple[list[Delta], int]:
        self.jobs.append(job)
        prompt = await self.num_prompt_tokens(job.messages, job.tools)
        if self.window and prompt >= self.window:
            raise ContextOverflow(f"the prompt takes {prompt} tokens and the window is {self.window}")
        answer = self._answer(job)
        if answer is HANG:
            await asyncio.get_running_loop().create_future()
        if isinstance(answer, AiosError):
            raise answer
        return _tokens(answer), 0

    def _restore(self, snapshot: Snapshot) -> tuple[list[Delta], int]:
        found = self._snapshots.pop(snapshot.handle, None)
        if found is None:
            raise Unavailable(f"the snapshot {snapshot.handle} is gone")
        return found

    async def _go_on(
        self,
        job: Generation,
        tokens: list[Delta],
        position: int,
        emit: Callable[[Delta], None],
        must_yield: Callable[[int], bool],
    ) -> Finished | Preempted:
        end = min(len(tokens), job.sampling.max_tokens or len(tokens))
        begin = position
        while position < end:
            if not self._at_once:
                await self._pace()
            emit(tokens[position])
            position += 1
            if self.snapshot_kind != "none" and position < end and must_yield(position - begin):
                return Preempted(self._snapshot(tokens, position))
        return _finish(job, tokens[:end], end < len(tokens), self.model)

    def _snapshot(self, tokens: list[Delta], position: int) -> Snapshot:
        handle = f"{self.model}-{next(self._handles)}"
        self._snapshots[handle] = tokens, position
        return Snapshot(self.snapshot_kind, handle, position, 16 * position)


def _one_after_the_other(answers: Iterable[Answer]) -> Callable[[Generation], Answer]:
    left = iter(answers)

    def next_answer(job: Generation) -> Answer:
        for answer in left:
            return answer
        raise Cancelled("the script has no more answers")

    return next_answer


def _vector(text: str, dimensions: int) -> bytes:
    """How often words of each kind are there, the kind being a word's checksum."""
    counts = [0.0] * dimensions
    for word in _split(text.casefold()):
        counts[crc32(word.strip().encode("utf-8", "surrogatepass")) % dimensions] += 1.0
    length = math.hypot(*counts) or 1.0
    return struct.pack(f"<{dimensions}f", *(count / length for count in counts))


def _split(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def _tokens(answer: object) -> list[Delta]:
    if isinstance(answer, Message):
        calls = [Delta(tool_call=call, num_tokens=1) for call in answer.tool_calls]
        return [*_tokens(answer.text), *calls]
    if not isinstance(answer, str):
        raise TypeError(f"a script answers with text, a message, an error or HANG, not {answer!r}")
    return [Delta(word, num_tokens=1) for word in _split(answer)]


def _finish(job: Generation, tokens: list[Delta], is_cut: bool, model: str) -> Finished:
    calls = tuple(token.tool_call for token in tokens if token.tool_call is not None)
    reason: FinishReason = "length" if is_cut else "tool_calls" if calls else "stop"
    prompt = sum(len(_split(message.text)) for message in job.messages)
    return Finished("".join(token.text for token in tokens), calls, reason, Usage(prompt, len(tokens)), model)
