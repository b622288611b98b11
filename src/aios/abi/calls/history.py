"""The calls `memory.*` about histories: the messages of conversations, in their order.

A principal has as many as it names. One begins with its first message; before that it is empty, and reading
it says so. What histories have in common from their beginning on is kept once, which nobody can tell.
"""

from typing import Annotated

from msgspec import Meta, Struct

from aios.abi.calls.base import Limit, Name, Reply, SystemCall
from aios.abi.messages import Message


class MemoryAppend(SystemCall, frozen=True):
    """Add messages to the end of a history. They are on disk when the reply comes."""

    messages: Annotated[tuple[Message, ...], Meta(min_length=1, max_length=1000)]
    history: Name = "main"
    owner: Name | None = None
    """Whose history; None for the caller's own."""


class MemoryRead(SystemCall, frozen=True):
    """Read a history from message `start` on. Fewer than `limit` come where they would not fit one reply."""

    start: Annotated[int, Meta(ge=0)] = 0
    limit: Limit = 1000
    history: Name = "main"
    owner: Name | None = None


class MemoryClear(SystemCall, frozen=True):
    """Forget a history from message `start` on: all of it, where nothing else is said."""

    history: Name = "main"
    start: Annotated[int, Meta(ge=0)] = 0
    owner: Name | None = None


class MemoryFork(SystemCall, frozen=True):
    """Begin the caller's history `to` with the first `at` messages of another, which stays as it is.

    However long they are, it costs the same. `Conflict` where there is a history `to`.
    """

    to: Name
    history: Name = "main"
    at: Annotated[int, Meta(ge=1)] | None = None
    """None for all of its messages."""
    owner: Name | None = None
    """Of the history to begin with; None for the caller."""


class MemoryHistories(SystemCall, frozen=True):
    """List histories by name, from the one after `after` on."""

    after: Annotated[str, Meta(max_length=128)] = ""
    limit: Limit = 1000
    owner: Name | None = None


class MemoryPin(SystemCall, frozen=True):
    """Have a history stay in memory once it is there, or let it leave again when room is needed."""

    history: Name = "main"
    pinned: bool = True
    owner: Name | None = None


class History(Reply, frozen=True):
    """Messages of a history; `num_messages` counts the whole of it."""

    num_messages: int
    messages: tuple[Message, ...] = ()


class HistoryEntry(Struct, frozen=True):
    """What there is to know of a history. `num_bytes` are those of its messages as JSON, each and a newline.

    `created` and `updated` are seconds since the epoch, 0 where nobody knows.
    """

    name: str
    num_messages: int
    num_bytes: int
    pinned: bool
    created: float
    updated: float
    damaged: bool = False
    """It does not match its checksum, and nothing is known but the name."""


class HistoryEntries(Reply, frozen=True):
    histories: tuple[HistoryEntry, ...]
