"""LLM cores: who serves what, what is tried again and what is not, seeds, windows."""

import asyncio

import pytest
from driving import boot, settle_down

from aios.abi import syscalls as sc
from aios.abi.errors import (
    ContextOverflow,
    DeadlineExceeded,
    Exhausted,
    Misconfigured,
    NotFound,
    Overloaded,
    RateLimited,
    Unavailable,
)
from aios.abi.messages import Message, ToolCall
from aios.drivers.clock import ManualClock
from aios.drivers.llm_scripted import HANG, ScriptedDriver
from aios.kernel.config import Config, CoreConfig, RetryConfig, SchedulerConfig
from aios.kernel.kernel import Kernel

RETRY = RetryConfig(max_attempts=3, give_up_s=100.0)


async def pass_time(run, seconds: float) -> None:
    await settle_down()
    run.clock.advance(seconds)
    await settle_down()


async def test_a_failure_is_tried_again_and_never_seen(tmp_path, ask):
    driver = ScriptedDriver([Unavailable("down"), RateLimited("slow", retry_after=5.0), "at last"])
    async with boot(tmp_path, driver, slots=1) as run:
        call = run.begin(1, ask())
        await settle_down()
        assert len(driver.jobs) == 2, "one failure is tried again at once"
        assert run.kernel.statistics()["resources"]["core"]["running"] == 0, "it waits holding no slot"
        await pass_time(run, 4.9)
        assert not call.done()
        await pass_time(run, 0.2)
        assert (await call).text == "at last"
        assert run.kernel.statistics()["retries"] == 2
        assert run.clock.num_timers == 0


async def test_a_dead_core_is_a_typed_error_in_the_end(tmp_path, ask):
    driver = ScriptedDriver(lambda job: Unavailable("down"))
    async with boot(tmp_path, driver, retry=RETRY) as run:
        with pytest.raises(Unavailable, match="down"):
            await run.call(1, ask())
        assert len(driver.jobs) == 3
        assert run.kernel.cores()[0].health == "failing"


async def test_an_outage_loses_nothing(tmp_path, ask):
    """Sixty calls, a core that is down for half a minute: waiting costs none of them a try."""
    clock = []
    driver = ScriptedDriver(lambda job: Unavailable("down") if clock[0].now() < 30 else "up", at_once=True)
    async with boot(tmp_path, driver, slots=8) as run:
        clock.append(run.clock)
        calls = [run.begin(1, ask(str(number))) for number in range(60)]
        for _ in range(70):
            await pass_time(run, 0.5)
        assert [(await call).text for call in calls] == ["up"] * 60
        assert len(driver.jobs) < 60 + 8 + 10, "it is tried with one at a time"


async def test_a_call_that_breaks_its_core_does_not_break_the_others(tmp_path, ask):
    def answer(job):
        return Unavailable("broke") if job.messages[0].text == "poison" else "fine"

    driver = ScriptedDriver(answer, at_once=True)
    async with boot(tmp_path, driver, slots=1) as run:
        poison = run.begin(1, ask("poison"))
        others = [run.begin(1, ask("good")) for _ in range(5)]
        for _ in range(40):
            await pass_time(run, 5.0)
        with pytest.raises(Unavailable, match="broke"):
            await poison
        assert [(await one).text for one in others] == ["fine"] * 5


async def test_cores_that_only_fail_are_given_up_and_so_are_the_calls_that_wait(tmp_path, ask):
    driver = ScriptedDriver(lambda job: Unavailable("gone for good"), at_once=True)
    async with boot(tmp_path, driver, slots=1, retry=RETRY) as run:
        calls = [run.begin(1, ask(str(number))) for number in range(20)]
        for _ in range(14):
            await pass_time(run, 10.0)
        failures = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(failure, Unavailable) for failure in failures)


async def test_a_core_that_has_no_room_costs_a_call_nothing_but_time(tmp_path, ask):
    left = [100]

    def answer(job):
        left[0] -= 1
        return Overloaded("full") if left[0] else "at last"

    driver = ScriptedDriver(answer, at_once=True)
    async with boot(tmp_path, driver, retry=RetryConfig(give_up_s=1e6)) as run:
        call = run.begin(1, ask())
        for _ in range(120):
            await pass_time(run, 30.0)
        assert (await call).text == "at last"


