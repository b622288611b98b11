"""The tools there are: the kernel's, and each principal's own. Decides who sees which, and which conflict.

A name is looked up for a principal: among the kernel's tools, then its own, then the operator's, which
everyone sees. Knows nothing of running them.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from aios.abi import syscalls as sc
from aios.abi.errors import Conflict, InvalidArgument, NotFound, QuotaExceeded
from aios.drivers.hosted import HostedTool
from aios.drivers.toolbox import BuiltinTool
from aios.drivers.toolworker import Loaded
from aios.kernel.arguments import ArgumentCheck
from aios.kernel.process import OPERATOR

KERNEL = "kernel"
"""The owner of the built-in tools."""

_MAX_SPEC_BYTES = 64 * 1024
_SOURCE = re.compile(r"(?:/.+\.py|(?!\S*\.py:)[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):[A-Za-z_]\w*")
_DEFAULTS = sc.ToolRegister(source="module:function")


class Tool:
    """One tool of the registry. `body` is what runs."""

    __slots__ = ("body", "check", "conflicts", "entry", "num_running")

    def __init__(
        self, entry: sc.ToolEntry, body: BuiltinTool | HostedTool, conflicts: frozenset[str] = frozenset()
    ) -> None:
        self.entry = entry
        self.body = body
        self.conflicts = conflicts
        self.check = ArgumentCheck(entry.spec).check
        self.num_running = 0


class Registry:
    """All tools. `max_registered` bounds those of one principal."""

    def __init__(self, builtin: Iterable[Tool], max_registered: int) -> None:
        self._builtin = {tool.entry.spec.name: tool for tool in builtin}
        self._owned: dict[str, dict[str, Tool]] = {OPERATOR: {}}
        self._max_registered = max_registered

    def __len__(self) -> int:
        return len(self._builtin) + sum(map(len, self._owned.values()))

    def find(self, principal: str, name: str) -> Tool | None:
        """What a name means to a principal."""
        return (
            self._builtin.get(name)
            or self._owned.get(principal, {}).get(name)
            or self._owned[OPERATOR].get(name)
        )

    def has_tools(self, principal: str) -> bool:
        """Whether it has registered any."""
        return bool(self._owned.get(principal))

    def visible(self, principal: str) -> Sequence[Tool]:
        """The tools a principal may use."""
        return list({**self._builtin, **self._owned[OPERATOR], **self._owned.get(principal, {})}.values())

    def check_free(self, principal: str, name: str | None) -> None:
        """`Conflict` where the principal can't have a tool of this name, `QuotaExceeded` at its bound."""
        owned = self._owned.get(principal, {})
        if len(owned) >= self._max_registered:
            raise QuotaExceeded(f"{len(owned)} tools are registered already; unregister one first")
        if name in self._builtin:
            raise Conflict(f"'{name}' is a tool of the kernel's; give yours another name")
        if name in owned:
            raise Conflict(f"you have a tool '{name}' already; unregister it first")
        if name in self._owned[OPERATOR]:
            raise Conflict(f"'{name}' is a tool of the operator's; give yours another name")

    def add(self, tool: Tool) -> None:
        """Keep a registered tool. Raises what `check_free` does."""
        owner, name = tool.entry.owner, tool.entry.spec.name
        self.check_free(owner, name)
        self._owned.setdefault(owner, {})[name] = tool

    def remove(self, principal: str, name: str) -> Tool:
        """Take back a tool that the principal registered. `NotFound` where it has none of that name."""
        tool = self._owned.get(principal, {}).pop(name, None)
        if tool is None:
            raise NotFound(f"you have registered no tool '{name}'")
        return tool

    def remove_owner(self, principal: str) -> list[Tool]:
        """Take back all tools of a principal."""
        tools = list(self._owned.pop(principal, {}).values())
        self._owned.setdefault(OPERATOR, {})
        return tools

    def check(self) -> None:
        """Assert what must always hold."""
        for owner, tools in self._owned.items():
            assert all(tool.entry.owner == owner for tool in tools.values())
            assert not tools.keys() & self._builtin.keys()


def check_source(source: str) -> None:
    """`InvalidArgument` where a source has not the form of one."""
    if not _SOURCE.fullmatch(source):
        raise InvalidArgument(
            f"'{source[:200]}' is no source; write package.module:function or /path/file.py:function"
        )


def registered(owner: str, call: sc.ToolRegister, loaded: Loaded, hosted: HostedTool) -> Tool:
    """The tool that a host says it has loaded. The host runs code that is not ours: all of it is checked."""
    spec, mark = loaded.spec, loaded.mark
    if spec is None or len(msgspec.json.encode(spec)) > _MAX_SPEC_BYTES:
        raise InvalidArgument(f"{call.source} describes itself in more than {_MAX_SPEC_BYTES} bytes")
    wanted = msgspec.to_builtins(call) | {"source": call.source, "name": spec.name}
    if call.timeout_s == _DEFAULTS.timeout_s and mark.timeout_s is not None:
        wanted["timeout_s"] = mark.timeout_s
    if call.max_parallel == _DEFAULTS.max_parallel and mark.max_parallel is not None:
        wanted["max_parallel"] = mark.max_parallel
    wanted["conflicts"] = call.conflicts + mark.conflicts
    try:
        final = msgspec.convert(wanted, sc.ToolRegister)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"{call.source} asks for what can't be: {error}") from None
    entry = sc.ToolEntry(spec, owner, final.timeout_s, final.max_parallel)
    return Tool(entry, hosted, frozenset(final.conflicts))


def conflict(tool: Tool, other: Tool, principal: str) -> bool:
    """Whether `tool`, called by `principal`, waits for `other`, which runs.

    What another agent registered holds up nobody else's calls: else it could keep a built-in tool from all.
    """
    if other.entry.owner not in (principal, OPERATOR, KERNEL):
        return False
    return other.entry.spec.name in tool.conflicts or tool.entry.spec.name in other.conflicts
