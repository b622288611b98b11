"""Endpoints of each wire there is, told by their events: what a driver of each makes of the same answer."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct

from aios.abi.messages import Delta, Message, Sampling
from aios.drivers.llm import Finished, Generation
from aios.drivers.llm_anthropic import AnthropicDriver
from aios.drivers.llm_gemini import GeminiDriver
from aios.drivers.llm_remote import OpenAIDriver
from aios.drivers.remote_core import RemoteDriver
from fakes.upstream import Ending, Script, Upstream, call_piece, chunk, event, usage

JOB = Generation((Message("user", "hello"),), sampling=Sampling(seed=3, max_tokens=100))
KEY = "sk-canary-0123456789"

SSE = (("Content-Type", "text/event-stream"),)


@asynccontextmanager
async def driving(
    make: Callable[..., RemoteDriver], *scripts: Script, model: str = "big", **more: Any
) -> AsyncIterator[tuple[RemoteDriver, Upstream]]:
    """A driver before an endpoint that answers by `scripts`."""
    async with Upstream(*scripts) as upstream:
        driver = make(upstream.base_url, model, KEY, **more)
        await driver.start()
        try:
            yield driver, upstream
        finally:
            await driver.close()


async def run(
    driver: RemoteDriver, job: Generation = JOB, emit: Callable[[Delta], None] = lambda delta: None
) -> Finished:
    answer = await driver.run(job, None, emit, lambda num_tokens: False)
    assert isinstance(answer, Finished)
    return answer


# ---- Anthropic's events


def named(kind: str, **more: Any) -> bytes:
    """An event of Anthropic's: its kind stands in a field of its own, and in the data."""
    return f"event: {kind}\n".encode() + event({"type": kind, **more})


def message_start(**counts: int) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "big-1"}
    return named("message_start", message={**message, "stop_reason": None, "usage": counts})


def text_block(index: int, *pieces: str) -> bytes:
    start = named("content_block_start", index=index, content_block={"type": "text", "text": ""})
    deltas = (
        named("content_block_delta", index=index, delta={"type": "text_delta", "text": p}) for p in pieces
    )
    return start + b"".join(deltas) + named("content_block_stop", index=index)


def tool_block(index: int, call_id: str, name: str, *pieces: str) -> bytes:
    block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    deltas = (
        named("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": p})
        for p in pieces
    )
    return (
        named("content_block_start", index=index, content_block=block)
        + b"".join(deltas)
        + named("content_block_stop", index=index)
    )


def message_end(stop_reason: str = "end_turn", **counts: int) -> bytes:
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    return named("message_delta", delta=delta, usage=counts) + named("message_stop")


# ---- Gemini's events


def candidate(*parts: dict[str, Any], finish: str | None = None, **counts: int) -> bytes:
    """An event of Gemini's; the counts by their own names."""
    found: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish is not None:
        found["finishReason"] = finish
    told = {"usageMetadata": counts} if counts else {}
    return event({"candidates": [found], "modelVersion": "big-1", "responseId": "r1", **told}).replace(
        b"\n\n", b"\r\n\r\n"
    )


def function_call(name: str, args: dict[str, Any], **more: Any) -> dict[str, Any]:
    signature = {"thoughtSignature": more.pop("signature")} if "signature" in more else {}
    return {"functionCall": {"name": name, "args": args, **more}, **signature}


# ---- one wire beside the other


class Wire(Struct, frozen=True):
    """How one wire says the same answer: two pieces of text, two calls at once, and what they took."""

    name: str
    make: Callable[..., RemoteDriver]
    path: str
    key_header: tuple[str, str]
    text: bytes
    """An answer of `Hello you`: 7 tokens of prompt, 2 of them cached, and 3 of answer."""
    calls: bytes
    """An answer of `naïve 日本` and two calls at once, `add` with `{"a": 1}` and `now`."""
    begun: bytes
    """The beginning of an answer."""
    failing: bytes
    """An event that says that the endpoint has no room, in the middle of an answer."""
    endless: bytes
    """A piece of an answer that could go on for ever."""

    def script(self, data: bytes, ending: Ending = "finish") -> Script:
        return Script((data,), headers=SSE, ending=ending)


OPENAI = Wire(
    "openai",
    OpenAIDriver,
    "/v1/chat/completions",
    ("authorization", f"Bearer {KEY}"),
    text=event(chunk({"content": "Hello "}))
    + event(chunk({"content": "you"}, "stop"))
    + event(usage(7, 3, 2))
    + event(b"[DONE]"),
    calls=event(chunk({"content": "naïve "}))
    + event(chunk({"content": "日本"}))
    + event(chunk(call_piece(0, '{"a"', id="c1", name="add")))
    + event(chunk(call_piece(0, ": 1}")))
    + event(chunk(call_piece(1, "", id="c2", name="now"), "tool_calls"))
    + event(b"[DONE]"),
    begun=event(chunk({"content": "Hel"})),
    failing=event({"error": {"code": 503, "message": f"no room for {KEY}"}}),
    endless=event(chunk({"content": "x" * 100})),
)

ANTHROPIC = Wire(
    "anthropic",
    AnthropicDriver,
    "/v1/messages",
    ("x-api-key", KEY),
    text=message_start(
        input_tokens=4, cache_creation_input_tokens=1, cache_read_input_tokens=2, output_tokens=1
    )
    + named("ping")
    + text_block(0, "Hello ", "you")
    + message_end(output_tokens=3),
    calls=message_start(input_tokens=4, output_tokens=1)
    + text_block(0, "naïve ", "日本")
    + tool_block(1, "c1", "add", "", '{"a"', ": 1}")
    + tool_block(2, "c2", "now", "")
    + message_end("tool_use", output_tokens=9),
    begun=message_start(input_tokens=4)
    + named("content_block_start", index=0, content_block={"type": "text", "text": ""})
    + named("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hel"}),
    failing=named("error", error={"type": "overloaded_error", "message": f"no room for {KEY}"}),
    endless=named("content_block_delta", index=0, delta={"type": "text_delta", "text": "x" * 100}),
)

_COUNTS = {"promptTokenCount": 7, "cachedContentTokenCount": 2, "totalTokenCount": 10}

GEMINI = Wire(
    "gemini",
    GeminiDriver,
    "/v1/models/big:streamGenerateContent?alt=sse",
    ("x-goog-api-key", KEY),
    text=candidate({"text": "thinking", "thought": True}, **_COUNTS, thoughtsTokenCount=1)
    + candidate({"text": "Hello "}, **_COUNTS, thoughtsTokenCount=1, candidatesTokenCount=1)
    + candidate({"text": "you"}, finish="STOP", **_COUNTS, thoughtsTokenCount=1, candidatesTokenCount=2),
    calls=candidate({"text": "naïve "})
    + candidate({"text": "日本"})
    + candidate(function_call("add", {"a": 1}, id="c1"), function_call("now", {}, id="c2"))
    + candidate({"text": ""}, finish="STOP", promptTokenCount=4),
    begun=candidate({"text": "Hel"}),
    failing=event({"error": {"code": 503, "message": f"no room for {KEY}", "status": "UNAVAILABLE"}}),
    endless=candidate({"text": "x" * 100}),
)

WIRES = (OPENAI, ANTHROPIC, GEMINI)


def whole(value: Any) -> Script:
    """An answer that is not streamed."""
    return Script((json.dumps(value).encode(),), headers=(("Content-Type", "application/json"),))
