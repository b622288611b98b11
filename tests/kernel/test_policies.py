"""Each policy's order, its interruptions, and that nobody waits for ever under those that promise it."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queueing import Bench

from aios.abi.syscalls import Hints

ALL = "abcdefgh"


def order(bench: Bench, num_out: int = 10) -> list[int]:
    """The processes in the order they are served, one call after the other."""
    served = []
    while bench.scheduler.resources["core"].num_waiting:
        served.append(bench.serve(num_out))
    return served


async def test_program_fifo_finishes_old_programs_first():
    bench = Bench("program_fifo")
    for pid in (1, 2, 3, 2, 1, 3):
        bench.submit(pid)
    assert order(bench) == [1, 1, 2, 2, 3, 3]


async def test_priority_goes_first_but_waiting_counts():
    bench = Bench("priority", aging_s=10.0)
    for pid, priority in ((1, 0), (2, 5), (3, 1)):
        bench.process(pid, hints=Hints(band="normal", priority=priority))
        bench.submit(pid)
    assert order(bench) == [2, 3, 1]
    bench.submit(1)
    bench.now += 51.0
    bench.submit(2)
    assert order(bench) == [1, 2], "five steps of priority are worth fifty seconds"


async def test_a_call_asks_for_no_more_priority_than_it_was_given():
    bench = Bench("priority")
    bench.submit(1)
    greedy = bench.submit(2, hints=Hints(priority=100))
    assert greedy.demand is not None
    assert greedy.demand.priority == 0
    assert order(bench) == [1, 2]


@pytest.mark.parametrize("policy", ["plas", "mlfq"])
async def test_who_has_had_less_goes_first_and_within_a_level_the_older(policy):
    bench = Bench(policy, level_tokens=100.0, level_ratio=2.0)
    for pid in (1, 2, 3):
        bench.submit(pid)
    assert bench.serve(num_out=400) == 1
    assert bench.serve(num_out=60) == 2
    assert bench.serve(num_out=10) == 3
    for pid in (1, 2, 3):
        bench.submit(pid)
    assert order(bench) == [3, 2, 1]


async def test_under_mlfq_a_long_prompt_joins_lower_down():
    long = "word " * 2000
    for policy, expected in (("plas", [1, 2]), ("mlfq", [2, 1])):
        bench = Bench(policy, level_tokens=100.0)
        bench.submit(1, text=long)
        bench.submit(2)
        assert order(bench) == expected


async def test_atlas_counts_the_longest_chain_not_the_sum():
    bench = Bench("atlas", slots=4, level_tokens=500.0)
    wide = [bench.submit(1) for _ in range(4)]
    for _ in wide:
        bench.next()
    for task in wide:
        bench.release(task, 1.0, num_out=150)
    deep = bench.submit(2)
    bench.next()
    bench.release(deep, 1.0, num_out=300)
    program = bench.programs.find(1)
    other = bench.programs.find(2)
    assert program is not None
    assert other is not None
    assert program.service > other.service
    blockers = [bench.submit(9) for _ in range(4)]
    for _ in blockers:
        bench.next()
    bench.submit(2)
    bench.submit(1)
    bench.release(blockers[0])
    task = bench.next()
    assert task is not None
    assert task.pid == 1, "four calls side by side are one step of its path"


async def test_the_starved_is_promoted_and_starts_anew():
    bench = Bench("plas", level_tokens=100.0, patience=5.0)
    bench.submit(1)
    bench.serve(num_out=1000, held_s=2.0)
    bench.submit(1)
    for pid in range(2, 40):
        bench.submit(pid)
        if bench.serve(num_out=10, held_s=1.0) == 1:
            break
    else:
        pytest.fail("it waited for ever")
    assert bench.now == pytest.approx(2.0 + 10.0 + 1.0), "five times as long as it ran"
    bench.submit(1)
    bench.submit(41)
    assert bench.serve() == 1, "its count began anew"


async def test_a_promoted_fan_out_falls_again_by_its_chain_not_by_all_it_was_given():
    bench = Bench("atlas", slots=8, level_tokens=500.0, patience=1.0)
    wide = [bench.submit(1) for _ in range(8)]
    for _ in wide:
        bench.next()
    for task in wide:
        bench.release(task, 1.0, num_out=500)
    waits = bench.submit(1)
    bench.now += 100.0
    assert bench.next() is waits, "it has waited for longer than it ran: promoted"
    bench.release(waits, 1.0, num_out=500)
    later = bench.submit(1)
    assert bench.policy.key(later, bench.now, 0)[0] > 0, "a chain of 1000 tokens since then"


async def test_srpt_goes_by_what_programs_alike_still_needed():
    bench = Bench("srpt")
    for _ in range(40):
        bench.estimates.finished("short", [50.0])
        bench.estimates.finished("long", [5000.0, 5000.0])
    bench.submit(1, agent="long")
    bench.submit(2, agent="short")
    assert order(bench) == [2, 1]


async def test_srpt_of_an_unknown_kind_is_least_attained_first():
    bench = Bench("srpt")
    bench.submit(1)
    bench.serve(num_out=500)
    bench.submit(1)
    bench.submit(2)
    assert order(bench) == [2, 1]


async def test_gittins_puts_a_gamble_on_a_short_one_before_a_sure_long_one():
    bench = Bench("gittins")
    for index in range(200):
        bench.estimates.finished("sure", [1000.0])
        bench.estimates.finished("gamble", [100.0 if index % 2 else 10_000.0])
    bench.submit(1, agent="sure")
    bench.submit(2, agent="gamble")
    assert order(bench) == [2, 1]


async def test_critical_path_takes_the_longest_chain_first():
    bench = Bench("critical_path")
    for pid, steps in ((1, 2), (2, 9), (3, 5)):
        bench.submit(pid, hints=Hints(steps_left=steps))
    bench.submit(4)
    assert order(bench) == [4, 2, 3, 1], "one that nobody knows may be the longest"


async def test_critical_path_knows_from_programs_alike():
    bench = Bench("critical_path")
    for _ in range(5):
        bench.estimates.finished("deep", [10.0] * 9)
        bench.estimates.finished("flat", [10.0])
    bench.submit(1, agent="flat")
    bench.submit(2, agent="deep")
    assert order(bench) == [2, 1]


async def test_virtual_finish_is_the_order_under_ideal_sharing():
    bench = Bench("virtual_finish")
    for pid, work in ((1, 900.0), (2, 100.0), (3, 300.0)):
        bench.submit(pid, hints=Hints(work_left=work))
    assert order(bench) == [2, 3, 1]


async def test_the_oracle_goes_by_declared_work():
    bench = Bench("oracle")
    for pid, work in ((1, 900.0), (2, 100.0)):
        bench.submit(pid, hints=Hints(work_left=work))
    bench.submit(3)
    assert order(bench) == [2, 1, 3]


@pytest.mark.parametrize("policy", ["edf", "llf"])
async def test_deadlines_first_and_those_that_cannot_be_met_last(policy):
    bench = Bench(policy)
    for pid, seconds in ((1, 900.0), (2, None), (3, 300.0), (4, 0.001)):
        bench.submit(pid, hints=Hints(deadline_s=seconds))
    assert order(bench)[:2] == [3, 1]
    assert bench.programs.seconds_of(bench.submit(5)) > 0.001


async def test_least_laxity_looks_at_what_remains():
    for policy, expected in (("edf", [1, 2]), ("llf", [2, 1])):
        bench = Bench(policy)
        bench.submit(1, max_tokens=10, hints=Hints(deadline_s=1000.0))
        bench.submit(2, max_tokens=50_000, hints=Hints(deadline_s=1100.0))
        assert order(bench) == expected


@pytest.mark.parametrize("policy", ["fifo", "program_fifo"])
async def test_some_never_interrupt(policy):
    bench = Bench(policy, quantum=1)
    task = bench.submit(1)
    bench.next()
    bench.submit(2)
    assert not bench.scheduler.must_yield(task, 10**9)


async def test_a_running_call_gives_way_only_to_what_goes_before_it():
    bench = Bench("plas", quantum=4, level_tokens=100.0)
    task = bench.submit(1)
    bench.next()
    bench.submit(2)
    assert task.demand is not None
    assert not bench.scheduler.must_yield(task, 4), "the same level, and it is older"
    task.demand.num_out = 200
    bench.programs.charge(task.demand)
    assert not bench.scheduler.must_yield(task, 3), "not within its quantum"
    assert bench.scheduler.must_yield(task, 4)


async def test_nobody_of_a_later_band_interrupts_an_earlier_one():
    bench = Bench("rr", quantum=1)
    task = bench.submit(1)
    bench.next()
    bench.submit(2, hints=Hints(band="batch"))
    assert not bench.scheduler.must_yield(task, 100)
    bench.submit(3)
    assert bench.scheduler.must_yield(task, 100)


# ---- tenants


async def test_tenants_are_served_by_their_counters():
    bench = Bench("plas")
    for pid in range(1, 9):
        bench.submit(pid, tenant="many")
    bench.submit(9, tenant="few")
    assert bench.serve(num_out=100) == 1
    assert bench.serve(num_out=10) == 9, "the other tenant has had nothing yet"


async def test_weights_are_kept():
    bench = Bench("fair", weights={"heavy": 3.0})
    served = {"heavy": 0, "light": 0}
    for number in range(400):
        bench.submit(1000 + number, tenant="heavy")
        bench.submit(2000 + number, tenant="light")
    for _ in range(400):
        served[bench.processes[bench.serve(num_out=20)].tenant] += 1
    assert served["heavy"] / served["light"] == pytest.approx(3.0, rel=0.02)


async def test_what_a_tenant_did_not_use_is_not_owed_to_it():
    bench = Bench("fair")
    for pid in range(1, 51):
        bench.submit(pid, tenant="busy")
        bench.serve(num_out=100)
    for pid in range(100, 110):
        bench.submit(pid, tenant="busy")
        bench.submit(pid + 100, tenant="back")
    tenants = [bench.processes[bench.serve(num_out=100)].tenant for _ in range(10)]
    assert tenants.count("back") <= 6


@given(seed=st.integers(0, 10**9))
def test_the_gap_between_backlogged_tenants_is_bounded(seed):
    """VTC, theorem 1: two that are both backlogged are never further apart than 2 max(w_in L, w_out M)."""
    asyncio.run(_play_tenants(random.Random(seed)))


async def _play_tenants(draw: random.Random) -> None:
    longest, most_out, slots = 100, 60, draw.randint(1, 4)
    bench = Bench("fair", slots=slots)
    for number in range(60):
        for tenant in "ab":
            text = "x" * draw.randint(1, 4 * longest)
            bench.submit(1 + 2 * number + (tenant == "b"), text=text, max_tokens=most_out, tenant=tenant)
    running = []
    bound = 2 * max(longest + 1, 2 * most_out) * slots
    tenants = {tenant.name: tenant for tenant in bench.programs.fairness.tenants()}
    while all(tenant.num_waiting for tenant in tenants.values()):
        while (task := bench.next()) is not None:
            running.append(task)
        bench.release(running.pop(draw.randrange(len(running))), 1.0, draw.randint(1, most_out))
        assert abs(tenants["a"].service - tenants["b"].service) <= bound


# ---- nobody waits for ever


@pytest.mark.parametrize("policy", ["fifo", "rr", "priority", "plas", "mlfq", "atlas"])
@given(seed=st.integers(0, 10**9))
@settings(max_examples=20)
def test_nobody_waits_for_ever_under_those_that_promise_it(policy, seed):
    assert asyncio.run(_is_served(random.Random(seed), policy, num_elders=3, patience=5.0, aging_s=0.1))


@pytest.mark.parametrize("policy", ["program_fifo", "fair"])
@given(seed=st.integers(0, 10**9))
@settings(max_examples=20)
def test_newcomers_starve_nobody_under_those_that_promise_that(policy, seed):
    assert asyncio.run(_is_served(random.Random(seed), policy, num_elders=0))


@pytest.mark.parametrize(
    ("policy", "num_elders"),
    [
        *(("priority", 0), ("plas", 0), ("mlfq", 0), ("atlas", 0), ("srpt", 0), ("gittins", 0)),
        *(("program_fifo", 1), ("fair", 1)),
    ],
)
def test_without_what_prevents_it_there_would_be_starving(policy, num_elders):
    """The test above shows something: without aging and patience, or under others, it would fail."""
    served = _is_served(random.Random(1), policy, num_elders=num_elders, patience=1e9, aging_s=1e9)
    assert not asyncio.run(served)


async def _is_served(draw: random.Random, policy: str, *, num_elders: int, **options: float) -> bool:
    """Whether one that has had much gets another slot, while more comes than can ever be served.

    Newcomers keep coming, and older programs always have two calls waiting: all of no lower priority.
    """
    bench = Bench(policy, level_tokens=100.0, **options)
    elders, victim = range(1, 1 + num_elders), 1 + num_elders
    for pid in (*elders, victim):
        priority = -5 if pid == victim else draw.randint(0, 5)
        bench.process(pid, hints=Hints(band="normal", priority=priority))
        bench.submit(pid)
        bench.serve(draw.randint(100, 2000), 1.0)
    waiting = bench.submit(victim)
    for pid in (*elders, *elders):
        bench.submit(pid, text="x" * draw.randint(1, 800))
    for newcomer in range(100, 500):
        bench.process(newcomer, hints=Hints(band="normal", priority=draw.randint(0, 5)))
        bench.submit(newcomer, text="x" * draw.randint(1, 800))
        served = bench.serve(draw.randint(1, 20), 0.5)
        if served in elders:
            bench.submit(served, text="x" * draw.randint(1, 800))
        if waiting.queue is None:
            return True
    return False
