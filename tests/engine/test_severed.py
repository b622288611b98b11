"""An engine that is killed in the middle of an answer: the answer goes on, and nothing is shown twice."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aios.abi import errors
from aios.abi import syscalls as sc
from aios.abi.messages import Delta, Message, Sampling
from aios.drivers import llm_local
from aios.drivers.engine_frames import Event
from aios.drivers.engine_link import OnEnd, OnEvents, ProcessLink
from aios.drivers.llm import Finished, Generation, Severed
from aios.drivers.llm_local import EmbeddedDriver
from aios.kernel.config import Config, CoreConfig, RetryConfig
from aios.kernel.kernel import Kernel

SAMPLINGS = {
    "greedy": Sampling(max_tokens=60),
    "drawn": Sampling(temperature=0.9, seed=5, max_tokens=60, frequency_penalty=0.5),
    "several": Sampling(temperature=0.9, seed=5, max_tokens=40, n=2),
    "told": Sampling(temperature=0.9, seed=6, max_tokens=40, logprobs=2),
}


class FragileLink(ProcessLink):
    """What a killed engine had written and nobody had read is lost with it, however far ahead it was."""

    killed: set[int | None]

    def __init__(self, on_events: OnEvents, on_end: OnEnd) -> None:
        super().__init__(self._while_alive, on_end)
        self._pass_on = on_events

    def _while_alive(self, events: Sequence[Event]) -> None:
        for event in events:
            if self.pid not in self.killed:
                self._pass_on([event])


@pytest.fixture(autouse=True)
def fragile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FragileLink, "killed", set(), raising=False)
    monkeypatch.setattr(llm_local, "ProcessLink", FragileLink)


def kill(driver: EmbeddedDriver) -> None:
    if driver.engine_pid is not None and driver.engine_pid not in FragileLink.killed:
        FragileLink.killed.add(driver.engine_pid)
        os.kill(driver.engine_pid, signal.SIGKILL)


def question(sampling: Sampling) -> sc.LlmGenerate:
    return sc.LlmGenerate((Message("user", "Write a note."),), sampling=sampling)


async def undisturbed(model: Path, call: sc.LlmGenerate) -> tuple[Finished, list[Delta]]:
    driver = EmbeddedDriver(model, model="tiny", slots=2, inline=True)
    deltas: list[Delta] = []
    job = Generation(call.messages, call.tools, call.sampling, call.tool_choice)
    outcome = await driver.run(job, None, deltas.append, lambda num_tokens: False)
    await driver.close()
    assert isinstance(outcome, Finished)
    return outcome, deltas


@asynccontextmanager
async def living(
    folder: Path, model: Path, max_attempts: int = 3
) -> AsyncIterator[tuple[Kernel, EmbeddedDriver]]:
    driver = EmbeddedDriver(model, model="tiny", slots=2)
    cores = (CoreConfig(name="a", slots=2),)
    config = Config(data=folder, cores=cores, retry=RetryConfig(max_attempts=max_attempts))
    async with Kernel(config, drivers={"a": driver}) as kernel:
        yield kernel, driver
        kernel.check()
        assert kernel.statistics()["context"] == {"snapshots": 0, "snapshot_bytes": 0}


async def asked(kernel: Kernel, call: sc.LlmGenerate, emit: Callable[[Delta], None]) -> sc.LlmAnswer:
    spawned = await kernel.trap(kernel.operator_token, sc.ProcessSpawn(agent="agent"))
    assert isinstance(spawned, sc.Spawned)
    answer = await kernel.trap(spawned.token, call, emit=emit)
    assert isinstance(answer, sc.LlmAnswer)
    return answer


def killing(driver: EmbeddedDriver, deltas: list[Delta], *at: int) -> Callable[[Delta], None]:
    """Takes deltas, and kills the engine with those of these numbers."""

    def emit(delta: Delta) -> None:
        deltas.append(delta)
        if len(deltas) in at:
            kill(driver)

    return emit


def pieces(deltas: list[Delta]) -> dict[int, tuple[str, int]]:
    """By answer, its text and how many log-probabilities were told."""
    return {
        index: (
            "".join(delta.text for delta in deltas if delta.index == index),
            sum(len(delta.logprobs) for delta in deltas if delta.index == index),
        )
        for index in {delta.index for delta in deltas}
    }


@pytest.mark.parametrize("name", SAMPLINGS)
async def test_a_stream_goes_on_where_it_was(tmp_path: Path, model_folder: Path, name: str) -> None:
    call = question(SAMPLINGS[name])
    expected, undisturbed_deltas = await undisturbed(model_folder, call)
    deltas: list[Delta] = []
    async with living(tmp_path, model_folder) as (kernel, driver):
        answer = await asked(kernel, call, killing(driver, deltas, 7))
        assert driver.statistics().replays == 1
    assert (answer.text, answer.others, answer.logprobs) == (
        *(expected.text, expected.others, expected.logprobs),
    )
    assert answer.usage == expected.usage
    assert pieces(deltas) == pieces(undisturbed_deltas)
    assert sum(delta.num_tokens for delta in deltas) == sum(d.num_tokens for d in undisturbed_deltas)


async def test_an_engine_that_dies_again_and_again_is_a_typed_error(
    tmp_path: Path, model_folder: Path
) -> None:
    call = question(Sampling(max_tokens=60))
    deltas: list[Delta] = []
    async with living(tmp_path, model_folder, max_attempts=2) as (kernel, driver):
        emit = killing(driver, deltas, *range(1, 61))
        with pytest.raises(errors.Unavailable, match="the engine ended"):
            await asked(kernel, call, emit)
    expected, _ = await undisturbed(model_folder, call)
    assert expected.text.startswith("".join(delta.text for delta in deltas))


async def test_the_driver_tells_how_much_was_shown(model_folder: Path) -> None:
    driver = EmbeddedDriver(model_folder, slots=2)
    job = Generation((Message("user", "Write a note."),), sampling=SAMPLINGS["drawn"])
    seen: list[int] = []

    def until(num_tokens: int) -> bool:
        seen.append(num_tokens)
        if num_tokens == 4:
            kill(driver)
        return False

    with pytest.raises(Severed) as severed:
        await driver.run(job, None, lambda delta: None, until)
    snapshot = severed.value.snapshot
    assert (snapshot.kind, snapshot.num_tokens) == ("state", seen[-1])
    assert "computed again" in driver.place_of(snapshot)
    seen.clear()
    with pytest.raises(Severed) as again:
        await driver.run(job, snapshot, lambda delta: None, until)
    assert again.value.snapshot.num_tokens == snapshot.num_tokens + seen[-1]
    driver.drop(again.value.snapshot)
    assert not driver._moved
    await driver.close()


async def test_an_answer_that_was_made_before_is_streamed_whole(tmp_path: Path, model_folder: Path) -> None:
    call = question(SAMPLINGS["several"])
    streams: tuple[list[Delta], list[Delta]] = ([], [])
    async with living(tmp_path, model_folder) as (kernel, driver):
        answers = []
        for stream in streams:
            made = await kernel.trap(kernel.operator_token, call, emit=stream.append, key="k")
            assert isinstance(made, sc.LlmAnswer)
            answers.append(made)
        num_tokens = driver.statistics().tokens
    assert num_tokens == answers[0].usage.completion_tokens
    assert answers[0] == answers[1]
    assert pieces(streams[0]) == pieces(streams[1])