async def test_an_account_without_quota_is_told_at_once_unless_another_core_can_serve(tmp_path, ask):
    async with boot(tmp_path, ScriptedDriver([Exhausted("no quota"), "more"])) as run:
        with pytest.raises(Exhausted):
            await run.call(1, ask())
        assert run.kernel.cores()[0].health == "exhausted"
    answers = {"a": [Exhausted("no quota")], "b": ["b's"]}
    drivers = {name: ScriptedDriver(answers[name], model="m") for name in answers}
    async with await two_cores(tmp_path / "two", drivers) as kernel:
        assert (await kernel.trap(kernel.operator_token, ask())).text == "b's"


BAD_KEY = Misconfigured("the key is refused")


async def test_a_core_that_is_wrong_is_asked_once_and_all_that_wait_for_it_learn_why(tmp_path, ask):
    driver = ScriptedDriver([BAD_KEY, "well now"], at_once=True)
    async with boot(tmp_path, driver, slots=1) as run:
        calls = [run.begin(1, ask(str(number))) for number in range(5)]
        for failure in await asyncio.gather(*calls, return_exceptions=True):
            assert type(failure) is Misconfigured
            assert str(failure) == "core core: the key is refused"
        with pytest.raises(Misconfigured) as caught:
            await run.call(1, ask())
        assert caught.value.retry_after == 60.0
        assert len(driver.jobs) == 1
        (core,) = run.kernel.cores()
        assert (core.health, core.fault, core.opens_in_s) == ("misconfigured", "the key is refused", 60.0)
        run.clock.advance(60.0)
        assert (await run.call(1, ask())).text == "well now"
        (core,) = run.kernel.cores()
        assert (core.health, core.fault) == ("ready", "")


async def test_a_call_that_its_core_refuses_for_good_is_not_tried_there_again(tmp_path, ask):
    def answer(job):
        return BAD_KEY if job.messages[0].text == "poison" else "fine"

    driver = ScriptedDriver(answer, at_once=True)
    async with boot(tmp_path, driver, slots=1) as run:
        await run.call(1, ask("good"))
        with pytest.raises(Misconfigured):
            await run.call(1, ask("poison"))
        assert len(driver.jobs) == 2
        assert (await run.call(1, ask("good"))).text == "fine", "one call's refusal stops no others"


async def test_others_serve_what_a_wrong_core_was_asked(tmp_path, ask):
    drivers = {
        "a": ScriptedDriver(lambda job: BAD_KEY, model="large", at_once=True),
        "b": ScriptedDriver(lambda job: "b's", model="small", at_once=True),
    }
    cores = (CoreConfig(name="a", slots=1, fallback=("b",)), CoreConfig(name="b", slots=1))
    async with Kernel(Config(data=tmp_path, cores=cores), drivers=drivers, clock=ManualClock()) as kernel:
        answers = [await kernel.trap(kernel.operator_token, ask(model="large")) for _ in range(3)]
        assert {answer.core for answer in answers} == {"b"}
        assert len(drivers["a"].jobs) == 1


async def test_a_call_set_aside_learns_of_a_wrong_core_when_it_is_let_go(tmp_path, ask):
    async with boot(tmp_path, ScriptedDriver([BAD_KEY]), slots=1) as run:
        agent = await run.spawn()
        await run.call(1, sc.ProcessSuspend(pid=agent.pid))
        held = run.begin(agent.pid, ask())
        await settle_down()
        held_in_vain = run.begin(1, ask())
        with pytest.raises(Misconfigured):
            await held_in_vain
        assert not held.done()
        await run.call(1, sc.ProcessResume(pid=agent.pid))
        with pytest.raises(Misconfigured):
            await held


async def test_the_deadline_ends_a_call_that_waits_for_a_rate(tmp_path, ask):
    async with boot(tmp_path, ScriptedDriver([RateLimited("slow", retry_after=5.0)])) as run:
        call = run.begin(1, ask(), timeout_s=4.0)
        await pass_time(run, 4.0)
        with pytest.raises(DeadlineExceeded):
            await call


