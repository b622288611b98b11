"""The driver with its engine: in a process of its own, which may die, and in this one."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aios.abi.errors import Cancelled, ContextOverflow, InvalidArgument, Unavailable
from aios.abi.messages import Delta, Message, Sampling, ToolCall
from aios.drivers.llm import Finished, Generation, Preempted
from aios.drivers.llm_local import EmbeddedDriver

_QUESTION = Message("user", "What is the weather in the capital?")


def job(max_tokens: int = 30, **sampling: float) -> Generation:
    return Generation((_QUESTION,), sampling=Sampling(seed=4, max_tokens=max_tokens, **sampling))  # type: ignore[arg-type]


def never(num_tokens: int) -> bool:
    return False


def ignore(delta: Delta) -> None:
    return None


@pytest.fixture
async def driver(model_folder: Path) -> AsyncIterator[EmbeddedDriver]:
    driver = EmbeddedDriver(model_folder, slots=2)
    await driver.start()
    yield driver
    await driver.close()


@pytest.fixture
async def inline(model_folder: Path) -> AsyncIterator[EmbeddedDriver]:
    driver = EmbeddedDriver(model_folder, slots=2, inline=True)
    await driver.start()
    yield driver
    await driver.close()


async def whole(driver: EmbeddedDriver, each: Generation) -> Finished:
    finished = await driver.run(each, None, ignore, never)
    assert isinstance(finished, Finished)
    return finished


async def in_slices(driver: EmbeddedDriver, each: Generation, quantum: int) -> tuple[Finished, str, int]:
    texts: list[str] = []
    outcome = await driver.run(each, None, lambda d: texts.append(d.text), lambda n: n >= quantum)
    switches = 0
    while isinstance(outcome, Preempted):
        switches += 1
        outcome = await driver.run(
            each, outcome.snapshot, lambda d: texts.append(d.text), lambda n: n >= quantum
        )
    return outcome, "".join(texts), switches


async def first_token(driver: EmbeddedDriver, each: Generation) -> "asyncio.Task[Finished | Preempted]":
    """A run that has begun to talk."""
    begun = asyncio.Event()

    def seen(num_tokens: int) -> bool:
        begun.set()
        return False

    task = asyncio.create_task(driver.run(each, None, ignore, seen))
    await begun.wait()
    return task


async def test_a_process_streams_the_same_answer_as_an_engine_in_this_one(
    driver: EmbeddedDriver, inline: EmbeddedDriver
) -> None:
    deltas: list[Delta] = []
    finished = await driver.run(job(temperature=0.8), None, deltas.append, never)
    assert finished == await whole(inline, job(temperature=0.8))
    assert "".join(delta.text for delta in deltas) == finished.text
    assert len(deltas) > 3
    assert driver.window == inline.window == 300
    assert await driver.num_prompt_tokens([_QUESTION], []) == finished.usage.prompt_tokens
    assert driver.statistics().tokens == 30


async def test_inline_is_asked_after_each_token_and_stops_at_once(inline: EmbeddedDriver) -> None:
    asked: list[int] = []

    def until_five(num_tokens: int) -> bool:
        asked.append(num_tokens)
        return num_tokens == 5

    outcome = await inline.run(job(), None, ignore, until_five)
    assert isinstance(outcome, Preempted)
    assert asked == [1, 2, 3, 4, 5]
    assert outcome.snapshot.num_tokens == 5
    assert outcome.snapshot.num_bytes > 0


@pytest.mark.parametrize("quantum", [1, 7])
async def test_slices_in_a_process_make_the_same_answer(driver: EmbeddedDriver, quantum: int) -> None:
    expected = await whole(driver, job(temperature=1.0))
    expected_other = await whole(driver, job())
    # On a busy machine the engine may be done before it reads that it is to stop, so one try may not switch.
    for _ in range(20):
        (one, text, switches), (other, _, _) = await asyncio.gather(
            in_slices(driver, job(temperature=1.0), quantum), in_slices(driver, job(), quantum)
        )
        assert (one.text, one.usage.completion_tokens) == (expected.text, expected.usage.completion_tokens)
        assert text == expected.text
        assert other.text == expected_other.text
        if switches > 1:
            break
    assert switches > 1
    assert driver.statistics().snapshots == 0


async def test_a_killed_engine_fails_its_calls_and_the_next_call_starts_another(
    driver: EmbeddedDriver,
) -> None:
    expected = await whole(driver, job())
    texts: list[str] = []
    parked = await driver.run(job(), None, lambda delta: texts.append(delta.text), lambda n: n >= 8)
    assert isinstance(parked, Preempted)
    running = await first_token(driver, job(200))
    assert driver.engine_pid is not None
    os.kill(driver.engine_pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="the engine ended"):
        await running
    outcome = await driver.run(job(), parked.snapshot, lambda delta: texts.append(delta.text), never)
    assert isinstance(outcome, Finished)
    assert outcome.text == "".join(texts) == expected.text  # replayed, nothing shown twice
    assert driver.statistics().replays == 1


async def test_an_engine_that_dies_again_and_again_is_not_started_in_a_tight_loop(tmp_path: Path) -> None:
    driver = EmbeddedDriver(tmp_path)
    for _ in range(2):
        with pytest.raises(Unavailable, match="no model in"):
            await driver.start()
    with pytest.raises(Unavailable, match="started again soon") as raised:
        await driver.start()
    assert raised.value.retry_after is not None
    assert raised.value.retry_after > 0
    await driver.close()


async def test_cancelling_frees_the_row(driver: EmbeddedDriver) -> None:
    running = [await first_token(driver, job(250)) for _ in range(2)]
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    await whole(driver, job(2))
    assert driver.statistics().running == 0


async def test_close_ends_running_calls_and_the_process(model_folder: Path) -> None:
    driver = EmbeddedDriver(model_folder, slots=1)
    running = await first_token(driver, job(250))
    assert driver.engine_pid is not None
    gone = os.pidfd_open(driver.engine_pid)
    await driver.close()
    with pytest.raises(Cancelled):
        await running
    with pytest.raises(Cancelled):
        await driver.run(job(), None, ignore, never)
    assert select.select([gone], [], [], 10)[0]
    os.close(gone)


async def test_what_cannot_be_done_is_refused_and_hurts_nobody(driver: EmbeddedDriver) -> None:
    running = await first_token(driver, job(60))
    odd = Message("assistant", tool_calls=(ToolCall("1", "f", {"x": object()}),))
    refused = [
        (Generation((Message("user", "x" * 5_000_000),)), ContextOverflow),
        (Generation((_QUESTION,), response_schema={"type": "object"}), InvalidArgument),
        (Generation((Message("user", "lone \ud800 surrogate"),)), InvalidArgument),
        (Generation((_QUESTION, odd)), InvalidArgument),
    ]
    for each, error in refused:
        with pytest.raises(error):
            await driver.run(each, None, ignore, never)
    assert isinstance(await running, Finished)


async def test_integers_of_any_size_cross_to_the_engine(driver: EmbeddedDriver) -> None:
    call = ToolCall("call_1", "add", {"x": 10**40})
    messages = (_QUESTION, Message("assistant", "", (call,)), Message("tool", "ok", tool_call_id="call_1"))
    assert isinstance(
        await whole(driver, Generation(messages, sampling=Sampling(seed=1, max_tokens=3))), Finished
    )


async def test_the_terminals_interrupt_does_not_end_the_engine(driver: EmbeddedDriver) -> None:
    assert driver.engine_pid is not None
    os.kill(driver.engine_pid, signal.SIGINT)
    assert (await whole(driver, job())).usage.completion_tokens == 30


_PARENT = """
import asyncio, pathlib, sys
from aios.drivers.llm_local import EmbeddedDriver
async def main():
    driver = EmbeddedDriver(pathlib.Path(sys.argv[1]), slots=1)
    await driver.start()
    print(driver.engine_pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_the_engine_ends_when_its_parent_is_killed(model_folder: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(model_folder)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    gone = os.pidfd_open(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert select.select([gone], [], [], 30)[0]
    os.close(gone)
