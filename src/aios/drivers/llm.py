"""The protocol every LLM driver speaks: run a generation, stop when told, go on from a snapshot."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

from aios.abi.errors import Unavailable
from aios.abi.messages import (
    Choice,
    Delta,
    FinishReason,
    JsonSchema,
    Message,
    Sampling,
    TokenLogprob,
    ToolCall,
    ToolSpec,
    Usage,
)
from aios.drivers.limits import OnLimits

SnapshotKind = Literal["state", "text", "none"]
"""What a driver can give when interrupted: exact state, the text so far, or nothing (never interrupt)."""


Exactness = Literal["exact", "prefix-exact"]
"""What a generation that was interrupted comes to: the tokens of one that was not (of a text snapshot, where
nothing is drawn by chance); or what was said by then, and an end that may be another."""


class Generation(Struct, frozen=True):
    """All that determines an answer. `sampling.seed` and `sampling.max_tokens` are always set here."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    sampling: Sampling = Sampling()
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or the name of one tool."""
    response_schema: JsonSchema | None = None
    """The answer must be JSON that fits this schema; None for free text."""
    scope: str = ""
    """Whose prompts it may share computed beginnings with: those of the same scope."""
    is_kept: bool = False
    """Whether what there is of it shall outlive the engine: the same job may be asked for again."""


class Snapshot(Struct, frozen=True):
    """An interrupted generation.

    `handle` means something only to the driver that made it; of kind "text", to all of the same model.
    """

    kind: SnapshotKind
    handle: str
    num_tokens: int
    """Tokens generated so far."""
    num_bytes: int
    """Bytes it occupies where it is kept."""
    exactness: Exactness = "exact"


class Finished(Struct, frozen=True):
    """A generation that ended: the whole answer (not only the last slice's part)."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: FinishReason
    usage: Usage
    model: str
    logprobs: tuple[TokenLogprob, ...] = ()
    others: tuple[Choice, ...] = ()
    """The second answer to the last, where more than one was asked for."""


class Preempted(Struct, frozen=True):
    """A generation that stopped because it was told to; `snapshot` lets it go on."""

    snapshot: Snapshot


class Severed(Unavailable):
    """The driver failed in the middle of a slice. `snapshot` lets the job go on after all that was shown."""

    def __init__(self, message: str, snapshot: Snapshot) -> None:
        super().__init__(message)
        self.snapshot = snapshot


class Embedded(Struct, frozen=True):
    """Vectors of length 1, of 32-bit floats as bytes, the least significant first; one for each text."""

    vectors: tuple[bytes, ...]
    usage: Usage
    model: str


class LLMDriver(Protocol):
    """One model replica. All methods are called from the kernel's loop and must never block it."""

    on_limits: OnLimits
    """Called with what a provider says of its rate limits, as soon as the headers of an answer are there.
    Does nothing until it is set; a driver without a provider never calls it."""

    @property
    def model(self) -> str:
        """The model's name, as agents ask for it."""
        ...

    @property
    def snapshot_kind(self) -> SnapshotKind: ...

    @property
    def window(self) -> int:
        """The most tokens that prompt and answer may take together; 0 where it is not known."""
        ...

    async def start(self) -> None:
        """Make ready (load, connect). Raises `errors.Unavailable` when that fails."""
        ...

    async def close(self) -> None:
        """Free everything; running generations end with `errors.Cancelled`."""
        ...

    async def run(
        self,
        job: Generation,
        resume: Snapshot | None,
        emit: Callable[[Delta], None],
        must_yield: Callable[[int], bool],
    ) -> Finished | Preempted:
        """Generate until the end, or until `must_yield` says to stop.

        `emit` takes each delta as it comes. `must_yield` is asked with the number of tokens generated in
        this slice, after each; once it says True the driver stops as soon as it can and returns
        `Preempted` (a driver whose `snapshot_kind` is "none" never asks, nor one that gives texts where the
        answer is more than text). `resume` goes on from a snapshot of this driver, or of kind "text" of any
        of its model: what was emitted before is not emitted again. A snapshot is used once.
        Cancelling the awaiting task stops the generation and frees what it holds.

        Raises an error of `aios.abi.errors`: `Unavailable` (`Severed` where it can go on), `Overloaded`,
        `RateLimited`, `InvalidArgument` (the model can't take this job), `ContextOverflow` (too long for the
        window), `Internal` (a defect, which is in the log) and no other.
        """
        ...

    def drop(self, snapshot: Snapshot) -> None:
        """Forget a snapshot that will not be resumed."""
        ...

    async def num_prompt_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int | None:
        """Tokens that this prompt takes; None where the driver can't tell."""
        ...


@runtime_checkable
class Mover(Protocol):
    """A driver that keeps snapshots here, from which others of the same model can go on."""

    def place_of(self, snapshot: Snapshot) -> str:
        """Where a snapshot is, and why it is no longer in memory where it is not."""
        ...

    async def move_out(self, snapshot: Snapshot) -> None:
        """Put a snapshot where they find it, and forget it. Where that can't be, they run its job again."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """A driver whose model can turn texts into vectors, too."""

    async def embed(self, texts: Sequence[str], dimensions: int | None) -> Embedded:
        """The vectors of these texts, as long as `dimensions`, or as the model has them.

        Cancelling the awaiting task frees what it holds. Raises what `LLMDriver.run` raises.
        """
        ...
