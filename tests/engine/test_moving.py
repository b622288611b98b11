"""Generations that move between cores of one model: the tokens are those of one that stays."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aios.abi import errors
from aios.abi import syscalls as sc
from aios.abi.messages import Delta, Message, Sampling
from aios.drivers.llm import Finished, Generation, Preempted, Snapshot
from aios.drivers.llm_local import EmbeddedDriver
from aios.kernel.config import Config, CoreConfig, SchedulerConfig
from aios.kernel.kernel import Kernel


class Driver(EmbeddedDriver):
    """An embedded core that can be told to fail."""

    fails = False

    async def run(
        self,
        job: Generation,
        resume: Snapshot | None,
        emit: Callable[[Delta], None],
        must_yield: Callable[[int], bool],
    ) -> Finished | Preempted:
        if self.fails:
            raise errors.Unavailable("it fails")
        return await super().run(job, resume, emit, must_yield)


class Lives:
    def __init__(self, kernel: Kernel, drivers: dict[str, Driver]) -> None:
        self.kernel = kernel
        self.drivers = drivers
        self.switched = asyncio.Event()
        self.begun: set[int] = set()
        self._ended: set[int] = set()
        self._stirred = asyncio.Event()
        kernel.journal.subscribe(self._saw)

    def _saw(self, event: Any) -> None:
        if event.kind == "preempted":
            self.switched.set()
        elif event.kind == "started" and event.call == "llm.generate":
            self.begun.add(event.task)
        elif event.kind == "done":
            self._ended.add(event.task)
        self._stirred.set()

    async def all_ended(self, tasks: set[int]) -> None:
        while not tasks <= self._ended:
            self._stirred.clear()
            await self._stirred.wait()

    async def operate(self, call: sc.SystemCall) -> Any:
        return await self.kernel.trap(self.kernel.operator_token, call)

    async def begin(
        self, *numbers: int, emit: "Callable[[int], Callable[[Delta], None]] | None" = None
    ) -> "list[asyncio.Task[Any]]":
        """Ask these questions at the same moment; `emit` gives what takes the answer's pieces."""
        tokens = [(await self.operate(sc.ProcessSpawn(agent="agent"))).token for _ in numbers]

        async def ask(number: int, token: str) -> sc.Reply:
            return await self.kernel.trap(token, question(number), emit=emit(number) if emit else None)

        return [asyncio.create_task(ask(*one)) for one in zip(numbers, tokens, strict=True)]

    async def ask(self, number: int) -> Any:
        (asked,) = await self.begin(number)
        return await asked

    def core(self, name: str) -> sc.CoreEntry:
        return next(core for core in self.kernel.cores() if core.name == name)


def question(number: int) -> sc.LlmGenerate:
    sampling = Sampling(temperature=0.9, seed=number, max_tokens=40)
    return sc.LlmGenerate((Message("user", f"Write note {number}."),), sampling=sampling)


@asynccontextmanager
async def living(
    folder: Path, model: Path, *names: str, quantum: int = 1000, disk_bytes: int = 1 << 26
) -> AsyncIterator[Lives]:
    drivers = {
        name: Driver(
            model,
            model="tiny",
            slots=2,
            snapshot_folder=folder / "snapshots",
            disk_bytes=disk_bytes,
            inline=True,
        )
        for name in names
    }
    config = Config(
        data=folder,
        cores=tuple(CoreConfig(name=name, slots=2) for name in names),
        scheduler=SchedulerConfig(policy="rr", quantum=quantum),
    )
    async with Kernel(config, drivers=drivers) as kernel:
        yield Lives(kernel, drivers)
        kernel.check()
        assert kernel.statistics()["context"]["snapshots"] == 0


@pytest.fixture
async def alone(model_folder: Path) -> dict[int, str]:
    """The answers to six questions on a core that each has for itself."""
    driver = EmbeddedDriver(model_folder, model="tiny", slots=2, inline=True)
    await driver.start()
    found = {}
    for number in range(6):
        call = question(number)
        job = Generation(call.messages, sampling=call.sampling)
        outcome = await driver.run(job, None, lambda delta: None, lambda num_tokens: False)
        assert isinstance(outcome, Finished)
        found[number] = outcome.text
    await driver.close()
    return found


