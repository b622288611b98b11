"""The pieces of an answer, each given on once: one that is asked for again begins with what was shown.

Owns the count of what was shown. Knows no connection and not when to ask again.
"""

from aios.abi.errors import Conflict
from aios.abi.messages import Delta, ToolCall, pieces_of
from aios.abi.syscalls import LlmAnswer, Reply
from aios.sdk.sending import Emit


class _Said:
    """One answer as far as it has come."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.num_chars = 0
        self.calls: list[ToolCall] = []
        self.num_logprobs = 0

    @property
    def text(self) -> str:
        self._texts = ["".join(self._texts)]
        return self._texts[0]

    def add(self, delta: Delta) -> None:
        self._texts.append(delta.text)
        self.num_chars += len(delta.text)
        self.num_logprobs += len(delta.logprobs)
        if delta.tool_call is not None:
            self.calls.append(delta.tool_call)


class _Place:
    """How far one answer has come this time."""

    def __init__(self) -> None:
        self.num_chars = self.num_calls = self.num_logprobs = 0


class Shown:
    """Takes the pieces of all tries, and gives on what is new."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._shown: dict[int, _Said] = {}
        self._places: dict[int, _Place] = {}
        self._num_tokens = self._tokens_now = 0
        self._num_tries = 0

    def begin(self) -> None:
        """The answer is asked for, or asked for again: it comes from its beginning on."""
        self._places, self._tokens_now = {}, 0
        self._num_tries += 1

    def __call__(self, delta: Delta) -> None:
        """Take a piece. `Conflict` where it is another than was shown in its place."""
        shown = self._shown.setdefault(delta.index, _Said())
        new = Delta(
            text=self._new_text(delta, shown),
            tool_call=self._new_call(delta, shown),
            num_tokens=self._new_tokens(delta),
            logprobs=delta.logprobs[self._num_known_logprobs(delta, shown) :],
            index=delta.index,
        )
        shown.add(new)
        if new != Delta(index=delta.index):
            self._emit(new)

    def complete(self, reply: Reply) -> None:
        """The answer is whole: give on what came with no piece, where it was asked for again."""
        if self._num_tries < 2 or not isinstance(reply, LlmAnswer):
            return
        self.begin()
        for delta in pieces_of(reply.choices):
            self(delta)

    def _place(self, index: int) -> _Place:
        return self._places.setdefault(index, _Place())

    def _new_text(self, delta: Delta, shown: _Said) -> str:
        place = self._place(delta.index)
        start, place.num_chars = place.num_chars, place.num_chars + len(delta.text)
        if start >= shown.num_chars:
            return delta.text
        known = delta.text[: shown.num_chars - start]
        if not shown.text.startswith(known, start):
            raise _another()
        return delta.text[len(known) :]

    def _new_call(self, delta: Delta, shown: _Said) -> ToolCall | None:
        if delta.tool_call is None:
            return None
        place = self._place(delta.index)
        place.num_calls += 1
        if place.num_calls > len(shown.calls):
            return delta.tool_call
        known = shown.calls[place.num_calls - 1]
        if (known.name, known.arguments) != (delta.tool_call.name, delta.tool_call.arguments):
            raise _another()
        return None

    def _num_known_logprobs(self, delta: Delta, shown: _Said) -> int:
        place = self._place(delta.index)
        start, place.num_logprobs = place.num_logprobs, place.num_logprobs + len(delta.logprobs)
        return max(0, shown.num_logprobs - start)

    def _new_tokens(self, delta: Delta) -> int:
        self._tokens_now += delta.num_tokens
        new = max(0, self._tokens_now - self._num_tokens)
        self._num_tokens += new
        return new


def _another() -> Conflict:
    return Conflict("the connection was lost, and the answer, asked for again, is another than was shown")
