"""An answer of a chat completions endpoint, joined from its chunks.

Owns the JSON shape and the joining. Knows no network. Lenient in what it reads, since providers differ;
strict in what it hands on.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from aios.abi.errors import Unavailable
from aios.abi.messages import Delta, TokenLogprob, ToolCall, Usage
from aios.drivers.answer import MAX_CALLS, Answer, End, Json, numbered, parsed_arguments, single
from aios.drivers.llm import Generation

_ENDS: dict[str, End] = {
    "length": "length",
    "content_filter": "filtered",
    "error": "failed",  # OpenRouter
    "insufficient_system_resource": "failed",  # DeepSeek
    "abort": "failed",  # vLLM, SGLang
}


class _Function(Struct):
    name: str | None = None
    arguments: str | Json | None = None


class _CallPiece(Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Piece(Struct):
    content: str | list[Json] | None = None
    refusal: str | None = None
    reasoning: Any = None
    reasoning_content: Any = None
    """What the model thought before it spoke, by either name: no part of the answer."""
    tool_calls: list[_CallPiece] | None = None

    @property
    def text(self) -> str:
        content = self.content or ""
        if not isinstance(content, str):
            content = "".join(str(part.get("text", "")) for part in content if part.get("type") == "text")
        return content + (self.refusal or "")


class _Token(Struct):
    token: str = ""
    logprob: float = 0.0
    bytes: list[int] | None = None
    top_logprobs: "list[_Token] | None" = None

    def to_logprob(self) -> TokenLogprob:
        top = tuple(other.to_logprob() for other in self.top_logprobs or ())
        return TokenLogprob(self.token, self.logprob, tuple(self.bytes or self.token.encode()), top)


class _Logprobs(Struct):
    content: list[_Token] | None = None


class _Choice(Struct):
    index: int = 0
    logprobs: _Logprobs | None = None
    delta: _Piece | None = None
    message: _Piece | None = None
    """In place of `delta` where a server ignores that the answer was to be streamed."""
    finish_reason: str | None = None


class _PromptDetails(Struct):
    cached_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's word for the cached ones."""

    def to_usage(self) -> Usage:
        details = self.prompt_tokens_details or _PromptDetails()
        cached = details.cached_tokens or self.prompt_cache_hit_tokens
        return _counted(self.prompt_tokens, self.completion_tokens, cached)


class _Timings(Struct):
    """llama.cpp's counts: prompt tokens from its cache, those worked on, tokens of the answer."""

    cache_n: int | None = None
    prompt_n: int | None = None
    predicted_n: int | None = None

    def to_usage(self) -> Usage:
        return _counted((self.cache_n or 0) + (self.prompt_n or 0), self.predicted_n, self.cache_n)


class _Groq(Struct):
    usage: _Usage | None = None
    error: str | None = None


class _Chunk(Struct):
    """What one event of a stream holds, as far as it is read."""

    object: str | None = None
    """`error` where an older vLLM or SGLang fails in the middle of its answer."""
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    timings: _Timings | None = None
    x_groq: _Groq | None = None
    model: str | None = None
    error: Any = None
    """Set where the provider fails in the middle of its answer."""
    message: Any = None
    """Set where the event is nothing but an error."""

    @property
    def is_failure(self) -> bool:
        if self.error or self.object == "error" or (self.x_groq is not None and self.x_groq.error):
            return True
        return self.choices is None and self.message is not None


_chunks = msgspec.json.Decoder(_Chunk)


