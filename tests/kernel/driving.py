"""A real kernel over a scripted model, whose tokens and time a test hands out one by one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from msgspec import structs

from aios.abi import syscalls as sc
from aios.abi.messages import Message, Sampling
from aios.drivers.clock import ManualClock
from aios.drivers.llm import LLMDriver
from aios.drivers.llm_scripted import ScriptedDriver
from aios.kernel.config import Config, CoreConfig, SchedulerConfig
from aios.kernel.kernel import Kernel


class Stepper:
    """Paces a scripted driver: each generation waits here before each of its tokens."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []

    async def pace(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        finally:
            if turn in self.waiting:
                self.waiting.remove(turn)

    async def step(self, index: int = 0) -> None:
        """Let one of the waiting generations make its next token, and all that follows from it happen."""
        # One that was cancelled a moment ago has not taken itself out yet.
        waiting = [turn for turn in self.waiting if not turn.done()]
        if waiting:
            waiting[index % len(waiting)].set_result(None)
        await settle_down()

    async def run_out(self) -> None:
        """Make tokens until nobody wants one."""
        await settle_down()
        while self.waiting:
            await self.step()


@contextmanager
def failing_audit(kernel: Kernel) -> Iterator[None]:
    """Every write that goes into the audit log fails, and is undone."""

    def fail(*fields: object) -> None:
        raise RuntimeError("no room in the log")

    write = kernel.audit.write
    kernel.audit.write = fail  # type: ignore[method-assign]
    try:
        yield
    finally:
        kernel.audit.write = write  # type: ignore[method-assign]


async def settle_down() -> None:
    """Give everything that is ready on the loop its turn; the store's threads are not waited for."""
    for _ in range(8):
        await asyncio.sleep(0)


async def one_turn() -> None:
    """Give what is ready on the loop now its turn, and nothing that follows from it."""
    await asyncio.sleep(0)


class Run:
    """A kernel under test, with what a test needs to drive it."""

    def __init__(self, kernel: Kernel, clock: ManualClock, stepper: Stepper) -> None:
        self.kernel = kernel
        self.clock = clock
        self.stepper = stepper
        self.tokens: dict[int, str] = {1: kernel.operator_token}

    async def spawn(self, agent: str = "agent", parent: int = 1, **fields: object) -> sc.Spawned:
        call = sc.ProcessSpawn(agent=agent, **fields)  # type: ignore[arg-type]
        spawned = await self.call(parent, call)
        assert isinstance(spawned, sc.Spawned)
        self.tokens[spawned.pid] = spawned.token
        return spawned

    def call(self, pid: int, call: sc.SystemCall, **options: object) -> Awaitable[sc.Reply]:
        return self.kernel.trap(self.tokens[pid], call, **options)  # type: ignore[arg-type]

    def begin(self, pid: int, call: sc.SystemCall, **options: object) -> "asyncio.Task[sc.Reply]":
        return asyncio.ensure_future(self.call(pid, call, **options))  # type: ignore[arg-type]


@asynccontextmanager
async def boot(
    folder: Path,
    driver: LLMDriver | None = None,
    *,
    slots: int = 2,
    policy: str = "rr",
    quantum: int = 2,
    **sections: object,
) -> AsyncIterator[Run]:
    """A kernel whose one core is a scripted model, paced by `Run.stepper` unless a driver is given."""
    stepper, clock = Stepper(), ManualClock()
    config = Config(
        data=folder,
        seed=1,
        cores=(CoreConfig(name="core", slots=slots),),
        scheduler=SchedulerConfig(policy=policy, quantum=quantum),  # type: ignore[arg-type]
    )
    config = structs.replace(config, **sections)
    driver = driver or ScriptedDriver(pace=stepper.pace)
    async with Kernel(config, drivers={"core": driver}, clock=clock) as kernel:
        yield Run(kernel, clock, stepper)
        kernel.check()


def question(text: str = "hello", **fields: object) -> sc.LlmGenerate:
    sampling = Sampling(**{key: fields.pop(key) for key in ("seed", "max_tokens") if key in fields})  # type: ignore[arg-type]
    return sc.LlmGenerate(messages=(Message("user", text),), sampling=sampling, **fields)  # type: ignore[arg-type]
