"""One answer while it grows: tokens in, deltas out, until a limit, a stop string or the end token.

Owns where an answer ends and what text may be shown. It knows nothing of weights, rows or other answers.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from aios.abi.messages import (
    Choice,
    Delta,
    FinishReason,
    JsonSchema,
    Sampling,
    TokenLogprob,
    ToolCall,
    ToolSpec,
)
from aios.drivers.models.closing import Closing, WayOut
from aios.drivers.models.model import Chat, Grammar
from aios.drivers.models.sampling import Floats, Sampler, log_softmax
from aios.drivers.models.schema_grammar import SchemaGrammars


class StopStrings:
    """Passes text on, up to where one of `stops` begins; holds back an end that could become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.met = False

    def feed(self, text: str) -> str:
        """What may be shown now. Once a stop string is whole, `met` is set and nothing more comes."""
        self._held += text
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.met = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        return self._release(max((self._overlap(stop) for stop in self._stops), default=0))

    def flush(self) -> str:
        """What was held back; the text goes no further."""
        return self._release(0)

    def _release(self, num_held: int) -> str:
        cut = len(self._held) - num_held
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def _overlap(self, stop: str) -> int:
        """How much of the end of the text is a beginning of `stop`."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)


class AnswerState(Struct, frozen=True):
    """An answer as far as it has come: with the job that it belongs to it says all that is to be known."""

    tokens: tuple[int, ...]
    way: tuple[int, ...] = ()
    num_free: int = 0
    known: tuple[int, ...] = ()
    """Where its closing stands: see `Closing.place`."""
    logprobs: tuple[TokenLogprob | None, ...] = ()
    """Of each token, where they were asked for."""


class Answer:
    """The answer to one prompt with `tools` in view: what `grammar` allows, and `closing` ends in time."""

    def __init__(
        self,
        chat: Chat,
        tools: Sequence[ToolSpec],
        grammar: Grammar,
        closing: Closing,
        prompt: Sequence[int],
        sampling: Sampling,
        window: int,
        number: int,
        never: NDArray[np.intp],
    ) -> None:
        """`never` names tokens that no reply says."""
        self._never = never
        self._sampler = Sampler(sampling, prompt, number)
        self._num_others = sampling.logprobs
        """Alternatives to each token that are told; None where no likelihoods are."""
        self.tokens: list[int] = []
        self.finish_reason: FinishReason | None = None
        """Why it ended; None while it grows."""
        self._parser = chat.parser(tools, prompt)
        self.grammar, self._closing = grammar, closing
        for token in chat.begun(prompt):
            self.grammar.feed(token)
        self._chat = chat
        self._end_id = chat.end_id
        room = window - len(prompt)
        self.max_tokens = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        self._stops = StopStrings(sampling.stop)
        self._text: list[str] = []
        self._calls: list[ToolCall] = []
        self._logprobs: list[TokenLogprob] = []
        self._unreported = 0
        self._unreported_logprobs: list[TokenLogprob] = []
        self._each_logprob: list[TokenLogprob | None] = []
        """Of every token, where they are told."""

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    def choose(self, logits: Floats) -> tuple[int, TokenLogprob | None]:
        """The next token, and how likely it was where that is told. Spoils `logits`."""
        likely = self.likelihoods(logits)
        logits = logits[: self._chat.vocab_size]
        logits[self._never] = -np.inf
        self.grammar.restrict(logits)
        token = self.kept(self._sampler.choose(logits, self.num_tokens))
        return token, self.logprob(token, likely)

    def kept(self, token: int) -> int:
        """`token`, or what must come in its place so that the answer is whole in time."""
        return self._closing.kept(self.grammar, token, self.max_tokens - self.num_tokens)

    def likelihoods(self, logits: Floats) -> NDArray[np.float64] | None:
        """How likely each token is, before any setting; None where that is not told."""
        return self._said(logits) if self._num_others is not None and self.grammar.is_text else None

    def logprob(self, token: int, likely: NDArray[np.float64] | None) -> TokenLogprob | None:
        """What is told of how likely a token was."""
        if likely is None or not self._chat.surface(token):
            return None
        return self._logprob(token, likely, self._num_others)

    def scores(self, logits: Floats) -> NDArray[np.float64]:
        """Log-probabilities of the tokens of the vocabulary, after biases and penalties; minus infinity for
        those that may not come next.
        """
        scores = self._said(self._sampler.adjusted(logits))
        allowed = self.grammar.allowed()
        if self._closing.forced is not None:
            allowed[:] = False
            allowed[self._closing.forced] = True
        scores[~allowed] = -np.inf
        return scores

    def score(self, logits: Floats, token: int) -> float:
        """The same of one token, whether or not it may come."""
        return float(self._said(self._sampler.adjusted(logits))[token])

    def _said(self, logits: Floats) -> NDArray[np.float64]:
        """Log-probabilities among all that the model could say; minus infinity where no reply may say it."""
        likely = log_softmax(logits)[: self._chat.vocab_size]
        likely[self._never] = -np.inf
        return likely

    def fork(self) -> "Answer":
        """The same place in the same answer, to go on from by itself."""
        twin = copy(self)
        twin._sampler, twin._parser = self._sampler.fork(), self._parser.fork()
        twin.grammar, twin._closing = self.grammar.fork(), self._closing.fork()
        twin._stops = copy(self._stops)
        twin.tokens, twin._text, twin._calls = [*self.tokens], [*self._text], [*self._calls]
        twin._logprobs, twin._each_logprob = [*self._logprobs], [*self._each_logprob]
        twin._unreported_logprobs = [*self._unreported_logprobs]
        return twin

    def state(self) -> AnswerState:
        """What `resume` of a new answer to the same prompt needs, to be where this one is."""
        return AnswerState(tuple(self.tokens), *self._closing.place, tuple(self._each_logprob))

    def resume(self, state: AnswerState) -> list[Delta]:
        """Take the tokens of an earlier life; what it has shown."""
        deltas: list[Delta] = []
        for place, token in enumerate(state.tokens):
            deltas += self.add(token, state.logprobs[place] if state.logprobs else None)
        self._closing.resume((state.way, state.num_free, state.known))
        return deltas

    def add(self, token: int, logprob: TokenLogprob | None = None) -> list[Delta]:
        """Take the next token; what can be shown because of it."""
        self.tokens.append(token)
        if self._num_others is not None:
            self._each_logprob.append(logprob)
        if logprob is not None:
            self._unreported_logprobs.append(logprob)
        self._unreported += 1
        self._sampler.feed(token)
        self.grammar.feed(token)
        deltas: list[Delta] = []
        for delta in self._parser.feed(token):
            self._show(delta, deltas)
            if self._stops.met:
                break
        self._settle(token, deltas)
        return deltas

    def choice(self) -> Choice:
        """The whole answer, once `finish_reason` is set."""
        assert self.finish_reason is not None
        return Choice("".join(self._text), tuple(self._calls), self.finish_reason, tuple(self._logprobs))

    def _logprob(
        self, token: int, likely: NDArray[np.float64], num_others: int | None = None
    ) -> TokenLogprob:
        """How likely a token was, and so many of the likeliest in its place."""
        others = np.argsort(-likely, kind="stable")[:num_others] if num_others else ()
        top = tuple(self._logprob(int(other), likely) for other in others if np.isfinite(likely[other]))
        surface = self._chat.surface(token)
        text = surface.decode("utf-8", "replace") if surface else self._chat.name(token)
        return TokenLogprob(text, float(likely[token]), tuple(surface), top)

    def _show(self, delta: Delta, deltas: list[Delta]) -> None:
        text = self._stops.feed(delta.text)
        if delta.tool_call is not None and not self._stops.met:
            # No stop string reaches across a call.
            self._report(text + self._stops.flush(), delta.tool_call, deltas)
        else:
            self._report(text, None, deltas)

    def _report(self, text: str, call: ToolCall | None, deltas: list[Delta]) -> None:
        if call is not None:
            self._calls.append(call)
        elif not text:
            return
        self._text.append(text)
        logprobs = tuple(self._unreported_logprobs)
        self._logprobs += logprobs
        deltas.append(Delta(text, call, self._unreported, logprobs))
        self._unreported = 0
        self._unreported_logprobs.clear()

    def _settle(self, token: int, deltas: list[Delta]) -> None:
        """Decide whether this was the last token, and show what an end sets free."""
        if self._stops.met:
            self.finish_reason = "stop"
        elif token == self._end_id:
            self._report(self._stops.flush(), None, deltas)
            self.finish_reason = "tool_calls" if self._calls else "stop"
        elif self.num_tokens >= self.max_tokens:
            self._cut(deltas)
            self.finish_reason = "length"

    def _cut(self, deltas: list[Delta]) -> None:
        """At a limit: a call that is not whole, or a character, goes out as the text it is."""
        for delta in self._parser.cut():
            self._show(delta, deltas)
        self._report("" if self._stops.met else self._stops.flush(), None, deltas)


class Answers:
    """The answers of one model: what they share is made once."""

    def __init__(self, chat: Chat, window: int) -> None:
        self._chat, self._window = chat, window
        self._grammars = SchemaGrammars(chat)
        self._way_out = WayOut(chat)
        tokens = range(chat.vocab_size)
        never = [token for token in tokens if not chat.surface(token) and token not in chat.spoken]
        self._never = np.array(never, np.intp)

    def begin(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        tools: Sequence[ToolSpec] = (),
        callable_tools: Sequence[ToolSpec] = (),
        schema: JsonSchema | None = None,
        number: int = 0,
    ) -> Answer:
        """An answer to `prompt`, with `tools` in view. It may call `callable_tools`, and fits `schema`.

        The `number`-th of several has other luck than the first.

        `InvalidArgument` where no answer can fit.
        """
        grammar = self._chat.grammar(self._grammars, callable_tools, schema)
        closing = Closing(self._way_out, _reach(callable_tools, schema))
        return Answer(
            self._chat, tools, grammar, closing, prompt, sampling, self._window, number, self._never
        )


def _reach(tools: Sequence[ToolSpec], schema: JsonSchema | None) -> int:
    """About how many tokens a single one can make necessary: what the longest schema asks for, in short."""
    longest = max((len(repr(tool.parameters)) for tool in tools), default=0)
    return 16 + (longest + (0 if schema is None else len(repr(schema)))) // 12
