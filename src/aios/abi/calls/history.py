"""The calls `memory.*` about the histories of a principal."""

from typing import Annotated

from msgspec import Meta

from aios.abi.calls.base import Limit, Reply, SystemCall
from aios.abi.messages import Message


class MemoryAppend(SystemCall, frozen=True):
    """Add messages to the end of the caller's history."""

    messages: Annotated[tuple[Message, ...], Meta(min_length=1, max_length=1000)]


class MemoryRead(SystemCall, frozen=True):
    """Read the caller's history from message `start` on."""

    start: Annotated[int, Meta(ge=0)] = 0
    limit: Limit = 1000


class MemoryClear(SystemCall, frozen=True):
    """Forget the caller's history (its notes stay)."""


class History(Reply, frozen=True):
    """Messages of a history; `num_messages` counts the whole of it."""

    num_messages: int
    messages: tuple[Message, ...] = ()