async def test_a_stand_in_of_another_model_serves_while_the_core_cannot(tmp_path, ask):
    drivers = {
        "a": ScriptedDriver(lambda job: Unavailable("down"), model="large", at_once=True),
        "b": ScriptedDriver(lambda job: "b's", model="small", at_once=True),
    }
    cores = (CoreConfig(name="a", slots=1, fallback=("b",)), CoreConfig(name="b", slots=1))
    async with Kernel(Config(data=tmp_path, cores=cores), drivers=drivers, clock=ManualClock()) as kernel:
        answers = [await kernel.trap(kernel.operator_token, ask(model="large")) for _ in range(3)]
        assert {(answer.text, answer.core, answer.model) for answer in answers} == {("b's", "b", "small")}
        assert len(drivers["a"].jobs) == 5, "until its circuit opened"


async def test_what_was_delivered_in_part_is_not_tried_again(tmp_path, ask):
    box = []

    async def pace() -> None:
        if box:
            raise Unavailable("cut")

    async with boot(tmp_path, ScriptedDriver(lambda job: "one two three", pace=pace)) as run:
        with pytest.raises(Unavailable, match="cut"):
            await run.call(1, ask(), emit=box.append)
        again = run.begin(1, ask())
        await settle_down()
        box.clear()
        await pass_time(run, 60.0)
        assert (await again).text == "one two three", "without deltas nothing was delivered: it is run again"


async def test_a_lost_snapshot_means_another_run(tmp_path, ask):
    async with boot(tmp_path, slots=1, quantum=1) as run:
        agents = [await run.spawn() for _ in range(2)]
        calls = [run.begin(one.pid, ask("a b c", seed=one.pid)) for one in agents]
        driver = next(iter(run.kernel._cores)).driver
        while not driver.num_snapshots:
            await run.stepper.step()
        driver.forget_snapshots()
        for _ in range(4):
            await run.stepper.run_out()
            run.clock.advance(1.0)
        texts = [(await call).text for call in calls]
        alone = run.begin(1, ask("a b c", seed=agents[0].pid))
        await run.stepper.run_out()
        assert texts[0] == (await alone).text


async def two_cores(folder, drivers, **sections) -> Kernel:
    cores = tuple(CoreConfig(name=name, slots=1) for name in drivers)
    config = Config(data=folder, cores=cores, scheduler=SchedulerConfig(quantum=1), **sections)
    return Kernel(config, drivers=drivers, clock=ManualClock())


async def test_a_call_goes_to_its_model_and_else_where_there_is_room(tmp_path, ask):
    drivers = {name: ScriptedDriver(lambda job: HANG, model=name) for name in ("small", "large")}
    async with await two_cores(tmp_path, drivers) as kernel:
        token = kernel.operator_token
        calls = [asyncio.ensure_future(kernel.trap(token, ask(model="large")))]
        await settle_down()
        calls.append(asyncio.ensure_future(kernel.trap(token, ask())))
        await settle_down()
        assert [len(driver.jobs) for driver in drivers.values()] == [1, 1]
        with pytest.raises(NotFound, match="large, small"):
            await kernel.trap(token, ask(model="huge"))
        assert [(core.model, core.running) for core in kernel.cores()] == [("small", 1), ("large", 1)]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_replicas_of_a_model_share_its_calls(tmp_path, ask):
    drivers = {name: ScriptedDriver(model="same") for name in ("a", "b")}
    async with await two_cores(tmp_path, drivers) as kernel:
        calls = (kernel.trap(kernel.operator_token, ask(f"q{n}", seed=n, model="same")) for n in range(8))
        answers = await asyncio.gather(*calls)
        assert {answer.core for answer in answers} == {"a", "b"}
        kernel.check()
        assert all(not driver.num_snapshots for driver in drivers.values())


