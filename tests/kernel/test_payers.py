"""Budgets in the kernel: who pays, what waits for others' holds, what is kept over a restart."""

import asyncio

import pytest
from driving import boot, settle_down

from aios.abi import syscalls as sc
from aios.abi.errors import PermissionDenied, QuotaExceeded, Unavailable
from aios.abi.syscalls import Budget
from aios.drivers.llm_scripted import HANG, ScriptedDriver
from aios.kernel.config import CoreConfig, TenantConfig

PRICED = (CoreConfig(name="core", slots=4, price_in=1_000_000.0, price_out=2_000_000.0),)
"""One of money for a token of a prompt, two for one of an answer."""


def spent(run, holder: str) -> dict[str, float]:
    return run.kernel.statistics()["spending"][holder]


async def test_a_tenants_tokens_run_out(tmp_path, ask):
    driver = ScriptedDriver(lambda job: "one two three four", at_once=True)
    tenants = {"acme": TenantConfig(budget=Budget(tokens=21))}
    async with boot(tmp_path, driver, tenants=tenants) as run:
        agent = await run.spawn(tenant="acme")
        other = await run.spawn()
        answers = [await run.call(agent.pid, ask(max_tokens=4)) for _ in range(4)]
        assert len(answers) == 4
        with pytest.raises(QuotaExceeded, match=r"tenant acme .* tokens"):
            await run.call(agent.pid, ask(max_tokens=4))
        await run.call(other.pid, ask())
        assert spent(run, "tenant acme")["tokens"] == 20
        assert spent(run, "tenant acme")["held_tokens"] == 0


async def test_money_is_what_the_tokens_cost(tmp_path, ask):
    driver = ScriptedDriver(lambda job: "one two", at_once=True)
    async with boot(tmp_path, driver, cores=PRICED) as run:
        agent = await run.spawn(budget=Budget(money=12.0))
        for _ in range(2):
            await run.call(agent.pid, ask(max_tokens=2))
        with pytest.raises(QuotaExceeded, match=rf"process {agent.pid} .* money"):
            await run.call(agent.pid, ask(max_tokens=2))
        assert run.kernel.cores()[0].spent == 10.0


async def test_a_child_spends_out_of_its_parents_budget(tmp_path, ask):
    driver = ScriptedDriver(lambda job: "x", at_once=True)
    async with boot(tmp_path, driver) as run:
        parent = await run.spawn(budget=Budget(calls=3))
        child = await run.spawn(parent=parent.pid, budget=Budget(calls=2))
        await run.call(child.pid, ask())
        await run.call(child.pid, ask())
        with pytest.raises(QuotaExceeded, match=f"process {child.pid}"):
            await run.call(child.pid, ask())
        await run.call(parent.pid, ask())
        with pytest.raises(QuotaExceeded, match=f"process {parent.pid}"):
            await run.call(parent.pid, ask())


async def test_a_call_has_a_budget_of_its_own(tmp_path, ask):
    driver = ScriptedDriver(lambda job: "word " * 2000, at_once=True)
    async with boot(tmp_path, driver) as run:
        with pytest.raises(QuotaExceeded, match=r"call .* tokens"):
            await run.call(1, ask(budget=Budget(tokens=600)))
        assert driver.num_running == 0
        kept = run.kernel.statistics()["spending"]["tenant default"]
        assert 0 < kept["tokens"] <= 600 + 256, "it is stopped within a slice"


async def test_what_a_broken_try_had_answered_does_not_count_against_the_next(tmp_path, ask):
    tokens_to_break = iter([False] * 200 + [True])

    async def pace() -> None:
        if next(tokens_to_break, False):
            raise Unavailable("broke off")

    driver = ScriptedDriver(lambda job: " word" * 250, pace=pace)
    async with boot(tmp_path, driver) as run:
        answer = await run.call(1, ask(budget=Budget(tokens=300)))
        assert answer.usage.completion_tokens == 250
        assert len(driver.jobs) == 2


ACME = {"acme": TenantConfig(budget=Budget(tokens=1000))}


def held(run) -> tuple[float, float]:
    """Tokens and calls that are held of a tenant's."""
    kept = run.kernel.statistics()["spending"]["tenant acme"]
    return kept["held_tokens"], kept["held_calls"]


