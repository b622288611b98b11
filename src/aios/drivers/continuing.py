"""Text snapshots: an answer that was cut off by ending its stream, and goes on where its text ended.

A slice's text passes through `Slice`, which finds where it may be cut. Between words, since a tokenizer makes
the same tokens of a text up to there; never after white space, which some endpoints refuse at the end of a
partial answer and many chat templates strip; never after what may be the begin of a stop string, of which the
endpoint would then see only the rest. What lies behind the cut was not shown: the endpoint says it again.

Owns what a text snapshot holds. Knows no wire and no network.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from aios.abi.errors import InvalidArgument
from aios.abi.messages import Delta, Usage
from aios.drivers.llm import Exactness, Generation, Snapshot

Continuation = Literal["exact", "prefill", "none"]
"""How an endpoint goes on with a partial answer: by a request that says so, so that it reads the very tokens
that it would have read; by a last message of the assistant, whose template is its own affair; not at all."""

EXACTNESS: dict[Continuation, Exactness] = {"exact": "exact", "prefill": "prefix-exact"}

MOST_AFTER = 32
"""Tokens after which a text is cut where it is, if no word has ended: some languages have no spaces."""


class Partial(Struct, frozen=True):
    """What a text snapshot holds: any core of the model can go on from it."""

    text: str
    """What was shown."""
    num_tokens: int
    """The tokens of it."""
    usage: Usage = Usage()
    """Of the requests so far, as far as they were told."""
    num_untold: int = 0
    """Requests that did not tell what their prompt took,"""
    untold_tokens: int = 0
    """and the tokens of partial answers that those prompts held."""

    def to_snapshot(self, exactness: Exactness) -> Snapshot:
        handle = msgspec.json.encode(self).decode()
        return Snapshot("text", handle, self.num_tokens, len(self.text.encode()), exactness)

    def cut(self, text: str, num_tokens: int, told: Usage) -> "Partial":
        """The same after one more request was cut off, of which `told` was told by then."""
        is_told = told.prompt_tokens > 0
        return Partial(
            text,
            num_tokens,
            self.usage + Usage(told.prompt_tokens, num_tokens - self.num_tokens, told.cached_tokens),
            self.num_untold + (not is_told),
            self.untold_tokens + (0 if is_told else self.num_tokens),
        )

    def whole_usage(self, last: Usage) -> Usage:
        """Of all requests, `last` being what the last one told: a prompt counts as often as it was read."""
        prompt_tokens = max(0, last.prompt_tokens - self.num_tokens)
        untold = self.num_untold * prompt_tokens + self.untold_tokens if last.prompt_tokens else 0
        return self.usage + last + Usage(untold)


NOTHING = Partial("", 0)


def partial_of(snapshot: Snapshot | None) -> Partial:
    """What an answer goes on from. `InvalidArgument` when that is no text."""
    if snapshot is None:
        return NOTHING
    if snapshot.kind != "text":
        raise InvalidArgument("a remote core can go on from a text only")
    return msgspec.json.decode(snapshot.handle, type=Partial)


def may_be_cut(job: Generation) -> bool:
    """Whether the answer to `job` can be asked for from its middle on.

    Not one that is more than one text, or has a form: the endpoint would begin the form anew.
    """
    return (
        job.sampling.logprobs is None
        and job.sampling.n == 1
        and job.response_schema is None
        and (not job.tools or job.tool_choice in ("auto", "none"))
        and job.messages[-1].role != "assistant"
    )


class Slice:
    """The text of an answer on its way to the caller, until it is cut."""

    def __init__(
        self,
        before: Partial,
        stop: Sequence[str],
        emit: Callable[[Delta], None],
        must_yield: Callable[[int], bool],
    ) -> None:
        self._begins = {end[:size] for end in stop for size in range(1, len(end))}
        self._longest = max(map(len, stop), default=1) - 1
        self._emit = emit
        self._must_yield = must_yield
        self.text = before.text
        """What was shown, in earlier slices, too."""
        self.num_tokens = before.num_tokens
        """The tokens of it."""
        self._num_before = before.num_tokens
        self._held = ""
        self._held_tokens = 0
        self._left = MOST_AFTER
        self._must_stop = False
        self._may_stop = True
        self.is_cut = False

    def say(self, text: str, num_tokens: int) -> None:
        """The model went on so. What is said behind a cut is dropped."""
        if self.is_cut:
            return
        self._held += text
        self._held_tokens += num_tokens
        if self._must_stop and self._may_stop:
            self._left -= num_tokens
            self._try_to_cut()
        if not self.is_cut:
            self._show(self._sound_end())
            self._ask()

    def run_on(self) -> None:
        """The answer has become more than text: it is not cut any more."""
        self._may_stop = False

    def end(self) -> None:
        """The answer is whole."""
        self._show(len(self._held))

    def _ask(self) -> None:
        num_new = self.num_tokens - self._num_before
        if not (self._must_stop or num_new == 0) and self._may_stop and self._is_sound:
            self._must_stop = self._must_yield(num_new)
            if self._must_stop:
                self._try_to_cut()

    @property
    def _is_sound(self) -> bool:
        """Whether what was shown may be given back: templates strip white space at its begin."""
        return bool(self.text) and not self.text[0].isspace()

    def _try_to_cut(self) -> None:
        """Cut before the first white space that is held, or anywhere at last."""
        for place, char in enumerate(self._held):
            if char.isspace() and self._can_end(place):
                self._cut(place)
                return
        if self._left < 0:
            self._cut(self._sound_end())

    def _cut(self, place: int) -> None:
        self._show(place)
        self.is_cut = bool(self._is_sound)

    def _sound_end(self) -> int:
        """How much of what is held can be shown."""
        place = len(self._held)
        while place and not self._can_end(place):
            place -= 1
        return place

    def _can_end(self, place: int) -> bool:
        """Whether the text could be cut after `place` of the characters that are held."""
        tail = self.text[-self._longest - 1 :] + self._held[:place]
        if not tail or tail[-1].isspace():
            return False
        return not any(tail[-size:] in self._begins for size in range(1, min(len(tail), self._longest) + 1))

    def _show(self, place: int) -> None:
        if place:
            text, self._held = self._held[:place], self._held[place:]
            num_tokens, self._held_tokens = self._held_tokens, 0
            self.text += text
            self.num_tokens += num_tokens
            self._emit(Delta(text, num_tokens=num_tokens))
