"""The calls `llm.*`: a model generates, or turns texts into vectors."""

import sys
from array import array
from typing import Annotated, Literal

from msgspec import Meta, Struct

from aios.abi.calls.base import Name, Reply, SystemCall
from aios.abi.calls.scheduling import NO_BUDGET, NO_HINTS, Budget, Hints
from aios.abi.messages import (
    Choice,
    FinishReason,
    JsonSchema,
    Message,
    Sampling,
    TokenLogprob,
    ToolCall,
    ToolSpec,
    Usage,
)

Fit = Literal["refuse", "drop", "summarise"]
"""What becomes of a conversation that does not fit into the window: it is refused; its oldest turns are left
out; a summary of them, by a generation of the caller's own, is put in their place."""


class Fitted(Struct, frozen=True, omit_defaults=True):
    """What was left out of a conversation so that it fits."""

    num_dropped: int
    """Messages."""
    summary: str = ""
    """What stood in their place."""


class LlmGenerate(SystemCall, frozen=True):
    """Ask a model for the next message of a conversation."""

    messages: Annotated[tuple[Message, ...], Meta(min_length=1, max_length=10_000)]
    tools: Annotated[tuple[ToolSpec, ...], Meta(max_length=256)] = ()
    model: Name | None = None
    """A model's name; None lets the kernel choose a core."""
    sampling: Sampling = Sampling()
    tool_choice: Name = "auto"
    """`auto`, `none`, `required`, or the name of one tool."""
    response_schema: JsonSchema | None = None
    fit: Fit | None = None
    """What to do where the messages do not fit; None for what the kernel's configuration says."""
    hints: Hints = NO_HINTS
    budget: Budget = NO_BUDGET
    """Of this call alone."""


class LlmEmbed(SystemCall, frozen=True):
    """Turn texts into vectors: the closer two are, the more their texts mean the same.

    Vectors of different models have nothing to do with each other: no core of another model stands in.
    """

    texts: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=64 * 1024)], ...],
        Meta(min_length=1, max_length=2048),
    ]
    model: Name | None = None
    """A model's name; None for that of the first core that embeds."""
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    """Numbers of a vector; None for as many as the model gives. `InvalidArgument` where it cannot."""
    hints: Hints = NO_HINTS
    budget: Budget = NO_BUDGET
    """Of this call alone."""


LlmCall = LlmGenerate | LlmEmbed
"""A call that a core answers."""


class LlmAnswer(Reply, frozen=True):
    """A model's answer and what it took. Seconds are of the kernel's clock."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()
    model: str = ""
    core: str = ""
    waiting_s: float = 0.0
    """From the call's creation to its first run."""
    turnaround_s: float = 0.0
    """From the call's creation to its end."""
    num_switches: int = 0
    """How often it was interrupted and resumed."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of the text's tokens, where they were asked for."""
    others: tuple[Choice, ...] = ()
    """The second answer to the last, where `sampling.n` asked for more than one."""

    fitted: Fitted | None = None
    """What was left out of the messages; None where all of them were read."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All answers, the first of them first."""
        return Choice(self.text, self.tool_calls, self.finish_reason, self.logprobs), *self.others

    def to_message(self) -> Message:
        """The answer as the assistant's message of a conversation."""
        return Message("assistant", self.text, self.tool_calls)


class Embeddings(Reply, frozen=True):
    """Vectors, one for each text in their order, each of length 1. Seconds are of the kernel's clock."""

    vectors: tuple[bytes, ...]
    """Of 32-bit floats, the least significant byte first."""
    usage: Usage = Usage()
    model: str = ""
    core: str = ""
    waiting_s: float = 0.0
    turnaround_s: float = 0.0

    def lists(self) -> list[list[float]]:
        """The same as plain numbers."""
        return [_floats(data) for data in self.vectors]


def _floats(data: bytes) -> list[float]:
    found = array("f", data)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tolist()
