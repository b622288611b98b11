"""TOOL MANAGER: which tools there are, who sees them, what may run together, and running them.

Owns the registry and the counts of what runs. Built-in tools run here, with the caller's own system calls;
registered functions run in host processes (`drivers/hosted.py`). Deciding what runs next is the scheduler's:
it asks `can_start` and says `started` and `ended`.
"""

import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, assert_never

import msgspec

from aios.abi import syscalls as sc
from aios.abi.errors import Conflict, InvalidArgument, NotFound, Overloaded, QuotaExceeded, ToolFailed
from aios.drivers.clock import Clock
from aios.drivers.confine import IsolationLevel, Limits, isolation_level
from aios.drivers.hosted import HostedTool, HostPool, HostSettings
from aios.drivers.toolbox import BUILTIN, BuiltinTool, Calls, ToolContext
from aios.drivers.toolhost import Loaded
from aios.kernel.arguments import ArgumentCheck
from aios.kernel.config import ToolConfig
from aios.kernel.process import Caller

logger = logging.getLogger(__name__)

KERNEL = "kernel"
"""The owner of the built-in tools."""
OPERATOR = "operator"
"""The principal whose tools everyone sees."""

ToolCalls = sc.ToolList | sc.ToolRun | sc.ToolRegister | sc.ToolUnregister

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


