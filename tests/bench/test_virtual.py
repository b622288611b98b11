"""Virtual time, an upstream as a core on it, and a whole kernel that lives through an hour there."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError, Cancelled, InvalidArgument, Overloaded, RateLimited, Unavailable
from aios.abi.messages import Delta, Message, Sampling, Usage
from aios.bench.upstream.ledger import Report
from aios.bench.upstream.model import Stage, Upstream, UpstreamConfig, Work
from aios.bench.upstream.work import prompt_of
from aios.bench.virtual import LoopClock, Stuck, UpstreamDriver, VirtualLoop, run_virtual, virtual_kernel
from aios.drivers.limits import RateLimits
from aios.drivers.llm import Finished, Generation, Preempted
from aios.drivers.store import Store
from aios.kernel.config import Config, CoreConfig

CONFIG = UpstreamConfig(slots=2, prefill_s_per_token=0.001, decode_s_per_token=0.01)
SECOND = Work(1, 0, 100)


def now() -> float:
    return asyncio.get_running_loop().time()


# ---- the loop


def test_time_jumps_to_what_comes_next() -> None:
    seen: list[tuple[float, str]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((now(), name))

    async def play() -> str:
        assert now() == 0
        await asyncio.gather(sleeper("month", 3e6), sleeper("hour", 3600), sleeper("minute", 60))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await asyncio.sleep(200)
        return "done"

    assert run_virtual(play()) == "done"
    assert seen == [(60, "minute"), (3600, "hour"), (3e6, "month")]


def test_time_stands_still_while_work_is_out_in_a_thread() -> None:
    """The thread hands in only after the loop has asked whether it may go on, while a timer waits."""
    asked = threading.Event()
    is_out = True

    def is_busy() -> bool:
        asked.set()
        return is_out

    async def play() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        came_back = loop.create_future()

        def hand_in() -> None:
            nonlocal is_out
            is_out = False
            came_back.set_result(now())

        def work() -> None:
            asked.wait()
            loop.call_soon_threadsafe(hand_in)

        timer = asyncio.create_task(asyncio.sleep(10))
        with loop.waiting_for(is_busy):
            thread = threading.Thread(target=work)
            thread.start()
            at: float = await came_back
            thread.join()
        await timer
        return at

    assert run_virtual(play()) == 0


def test_jobs_of_executors_take_no_time_even_where_nobody_waits_for_them() -> None:
    done: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait()
        done.append(1)

    async def play() -> float:
        assert await asyncio.to_thread(lambda: 17) == 17
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        forgotten = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.sleep(0)
        begun.wait()
        forgotten.cancel()
        go_on.set()
        before = now()
        await asyncio.sleep(1)
        assert done == [1]
        return before

    assert run_virtual(play()) == 0


def test_how_the_store_groups_its_writes_decides_nothing(tmp_path: Path) -> None:
    """Whoever wrote first goes on first, however many of the writes were committed together."""

    async def play(path: Path) -> list[int]:
        store, order = Store(path), list[int]()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)

        async def writer(number: int) -> None:
            for _ in range(number % 4):
                await asyncio.sleep(0)
            await store.write(lambda connection: None)
            for _ in range(number % 3):
                await asyncio.sleep(0)
            order.append(number)
            await asyncio.sleep(number % 2)
            await store.write(lambda connection: None)
            order.append(number)

        with loop.waiting_for(lambda: store.statistics()["waiting"] > 0):
            await store.start()
            await asyncio.gather(*map(writer, range(100)))
            await store.close()
        return order

    orders = [run_virtual(play(tmp_path / f"{run}.db")) for run in range(5)]
    assert all(order == orders[0] for order in orders)


def test_what_would_wait_for_ever_is_said_to_be_stuck() -> None:
    async def play() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck, match="1 tasks wait"):
        run_virtual(play())


def test_errors_come_out_and_what_still_runs_is_cancelled() -> None:
    ended: list[str] = []

    async def other() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            ended.append("other")

    async def play() -> None:
        asyncio.get_running_loop().create_task(other()).set_name("other")
        await asyncio.sleep(1)
        raise KeyError("found")

    with pytest.raises(KeyError, match="found"):
        run_virtual(play())
    assert ended == ["other"]


def test_the_clock_is_the_loop_s() -> None:
    async def play() -> None:
        clock, rang = LoopClock(epoch=1000.0), list[float]()
        clock.call_later(5, lambda: rang.append(clock.now()))
        clock.call_later(2, lambda: rang.append(clock.now())).cancel()
        await asyncio.sleep(7)
        assert rang == [5]
        assert await asyncio.to_thread(clock.time) == 1007

    run_virtual(play())


# ---- the core


def job(work: Work, **sampling: Any) -> Generation:
    return Generation((Message("user", prompt_of(work)),), sampling=Sampling(**sampling))


async def generated(driver: UpstreamDriver, work: Work, **sampling: Any) -> Finished:
    answer = await driver.run(job(work, **sampling), None, lambda delta: None, lambda num_tokens: False)
    assert isinstance(answer, Finished)
    return answer


def test_a_core_answers_with_the_tokens_that_were_asked_for() -> None:
    async def play() -> None:
        deltas: list[Delta] = []
        driver = UpstreamDriver(Upstream(CONFIG))
        never = lambda num_tokens: pytest.fail("a core without snapshots is never interrupted")  # noqa: E731
        answer = await driver.run(job(Work(1, 500, 100)), None, deltas.append, never)
        assert isinstance(answer, Finished)
        assert answer.usage == Usage(500, 100)
        assert answer.text == "".join(delta.text for delta in deltas)
        assert sum(delta.num_tokens for delta in deltas) == 100
        assert now() == pytest.approx(1.5)
        short = await generated(driver, SECOND, max_tokens=30)
        assert (short.finish_reason, short.usage.completion_tokens) == ("length", 30)
        with pytest.raises(InvalidArgument, match="work ID"):
            await driver.run(Generation((Message("user", "hello"),)), None, deltas.append, never)

    run_virtual(play())


async def failure_of(config: UpstreamConfig, work: Work, *others: Work, at_s: float = 0.0) -> AiosError:
    """What a core raises for `work`, others before it running already."""
    driver = UpstreamDriver(Upstream(config))
    running = [asyncio.create_task(generated(driver, other)) for other in others]
    await asyncio.sleep(at_s)
    with pytest.raises(AiosError) as caught:
        await generated(driver, work)
    await asyncio.gather(*running, return_exceptions=True)
    return caught.value


THIRD = Work(3, 0, 100)
RATE = structs.replace(CONFIG, mode="rate", slots=0, rpm=60, burst_s=1.0)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (structs.replace(CONFIG, slots=1), Overloaded),
        (RATE, RateLimited),
        (structs.replace(RATE, tells=False), RateLimited),
        (structs.replace(CONFIG, mode="memory", memory_tokens=120), Overloaded),
        (structs.replace(CONFIG, mode="shift", stages=(Stage(0.05, 0),)), Unavailable),
        (structs.replace(CONFIG, mode="shift", stages=(Stage(0.05, 0),), outage="503"), Overloaded),
        (structs.replace(CONFIG, error_share=1.0), Unavailable),
        (structs.replace(CONFIG, cut_share=1.0), Unavailable),
    ],
)
def test_a_core_raises_what_the_refusals_mean(config: UpstreamConfig, kind: type[AiosError]) -> None:
    failure = run_virtual(failure_of(config, THIRD, SECOND, at_s=0.1))
    assert type(failure) is kind
    if config == RATE:
        assert failure.retry_after == pytest.approx(0.9)


def test_a_core_tells_the_limits_of_every_answer() -> None:
    async def play() -> None:
        told: list[RateLimits] = []
        driver = UpstreamDriver(Upstream(structs.replace(RATE, burst_s=2.0)))
        driver.on_limits = told.append
        for _ in range(2):
            running = asyncio.create_task(generated(driver, SECOND))
            await asyncio.sleep(0)
        with pytest.raises(RateLimited):
            await generated(driver, THIRD)
        assert [limits.buckets["requests"].remaining for limits in told] == [1, 0, 0]
        await running

    run_virtual(play())


def test_an_interrupted_answer_goes_on_where_it_was() -> None:
    async def play() -> Report:
        upstream, deltas = Upstream(structs.replace(CONFIG, slots=1)), list[Delta]()
        driver = UpstreamDriver(upstream, snapshot_kind="state")
        snapshot, num_slices = None, 0
        while True:
            outcome = await driver.run(
                job(SECOND), snapshot, deltas.append, lambda num_tokens: num_tokens >= 30
            )
            num_slices += 1
            if isinstance(outcome, Finished):
                break
            snapshot = outcome.snapshot
            assert upstream.num_running == 0
            await generated(driver, THIRD)
        assert num_slices == 4
        assert outcome.text == "".join(delta.text for delta in deltas)
        with pytest.raises(Unavailable, match="gone"):
            await driver.run(job(SECOND), snapshot, deltas.append, lambda num_tokens: False)
        return upstream.report()

    report = run_virtual(play())
    assert report.wasted_s == 0
    assert report.useful_s == pytest.approx(4.0)


def test_snapshots_that_are_dropped_and_cores_that_are_closed_leave_nothing_open() -> None:
    async def play() -> Report:
        upstream = Upstream(CONFIG)
        driver = UpstreamDriver(upstream, snapshot_kind="state")
        for _ in range(2):
            outcome = await driver.run(job(SECOND), None, lambda delta: None, lambda num_tokens: True)
            assert isinstance(outcome, Preempted)
        driver.drop(outcome.snapshot)
        driver.drop(outcome.snapshot)
        running = asyncio.create_task(generated(driver, SECOND))
        await asyncio.sleep(0.5)
        await driver.close()
        with pytest.raises(Cancelled):
            await running
        return upstream.report()

    report = run_virtual(play())
    assert report.open_s == 0
    assert report.wasted_s == pytest.approx(0.52)


# ---- a kernel

NUM_AGENTS = 200
NUM_STEPS = 3


async def many_agents(folder: Path) -> Report:
    """Agents with a process each, three calls of half a minute one after the other, and pauses between."""
    upstream = Upstream(structs.replace(CONFIG, slots=16, decode_s_per_token=0.3, tick_s=5.0))
    config = Config(data=folder, seed=1, cores=(CoreConfig(name="core", slots=16),))
    async with virtual_kernel(config, {"core": UpstreamDriver(upstream)}) as kernel:

        async def agent(number: int) -> None:
            await asyncio.sleep(0.5 * (number % 5))
            spawn = sc.ProcessSpawn(agent=f"agent-{number}")
            spawned = await kernel.trap(kernel.operator_token, spawn)
            assert isinstance(spawned, sc.Spawned)
            for step in range(NUM_STEPS):
                work = Work(NUM_STEPS * number + step, 100, 80 + number % 40)
                question = sc.LlmGenerate(messages=(Message("user", prompt_of(work)),))
                answer = await kernel.trap(spawned.token, question)
                assert isinstance(answer, sc.LlmAnswer)
                assert answer.usage.completion_tokens == work.n_out
                await asyncio.sleep(number % 3)

        await asyncio.gather(*map(agent, range(NUM_AGENTS)))
        kernel.check()
        return upstream.report()


def test_a_kernel_serves_hundreds_of_agents_through_an_hour_the_same_way_each_time(tmp_path: Path) -> None:
    first = run_virtual(many_agents(tmp_path / "first"))
    assert first.num_done == NUM_AGENTS * NUM_STEPS
    assert first.refusals == ()
    assert first.wasted_s == first.open_s == 0
    assert first.span_s > 1000
    assert first.useful_s + first.idle_s == pytest.approx(first.capacity_s)
    assert run_virtual(many_agents(tmp_path / "second")) == first