@pytest.mark.parametrize("disk_bytes", [1 << 26, 0])
async def test_a_drained_core_hands_over_what_it_runs(
    tmp_path: Path, model_folder: Path, alone: dict[int, str], disk_bytes: int
) -> None:
    async with living(tmp_path, model_folder, "a", "b", disk_bytes=disk_bytes) as lives:
        begun = asyncio.Event()
        streams: list[list[Delta]] = [[] for _ in range(6)]

        def emit(number: int) -> Callable[[Delta], None]:
            def one(delta: Delta) -> None:
                streams[number].append(delta)
                if lives.core("a").running == 2 and len(streams[number]) == 3:
                    begun.set()

            return one

        asked = await lives.begin(*range(6), emit=emit)
        await begun.wait()
        await lives.operate(sc.CoreDrain(core="a"))
        answers = await asyncio.gather(*asked)
        assert {number: one.text for number, one in enumerate(answers)} == alone
        assert {number: text(stream) for number, stream in enumerate(streams)} == alone
        moved = [one for one in answers if one.num_switches]
        assert moved
        assert {one.core for one in moved} == {"b"}
        assert (lives.core("a").running, lives.core("a").draining) == (0, True)
        found = lives.drivers["b"].statistics()
        through_disk = len(moved) if disk_bytes else 0
        assert (found.restored, found.replays) == (through_disk, len(moved) - through_disk)
        assert lives.drivers["a"].statistics().snapshots == 0


def text(stream: list[Delta]) -> str:
    return "".join(delta.text for delta in stream)


async def test_what_waits_to_go_on_there_goes_on_elsewhere(
    tmp_path: Path, model_folder: Path, alone: dict[int, str]
) -> None:
    async with living(tmp_path, model_folder, "a", "b", quantum=4) as lives:
        asked = await lives.begin(*range(6))
        await lives.switched.wait()
        await lives.operate(sc.CoreDrain(core="a"))
        answers = await asyncio.gather(*asked)
        assert {number: one.text for number, one in enumerate(answers)} == alone
        assert {one.core for one in answers} == {"b"}


async def test_without_another_core_it_ends_what_it_began(
    tmp_path: Path, model_folder: Path, alone: dict[int, str]
) -> None:
    async with living(tmp_path, model_folder, "a", quantum=4) as lives:
        asked = await lives.begin(*range(4))
        await lives.switched.wait()
        await lives.operate(sc.CoreDrain(core="a"))
        begun = set(lives.begun)
        (late,) = await lives.begin(4)
        await lives.all_ended(begun)
        assert lives.begun - begun == set() != begun, "it takes no new calls"
        assert not late.done()
        await lives.operate(sc.CoreUndrain(core="a"))
        answers = await asyncio.gather(*asked, late)
        assert {number: one.text for number, one in enumerate(answers)} == {n: alone[n] for n in range(5)}


async def test_new_calls_go_elsewhere(tmp_path: Path, model_folder: Path) -> None:
    async with living(tmp_path, model_folder, "a", "b") as lives:
        await lives.operate(sc.CoreDrain(core="a"))
        assert {(await lives.ask(number)).core for number in range(3)} == {"b"}
        await lives.operate(sc.CoreUndrain(core="a"))
        await lives.operate(sc.CoreDrain(core="b"))
        assert {(await lives.ask(number)).core for number in range(3)} == {"a"}


async def test_a_core_that_fails_hands_over_what_waits_there(
    tmp_path: Path, model_folder: Path, alone: dict[int, str]
) -> None:
    async with living(tmp_path, model_folder, "a", "b", quantum=4) as lives:
        asked = await lives.begin(*range(6))
        await lives.switched.wait()
        lives.drivers["a"].fails = True
        answers = await asyncio.gather(*asked)
        assert {number: one.text for number, one in enumerate(answers)} == alone


async def test_only_the_operator_drains_and_only_cores(tmp_path: Path, model_folder: Path) -> None:
    async with living(tmp_path, model_folder, "a") as lives:
        spawned = await lives.operate(sc.ProcessSpawn(agent="agent"))
        for call in (sc.CoreDrain(core="a"), sc.CoreUndrain(core="a")):
            with pytest.raises(errors.PermissionDenied):
                await lives.kernel.trap(spawned.token, call)
        for name in ("c", "memory"):
            with pytest.raises(errors.NotFound, match=name):
                await lives.operate(sc.CoreDrain(core=name))


async def test_it_is_explained_where_the_state_of_a_waiting_call_is(
    tmp_path: Path, model_folder: Path, alone: dict[int, str]
) -> None:
    async with living(tmp_path, model_folder, "a", quantum=4) as lives:
        asked = await lives.begin(*range(6))
        await lives.switched.wait()
        processes = (await lives.operate(sc.ProcessList())).processes
        told = [await lives.operate(sc.CoreExplain(pid=process.pid)) for process in processes]
        reasons = [call.reason for one in told for call in one.calls if call.state == "waits"]
        assert any("; its state after 4 tokens on core a is kept in memory" in reason for reason in reasons)
        await asyncio.gather(*asked)
        assert not lives.drivers["a"]._moved
