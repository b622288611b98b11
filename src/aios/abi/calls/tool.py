"""The calls `tool.*`."""

from typing import Annotated, Any

from msgspec import Meta, Struct, field

from aios.abi.calls.base import Name, Reply, Seconds, SystemCall
from aios.abi.messages import ToolSpec


class ToolList(SystemCall, frozen=True):
    """The tools the caller may use."""


class ToolRun(SystemCall, frozen=True):
    """Run a tool. `ToolFailed` says what the tool said when it fails."""

    name: Name
    arguments: dict[str, Any] = field(default_factory=dict)


class ToolRegister(SystemCall, frozen=True):
    """Offer a Python function as a tool. It runs in a process of its own, never in the kernel's.

    `source` is `package.module:function` or `/path/file.py:function`; name, description and the schema of
    the arguments are read from the function's signature and docstring.
    """

    source: Annotated[str, Meta(min_length=3, max_length=1024)]
    name: Name | None = None
    timeout_s: Seconds = 30.0
    max_parallel: Annotated[int, Meta(ge=1, le=64)] = 1
    conflicts: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    """Names of tools that must not run at the same time as this one."""


class ToolUnregister(SystemCall, frozen=True):
    """Take back a tool that the caller registered."""

    name: Name


class ToolEntry(Struct, frozen=True):
    """A tool in the kernel's list; `owner` is `kernel` for the built-in ones."""

    spec: ToolSpec
    owner: str
    timeout_s: float
    max_parallel: int


class ToolEntries(Reply, frozen=True):
    tools: tuple[ToolEntry, ...]


class ToolOutput(Reply, frozen=True):
    """What a tool returned, as text; `truncated` where it was longer than the kernel's limit."""

    text: str
    truncated: bool = False