async def test_a_core_that_fails_does_not_draw_its_siblings_calls(tmp_path, ask):
    answers = {"a": lambda job: Unavailable("down"), "b": lambda job: "fine"}
    drivers = {name: ScriptedDriver(answers[name], model="same", at_once=True) for name in ("a", "b")}
    async with await two_cores(tmp_path, drivers) as kernel:
        calls = [kernel.trap(kernel.operator_token, ask(str(number))) for number in range(20)]
        assert {answer.core for answer in await asyncio.gather(*calls)} == {"b"}
        assert len(drivers["a"].jobs) <= 5
        kernel.check()


async def test_seeds_are_drawn_from_the_kernels_own_and_the_callers_place(tmp_path, ask):
    seeds = []
    for number in range(2):
        driver = ScriptedDriver(lambda job: "x")
        async with boot(tmp_path / str(number), driver) as run:
            agents = [await run.spawn() for _ in range(2)]
            for one in agents[:: 1 - 2 * number]:
                await run.call(one.pid, ask(str(one.pid)))
            drawn = {job.messages[0].text: job.sampling.seed for job in driver.jobs}
            seeds.append(drawn)
    assert seeds[0] == seeds[1], "whoever came first"
    assert len(set(seeds[0].values())) == 2


async def test_a_job_always_has_a_seed_and_a_limit(tmp_path, ask):
    driver = ScriptedDriver(lambda job: "x", window=100)
    async with boot(tmp_path, driver) as run:
        await run.call(1, ask())
        await run.call(1, ask(seed=7, max_tokens=3))
    first, second = (job.sampling for job in driver.jobs)
    assert first.seed is not None
    assert first.max_tokens == 100
    assert (second.seed, second.max_tokens) == (7, 3)


async def test_an_answer_is_bounded_where_nobody_counts_the_prompt(tmp_path, ask):
    class Uncounted(ScriptedDriver):
        async def num_prompt_tokens(self, messages, tools):
            return None

    driver = Uncounted(lambda job: "x")
    for window, most in ((100, 100), (100_000, 4096)):
        sized = (CoreConfig(name="core", window=window),)
        async with boot(tmp_path, driver, cores=sized) as run:
            await run.call(1, ask())
        assert driver.jobs[-1].sampling.max_tokens == most


async def test_every_core_is_closed_although_one_fails(tmp_path):
    class Stuck(ScriptedDriver):
        async def close(self) -> None:
            raise Unavailable("stuck")

    cores = {"a": Stuck(), "b": ScriptedDriver()}
    kernel = Kernel(Config(data=tmp_path), drivers=cores, clock=ManualClock())
    await kernel.start()
    with pytest.raises(Unavailable, match="stuck"):
        await kernel.close()
    assert not cores["b"].is_open


async def test_a_narrowed_window_refuses_with_the_numbers(tmp_path, ask):
    driver = ScriptedDriver(lambda job: "x", window=100)
    narrow = (CoreConfig(name="core", window=4),)
    async with boot(tmp_path, driver, cores=narrow) as run:
        with pytest.raises(ContextOverflow, match="5 tokens and the window is 4"):
            await run.call(1, ask("a b c d e"))
        await run.call(1, ask("a b c"))
    assert driver.jobs[-1].sampling.max_tokens == 1


async def test_tool_calls_and_tokens_come_through(tmp_path, ask):
    message = Message("assistant", "let me see", (ToolCall("1", "calculate", {"expression": "1+1"}),))
    async with boot(tmp_path, ScriptedDriver([message])) as run:
        answer = await run.call(1, ask())
        assert isinstance(answer, sc.LlmAnswer)
        assert (answer.tool_calls, answer.finish_reason) == (message.tool_calls, "tool_calls")
        assert answer.to_message() == message


async def test_a_core_that_does_not_start_keeps_the_kernel_from_starting(tmp_path):
    class Broken(ScriptedDriver):
        async def start(self) -> None:
            raise Unavailable("no weights")

    kernel = Kernel(Config(data=tmp_path), drivers={"nano": Broken()})
    with pytest.raises(Unavailable, match="no weights"):
        await kernel.start()
    async with Kernel(Config(data=tmp_path), drivers={"nano": ScriptedDriver()}):
        pass
