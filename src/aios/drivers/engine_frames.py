"""What crosses between the kernel's process and the engine's: commands one way, events the other.

Owns the structs and their bytes: those of `abi.wire`, whose `FrameReader` reads
them, with room for longer prompts. JSON, because arguments may hold integers of any size.
"""

import struct
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from aios.abi.errors import ErrorReply, InvalidArgument, TooLarge
from aios.abi.messages import Delta, Message, ToolSpec
from aios.drivers.llm import Finished, Generation, Snapshot

MAX_FRAME = 64 * 1024 * 1024
_HEADER = struct.Struct(">I")


class Torch(Struct, frozen=True):
    """How torch computes a model in the files of Hugging Face's transformers."""

    device: str = "auto"
    """`cpu`, `cuda`, or the second where torch sees a GPU."""
    dtype: str = "auto"
    """`float32`, `bfloat16`, or the first on processors and the second on a GPU."""
    threads: int = 0
    """On processors; 0 for one on each that there is."""


class Load(Struct, frozen=True, tag=True):
    """Read the model in `folder` and make ready. The first command, once.

    With `torch` it may also be the name of a model on Hugging Face's hub.
    """

    folder: str
    model: str
    slots: int
    cache_bytes: int
    snapshot_bytes: int
    kv_tokens: int = 0
    """Positions of keys and values that rows may hold at the same time; 0 for as many as they can."""
    snapshot_folder: str = ""
    """Where snapshots go that memory has no room for, or that shall outlive the engine; empty for nowhere."""
    disk_bytes: int = 0
    """What they may take there."""
    torch: Torch | None = None
    """None for the embedded model and others in its files."""


class Submit(Struct, frozen=True, tag=True):
    """Run a generation, or go on with `resume`. `run` names it in what follows."""

    run: int
    job: Generation
    resume: Snapshot | None = None


class Preempt(Struct, frozen=True, tag=True):
    """Interrupt a run after the token it is at."""

    run: int


class Cancel(Struct, frozen=True, tag=True):
    """End a run; no event of it comes any more."""

    run: int


class Drop(Struct, frozen=True, tag=True):
    """Forget a snapshot."""

    handle: str


class Export(Struct, frozen=True, tag=True):
    """Write a snapshot to disk, where the engine of another core of the same model finds it, and forget it.

    Answered by `Counted` once it lies there, or could not be brought there.
    """

    run: int
    handle: str


class Count(Struct, frozen=True, tag=True):
    """How many tokens does this prompt take?"""

    run: int
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]


class Ready(Struct, frozen=True, tag=True):
    """The model is loaded."""

    window: int


class Progress(Struct, frozen=True, tag=True):
    """A run has one token more. `num_tokens` counts those of this slice."""

    run: int
    num_tokens: int
    deltas: tuple[Delta, ...] = ()
    finished: Finished | None = None


class Parked(Struct, frozen=True, tag=True):
    """A run was interrupted."""

    run: int
    snapshot: Snapshot


class Failed(Struct, frozen=True, tag=True):
    """A run, or with `run` 0 the loading, can't be done."""

    run: int
    error: ErrorReply
    trace: str = ""
    """Where a defect of the engine's lies."""


class Counted(Struct, frozen=True, tag=True):
    run: int
    num_tokens: int


class EngineStatistics(Struct, frozen=True, tag=True):
    """What the engine has done since it started, and what it holds now."""

    steps: int = 0
    tokens: int = 0
    """Tokens generated."""
    prefilled_tokens: int = 0
    """Prompt tokens computed."""
    cached_tokens: int = 0
    """Prompt tokens found in the prefix cache."""
    switches: int = 0
    """Snapshots taken."""
    replays: int = 0
    """Runs begun anew because their snapshot was gone."""
    running: int = 0
    waiting: int = 0
    snapshots: int = 0
    snapshot_bytes: int = 0
    cache_bytes: int = 0
    kv_tokens: int = 0
    """Positions that rows hold."""
    swapped: int = 0
    """Snapshots written to disk for want of memory,"""
    dropped: int = 0
    """and those that were dropped, to be computed again."""
    restored: int = 0
    """Runs gone on with from what another engine left on disk."""
    disk_bytes: int = 0
    last_refused: str = ""
    """Why the last snapshot on disk that could not be used was refused."""


class Moved(Struct, frozen=True, tag=True):
    """A snapshot had to leave memory. `reason` says where it went, and what either way would take."""

    handle: str
    reason: str


Command = Load | Submit | Preempt | Cancel | Drop | Export | Count
RunEvent = Progress | Parked | Failed | Counted
Event = Ready | RunEvent | EngineStatistics | Moved

_encoder = msgspec.json.Encoder()
_commands = msgspec.json.Decoder(Command)
_events = msgspec.json.Decoder(tuple[Event, ...])


def frame(value: Command | Sequence[Event]) -> bytes:
    """A command, or all events of one step, as one frame. `InvalidArgument` for what no frame can hold."""
    try:
        body = _encoder.encode(value)
    except (UnicodeEncodeError, TypeError, RecursionError) as error:
        raise InvalidArgument(f"messages and tools must be JSON: {error}") from None
    if len(body) > MAX_FRAME:
        raise TooLarge(f"messages and tools may take {MAX_FRAME} bytes, these take {len(body)}")
    return _HEADER.pack(len(body)) + body


def decode_command(body: bytes) -> Command:
    command: Command = _commands.decode(body)
    return command


def decode_events(body: bytes) -> tuple[Event, ...]:
    return _events.decode(body)
