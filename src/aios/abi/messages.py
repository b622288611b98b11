"""What an LLM reads and writes: messages, tool specs, tool calls, sampling, deltas, usage.

The shapes follow the chat format of the OpenAI API (facts of the wire), held as frozen structs.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

JsonSchema = dict[str, Any]
"""A JSON Schema, as plain JSON data."""

FinishReason = Literal["stop", "length", "tool_calls"]
"""Why a generation ended: the model was done, the token limit was met, or it asks for tools."""


class ToolCall(Struct, frozen=True, omit_defaults=True):
    """One request of a model to run a tool: `arguments` is a JSON object, already parsed."""

    id: str
    name: str
    arguments: dict[str, Any] = {}


class ToolSpec(Struct, frozen=True, omit_defaults=True):
    """A tool as a model sees it: its name, what it does, and the JSON Schema of its arguments object."""

    name: str
    description: str = ""
    parameters: JsonSchema = {}


class Message(Struct, frozen=True, omit_defaults=True):
    """One message of a conversation.

    `content` is text, or for cores that take them a list of content parts (text, image, audio) in the
    OpenAI form. An assistant's message may carry `tool_calls`; a tool's message answers one by its id.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    pinned: bool = False
    """It stays when a conversation is fitted into a window. No model and no endpoint is told."""

    @property
    def text(self) -> str:
        """The message's text; of a list of parts, its text parts joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.get("text", "") for part in self.content if part.get("type") == "text")


class Beams(Struct, frozen=True, omit_defaults=True):
    """Beam search: the `width` likeliest beginnings are gone on with, until `width` answers have ended.

    A hypothesis is worth the sum of its tokens' log-probabilities over its length to the power of
    `length_penalty` (Wu and others, arXiv 1609.08144, section 7, with the length itself in the place of their
    formula).
    """

    width: Annotated[int, Meta(ge=1, le=32)] = 4
    length_penalty: Annotated[float, Meta(ge=-8, le=8)] = 1.0
    """Above 0 long answers gain, below it short ones."""
    early_stopping: bool | Literal["never"] = False
    """True: end as soon as `width` answers have ended. False: when no beginning, at its present length, is
    worth more than the worst of them. `never`: when none can become worth more at any length."""


class Sampling(Struct, frozen=True, omit_defaults=True):
    """How tokens are chosen. `temperature` 0 is greedy. `seed` None lets the kernel draw one.

    In this order: biases and penalties, temperature, `min_p`, `top_k`, `top_p`. A remote core leaves out a
    seed or a `top_k` that its endpoint has no field for; for the rest it refuses the call then, with
    `InvalidArgument`.
    """

    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Only the likeliest tokens that together have this probability."""
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Only the k likeliest tokens; 0 for no such limit."""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """The most tokens of the answer; None for what the model's window leaves."""
    stop: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=16)] = ()
    """Strings that end the answer; they are not part of it."""
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Only tokens at least so likely as this share of the likeliest (Nguyen and others, arXiv 2407.01082)."""
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] = 1.0
    """Logits of tokens in the prompt or the answer are divided by it where positive, else multiplied (Keskar
    and others, arXiv 1909.05858, section 4.1)."""
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] = 0.0
    """Taken off the logits of tokens that are in the answer already."""
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] = 0.0
    """Taken off them once for each time."""
    logit_bias: Annotated[dict[int, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=1024)] = field(
        default_factory=dict
    )
    """Added to the logits of tokens, by their ids in the model's vocabulary."""
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    """Tell how likely each token of the text was, and so many others beside it."""
    n: Annotated[int, Meta(ge=1, le=32)] = 1
    """So many answers to one prompt, each drawn by itself; of beams the best ones."""
    beams: Beams | None = None
    """Search for the likeliest answer, at temperature 0; None to choose token by token."""

    @property
    def width(self) -> int:
        """The most beginnings of an answer that are gone on with at the same time."""
        return self.n if self.beams is None else self.beams.width


class Usage(Struct, frozen=True, omit_defaults=True):
    """Tokens of one generation. `cached_tokens` are the prompt tokens that needed no new work."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


class TokenLogprob(Struct, frozen=True, omit_defaults=True):
    """How likely a token was, as a natural logarithm, before settings of sampling and grammar changed it."""

    token: str
    logprob: float
    bytes: tuple[int, ...] = ()
    """What the token stands for: it may be no whole character."""
    top: "tuple[TokenLogprob, ...]" = ()
    """The likeliest in its place, the likeliest first."""


class Choice(Struct, frozen=True, omit_defaults=True):
    """One of several answers to the same prompt."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"
    logprobs: tuple[TokenLogprob, ...] = ()


class Delta(Struct, frozen=True, omit_defaults=True):
    """A piece of an answer as it streams: text, a whole tool call, or both, and the tokens it took.

    One without either only tells that work was done: beams show nothing before the best is known.
    """

    text: str = ""
    tool_call: ToolCall | None = None
    num_tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of the tokens of the text, where they were asked for."""
    index: int = 0
    """Which of several answers it belongs to, counted from 0."""


def pieces_of(choices: Sequence[Choice]) -> list[Delta]:
    """Whole answers as a stream tells them: the text of each, then its calls."""
    deltas: list[Delta] = []
    for index, choice in enumerate(choices):
        if choice.text:
            deltas.append(Delta(choice.text, logprobs=choice.logprobs, index=index))
        deltas += [Delta(tool_call=call, index=index) for call in choice.tool_calls]
    return deltas
