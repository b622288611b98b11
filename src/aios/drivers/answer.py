"""An answer of a remote model as it grows, whatever its wire: what each wire's reader adds to.

Owns the limits of an answer and what its end means. Knows no wire and no network.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import structs

from aios.abi.errors import InvalidArgument, Unavailable
from aios.abi.messages import Choice, Delta, FinishReason, TokenLogprob, ToolCall, Usage
from aios.drivers.continuing import NOTHING, Partial, Slice
from aios.drivers.llm import Finished, Generation

MAX_CALLS = 128
"""The most tool calls of one answer."""
CHARS_PER_TOKEN = 256
"""No token of any model has more, so an answer beyond this has passed its token limit."""

Json = dict[str, Any]
End = Literal["stop", "length", "filtered", "failed"]
"""How a model's answer ended: as it should, at its token limit, by a filter, by a fault of the endpoint's."""

_arguments = msgspec.json.Decoder(dict[str, Any])


class Answer(ABC):
    """Text is emitted as it comes, tool calls once they are whole. The first of several holds the others."""

    is_done = False
    """Whether the wire's own mark of the end has come: nothing after it counts."""

    def __init__(self, job: Generation, model: str, emit: Callable[[Delta], None]) -> None:
        self._emit = emit
        self._model = model
        self._max_tokens = job.sampling.max_tokens
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._num_chars = 0
        self._slice: Slice | None = None
        self._before = NOTHING
        self._usage = Usage()
        self._end: End | None = None
        self._told_end = ""
        """The same in the provider's word."""
        self._others: Sequence[Answer] = ()
        """The second to the last, where more than one was asked for."""

    @property
    def is_complete(self) -> bool:
        """Whether the model has said that it is done; usage may still follow."""
        return self._end is not None and all(other.is_complete for other in self._others)

    @property
    def is_empty(self) -> bool:
        return not self._text and not self._has_calls()

    @property
    def is_cut(self) -> bool:
        """Whether what was said is enough for now: the stream is to be ended."""
        return self._slice is not None and self._slice.is_cut

    def go_on(self, before: Partial, slice: Slice) -> None:
        """Have the text pass through `slice`, which may cut it; it goes on from `before`."""
        self._before, self._slice = before, slice

    def cut(self) -> Partial:
        """What was said, of an answer that was cut."""
        assert self._slice is not None
        return self._before.cut(self._slice.text, self._slice.num_tokens, self._usage)

    @abstractmethod
    def add(self, data: bytes) -> bool:
        """Join one event on; False where by it the provider reports that it failed.

        Raises `Unavailable` when the answer passes its limits, and `msgspec.DecodeError`,
        `UnicodeDecodeError` or `RecursionError` when `data` is no event of this wire.
        """

    @abstractmethod
    def _has_calls(self) -> bool:
        """Whether a tool call has begun."""

    @abstractmethod
    def _calls(self) -> Sequence[ToolCall]:
        """The tool calls, whole. `Unavailable` where one is not."""

    def finish(self) -> Finished:
        """The whole answer, with all others. `Unavailable` or `InvalidArgument` when one of them is none."""
        if missing := sum(other._end is None and other.is_empty for other in self._others):
            num_asked = 1 + len(self._others)
            raise Unavailable(f"of {num_asked} answers the endpoint gave {num_asked - missing}")
        others = tuple(_choice(other.finish()) for other in self._others)
        reason = self._reason()
        calls = tuple(self._calls())
        text, usage = "".join(self._text), self._usage
        if self._slice is not None:
            self._slice.end()
            text, usage = self._slice.text, self._before.whole_usage(usage)
        for call in calls:
            self._emit(Delta(tool_call=call, num_tokens=1))
        return Finished(text, calls, reason, usage, self._model, tuple(self._logprobs), others)

    def _reason(self) -> FinishReason:
        if self._end == "filtered":
            raise InvalidArgument(f"the provider's content filter ended the answer ({self._told_end})")
        if self._end == "failed":
            raise Unavailable(f"the endpoint gave up its answer ({self._told_end})")
        if self._end == "length":
            if self._has_calls():
                raise InvalidArgument(f"a tool call did not fit into {self._max_tokens} tokens; allow more")
            return "length"
        # Several endpoints say "stop" where they ask for tools.
        return "tool_calls" if self._has_calls() else "stop"

    def _ended(self, told: str, ends: dict[str, End]) -> None:
        self._end, self._told_end = ends.get(told, "stop"), told

    def _say(self, text: str, num_tokens: int, logprobs: tuple[TokenLogprob, ...] = ()) -> None:
        self._grow(len(text))
        self._text.append(text)
        if self._slice is not None:
            self._slice.say(text, num_tokens)
            return
        self._logprobs += logprobs
        self._emit(Delta(text, num_tokens=num_tokens, logprobs=logprobs))

    def _run_on(self) -> None:
        """The answer is more than text, and so is not cut."""
        if self._slice is not None:
            self._slice.run_on()

    def _grow(self, num_chars: int) -> None:
        self._num_chars += num_chars
        if self._max_tokens is not None and self._num_chars > CHARS_PER_TOKEN * self._max_tokens:
            raise Unavailable(f"the endpoint went on beyond the {self._max_tokens} tokens it was allowed")


def single(job: Generation) -> Generation:
    """The same job, of one answer."""
    return structs.replace(job, sampling=structs.replace(job.sampling, n=1))


def numbered(emit: Callable[[Delta], None], index: int) -> Callable[[Delta], None]:
    """Takes the pieces of one of several answers."""
    return lambda delta: emit(structs.replace(delta, index=index))


def _choice(answer: Finished) -> Choice:
    return Choice(answer.text, answer.tool_calls, answer.finish_reason, answer.logprobs)


def parsed_arguments(text: str) -> Json | None:
    """A tool call's arguments as far as they have come; None where they are no JSON object."""
    text = text.strip()
    try:
        return _arguments.decode(text) if text else {}
    except (msgspec.DecodeError, RecursionError):
        return None


def likely_tokens(text: str) -> int:
    """Tokens that `text` takes, by its length, where the wire does not tell: about four characters each."""
    return max(1, len(text) // 4)
