"""Asking a model: whole answers and streams. Knows the one call behind both."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypedDict, Unpack

from aios.abi import syscalls as sc
from aios.abi.errors import Conflict
from aios.abi.messages import Beams, Delta, JsonSchema, Message, Sampling, ToolSpec
from aios.sdk.sending import Emit
from aios.sdk.stubs import Caller, Stubs

Prompt = str | Message | Sequence[Message]
"""What a model is asked: a user's text, one message, or a conversation."""

_SAMPLING = frozenset(Sampling.__struct_fields__)


class Choices(TypedDict, total=False):
    """What may be said of a generation besides its messages; see `LlmGenerate` and `Sampling`."""

    tools: Sequence[ToolSpec]
    model: str | None
    tool_choice: str
    response_schema: JsonSchema | None
    fit: sc.Fit | None
    hints: sc.Hints
    budget: sc.Budget
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: dict[int, float]
    logprobs: int | None
    n: int
    beams: Beams | None
    seed: int | None
    max_tokens: int | None
    stop: Sequence[str]


class Llm(Stubs):
    """Language models."""

    async def embed(
        self,
        texts: Sequence[str],
        *,
        model: str | None = None,
        dimensions: int | None = None,
        hints: sc.Hints = sc.NO_HINTS,
        budget: sc.Budget = sc.NO_BUDGET,
        timeout_s: float | None = None,
    ) -> sc.Embeddings:
        """Vectors of texts, from a core that embeds."""
        call = sc.LlmEmbed(texts=tuple(texts), model=model, dimensions=dimensions, hints=hints, budget=budget)
        return await self._call(call, sc.Embeddings, timeout_s=timeout_s)

    async def generate(
        self,
        messages: Prompt,
        *,
        on_delta: Emit | None = None,
        timeout_s: float | None = None,
        key: str = "",
        **choices: Unpack[Choices],
    ) -> sc.LlmAnswer:
        """The model's next message. `on_delta` takes its pieces as they come; `timeout_s` is in seconds.

        Made again with the same idempotency `key`, a call is answered as it was, and where the kernel died
        over it, it goes on with the same tokens. Where a connection is lost, that is done of itself, and
        `on_delta` takes each piece once: `Conflict` where a core cannot say the same again.
        """
        call = _call_of(messages, choices)
        return await self._call(call, sc.LlmAnswer, on_delta=on_delta, timeout_s=timeout_s, key=key)

    def stream(
        self,
        messages: Prompt,
        *,
        timeout_s: float | None = None,
        key: str = "",
        **choices: Unpack[Choices],
    ) -> "Stream":
        """The same, piece by piece: `async for delta in agent.llm.stream(…)`."""
        return Stream(self._call, _call_of(messages, choices), timeout_s, key)


class Stream:
    """The pieces of one answer, to be gone through once. Leaving the loop early cancels the generation."""

    def __init__(
        self, call: Caller, generate: sc.LlmGenerate, timeout_s: float | None, key: str = ""
    ) -> None:
        self._call = call
        self._generate = generate
        self._timeout_s = timeout_s
        self._key = key
        self._answer: sc.LlmAnswer | None = None

    @property
    def answer(self) -> sc.LlmAnswer:
        """The whole answer, once the loop has ended. `Conflict` before."""
        if self._answer is None:
            raise Conflict("the answer is whole once the stream has been read to its end")
        return self._answer

    async def __aiter__(self) -> AsyncIterator[Delta]:
        deltas: asyncio.Queue[Delta | None] = asyncio.Queue()
        asking = asyncio.create_task(
            self._call(
                self._generate,
                sc.LlmAnswer,
                on_delta=deltas.put_nowait,
                timeout_s=self._timeout_s,
                key=self._key,
            )
        )
        asking.add_done_callback(lambda ended: _end(ended, deltas))
        try:
            while (delta := await deltas.get()) is not None:
                yield delta
            self._answer = await asking
        finally:
            asking.cancel()


def _end(ended: asyncio.Task[sc.LlmAnswer], deltas: asyncio.Queue[Delta | None]) -> None:
    """Let the reader go on; an error that comes after the reader has left is nobody's."""
    deltas.put_nowait(None)
    if not ended.cancelled():
        ended.exception()


def _conversation(prompt: Prompt) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    return (prompt,) if isinstance(prompt, Message) else tuple(prompt)


def _call_of(messages: Prompt, choices: Choices) -> sc.LlmGenerate:
    sampling: dict[str, Any] = {key: value for key, value in choices.items() if key in _SAMPLING}
    others: dict[str, Any] = {key: value for key, value in choices.items() if key not in _SAMPLING}
    return sc.LlmGenerate(messages=_conversation(messages), sampling=Sampling(**sampling), **others)
