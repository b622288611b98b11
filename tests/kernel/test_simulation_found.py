"""What simulated histories found, each as small as it could be made."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from driving import Run, Stepper, boot, question, settle_down
from queueing import Bench

from aios.abi.errors import Unavailable
from aios.abi.syscalls import Budget, Hints, ProcessResume, ProcessSpawn, ProcessSuspend
from aios.drivers.clock import ManualClock
from aios.drivers.limits import Bucket, RateLimits
from aios.drivers.llm import Generation
from aios.drivers.llm_scripted import Answer, ScriptedDriver, babble
from aios.kernel.accounts import FREE
from aios.kernel.budget import Budgets
from aios.kernel.config import Config, CoreConfig, RetryConfig, SchedulerConfig
from aios.kernel.kernel import Kernel


async def cancelled(call: "asyncio.Task[object]") -> None:
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


@asynccontextmanager
async def paced(
    folder: Path,
    cores: Sequence[CoreConfig],
    answer: Callable[[Generation], Answer] = babble,
    *,
    max_attempts: int = 8,
) -> AsyncIterator[Run]:
    """A kernel with several cores, one model each that is called like its core, all paced by one stepper."""
    stepper, clock = Stepper(), ManualClock()
    config = Config(
        data=folder,
        seed=1,
        cores=tuple(cores),
        scheduler=SchedulerConfig(policy="fifo"),
        retry=RetryConfig(max_attempts=max_attempts),
    )
    drivers = {core.name: ScriptedDriver(answer, model=core.name, pace=stepper.pace) for core in cores}
    async with Kernel(config, drivers=drivers, clock=clock) as kernel:
        yield Run(kernel, clock, stepper)
        kernel.check()


async def test_headers_that_open_a_gate_wake_its_core(tmp_path):
    """A provider says that there is more room than was known: what waits starts without waiting longer."""
    cores = (CoreConfig(name="core", slots=2, requests_per_minute=1),)
    async with boot(tmp_path, cores=cores) as run:
        calls = [run.begin(1, question(seed=number)) for number in range(2)]
        await settle_down()
        assert len(run.stepper.waiting) == 1, "the second waits for the next minute"
        driver = run.kernel._cores["core"].driver
        driver.on_limits(RateLimits({"requests": Bucket(100.0, 99.0, 1.0)}))
        await settle_down()
        assert len(run.stepper.waiting) == 2
        for call in calls:
            await cancelled(call)


async def test_what_a_call_kept_out_enters_once_it_is_gone(tmp_path):
    """The first that waits is too large for now; once it is cancelled, the next one is let in at once."""
    cores = (CoreConfig(name="core", slots=2, tokens_in_flight=100),)
    async with boot(tmp_path, cores=cores, policy="fifo") as run:
        sizes = (50, 90, 20)
        calls = [run.begin(1, question(max_tokens=size)) for size in sizes]
        await settle_down()
        assert len(run.stepper.waiting) == 1
        await cancelled(calls[1])
        await settle_down()
        assert len(run.stepper.waiting) == 2
        for call in calls:
            await cancelled(call)


async def test_what_a_call_kept_out_enters_once_its_process_is_suspended(tmp_path):
    cores = (CoreConfig(name="core", slots=2, tokens_in_flight=100),)
    async with boot(tmp_path, cores=cores, policy="fifo") as run:
        other = await run.spawn()
        calls = [run.begin(1, question(max_tokens=50)), run.begin(other.pid, question(max_tokens=90))]
        await settle_down()
        calls.append(run.begin(1, question(max_tokens=20)))
        await settle_down()
        assert len(run.stepper.waiting) == 1
        run.kernel._dispatcher.suspend_process(run.kernel._processes.get(other.pid))
        await settle_down()
        assert len(run.stepper.waiting) == 2
        for call in calls:
            await cancelled(call)


async def test_what_a_call_kept_out_enters_once_another_core_takes_it(tmp_path):
    cores = (CoreConfig(name="small", slots=2, tokens_in_flight=100), CoreConfig(name="large", slots=1))
    async with paced(tmp_path, cores) as run:
        calls = [
            run.begin(1, question(model="small", max_tokens=50)),
            run.begin(1, question(model="large", max_tokens=90)),
            run.begin(1, question(max_tokens=90)),
            run.begin(1, question(max_tokens=20)),
        ]
        await settle_down()
        assert len(run.stepper.waiting) == 2
        await cancelled(calls[1])
        await settle_down()
        assert len(run.stepper.waiting) == 3
        for call in calls:
            await cancelled(call)


async def test_what_a_call_kept_out_enters_once_its_core_needs_no_stand_in(tmp_path):
    """The core is well again, but its rate keeps the call waiting: its stand-in serves its own at once."""
    cores = (
        CoreConfig(name="main", slots=1, requests_per_minute=7, fallback=("other",)),
        CoreConfig(name="other", slots=2, tokens_in_flight=100),
    )

    def answer(job: Generation) -> Answer:
        return Unavailable("broke") if job.messages[0].text == "bad" else "word"

    async with paced(tmp_path, cores, answer, max_attempts=5) as run:
        calls = [run.begin(1, question(model="other", max_tokens=50))]
        with pytest.raises(Unavailable):
            await run.call(1, question("bad", model="main"))
        calls += [run.begin(1, question(model="main", max_tokens=90)) for _ in range(2)]
        calls.append(run.begin(1, question(model="other", max_tokens=20)))
        await settle_down()
        assert len(run.stepper.waiting) == 1
        run.clock.advance(1.0)
        await settle_down()
        assert len(run.stepper.waiting) == 2, "the first of them probes"
        await run.stepper.step(1)
        assert calls[1].done()
        assert not calls[2].done()
        assert len(run.stepper.waiting) == 2, "what was meant for the other runs there"
        for call in calls:
            await cancelled(call)


async def test_a_snapshot_is_never_given_to_a_stand_in(tmp_path):
    """A call that streams is interrupted, then its core breaks: it waits for that core, and goes on there."""
    text = "word " * 60

    def answer(job):
        return Unavailable("broke") if job.messages[0].text == "bad" else text

    main = ScriptedDriver(answer, model="main")
    other = ScriptedDriver(lambda job: "other", model="other")
    cores = (CoreConfig(name="main", slots=1, fallback=("other",)), CoreConfig(name="other", slots=1))
    config, clock = Config(data=tmp_path, cores=cores, seed=1), ManualClock()
    async with Kernel(config, drivers={"main": main, "other": other}, clock=clock) as kernel:
        operator = kernel.operator_token
        agent = await kernel.trap(operator, ProcessSpawn(agent="agent"))
        deltas: list[str] = []
        asked = question(model="main")
        streaming = asyncio.ensure_future(
            kernel.trap(agent.token, asked, emit=lambda delta: deltas.append(delta.text))
        )
        await settle_down()
        await kernel.trap(operator, ProcessSuspend(pid=agent.pid))
        await settle_down()
        assert deltas
        assert main.num_snapshots == 1
        assert (await kernel.trap(operator, question("bad", model="main"))).core == "other"
        await kernel.trap(operator, ProcessResume(pid=agent.pid))
        await settle_down()
        assert not streaming.done()
        clock.advance(5.0)
        assert (await streaming).core == "main"
        assert "".join(deltas) == text


async def test_a_call_that_says_there_is_less_left_moves_its_program_up():
    bench = Bench("oracle")
    bench.submit(1, hints=Hints(work_left=1000.0))
    bench.submit(2, hints=Hints(work_left=500.0))
    bench.submit(1, hints=Hints(work_left=10.0))
    task = bench.next()
    assert task is not None
    assert task.pid == 1


async def test_service_given_moves_a_program_up_whose_other_call_waits():
    """What a program still needs has shrunk by what one of its calls was given."""
    bench = Bench("oracle")
    first = bench.submit(1, hints=Hints(work_left=100.0))
    assert bench.next() is first
    bench.submit(1)
    bench.submit(2, hints=Hints(work_left=50.0))
    bench.release(first, 1.0, num_out=40)
    task = bench.next()
    assert task is not None
    assert task.pid == 1


async def test_a_long_prompt_does_not_starve_under_mlfq():
    """A program that was given nothing yet, behind others for its long prompt, is promoted as time passes."""
    bench = Bench("mlfq", level_tokens=20.0, patience=1.0)
    long = bench.submit(1, text="x" * 4000)
    for _ in range(3):
        bench.now += 0.4
        bench.submit(2)
    assert bench.next() is long


def test_a_delta_of_many_tokens_is_within_a_budget_that_has_them():
    """Only a half of what is left is held at a time: a large delta takes more than one step."""
    budgets = Budgets({"acme": Budget(tokens=40)}, slice_tokens=256)
    hold = budgets.reserve(budgets.tenant("acme"), 2, 100, FREE)
    assert hold is not None
    assert budgets.grow(hold, 30)
    assert not budgets.grow(hold, 38)
    assert hold.refused is not None
