"""An answer of a chat completions endpoint, joined from its chunks.

Owns the JSON shape and the joining. Knows no network. Lenient in what it reads, since providers differ;
strict in what it hands on.
"""

import secrets
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from aios.abi.errors import InvalidArgument, Unavailable
from aios.abi.messages import Delta, FinishReason, ToolCall, Usage
from aios.drivers.llm import Finished, Generation

MAX_CALLS = 128
"""The most tool calls of one answer."""
CHARS_PER_TOKEN = 256
"""No token of any model has more, so an answer beyond this has passed its token limit."""

Json = dict[str, Any]


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
    tool_calls: list[_CallPiece] | None = None

    @property
    def text(self) -> str:
        content = self.content or ""
        if not isinstance(content, str):
            content = "".join(str(part.get("text", "")) for part in content if part.get("type") == "text")
        return content + (self.refusal or "")


class _Choice(Struct):
    index: int = 0
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


class Chunk(Struct):
    """What one event of a stream holds, as far as it is read."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    model: str | None = None
    error: Any = None
    """Set where the provider fails in the middle of its answer."""


_chunks = msgspec.json.Decoder(Chunk)
_arguments = msgspec.json.Decoder(dict[str, Any])


def decode_chunk(data: bytes) -> Chunk:
    """`Unavailable` when it is not a chunk."""
    try:
        return _chunks.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unavailable(f"the endpoint sent something that is no chat completion chunk: {error}") from None


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
        """The arguments as far as they have come; None where they are no JSON object."""
        text = "".join(self.arguments).strip()
        try:
            return _arguments.decode(text) if text else {}
        except (msgspec.DecodeError, RecursionError):
            return None


class Answer:
    """An answer as it grows, chunk by chunk; text is emitted as it comes, tool calls once they are whole."""

    def __init__(self, job: Generation, model: str, emit: Callable[[Delta], None]) -> None:
        self._emit = emit
        self._model = model
        self._max_tokens = job.sampling.max_tokens
        self._text: list[str] = []
        self._calls: list[_OpenCall] = []
        self._num_chars = 0
        self._usage = Usage()
        self._finish_reason: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the model has said that it is done; usage may still follow."""
        return self._finish_reason is not None

    @property
    def is_empty(self) -> bool:
        return not self._text and not self._calls

    def add(self, chunk: Chunk) -> None:
        """Join a chunk on. `Unavailable` when the answer passes its limits."""
        self._model = chunk.model or self._model
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._add_piece(choice.delta or choice.message or _Piece())
                self._finish_reason = choice.finish_reason or self._finish_reason

    def _add_piece(self, piece: _Piece) -> None:
        for call in piece.tool_calls or ():
            self._num_chars += self._call_at(call).add(call)
        if text := piece.text:
            self._num_chars += len(text)
            self._text.append(text)
        if self._max_tokens is not None and self._num_chars > CHARS_PER_TOKEN * self._max_tokens:
            raise Unavailable(f"the endpoint went on beyond the {self._max_tokens} tokens it was allowed")
        if text:
            # The format does not say how many tokens a chunk holds; nearly every endpoint sends one.
            self._emit(Delta(text, num_tokens=1))

    def _call_at(self, piece: _CallPiece) -> _OpenCall:
        for call in reversed(self._calls):
            if piece.index in (None, call.index):
                if call.is_followed_by(piece):
                    break
                return call
        if len(self._calls) >= MAX_CALLS:
            raise Unavailable(f"the model made more than {MAX_CALLS} tool calls in one answer")
        last = max((call.index for call in self._calls), default=-1)
        self._calls.append(_OpenCall(last + 1 if piece.index is None else piece.index))
        return self._calls[-1]

    def finish(self) -> Finished:
        """The whole answer. `Unavailable` or `InvalidArgument` when it is none."""
        reason = self._reason()
        calls = tuple(call.close() for call in sorted(self._calls, key=lambda call: call.index))
        for call in calls:
            self._emit(Delta(tool_call=call, num_tokens=1))
        return Finished("".join(self._text), calls, reason, self._usage, self._model)

    def _reason(self) -> FinishReason:
        if self._finish_reason == "content_filter":
            raise InvalidArgument("the provider's content filter ended the answer")
        if self._finish_reason == "length":
            if self._calls:
                raise InvalidArgument(f"a tool call did not fit into {self._max_tokens} tokens; allow more")
            return "length"
        # Several endpoints say "stop" where they ask for tools.
        return "tool_calls" if self._calls else "stop"


def _usage(usage: _Usage) -> Usage:
    details = usage.prompt_tokens_details or _PromptDetails()
    counts = (usage.prompt_tokens, usage.completion_tokens, details.cached_tokens)
    return Usage(*(max(count or 0, 0) for count in counts))