class ToolManager:
    """`calls` makes the system calls of a caller. `protected` is given to no tool along with its module."""

    def __init__(
        self,
        config: ToolConfig,
        clock: Clock,
        calls: Callable[[Caller], Calls],
        *,
        protected: Sequence[Path] = (),
        builtin: Sequence[BuiltinTool] = BUILTIN,
    ) -> None:
        self._config = config
        self._clock = clock
        self._calls = calls
        self._pool = HostPool(_host_settings(config, protected), clock)
        self._builtin = {one.spec.name: self._as_tool(one) for one in builtin}
        self._owned: dict[str, dict[str, Tool]] = {OPERATOR: {}}
        self._running: set[Tool] = set()
        self.isolation: IsolationLevel = isolation_level()

    async def start(self) -> None:
        """Say what holds the code of registered tools."""
        logger.info("registered tools are held by: %s", self.isolation)

    async def close(self) -> None:
        """End every host process; when this returns none is left."""
        await self._pool.close()

    async def execute(self, caller: Caller, call: ToolCalls) -> sc.Reply:
        """Answer one call of the `tool` group."""
        match call:
            case sc.ToolRun():
                return await self._run(caller, call)
            case sc.ToolList():
                return sc.ToolEntries(tuple(tool.entry for tool in self._visible(caller.principal)))
            case sc.ToolRegister():
                return await self._register(caller, call)
            case sc.ToolUnregister():
                return await self._unregister(caller, call)
        assert_never(call)

    # ---- what the scheduler asks

    def can_start(self, call: sc.ToolRun, caller: Caller) -> bool:
        """Whether the tool is free for one more call, and nothing that runs conflicts with it."""
        tool = self._find(caller.principal, call.name)
        if tool is None:
            return True
        if tool.num_running >= tool.entry.max_parallel:
            return False
        if isinstance(tool.body, HostedTool) and not (tool.body.idle or self._pool.has_room):
            return False
        return not any(_conflict(tool, other, caller.principal) for other in self._running)

    def started(self, call: sc.ToolRun, caller: Caller) -> Tool | None:
        """A call got its slot. Gives what `ended` must be told, once."""
        tool = self._find(caller.principal, call.name)
        if tool is not None:
            tool.num_running += 1
            self._running.add(tool)
        return tool

    def ended(self, tool: Tool | None) -> None:
        """The call for which `started` gave this has left its slot."""
        if tool is None:
            return
        tool.num_running -= 1
        if not tool.num_running:
            self._running.discard(tool)

    def forget_owner(self, principal: str) -> None:
        """Take back the tools of a principal that has ended; their hosts are told to end."""
        if principal == OPERATOR:
            return
        for tool in self._owned.pop(principal, {}).values():
            self._forget(tool)

    def statistics(self) -> dict[str, Any]:
        return {
            "tools": len(self._builtin) + sum(map(len, self._owned.values())),
            "running": sum(tool.num_running for tool in self._running),
            "hosts": self._pool.num_hosts,
            "isolation": self.isolation,
        }

    def check(self) -> None:
        """Assert what must always hold."""
        self._pool.check()
        assert all(tool.num_running > 0 for tool in self._running)
        for owner, tools in self._owned.items():
            assert all(tool.entry.owner == owner for tool in tools.values())
            assert not tools.keys() & self._builtin.keys()

    # ---- running

    async def _run(self, caller: Caller, call: sc.ToolRun) -> sc.ToolOutput:
        tool = self._find(caller.principal, call.name)
        if tool is None:
            raise NotFound(f"there is no tool '{call.name}'; tool.list names those there are")
        tool.check(call.arguments)
        if isinstance(tool.body, BuiltinTool):
            context = ToolContext(self._calls(caller), self._clock.time)
            return self._cut(await tool.body.run(call.arguments, context))
        return await self._run_hosted(tool.entry, tool.body, call.arguments)

    async def _run_hosted(
        self, entry: sc.ToolEntry, hosted: HostedTool, arguments: dict[str, Any]
    ) -> sc.ToolOutput:
        if hosted.num_calls >= entry.max_parallel:
            raise Overloaded(f"{entry.spec.name} runs {entry.max_parallel} times already", retry_after=1.0)
        answer = await self._pool.call(hosted, arguments, entry.timeout_s)
        if answer.outcome == "returned":
            return sc.ToolOutput(answer.text, answer.truncated)
        if answer.outcome == "refused":
            raise InvalidArgument(f"{entry.spec.name}: {answer.text}")
        logger.info("tool %s of %s failed:\n%s", entry.spec.name, entry.owner, answer.trace)
        raise ToolFailed(answer.text)

    def _cut(self, text: str) -> sc.ToolOutput:
        most = self._config.max_output_bytes
        if len(text) * 4 <= most:  # four bytes are the most that UTF-8 takes for a character
            return sc.ToolOutput(text)
        output = text.encode()
        return sc.ToolOutput(output[:most].decode(errors="ignore"), len(output) > most)

    # ---- the registry

    def _as_tool(self, builtin: BuiltinTool) -> Tool:
        """Built-in tools are bounded by their own code: no timeout, and as many at once as calls may run."""
        return Tool(sc.ToolEntry(builtin.spec, KERNEL, 0.0, self._config.max_parallel), builtin)

    def _find(self, principal: str, name: str) -> Tool | None:
        """The tool a name means to a principal: the kernel's, its own, the operator's."""
        return (
            self._builtin.get(name)
            or self._owned.get(principal, {}).get(name)
            or self._owned[OPERATOR].get(name)
        )

    def _visible(self, principal: str) -> Sequence[Tool]:
        return list({**self._builtin, **self._owned[OPERATOR], **self._owned.get(principal, {})}.values())

    async def _register(self, caller: Caller, call: sc.ToolRegister) -> sc.ToolEntries:
        if not _SOURCE.fullmatch(call.source):
            raise InvalidArgument(
                f"'{call.source[:200]}' is no source; write package.module:function or /path/file.py:function"
            )
        self._check_free(caller.principal, call.name)
        hosted = HostedTool(call.source, call.name)
        loaded = await self._pool.load(hosted)
        try:
            tool = _registered(caller.principal, call, loaded, hosted)
            self._check_free(caller.principal, tool.entry.spec.name)
        except (InvalidArgument, Conflict, QuotaExceeded):
            await self._pool.end_hosts(hosted)
            raise
        self._owned.setdefault(caller.principal, {})[tool.entry.spec.name] = tool
        return sc.ToolEntries((tool.entry,))

    def _check_free(self, principal: str, name: str | None) -> None:
        owned = self._owned.get(principal, {})
        if len(owned) >= self._config.max_registered:
            raise QuotaExceeded(f"{len(owned)} tools are registered already; unregister one first")
        if name in self._builtin:
            raise Conflict(f"'{name}' is a tool of the kernel's; give yours another name")
        if name in owned:
            raise Conflict(f"you have a tool '{name}' already; unregister it first")
        if name in self._owned[OPERATOR]:
            raise Conflict(f"'{name}' is a tool of the operator's; give yours another name")

    async def _unregister(self, caller: Caller, call: sc.ToolUnregister) -> sc.Done:
        tool = self._owned.get(caller.principal, {}).pop(call.name, None)
        if tool is None:
            raise NotFound(f"you have registered no tool '{call.name}'")
        assert isinstance(tool.body, HostedTool)
        await self._pool.end_hosts(tool.body)
        return sc.Done()

    def _forget(self, tool: Tool) -> None:
        if isinstance(tool.body, HostedTool):
            self._pool.forget(tool.body)


def _registered(owner: str, call: sc.ToolRegister, loaded: Loaded, hosted: HostedTool) -> Tool:
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


def _conflict(tool: Tool, other: Tool, principal: str) -> bool:
    """Whether `tool`, called by `principal`, waits for `other`, which runs.

    What another agent registered holds up nobody else's calls: else it could keep a built-in tool from all.
    """
    if other.entry.owner not in (principal, OPERATOR, KERNEL):
        return False
    return other.entry.spec.name in tool.conflicts or tool.entry.spec.name in other.conflicts


def _host_settings(config: ToolConfig, protected: Sequence[Path]) -> HostSettings:
    return HostSettings(
        limits=Limits(
            memory_bytes=config.max_memory_bytes,
            cpu_s=config.max_cpu_s,
            network=config.network,
            readable=tuple(str(path.expanduser().absolute()) for path in config.readable),
        ),
        max_hosts=config.max_parallel,
        start_timeout_s=config.start_timeout_s,
        idle_s=config.idle_s,
        max_output=config.max_output_bytes,
        max_printed=config.max_printed_bytes,
        protected=(os.path.expanduser("~"), *(str(path.absolute()) for path in protected)),
    )
