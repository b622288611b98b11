"""An answer of Gemini's streamGenerateContent, joined from its events. Owns the JSON shape; knows no network.

Facts of the wire: ai.google.dev/api/generate-content.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from aios.abi.errors import Unavailable
from aios.abi.messages import Delta, ToolCall, Usage
from aios.drivers.answer import MAX_CALLS, Answer, End, Json, likely_tokens, numbered, single
from aios.drivers.llm import Generation
from aios.drivers.remembered import Remembered

_FILTERED = ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY")
_FAILED = (
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MALFORMED_RESPONSE",
    "MISSING_THOUGHT_SIGNATURE",
    "OTHER",
)
_ENDS: dict[str, End] = {
    "MAX_TOKENS": "length",
    **dict.fromkeys(_FILTERED, "filtered"),
    **dict.fromkeys(_FAILED, "failed"),
}
_GOES_ON = "FINISH_REASON_UNSPECIFIED"


class _Call(Struct):
    name: str = ""
    id: str | None = None
    args: Json | None = None


class _Part(Struct, rename="camel"):
    text: str | None = None
    thought: bool = False
    """Whether it is a summary of what the model thought, and no part of its answer."""
    function_call: _Call | None = None
    thought_signature: str | None = None


class _Content(Struct):
    parts: list[_Part] | None = None


class _Candidate(Struct, rename="camel"):
    index: int = 0
    content: _Content | None = None
    finish_reason: str | None = None


class _Usage(Struct, rename="camel"):
    """Counts so far."""

    prompt_token_count: int | None = None
    """Of the whole prompt, what was cached with it."""
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None

    def to_usage(self) -> Usage:
        answer = (self.candidates_token_count or 0) + (self.thoughts_token_count or 0)
        counts = (self.prompt_token_count, answer, self.cached_content_token_count)
        return Usage(*(max(count or 0, 0) for count in counts))


class _Feedback(Struct, rename="camel"):
    block_reason: str | None = None


class _Event(Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    usage_metadata: _Usage | None = None
    prompt_feedback: _Feedback | None = None
    model_version: str | None = None
    error: Any = None


# A list of them is what comes where a server ignores that it was to be streamed.
_events = msgspec.json.Decoder(_Event | list[_Event])


class GeminiAnswer(Answer):
    """An answer as it grows. Signatures of tool calls are kept in `signatures`."""

    def __init__(
        self, job: Generation, model: str, emit: Callable[[Delta], None], signatures: Remembered
    ) -> None:
        super().__init__(job, model, emit)
        self._signatures = signatures
        self._further = {
            index: GeminiAnswer(single(job), model, numbered(emit, index), signatures)
            for index in range(1, job.sampling.n)
        }
        self._others = tuple(self._further.values())
        self._called: list[ToolCall] = []

    def add(self, data: bytes) -> bool:
        found = _events.decode(data)
        return all(map(self._join, found if isinstance(found, list) else [found]))

    def _join(self, event: _Event) -> bool:
        if event.error:
            return False
        self._model = event.model_version or self._model
        num_before = self._usage.completion_tokens
        if event.usage_metadata is not None:
            self._usage = event.usage_metadata.to_usage()
        if event.prompt_feedback is not None and (reason := event.prompt_feedback.block_reason):
            for each in (self, *self._further.values()):
                each._ended(reason, {reason: "filtered"})
        # Of several candidates the count is that of all.
        num_tokens = 0 if self._further else self._usage.completion_tokens - num_before
        for candidate in event.candidates or ():
            answer = self._further.get(candidate.index) if candidate.index else self
            if answer is not None:
                answer._add_candidate(candidate, num_tokens)
        return True

    def _add_candidate(self, candidate: _Candidate, num_tokens: int) -> None:
        parts = (candidate.content.parts if candidate.content is not None else None) or []
        if text := "".join(part.text or "" for part in parts if not part.thought):
            self._say(text, num_tokens if num_tokens > 0 else likely_tokens(text))
        for part in parts:
            if part.function_call is not None:
                self._add_call(part.function_call, part.thought_signature)
        if candidate.finish_reason and candidate.finish_reason != _GOES_ON:
            self._ended(candidate.finish_reason, _ENDS)

    def _add_call(self, call: _Call, signature: str | None) -> None:
        if len(self._called) >= MAX_CALLS:
            raise Unavailable(f"the model made more than {MAX_CALLS} tool calls in one answer")
        if not call.name:
            raise Unavailable("the model called a tool without naming it")
        arguments = call.args or {}
        self._grow(len(msgspec.json.encode(arguments)))
        made = ToolCall(call.id or f"call_{secrets.token_hex(12)}", call.name, arguments)
        self._called.append(made)
        if signature is not None:
            self._signatures.keep(made.id, signature)

    def _has_calls(self) -> bool:
        return bool(self._called)

    def _calls(self) -> Sequence[ToolCall]:
        return self._called