async def test_nothing_is_held_for_a_suspended_call_that_has_not_run(tmp_path, ask):
    async with boot(tmp_path, tenants=ACME, slots=1) as run:
        first, second = await run.spawn(tenant="acme"), await run.spawn(tenant="acme")
        run.begin(first.pid, ask(max_tokens=200))
        await settle_down()
        alone = held(run)
        waits = run.begin(second.pid, ask(max_tokens=200))
        await settle_down()
        assert held(run) > alone
        await run.call(1, sc.ProcessSuspend(pid=second.pid))
        assert held(run) == alone
        comes = run.begin(second.pid, ask(max_tokens=200))
        await settle_down()
        assert held(run) == alone, "nor for one that comes while it is suspended"
        await run.call(1, sc.ProcessResume(pid=second.pid))
        assert held(run)[1] == 3
        await run.stepper.run_out()
        assert (await waits).usage.completion_tokens + (await comes).usage.completion_tokens > 0
        assert held(run) == (0, 0)


async def test_a_suspended_call_holds_what_it_was_given_and_goes_on_to_the_same_end(tmp_path, ask):
    driver_says = "word " * 9
    stepper_box = []

    async def pace() -> None:
        await stepper_box[0].pace()

    driver = ScriptedDriver(lambda job: driver_says, pace=pace)
    async with boot(tmp_path, driver, tenants=ACME, quantum=1) as run:
        stepper_box.append(run.stepper)
        agent = await run.spawn(tenant="acme")
        call = run.begin(agent.pid, ask(max_tokens=200))
        await settle_down()
        for _ in range(3):
            await run.stepper.step()
        assert held(run)[0] > 10
        await run.call(1, sc.ProcessSuspend(pid=agent.pid))
        await run.stepper.step()
        (task,) = run.kernel._flight.tasks()
        assert task.is_held
        assert held(run) == (task.demand.num_in + 4, 1)
        await run.call(1, sc.ProcessResume(pid=agent.pid))
        assert held(run)[0] > 10
        await run.stepper.run_out()
        answer = await call
        assert answer.text == driver_says
        assert spent(run, "tenant acme")["tokens"] == answer.usage.prompt_tokens + 10


async def test_a_suspended_call_gives_others_room_and_waits_for_it_when_it_is_resumed(tmp_path, ask):
    tenants = {"acme": TenantConfig(budget=Budget(tokens=150))}
    driver = ScriptedDriver(lambda job: HANG)
    async with boot(tmp_path, driver, tenants=tenants, slots=3) as run:
        first, second = await run.spawn(tenant="acme"), await run.spawn(tenant="acme")
        await run.call(1, sc.ProcessSuspend(pid=first.pid))
        aside = run.begin(first.pid, ask("word " * 80, max_tokens=90))
        await settle_down()
        runs = run.begin(second.pid, ask("word " * 80, max_tokens=90))
        await settle_down()
        assert driver.num_running == 1
        await run.call(1, sc.ProcessResume(pid=first.pid))
        assert driver.num_running == 1
        assert run.kernel._payers._waiting, "it waits for the other to give back what it holds"
        runs.cancel()
        await settle_down()
        assert driver.num_running == 1
        aside.cancel()
        await settle_down()
        assert held(run) == (0, 0)


async def test_a_suspended_call_that_can_no_longer_be_paid_is_told_so_when_it_is_resumed(tmp_path, ask):
    tenants = {"acme": TenantConfig(budget=Budget(calls=1))}
    driver = ScriptedDriver(lambda job: "x", at_once=True)
    async with boot(tmp_path, driver, tenants=tenants) as run:
        first, second = await run.spawn(tenant="acme"), await run.spawn(tenant="acme")
        await run.call(1, sc.ProcessSuspend(pid=first.pid))
        aside = run.begin(first.pid, ask())
        await settle_down()
        await run.call(second.pid, ask())
        await run.call(1, sc.ProcessResume(pid=first.pid))
        with pytest.raises(QuotaExceeded, match="calls"):
            await aside


async def test_many_that_waited_for_one_are_set_aside_together(tmp_path, ask):
    """Each that is told that it may run, and may not for now, gives the next one its turn."""
    tenants = {"acme": TenantConfig(budget=Budget(tokens=150))}
    driver = ScriptedDriver(lambda job: HANG)
    async with boot(tmp_path, driver, tenants=tenants, slots=3) as run:
        first, second = await run.spawn(tenant="acme"), await run.spawn(tenant="acme")
        runs = run.begin(first.pid, ask("word " * 80, max_tokens=90))
        await settle_down()
        waiting = [run.begin(second.pid, ask("word " * 80, max_tokens=90)) for _ in range(500)]
        await settle_down()
        await run.call(1, sc.ProcessSuspend(pid=second.pid))
        runs.cancel()
        await settle_down()
        assert held(run) == (0, 0)
        assert len(run.kernel._payers._aside) == 500
        for call in waiting:
            call.cancel()
        await settle_down()


