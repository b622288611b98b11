"""What programs do: rounds of calls side by side, some of tools and memory, and children that do the same."""

import asyncio
from collections.abc import Iterable

from aios.abi import syscalls as sc
from aios.abi.messages import Message
from simulated.agents import Agent
from simulated.tools import TOOLS, Tools
from simulated.world import World

DEEPEST = 3
"""Generations of children."""


class Programs:
    """Every program of a scenario."""

    def __init__(self, world: World, tools: Tools) -> None:
        self._world = world
        self._draw = world.draw
        tools.live = self.live

    def begin(self) -> "list[asyncio.Task[None]]":
        return [asyncio.create_task(self._program()) for _ in range(self._world.scenario.num_programs)]

    async def _program(self) -> None:
        await self._world.pause(self._world.scenario.spread_s)
        tenant = self._draw.choice([*self._world.scenario.config.tenants])
        agent = await self._world.spawn(None, tenant)
        if agent is not None:
            await self.live(agent, 0)

    async def live(self, agent: Agent, depth: int) -> None:
        """A process from its first call to its end, and that of its children."""
        world, draw = self._world, self._draw
        children = []
        for _ in range(draw.randint(1, 5)):
            calls = [self._call(agent) for _ in range(draw.randint(1, world.scenario.width))]
            if depth < DEEPEST and draw.random() < world.scenario.branching:
                children.append(asyncio.create_task(self._bear(agent, depth)))
            await _all_over(calls)
            await world.pause(world.scenario.pause_s)
        if draw.random() < 0.5:  # Else they are ended with it.
            await asyncio.gather(*children)
        await world.trap(agent, sc.ProcessExit())
        await asyncio.gather(*children)

    async def _bear(self, parent: Agent, depth: int) -> None:
        child = await self._world.spawn(parent, parent.tenant, may_use_tools=parent.may_use_tools)
        if child is not None:
            await self.live(child, depth + 1)

    def _call(self, agent: Agent) -> "asyncio.Task[None]":
        lot = self._draw.random()
        if lot < 0.8:
            return self._world.ask(agent)
        if lot < 0.9 and agent.may_use_tools:
            return asyncio.create_task(self._use_tool(agent))
        return asyncio.create_task(self._keep(agent))

    async def _use_tool(self, agent: Agent) -> None:
        name = self._draw.choice([*TOOLS])
        output = await self._world.trap(agent, sc.ToolRun(name=name, arguments={"pid": agent.pid}))
        if output not in (None, sc.ToolOutput("done")):
            self._world.facts.fail(f"tool {name} returned {output}")

    async def _keep(self, agent: Agent) -> None:
        """Add to its history, and look whether all is there."""
        agent.num_sent += 1
        if await self._world.trap(agent, sc.MemoryAppend(messages=(Message("user", "note"),))) is not None:
            agent.num_kept += 1
        num_kept = agent.num_kept
        history = await self._world.trap(agent, sc.MemoryRead())
        if isinstance(history, sc.History) and not num_kept <= history.num_messages <= agent.num_sent:
            self._world.facts.fail(f"{history.num_messages} messages are kept of {num_kept} acknowledged")


async def _all_over(tasks: "Iterable[asyncio.Task[None]]") -> None:
    """Until all have ended, or were cancelled."""
    for task in (await asyncio.wait(tasks))[0]:
        if not task.cancelled():
            task.result()
