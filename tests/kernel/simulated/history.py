"""From a seed to what came of it."""

import asyncio
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

import aios.kernel.kernel
from aios.kernel.config import PolicyName
from aios.kernel.journal import Event
from aios.kernel.kernel import Kernel
from simulated.endpoint import Call, Endpoint
from simulated.facts import Facts, Violation
from simulated.machine import Clock, Loop, MemoryStore
from simulated.meddler import Meddler
from simulated.programs import Programs
from simulated.scenario import Scenario, scenario_of
from simulated.tools import Tools
from simulated.watch import Watch
from simulated.world import World

PUT_RIGHT_AT = 400.0
"""By when nobody meddles any more and every endpoint is well."""
LATEST_S = 50_000.0
"""After which all that was asked must have been answered."""
REST_S = 2000.0
"""In which the last timers, of leases and gates, must have come."""


class History(Struct, frozen=True):
    """What came of a seed: every event of the journal, and how often what happened."""

    events: list[Event]
    counts: Counter[str]


def simulate(seed: int, policy: PolicyName | None = None) -> History:
    """Live through the history of a seed. Raises `Violation` where a rule was broken.

    `policy` is the one to use in place of that drawn.
    """
    loop = Loop()
    with (
        tempfile.TemporaryDirectory() as folder,
        _quietly(),
        asyncio.Runner(loop_factory=lambda: loop) as runner,
    ):
        try:
            return runner.run(_live(seed, scenario_of(seed, Path(folder), policy), loop))
        finally:
            loop.on_quiet = lambda: None


async def _live(seed: int, scenario: Scenario, loop: Loop) -> History:
    calls: dict[int, Call] = {}
    endpoints = {
        name: Endpoint(name, plan, random.Random(f"{name} {seed}"), calls)
        for name, plan in scenario.plans.items()
    }
    clock = Clock()
    kernel = Kernel(scenario.config, drivers=endpoints, clock=clock)
    async with kernel:
        kernel._store.write_s = scenario.write_s  # type: ignore[attr-defined]
        facts = Facts(kernel, endpoints, calls)
        watch = Watch(facts, lambda: clock.num_waiting)
        loop.set_exception_handler(lambda _, context: facts.fail(f"unhandled: {context}"))
        loop.on_quiet = watch.quiet
        await _let_live(World(kernel, scenario, seed, facts))
        await asyncio.sleep(REST_S)
        watch.at_rest()
        loop.on_quiet = lambda: None
    return History(facts.events, facts.counts)


async def _let_live(world: World) -> None:
    """Until every call is answered."""
    tools, meddler = Tools(world), Meddler(world)
    tools.install(world.kernel)
    programs = Programs(world, tools).begin()
    meddling = asyncio.create_task(meddler.meddle())
    closing = asyncio.create_task(meddler.close_early())
    await _late(programs, PUT_RIGHT_AT)
    meddling.cancel()
    await asyncio.gather(meddling, return_exceptions=True)
    await meddler.put_right()
    if late := await _late([*programs, *world.asking.values()], LATEST_S):
        left = [f"{task} of {task.program} in {task.queue}" for task in world.kernel._flight.tasks()]
        raise Violation(f"{len(late)} never came to an end; in flight: {left}")
    closing.cancel()
    await asyncio.gather(*programs)
    await asyncio.gather(closing, return_exceptions=True)


async def _late(tasks: "Sequence[asyncio.Task[None]]", within_s: float) -> "set[asyncio.Task[None]]":
    if not tasks:
        return set()
    _, late = await asyncio.wait(tasks, timeout=within_s)
    return late


@contextmanager
def _quietly() -> Iterator[None]:
    """With the store in memory, and without the log."""
    store, aios.kernel.kernel.Store = aios.kernel.kernel.Store, MemoryStore  # type: ignore[misc]
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        aios.kernel.kernel.Store = store  # type: ignore[misc]
        logging.disable(logging.NOTSET)
