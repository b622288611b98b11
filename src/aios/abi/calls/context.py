"""The calls `context.*`: a conversation kept as it is at one point, to go on from there in more than one way.

Each principal has its own, by name, and nobody reaches another's. What a core has computed of a conversation
stays in its prefix cache: going on from a point costs what comes after it.
"""

from typing import Annotated

from msgspec import Meta, Struct

from aios.abi.calls.base import Limit, Name, Reply, SystemCall
from aios.abi.messages import Message, ToolSpec


class ContextSnapshot(SystemCall, frozen=True):
    """Keep a conversation under a name; it is on disk when the reply comes. What had the name is replaced."""

    name: Name
    messages: Annotated[tuple[Message, ...], Meta(min_length=1, max_length=10_000)]
    tools: Annotated[tuple[ToolSpec, ...], Meta(max_length=256)] = ()


class ContextRestore(SystemCall, frozen=True):
    """Read a conversation that was kept. It stays kept. `NotFound` without one."""

    name: Name


class ContextList(SystemCall, frozen=True):
    """List what is kept by name, from the one after `after` on."""

    after: Annotated[str, Meta(max_length=128)] = ""
    limit: Limit = 1000


class ContextDrop(SystemCall, frozen=True):
    """Forget a conversation. `NotFound` without one."""

    name: Name


class ContextEntry(Reply, frozen=True):
    """What is kept under a name."""

    name: str
    num_messages: int
    num_bytes: int
    """Of its messages and tools, as they were given."""
    created: float
    """Seconds since the epoch."""


class ContextEntries(Reply, frozen=True):
    entries: tuple[ContextEntry, ...]


class KeptContext(Struct, frozen=True, omit_defaults=True):
    """A conversation and the tools that were in view."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()


class Context(Reply, frozen=True):
    """A conversation as it was kept."""

    name: str
    created: float
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
