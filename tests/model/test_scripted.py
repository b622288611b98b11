"""The scripted driver keeps the promises that every driver makes."""

import asyncio

import pytest

from aios.abi.errors import Cancelled, Unavailable
from aios.abi.messages import Delta, Message
from aios.drivers.llm import Generation, Preempted
from aios.drivers.llm_scripted import HANG, Answer, ScriptedDriver

JOB = Generation((Message("user", "hello"),))


def ignore(delta: Delta) -> None:
    return None


async def never_paced() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("answer", [HANG, "one two"])
async def test_close_ends_what_runs_as_cancelled(answer: Answer) -> None:
    driver = ScriptedDriver([answer], pace=never_paced)
    await driver.start()
    running = asyncio.create_task(driver.run(JOB, None, ignore, lambda num_tokens: False))
    await asyncio.sleep(0)
    assert driver.num_running == 1
    await driver.close()
    with pytest.raises(Cancelled):
        await running
    assert driver.num_running == 0
    with pytest.raises(Unavailable):
        await driver.run(JOB, None, ignore, lambda num_tokens: False)


async def test_a_pace_that_times_out_is_the_tests_own_error() -> None:
    async def times_out() -> None:
        raise TimeoutError

    driver = ScriptedDriver(["one"], pace=times_out)
    await driver.start()
    with pytest.raises(TimeoutError):
        await driver.run(JOB, None, ignore, lambda num_tokens: False)


async def test_a_snapshot_that_was_lost_can_be_dropped() -> None:
    driver = ScriptedDriver(["one two"])
    await driver.start()
    outcome = await driver.run(JOB, None, ignore, lambda num_tokens: True)
    assert isinstance(outcome, Preempted)
    driver.forget_snapshots()
    driver.drop(outcome.snapshot)