class _OpenCall:
    """A tool call whose arguments are still coming."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def add(self, piece: _CallPiece) -> int:
        """Join `piece` on; the characters it brought."""
        function = piece.function or _Function()
        # Some endpoints repeat id and name in every piece, so they are set once and never joined.
        self.id = self.id or piece.id or ""
        self.name = self.name or function.name or ""
        arguments = function.arguments or ""
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        self.arguments.append(arguments)
        return len(arguments)

    def is_followed_by(self, piece: _CallPiece) -> bool:
        """Whether `piece`, of this call's index or of none, begins another call.

        Some endpoints give every call the index 0, some give none and no id either; others send a new id or
        the name again with every piece of one call.
        """
        if piece.function is None or not piece.function.name or (piece.id and piece.id == self.id):
            return False
        if piece.index is None:
            return bool(piece.id) or self._is_whole()
        return bool(piece.id) and self._is_whole()

    def close(self) -> ToolCall:
        if not self.name:
            raise Unavailable("the model called a tool without naming it")
        arguments = self._parsed()
        if arguments is None:
            raise Unavailable(f"the model called {self.name!r} with something that is no JSON object")
        return ToolCall(self.id or f"call_{secrets.token_hex(12)}", self.name, arguments)

    def _is_whole(self) -> bool:
        return any(self.arguments) and self._parsed() is not None

    def _parsed(self) -> Json | None:
        return parsed_arguments("".join(self.arguments))


class ChatAnswer(Answer):
    """An answer as it grows, chunk by chunk."""

    def __init__(self, job: Generation, model: str, emit: Callable[[Delta], None]) -> None:
        super().__init__(job, model, emit)
        self._further = {
            index: ChatAnswer(single(job), model, numbered(emit, index)) for index in range(1, job.sampling.n)
        }
        self._others = tuple(self._further.values())
        self._open: list[_OpenCall] = []
        self._num_counted = 0
        """Tokens of the text so far, by its chunks."""

    def add(self, data: bytes) -> bool:
        if data == b"[DONE]":
            self.is_done = True
            return True
        chunk = _chunks.decode(data)
        if chunk.is_failure:
            return False
        self._model = chunk.model or self._model
        self._note_usage(chunk)
        for choice in chunk.choices or ():
            answer = self._further.get(choice.index) if choice.index else self
            if answer is not None:
                answer._add_choice(choice)
        return True

    def _add_choice(self, choice: _Choice) -> None:
        likely = choice.logprobs.content or () if choice.logprobs is not None else ()
        logprobs = tuple(token.to_logprob() for token in likely)
        self._add_piece(choice.delta or choice.message or _Piece(), logprobs)
        if choice.finish_reason:
            self._ended(choice.finish_reason, _ENDS)

    def _note_usage(self, chunk: _Chunk) -> None:
        counts = chunk.usage or (chunk.x_groq.usage if chunk.x_groq is not None else None)
        if counts is not None:
            self._usage = counts.to_usage()
        elif chunk.timings is not None and self._usage == Usage():
            self._usage = chunk.timings.to_usage()

    def _add_piece(self, piece: _Piece, logprobs: tuple[TokenLogprob, ...]) -> None:
        if piece.tool_calls or piece.reasoning or piece.reasoning_content:
            self._run_on()
        for call in piece.tool_calls or ():
            self._grow(self._call_at(call).add(call))
        if text := piece.text:
            # Where usage comes with each chunk, it tells how many tokens it holds; of several answers it
            # is that of all. Nearly every endpoint sends one.
            num_told = 0 if self._others else self._usage.completion_tokens - self._num_counted
            num_tokens = max(1, len(logprobs), num_told)
            self._num_counted += num_tokens
            self._say(text, num_tokens, logprobs)

    def _call_at(self, piece: _CallPiece) -> _OpenCall:
        for call in reversed(self._open):
            if piece.index in (None, call.index):
                if call.is_followed_by(piece):
                    break
                return call
        if len(self._open) >= MAX_CALLS:
            raise Unavailable(f"the model made more than {MAX_CALLS} tool calls in one answer")
        last = max((call.index for call in self._open), default=-1)
        self._open.append(_OpenCall(last + 1 if piece.index is None else piece.index))
        return self._open[-1]

    def _has_calls(self) -> bool:
        return bool(self._open)

    def _calls(self) -> Sequence[ToolCall]:
        return [call.close() for call in sorted(self._open, key=lambda call: call.index)]


def _counted(*counts: int | None) -> Usage:
    return Usage(*(max(count or 0, 0) for count in counts))
