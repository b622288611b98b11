"""TOOL MANAGER: checks and runs tool calls, and says which may run together.

Owns the counts of what runs; which tools there are is the registry's (`registry.py`). Built-in tools run
here, with the caller's own system calls; registered functions run in host processes (`drivers/hosted.py`).
Deciding what runs next is the scheduler's: it asks `can_start` and says `started` and `ended`.
"""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, assert_never

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError, InvalidArgument, NotFound, Overloaded, ToolFailed
from aios.drivers.clock import Clock
from aios.drivers.confine import IsolationLevel, Limits, isolation_level
from aios.drivers.hosted import HostedTool, HostPool, HostSettings
from aios.drivers.toolbox import BUILTIN, BuiltinTool, Calls, ToolContext
from aios.kernel.config import ToolConfig
from aios.kernel.process import OPERATOR, Caller
from aios.kernel.registry import KERNEL, Registry, Tool, check_source, conflict, registered

logger = logging.getLogger(__name__)

ToolCalls = sc.ToolList | sc.ToolRun | sc.ToolRegister | sc.ToolUnregister


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
        self._registry = Registry(map(self._as_tool, builtin), config.max_registered)
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
                return sc.ToolEntries(tuple(tool.entry for tool in self._registry.visible(caller.principal)))
            case sc.ToolRegister():
                return await self._register(caller, call)
            case sc.ToolUnregister():
                return await self._unregister(caller, call)
        assert_never(call)

    # ---- what the scheduler asks

    def queue_of(self, call: sc.ToolRun, caller: Caller) -> str:
        """The name of the queue for calls of this tool: one that cannot run now keeps no other's waiting.

        A principal's own tools may hold up those that all share, for its calls only: it waits by itself.
        """
        tool = self._registry.find(caller.principal, call.name)
        if tool is None:
            return "tool"
        queue = f"tool:{tool.entry.owner}/{call.name}"
        return f"{queue} for {caller.principal}" if self._registry.has_tools(caller.principal) else queue

    def can_start(self, call: sc.ToolRun, caller: Caller) -> bool:
        """Whether the tool is free for one more call, and nothing that runs conflicts with it."""
        tool = self._registry.find(caller.principal, call.name)
        if tool is None:
            return True
        if tool.num_running >= tool.entry.max_parallel:
            return False
        if isinstance(tool.body, HostedTool) and not (tool.body.idle or self._pool.has_room):
            return False
        return not any(conflict(tool, other, caller.principal) for other in self._running)

    def started(self, call: sc.ToolRun, caller: Caller) -> Tool | None:
        """A call got its slot. Gives what `ended` must be told, once."""
        tool = self._registry.find(caller.principal, call.name)
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
        for tool in self._registry.remove_owner(principal):
            self._pool.forget(_hosted(tool))

    def statistics(self) -> dict[str, Any]:
        return {
            "tools": len(self._registry),
            "running": sum(tool.num_running for tool in self._running),
            "hosts": self._pool.num_hosts,
            "isolation": self.isolation,
        }

    def check(self) -> None:
        """Assert what must always hold."""
        self._pool.check()
        assert all(tool.num_running > 0 for tool in self._running)
        self._registry.check()

    # ---- running

    async def _run(self, caller: Caller, call: sc.ToolRun) -> sc.ToolOutput:
        tool = self._registry.find(caller.principal, call.name)
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

    # ---- what is registered

    def _as_tool(self, builtin: BuiltinTool) -> Tool:
        """Built-in tools are bounded by their own code: no timeout, and as many at once as calls may run."""
        return Tool(sc.ToolEntry(builtin.spec, KERNEL, 0.0, self._config.max_parallel), builtin)

    async def _register(self, caller: Caller, call: sc.ToolRegister) -> sc.ToolEntries:
        check_source(call.source)
        self._registry.check_free(caller.principal, call.name)
        hosted = HostedTool(call.source, call.name)
        loaded = await self._pool.load(hosted)
        try:
            tool = registered(caller.principal, call, loaded, hosted)
            self._registry.add(tool)
        except AiosError:
            await self._pool.end_hosts(hosted)
            raise
        return sc.ToolEntries((tool.entry,))

    async def _unregister(self, caller: Caller, call: sc.ToolUnregister) -> sc.Done:
        await self._pool.end_hosts(_hosted(self._registry.remove(caller.principal, call.name)))
        return sc.Done()


def _hosted(tool: Tool) -> HostedTool:
    """The body of a tool that somebody registered: only these are ever taken back."""
    assert isinstance(tool.body, HostedTool)
    return tool.body


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
