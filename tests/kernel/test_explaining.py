"""What the kernel says of its cores, and of why a call waits."""

from functools import partial

import pytest
from driving import Run, Stepper, boot, settle_down

from aios.abi import syscalls as sc
from aios.abi.errors import NotFound, PermissionDenied, RateLimited, Unavailable
from aios.abi.messages import Message
from aios.drivers.clock import ManualClock
from aios.drivers.limits import Bucket, RateLimits
from aios.drivers.llm_scripted import HANG, ScriptedDriver
from aios.kernel.config import Config, CoreConfig, RetryConfig
from aios.kernel.kernel import Kernel


async def waiting(run, pid: int) -> sc.CallExplained:
    explained = await run.call(pid, sc.CoreExplain())
    assert len(explained.calls) == 1
    return explained.calls[0]


async def test_a_call_that_waits_for_a_slot_says_so_and_who_goes_before_it(tmp_path, ask):
    async with boot(tmp_path, ScriptedDriver(lambda job: HANG), slots=1, policy="fifo") as run:
        agents = [await run.spawn() for _ in range(3)]
        for agent in agents:
            run.begin(agent.pid, ask())
        await settle_down()
        runs, first, second = [await waiting(run, agent.pid) for agent in agents]
        assert (runs.state, runs.reason) == ("runs", "it has a slot of core core")
        assert first.reason == "it is the next, and core core runs 1 calls, all that it bears now"
        assert second.ahead == 1
        assert second.reason.startswith("1 go before it by fifo")
        assert second.key > first.key


async def test_a_turn_is_explained_afterwards(tmp_path, ask):
    driver = ScriptedDriver(lambda job: "x", at_once=True)
    async with boot(tmp_path, driver, policy="plas") as run:
        agent = await run.spawn()
        await run.call(agent.pid, ask())
        run.clock.advance(2.0)
        explained = await run.call(agent.pid, sc.CoreExplain())
        assert explained.service > 0
        assert explained.policy == "plas"
        (made,) = explained.decisions
        assert made.core == "core"
        assert made.seconds_ago == 2.0
        assert "as the first by plas (0, 1)" in made.reason


async def test_each_way_to_be_kept_out_has_its_sentence(tmp_path, ask):
    async with boot(tmp_path, ScriptedDriver([RateLimited("slow", retry_after=9.0)])) as run:
        run.begin(1, ask())
        await settle_down()
        assert "is at its rate limit" in (await waiting(run, 1)).reason
    down = ScriptedDriver(lambda job: Unavailable("down"))
    async with boot(tmp_path / "down", down, retry=RetryConfig(max_attempts=99)) as run:
        run.begin(1, ask())
        for _ in range(5):
            await settle_down()
        assert "fails and is left alone, until 1.0 s from now" in (await waiting(run, 1)).reason
    async with boot(tmp_path / "held", ScriptedDriver(lambda job: HANG)) as run:
        agent = await run.spawn()
        await run.call(1, sc.ProcessSuspend(pid=agent.pid))
        run.begin(agent.pid, ask())
        await settle_down()
        assert (await waiting(run, agent.pid)).state == "is held"


async def test_tokens_in_flight_are_a_reason_too(tmp_path, ask):
    cores = (CoreConfig(name="core", slots=4, tokens_in_flight=100),)
    async with boot(tmp_path, ScriptedDriver(lambda job: HANG), cores=cores) as run:
        agents = [await run.spawn() for _ in range(2)]
        for agent in agents:
            run.begin(agent.pid, ask(max_tokens=80))
        await settle_down()
        reason = (await waiting(run, agents[1].pid)).reason
        assert reason == "it is the next, and core core has no room for its tokens until a call ends"


async def test_what_a_providers_headers_say_sets_the_gate(tmp_path, ask):
    driver = ScriptedDriver(lambda job: "x", at_once=True)
    async with boot(tmp_path, driver) as run:
        driver.on_limits(RateLimits({"requests": Bucket(limit=60.0, remaining=0.0, reset_s=60.0)}))
        call = run.begin(1, ask())
        await settle_down()
        assert not call.done()
        (core,) = (await run.call(1, sc.CoreList())).cores
        assert core.rates[0].unit == "requests"
        assert core.opens_in_s is not None
        run.clock.advance(core.opens_in_s)
        assert (await call).text == "x"


async def test_a_core_as_the_operator_sees_it(tmp_path, ask):
    cores = (CoreConfig(name="core", slots=2, price_out=1_000_000.0),)
    async with boot(tmp_path, ScriptedDriver(lambda job: "one two"), cores=cores) as run:
        await run.call(1, ask())
        (core,) = (await run.call(1, sc.CoreList())).cores
        assert (core.name, core.model, core.health) == ("core", "scripted", "ready")
        assert (core.slots, core.window, core.running, core.waiting) == (2, 2, 0, 0)
        assert (core.tokens, core.spent, core.failures) == (2, 2.0, 0)
        assert core.tokens_per_s > 0
        agent = await run.spawn()
        with pytest.raises(PermissionDenied):
            await run.call(agent.pid, sc.CoreList())


async def test_nobody_looks_at_a_strangers_calls(tmp_path):
    async with boot(tmp_path) as run:
        mine, other = await run.spawn(), await run.spawn()
        with pytest.raises(NotFound):
            await run.call(mine.pid, sc.CoreExplain(pid=other.pid))
        assert (await run.call(1, sc.CoreExplain(pid=other.pid))).pid == other.pid


async def test_a_core_that_is_left_for_the_one_with_the_conversation_says_so(tmp_path, ask):
    driver = partial(
        ScriptedDriver, lambda job: HANG if job.messages[-1].text == "hang" else "x", at_once=True
    )
    config = Config(data=tmp_path, cores=tuple(CoreConfig(name=name, slots=1) for name in "ab"))
    async with Kernel(
        config, drivers={"a": driver(), "b": driver()}, clock=(clock := ManualClock())
    ) as kernel:
        run = Run(kernel, clock, Stepper())
        agent, *others = [await run.spawn() for _ in range(3)]
        talk = (Message("user", "u" * 4000), Message("assistant", "x"), Message("user", "more"))
        await run.call(agent.pid, sc.LlmGenerate(talk))
        home = (await run.call(agent.pid, sc.CoreExplain())).decisions[0].core
        for other in others:
            run.begin(other.pid, ask("hang"))
        await settle_down()
        run.begin(agent.pid, sc.LlmGenerate((*talk, Message("assistant", "x"), Message("user", "hang"))))
        places = {(await waiting(run, other.pid)).reason[-1]: other for other in others}
        (free,) = places.keys() - {home}
        await run.call(1, sc.ProcessKill(pid=places[free].pid))
        await settle_down()
        reason = (await waiting(run, agent.pid)).reason
        assert f"core {free} would have to read what core {home} has cached, and is left, until" in reason
        clock.advance(60.0)
        await settle_down()
        assert (await waiting(run, agent.pid)).reason == f"it has a slot of core {free}"