async def test_a_budgets_time_ends_a_call(tmp_path, ask):
    async with boot(tmp_path, ScriptedDriver(lambda job: HANG)) as run:
        agent = await run.spawn(budget=Budget(wall_s=10.0))
        first = run.begin(agent.pid, ask())
        await settle_down()
        run.clock.advance(9.0)
        second = run.begin(agent.pid, ask(), timeout_s=100.0)
        await settle_down()
        run.clock.advance(1.0)
        for call in (first, second):
            with pytest.raises(QuotaExceeded, match="time"):
                await call
        with pytest.raises(QuotaExceeded, match="10 s"):
            await run.call(agent.pid, ask())


async def test_what_others_hold_is_waited_for(tmp_path, ask):
    """Three calls, a budget for two: the third waits, and runs because one of the others came to nothing."""
    async with boot(tmp_path, slots=4) as run:
        agent = await run.spawn(budget=Budget(calls=2))
        calls = [run.begin(agent.pid, ask(seed=number)) for number in range(3)]
        await settle_down()
        explained = await run.call(agent.pid, sc.CoreExplain())
        reasons = [call.reason for call in explained.calls]
        assert any("same budget" in reason for reason in reasons), reasons
        run.kernel.check()
        calls[0].cancel()
        await asyncio.gather(calls[0], return_exceptions=True)
        await run.stepper.run_out()
        assert all([isinstance(await one, sc.LlmAnswer) for one in calls[1:]])


async def test_a_call_that_waits_for_a_budget_can_be_ended(tmp_path, ask):
    async with boot(tmp_path, slots=4) as run:
        agent = await run.spawn(budget=Budget(calls=1))
        calls = [run.begin(agent.pid, ask()) for _ in range(2)]
        await settle_down()
        calls[1].cancel()
        await asyncio.gather(calls[1], return_exceptions=True)
        run.kernel.check()
        await run.stepper.run_out()
        await calls[0]
        with pytest.raises(QuotaExceeded):
            await run.call(agent.pid, ask())


async def test_what_a_tenant_spent_outlives_a_restart(tmp_path, ask):
    tenants = {"acme": TenantConfig(budget=Budget(calls=3))}
    for _ in range(2):
        driver = ScriptedDriver(lambda job: "x", at_once=True)
        async with boot(tmp_path, driver, tenants=tenants) as run:
            agent = await run.spawn(tenant="acme")
            await run.call(agent.pid, ask())
    async with boot(tmp_path, ScriptedDriver(lambda job: "x", at_once=True), tenants=tenants) as run:
        agent = await run.spawn(tenant="acme")
        await run.call(agent.pid, ask())
        with pytest.raises(QuotaExceeded, match="tenant acme"):
            await run.call(agent.pid, ask())


async def test_how_a_durable_process_stands_outlives_a_restart(tmp_path, ask):
    hints = sc.Hints(band="batch", priority=-3)
    async with boot(tmp_path, ScriptedDriver()) as run:
        kept = await run.spawn(durable=True, tenant="acme", hints=hints, budget=Budget(calls=1))
        await run.call(kept.pid, ask())
    async with boot(tmp_path, ScriptedDriver()) as run:
        explained = await run.kernel.trap(kept.token, sc.CoreExplain())
        assert (explained.tenant, explained.band) == ("acme", "batch")
        with pytest.raises(QuotaExceeded):
            await run.kernel.trap(kept.token, ask())


async def test_only_the_operator_says_on_whose_account(tmp_path):
    async with boot(tmp_path) as run:
        agent = await run.spawn(tenant="acme")
        with pytest.raises(PermissionDenied, match="tenant"):
            await run.spawn(parent=agent.pid, tenant="other")
        child = await run.spawn(parent=agent.pid)
        assert (await run.call(child.pid, sc.CoreExplain())).tenant == "acme"


async def test_a_child_is_given_no_better_band_than_its_parent(tmp_path):
    async with boot(tmp_path) as run:
        parent = await run.spawn(hints=sc.Hints(band="batch", priority=2))
        child = await run.spawn(parent=parent.pid, hints=sc.Hints(band="interactive", priority=50))
        assert (await run.call(child.pid, sc.CoreExplain())).band == "batch"
        assert run.kernel._processes.get(child.pid).hints.priority == 2
