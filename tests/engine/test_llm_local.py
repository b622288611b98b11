"""The driver with its engine: in a process of its own, which may die, and in this one."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from aios.abi.errors import Cancelled, ContextOverflow, InvalidArgument, Unavailable
from aios.abi.messages import Delta, Message, Sampling, ToolCall
from aios.drivers.engine import Engine
from aios.drivers.engine_frames import Command, Load, Ready, frame
from aios.drivers.engine_link import ProcessLink
from aios.drivers.llm import Finished, Generation, Preempted, Snapshot
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
    expected = await whole(driver, job(200))
    texts: list[str] = []
    parked = await driver.run(job(200), None, lambda delta: texts.append(delta.text), lambda n: n >= 8)
    assert isinstance(parked, Preempted)
    running = await first_token(driver, job(200))
    assert driver.engine_pid is not None
    os.kill(driver.engine_pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="the engine ended"):
        await running
    outcome = await driver.run(job(200), parked.snapshot, lambda delta: texts.append(delta.text), never)
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


async def test_a_snapshot_that_comes_as_its_call_is_cancelled_is_dropped(inline: EmbeddedDriver) -> None:
    running: list[asyncio.Task[Finished | Preempted]] = []

    def leaves(num_tokens: int) -> bool:
        # Due after the turn in which `Parked` comes has woken the call, and before the call goes on.
        asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(running[0].cancel))
        return True

    running.append(asyncio.create_task(inline.run(job(), None, ignore, leaves)))
    await asyncio.wait(running)
    assert running[0].cancelled()
    await whole(inline, job(2))
    assert inline.statistics().switches == 1
    assert inline.statistics().snapshots == 0


def fails(_: object) -> bool:
    raise ZeroDivisionError("the caller's own")


@pytest.mark.parametrize(("emit", "must_yield"), [(fails, never), (ignore, fails)])
async def test_a_caller_that_raises_fails_its_own_call(
    driver: EmbeddedDriver, emit: Callable[[Delta], None], must_yield: Callable[[int], bool]
) -> None:
    running = await first_token(driver, job(60))
    pid = driver.engine_pid
    with pytest.raises(ZeroDivisionError):
        await driver.run(job(250), None, emit, must_yield)
    assert isinstance(await running, Finished)
    await whole(driver, job(2))
    assert driver.engine_pid == pid
    assert driver.statistics().running == 0


async def test_an_inline_engine_that_raises_fails_its_calls_and_is_loaded_anew(
    inline: EmbeddedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Engine, "step", lambda self: 1 / 0)
        with pytest.raises(Unavailable, match="the engine ended: ZeroDivisionError"):
            await whole(inline, job())
    assert (await whole(inline, job(3))).usage.completion_tokens == 3


async def test_a_parked_call_waits_until_the_engine_may_be_started_again(
    model_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    driver = EmbeddedDriver(folder, inline=True)
    for _ in range(2):
        with pytest.raises(Unavailable, match="no model in"):
            await driver.start()
    folder.symlink_to(model_folder)
    with pytest.raises(Unavailable, match="started again soon"):
        await driver.run(job(), None, ignore, never)
    outcome = await driver.run(job(), Snapshot("state", "lost", 3, 1), ignore, never)
    assert isinstance(outcome, Finished)
    await driver.close()


async def test_close_ends_a_call_that_waits_for_the_engine(tmp_path: Path) -> None:
    driver = EmbeddedDriver(tmp_path, inline=True)
    for _ in range(8):
        driver._count_death()
    waiting = asyncio.create_task(driver.run(job(), Snapshot("state", "lost", 3, 1), ignore, never))
    await asyncio.sleep(0)
    await driver.close()
    with pytest.raises(Cancelled):
        await waiting


async def test_an_engine_that_is_ready_after_close_is_ended(model_folder: Path) -> None:
    driver = EmbeddedDriver(model_folder)
    starting = asyncio.create_task(driver.start())
    await asyncio.sleep(0)
    await driver.close()
    with pytest.raises(Cancelled):
        await starting
    assert driver.engine_pid is None


async def test_a_start_that_is_cancelled_hears_nothing_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ready").write_bytes(frame([Ready(300)]))
    late = tmp_path / "engine"  # is ready once its input has ended
    late.write_text(f"#!/bin/sh\ncat > {tmp_path}/load\ncat {tmp_path}/ready\n")
    late.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(late))
    heard: list[object] = []
    begun = asyncio.Event()

    class Starting(ProcessLink):
        def send(self, command: Command) -> None:
            super().send(command)
            begun.set()

    starting = asyncio.create_task(Starting(heard.append, heard.append).start(Load("", "tiny", 1, 0, 0)))
    await begun.wait()
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert heard == []


async def test_an_engine_that_can_not_be_spawned_is_unavailable(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(model_folder / "nothing"))
    with pytest.raises(Unavailable, match="can't be started"):
        await EmbeddedDriver(model_folder).start()


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
        (Generation((_QUESTION,), response_schema={"enum": []}), InvalidArgument),
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
