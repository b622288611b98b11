"""Tools with bounds of their own, some of which make calls, and even children, for who called them."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from aios.abi import syscalls as sc
from aios.abi.messages import JsonSchema, ToolSpec
from aios.drivers.toolbox import BuiltinTool, ToolContext
from aios.kernel.kernel import Kernel
from aios.kernel.registry import KERNEL, Tool
from simulated.agents import Agent
from simulated.world import World


class Bounds(NamedTuple):
    """What may run together."""

    max_parallel: int
    conflicts: tuple[str, ...] = ()


TOOLS = {
    "dig": Bounds(1, ("fill",)),
    "fill": Bounds(2),
    "think": Bounds(3),
    "send": Bounds(2),
}
"""`dig` and `fill` take time, `think` asks a model, `send` spawns a child and waits for its end."""


_SCHEMA: JsonSchema = {"type": "object", "properties": {"pid": {"type": "integer"}}}


class Tools:
    """Counts apart from the kernel what runs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._running: Counter[str] = Counter()
        self.live: Callable[[Agent, int], Awaitable[None]]
        """Leads the life of a child, at this depth."""

    def install(self, kernel: Kernel) -> None:
        for name, bounds in TOOLS.items():
            spec = ToolSpec(name, "", _SCHEMA)
            body = BuiltinTool(spec, partial(self._run, name))
            entry = sc.ToolEntry(spec, KERNEL, 0.0, bounds.max_parallel)
            kernel._tools._registry._builtin[name] = Tool(entry, body, frozenset(bounds.conflicts))

    async def _run(self, name: str, arguments: dict[str, Any], context: ToolContext) -> str:
        self._running[name] += 1
        self._judge(name)
        try:
            await self._work(name, arguments["pid"], context)
        finally:
            self._running[name] -= 1
        return "done"

    def _judge(self, name: str) -> None:
        if self._running[name] > TOOLS[name].max_parallel:
            self._world.facts.fail(f"tool {name} runs {self._running[name]} times")
        for one, bounds in TOOLS.items():
            if self._running[one] and any(self._running[other] for other in bounds.conflicts):
                self._world.facts.fail(f"tool {name} runs beside one that it must not run with")

    async def _work(self, name: str, pid: int, context: ToolContext) -> None:
        world = self._world
        agent = next(agent for agent in world.agents if agent.pid == pid)
        if name == "think":
            for _ in range(world.draw.randint(1, 3)):
                await world.ask_by(agent, context.calls)
        elif name == "send":
            await self._send(agent, context)
        else:
            await world.pause(1.0)

    async def _send(self, agent: Agent, context: ToolContext) -> None:
        """A child that uses no tools: it would wait for the slot that is held for it."""
        world = self._world
        child = await world.spawn(agent, agent.tenant, context.calls, may_use_tools=False)
        if child is not None:
            life = asyncio.ensure_future(self.live(child, 2))
            await world.answered(context.calls(sc.ProcessWait(pid=child.pid)))
            await life
