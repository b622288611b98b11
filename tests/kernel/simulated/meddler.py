"""Somebody who interferes: cancels, suspends, resumes, kills, floods, looks, and shuts down in the middle."""

from aios.abi import syscalls as sc
from simulated.world import World


class Meddler:
    """The operator, and callers that lose patience."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._draw = world.draw

    async def meddle(self) -> None:
        """Until it is cancelled."""
        deeds = (self._cancel, self._suspend, self._resume, self._kill, self._flood, self._look)
        weights = (5, 4, 5, 1, 3, 2)
        while True:
            await self._world.wait(self._draw.expovariate(1 / self._world.scenario.meddling_s))
            [deed] = self._draw.choices(deeds, weights)
            await deed()

    async def close_early(self) -> None:
        """Shut the kernel down in the middle of it all, where the scenario says so."""
        if self._world.scenario.closes_at is not None:
            await self._world.wait(self._world.scenario.closes_at)
            await self._world.kernel.close()

    async def put_right(self) -> None:
        """From here on nothing stands in the way of any call."""
        for endpoint in self._world.facts.endpoints.values():
            endpoint.heal()
        for agent in self._world.living():
            await self._world.trap(None, sc.ProcessResume(pid=agent.pid))

    # ---- deeds

    async def _cancel(self) -> None:
        """One call, or many at once."""
        share = self._draw.choice((0.0, 0.0, 0.0, 0.5, 1.0))
        asking = [*self._world.asking.values()]
        for task in self._draw.sample(asking, max(min(1, len(asking)), int(share * len(asking)))):
            task.cancel()

    async def _suspend(self) -> None:
        """One process, or many at once."""
        for pid in self._some_pids():
            await self._world.trap(None, sc.ProcessSuspend(pid=pid))

    async def _resume(self) -> None:
        for pid in self._some_pids():
            await self._world.trap(None, sc.ProcessResume(pid=pid))

    async def _kill(self) -> None:
        """A process, and its children with it."""
        for pid in self._some_pids()[:1]:
            await self._world.trap(None, sc.ProcessKill(pid=pid))

    async def _flood(self) -> None:
        """Many calls of one process at the same moment, all with the same deadline, or none."""
        if living := self._world.living():
            agent, timeout_s = self._draw.choice(living), self._draw.choice((None, None, 0.1, 1.0))
            for _ in range(self._draw.randint(2, 8)):
                self._world.ask(agent, timeout_s)

    async def _look(self) -> None:
        for pid in self._some_pids()[:1]:
            await self._world.trap(None, sc.CoreExplain(pid=pid))
        await self._world.trap(None, sc.CoreList())
        self._world.kernel.statistics()

    def _some_pids(self) -> list[int]:
        living = [agent.pid for agent in self._world.living()]
        share = self._draw.choice((0.0, 0.0, 0.5))
        return self._draw.sample(living, max(min(1, len(living)), int(share * len(living))))
