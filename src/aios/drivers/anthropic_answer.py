"""An answer of Anthropic's Messages API, joined from its events. Owns the JSON shape; knows no network.

Facts of the wire: platform.claude.com/docs/en/build-with-claude/streaming. Events and blocks of kinds that
are not known here are passed over, as that page asks for.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from aios.abi.errors import Unavailable
from aios.abi.messages import Delta, ToolCall, Usage
from aios.drivers.answer import MAX_CALLS, Answer, End, Json, likely_tokens, parsed_arguments
from aios.drivers.anthropic_request import ANSWER_TOOL, WRAPPED, is_wrapped
from aios.drivers.anthropic_thoughts import Thoughts
from aios.drivers.llm import Finished, Generation

_ENDS: dict[str, End] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "filtered",
}


class _Usage(Struct):
    """Counts so far; the events that carry them leave out what did not change."""

    input_tokens: int | None = None
    """Of the prompt, without those of the next two."""
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None


class _Block(Struct):
    type: str = ""
    text: str | None = None
    id: str = ""
    name: str = ""
    input: Any = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    """Of a thought that is not shown."""


class _Message(Struct):
    model: str | None = None
    usage: _Usage | None = None


class _Delta(Struct):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None


class _Event(Struct):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    # Of a whole message, where a server ignores that it was to be streamed.
    model: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None


class _Part(Struct):
    """A block of the answer, as far as it has come."""

    type: str
    id: str
    name: str
    pieces: list[str]
    """Of its text, its thought, or a tool's input in JSON."""
    signature: str
    data: str

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def to_call(self) -> ToolCall:
        arguments = parsed_arguments(self.text)
        if arguments is None:
            raise Unavailable(f"the model called {self.name!r} with something that is no JSON object")
        return ToolCall(self.id, self.name, arguments)

    def to_block(self) -> Json:
        """The block as the model wants it back."""
        match self.type:
            case "thinking":
                return {"type": self.type, "thinking": self.text, "signature": self.signature}
            case "redacted_thinking":
                return {"type": self.type, "data": self.data}
            case "tool_use":
                call = self.to_call()
                return {"type": self.type, "id": call.id, "name": call.name, "input": call.arguments}
            case _:
                return {"type": "text", "text": self.text}


_KINDS = {"text", "thinking", "redacted_thinking", "tool_use"}
_THOUGHTS = {"thinking", "redacted_thinking"}
_events = msgspec.json.Decoder(_Event)


class AnthropicAnswer(Answer):
    """An answer as it grows. With `by_tool` the input of one tool is its text; thoughts go to `thoughts`."""

    def __init__(
        self,
        job: Generation,
        model: str,
        emit: Callable[[Delta], None],
        *,
        by_tool: bool = False,
        thoughts: Thoughts | None = None,
    ) -> None:
        super().__init__(job, model, emit)
        self._job = job
        self._is_wrapped = by_tool and is_wrapped(job.response_schema or {})
        self._answer_tool = ANSWER_TOOL if by_tool else None
        self._thoughts = thoughts
        self._parts: dict[int, _Part] = {}
        self._counts = _Usage()

    def add(self, data: bytes) -> bool:
        event = _events.decode(data)
        match event.type:
            case "error":
                return False
            case "message_start" if event.message is not None:
                self._model = event.message.model or self._model
                self._note_usage(event.message.usage)
            case "content_block_start" if event.content_block is not None:
                self._begin(event.index, event.content_block)
            case "content_block_delta" if event.delta is not None and event.index in self._parts:
                self._go_on(self._parts[event.index], event.delta)
            case "content_block_stop" if event.index in self._parts:
                self._close(self._parts[event.index])
            case "message_delta" if event.delta is not None:
                self._note_usage(event.usage)
                self._note_end(event.delta.stop_reason)
            case "message_stop":
                self.is_done = True
            case "message":
                self._take_whole(event)
        return True

    def finish(self) -> Finished:
        finished = super().finish()
        if self._thoughts is not None and finished.tool_calls and self._has_thought():
            blocks = [part.to_block() for part in self._parts.values()]
            job = self._job
            self._thoughts.keep(job.messages, job.tools, finished.text, finished.tool_calls, blocks)
        return finished

    def _has_thought(self) -> bool:
        return any(part.type in _THOUGHTS for part in self._parts.values())

    def _take_whole(self, event: _Event) -> None:
        self._model = event.model or self._model
        self._note_usage(event.usage)
        for index, block in enumerate(event.content or ()):
            self._begin(index, block)
            if index in self._parts:
                self._close(self._parts[index])
        self._note_end(event.stop_reason)

    def _begin(self, index: int, block: _Block) -> None:
        if block.type not in _KINDS:
            return
        if block.type != "text" or self._parts:
            self._run_on()
        if block.type == "tool_use":
            self._check_call(block)
        # A stream begins with what is empty, and the pieces follow.
        given = msgspec.json.encode(block.input).decode() if block.input else block.thinking or ""
        pieces = [given] if given else []
        self._parts[index] = _Part(
            block.type, block.id, block.name, pieces, block.signature or "", block.data or ""
        )
        if block.text:
            self._go_on(self._parts[index], _Delta("text_delta", text=block.text))

    def _check_call(self, block: _Block) -> None:
        if sum(part.type == "tool_use" for part in self._parts.values()) >= MAX_CALLS:
            raise Unavailable(f"the model made more than {MAX_CALLS} tool calls in one answer")
        if not block.name:
            raise Unavailable("the model called a tool without naming it")

    def _go_on(self, part: _Part, delta: _Delta) -> None:
        piece = delta.text or delta.partial_json or delta.thinking or ""
        part.signature += delta.signature or ""
        part.pieces.append(piece)
        if part.type == "text" and piece:
            self._say(piece, likely_tokens(piece))
        else:
            self._grow(len(piece))

    def _close(self, part: _Part) -> None:
        if part.name == self._answer_tool:
            text = self._unwrapped(part.text)
            self._say(text, likely_tokens(text))

    def _unwrapped(self, text: str) -> str:
        found: Json | None = parsed_arguments(text) if self._is_wrapped else None
        if found is not None and WRAPPED in found:
            return msgspec.json.encode(found[WRAPPED]).decode()
        return text or "{}"

    def _note_end(self, stop_reason: str | None) -> None:
        if stop_reason:
            self._ended(stop_reason, _ENDS)

    def _note_usage(self, counts: _Usage | None) -> None:
        if counts is None:
            return
        for name, count in msgspec.structs.asdict(counts).items():
            if count is not None:
                setattr(self._counts, name, max(count, 0))
        fresh, written, read, answer = (count or 0 for count in msgspec.structs.astuple(self._counts))
        self._usage = Usage(fresh + written + read, answer, read)

    def _has_calls(self) -> bool:
        return any(
            part.type == "tool_use" and part.name != self._answer_tool for part in self._parts.values()
        )

    def _calls(self) -> Sequence[ToolCall]:
        made = (part for part in self._parts.values() if part.type == "tool_use")
        return [part.to_call() for part in made if part.name != self._answer_tool]
