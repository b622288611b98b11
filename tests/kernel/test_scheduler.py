"""The scheduler by itself: orders, turns, slots, bounds, and what must hold after every event."""

import asyncio
import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queueing import Bench

from aios.abi import syscalls as sc
from aios.abi.errors import Overloaded
from aios.kernel.config import PolicyName
from aios.kernel.cores.gate import Gate, Outcome
from aios.kernel.scheduling.answers import MIN_SAMPLES
from aios.kernel.scheduling.scheduler import Resource
from aios.kernel.task import Task


async def test_fifo_is_by_arrival():
    bench = Bench("fifo")
    pids = [3, 1, 1, 2, 3, 1]
    for pid in pids:
        bench.submit(pid)
    assert bench.drain() == list(zip(pids, range(1, 7), strict=True))


async def test_rr_gives_each_program_one_call_a_turn():
    bench = Bench("rr")
    for pid in (1, 1, 1, 2, 3, 3):
        bench.submit(pid)
    assert [pid for pid, _ in bench.drain()] == [1, 2, 3, 1, 3, 1]


async def test_children_share_their_programs_turn():
    bench = Bench("rr")
    for pid in (10, 11, 12):
        bench.submit(pid, program=10)
    bench.submit(20)
    assert [pid for pid, _ in bench.drain()] == [10, 20, 11, 12]


async def test_the_interrupted_goes_to_the_end_of_the_turn():
    bench = Bench("rr", quantum=4)
    first, second, third = bench.submit(1), bench.submit(2), bench.submit(3)
    assert bench.next() is first
    assert bench.scheduler.must_yield(first, 4)
    bench.release(first)
    bench.put_back(first, first=False)
    assert [task for _, task in bench.drain()] == [second.id, third.id, first.id]


async def test_what_is_tried_again_goes_to_the_head_of_its_lane():
    bench = Bench("fifo")
    first, second = bench.submit(1), bench.submit(1)
    assert bench.next() is first
    bench.release(first)
    bench.put_back(first, first=True)
    assert [task for _, task in bench.drain()] == [first.id, second.id]


async def test_what_is_tried_again_is_the_oldest_once_more():
    bench = Bench("fifo")
    first, second, third = bench.submit(1), bench.submit(2), bench.submit(1)
    assert bench.next() is first
    bench.release(first)
    bench.put_back(first, first=True)
    assert [task for _, task in bench.drain()] == [first.id, second.id, third.id]
    bench.scheduler.check()


async def test_nobody_is_interrupted_for_nobody():
    bench = Bench("rr", quantum=4)
    task = bench.submit(1)
    bench.next()
    assert not bench.scheduler.must_yield(task, 1000)
    bench.submit(2)
    assert not bench.scheduler.must_yield(task, 3)
    assert bench.scheduler.must_yield(task, 4)


async def test_no_more_are_interrupted_than_wait():
    bench = Bench("rr", slots=3, quantum=1)
    running = [bench.submit(pid) for pid in (1, 2, 3)]
    while bench.next():
        pass
    bench.submit(4)
    assert [bench.scheduler.must_yield(task, 1) for task in running] == [True, False, False]
    assert bench.scheduler.must_yield(running[0], 2), "it stays told"


async def test_fifo_interrupts_only_for_a_suspension():
    bench = Bench("fifo")
    task = bench.submit(1)
    bench.next()
    bench.submit(2)
    assert not bench.scheduler.must_yield(task, 10**6)
    task.must_stop = True
    assert bench.scheduler.must_yield(task, 1)


async def test_a_full_queue_refuses_and_says_when_to_come_back():
    bench = Bench("rr", max_waiting=2)
    bench.submit(1)
    bench.submit(2)
    with pytest.raises(Overloaded) as refusal:
        bench.submit(3)
    assert refusal.value.retry_after is not None
    assert len(bench.drain()) == 2


async def test_held_tasks_wait_in_no_queue_and_come_back_in_order():
    bench = Bench("fifo")
    held, other = bench.submit(1), bench.submit(2)
    bench.scheduler.hold(1, [held], 0.0)
    late = bench.submit(1)
    assert bench.drain() == [(2, other.id)]
    back = bench.scheduler.let_go(1)
    assert back == [held, late]
    for task in back:
        bench.put_back(task)
    assert bench.drain() == [(1, held.id), (1, late.id)]


async def test_what_a_running_tool_asks_for_is_not_held():
    bench = Bench("fifo")
    nested, other = bench.submit(1, is_nested=True), bench.submit(1)
    bench.scheduler.hold(1, [nested, other], 0.0)
    late = bench.submit(1, is_nested=True)
    assert bench.drain() == [(1, nested.id), (1, late.id)]
    assert bench.scheduler.let_go(1) == [other]


def memory_task(number: int) -> Task:
    return Task(number, number, number, 1, sc.TABLE["memory.read"], sc.MemoryRead(), 0.0)


def two_cores(**options: object) -> Bench:
    """`core` and `other`, of one slot each, that share the queue `both`; each has one of its own, too."""
    bench = Bench("fifo", **options)
    bench.scheduler.add_resource("other", 1, gate=Gate(1))
    bench.scheduler.add_queue("its", ["other"])
    bench.scheduler.add_queue("both", ["core", "other"])
    return bench


def submit_to(bench: Bench, queue: str, pid: int) -> Task:
    task = bench.submit(pid)
    bench.scheduler.discard(task, bench.now)
    bench.scheduler.put_back(task, queue, bench.now, first=False)
    return task


def fail(bench: Bench, name: str, times: int = 5) -> None:
    """Open the circuit of a core."""
    gate = bench.scheduler.resources[name].gate
    assert gate is not None
    for _ in range(times):
        gate.enter(bench.now, 1)
        gate.leave(bench.now, 1, None, Outcome("failed"))


async def test_a_core_that_fails_leaves_what_it_shares_to_a_sound_one():
    bench = two_cores()
    core, other = bench.core, bench.scheduler.resources["other"]
    fail(bench, "core")
    assert not core.is_sound
    task = submit_to(bench, "both", 1)
    assert bench.scheduler.next(core, bench.now) is None
    assert core.opens_at > bench.now, "it says when it may be tried again"
    assert bench.scheduler.next(other, bench.now) is task
    assert bench.scheduler.sharing_with(core) == [other]


async def test_a_core_that_failed_is_tried_with_one_call():
    bench = Bench("fifo", slots=4)
    fail(bench, "core")
    tasks = [bench.submit(pid) for pid in (1, 2)]
    assert bench.next() is None
    bench.now = bench.core.opens_at
    assert bench.next() is tasks[0]
    assert bench.next() is None, "one probes, the others wait for what becomes of it"
    bench.release(tasks[0], 0.1, num_out=1)
    assert bench.next() is tasks[1]


async def test_a_stand_in_serves_only_while_those_it_stands_in_for_cannot():
    bench = Bench("fifo")
    bench.scheduler.add_resource("spare", 1, gate=Gate(1))
    bench.scheduler.add_queue("spare's", ["spare"])
    bench.scheduler.add_queue("model", ["core"], stand_ins=["spare"])
    spare = bench.scheduler.resources["spare"]
    running, task = submit_to(bench, "model", 1), submit_to(bench, "model", 2)
    assert bench.next() is running
    assert bench.scheduler.next(spare, bench.now) is None, "the core is busy, not broken"
    bench.release(running)
    fail(bench, "core")
    assert bench.scheduler.next(spare, bench.now) is task


async def test_a_core_draws_from_the_queue_whose_turn_it_is():
    bench = two_cores()
    core, other = bench.core, bench.scheduler.resources["other"]
    tasks = [submit_to(bench, queue, pid) for pid, queue in enumerate(("both", "q", "both", "its"), 1)]
    assert bench.scheduler.next(core, 0.0) is tasks[0]
    assert bench.scheduler.next(other, 0.0) is tasks[2]
    bench.release(tasks[0])
    bench.release(tasks[2])
    assert bench.scheduler.next(core, 0.0) is tasks[1]
    assert bench.scheduler.next(other, 0.0) is tasks[3]
    bench.scheduler.check()


async def test_of_cores_with_room_the_least_loaded_comes_first():
    bench = two_cores()
    bench.scheduler.add_queue("all", ["core", "other"])
    assert bench.next() is None
    running = submit_to(bench, "q", 1)
    assert bench.next() is running
    task = submit_to(bench, "both", 2)
    assert bench.scheduler.resources_of("both", task)[0].name == "other"


async def test_the_newest_of_the_lowest_band_makes_room():
    bench = Bench("fifo", max_waiting=2)
    old = bench.submit(1, hints=sc.Hints(band="batch"))
    new = bench.submit(2, hints=sc.Hints(band="batch"))
    urgent = bench.submit(3)
    assert bench.evicted == [new]
    assert {task for _, task in bench.drain()} == {old.id, urgent.id}
    bench.submit(4)
    bench.submit(5)
    with pytest.raises(Overloaded):
        bench.submit(6)
    with pytest.raises(Overloaded):
        bench.submit(7, hints=sc.Hints(band="batch"))
    bench.scheduler.check()


async def test_an_earlier_band_goes_first_whatever_the_policy_says():
    bench = Bench("fifo")
    for pid, band in ((1, "batch"), (2, "normal"), (3, "interactive"), (4, "batch"), (5, "interactive")):
        bench.submit(pid, hints=sc.Hints(band=band))
    assert [pid for pid, _ in bench.drain()] == [2, 3, 5, 1, 4], "nobody gets a better band than it was given"


async def test_a_gate_without_room_for_the_first_keeps_what_came_after_it_out():
    bench = Bench("fifo", slots=4)
    bench.scheduler.add_resource("small", 4, gate=Gate(4, tokens_in_flight=1000))
    bench.scheduler.add_queue("s", ["small"])
    small = bench.scheduler.resources["small"]
    tasks = [bench.submit(pid, max_tokens=most) for pid, most in ((1, 600), (2, 600), (3, 10))]
    for task in tasks:
        bench.scheduler.discard(task, 0.0)
        bench.scheduler.put_back(task, "s", 0.0, first=False)
    assert bench.scheduler.next(small, 0.0) is tasks[0]
    assert bench.scheduler.next(small, 0.0) is None, "else small ones would starve it"
    bench.scheduler.release(tasks[0], 1.0, 1.0)
    assert bench.scheduler.next(small, 1.0) is tasks[1]
    assert bench.scheduler.next(small, 1.0) is tasks[2]


async def before_small_memory(num_tasks: int) -> tuple[Bench, Resource, list[Task]]:
    """Calls that ask for 600 tokens and hardly take 20, before a core that bears 1000."""
    bench = Bench("fifo")
    bench.scheduler.add_resource("small", 9, gate=Gate(9, tokens_in_flight=1000))
    bench.scheduler.add_queue("s", ["small"])
    tasks = [bench.submit(pid, max_tokens=600) for pid in range(num_tasks)]
    for task in tasks:
        bench.scheduler.discard(task, 0.0)
        bench.scheduler.put_back(task, "s", 0.0, first=False)
    for _ in range(MIN_SAMPLES):
        bench.submit(1, max_tokens=600)
        bench.serve(num_out=20)
    return bench, bench.scheduler.resources["small"], tasks


async def test_a_core_s_memory_is_kept_for_what_answers_come_to_not_for_what_was_asked():
    bench, small, tasks = await before_small_memory(5)
    entered = [bench.scheduler.next(small, 0.0) for _ in tasks]
    assert entered == tasks, "those that came before anything was known, too"


async def test_an_answer_that_gets_longer_than_expected_takes_the_room_of_others():
    bench, small, tasks = await before_small_memory(3)
    first = bench.scheduler.next(small, 0.0)
    assert first is tasks[0]
    first.demand.num_out = 590
    assert first.demand.num_more == 10, "never beyond what it asked for"
    tasks[2].demand.num_in = 360
    assert bench.scheduler.next(small, 0.0) is tasks[1]
    assert bench.scheduler.next(small, 0.0) is None
    bench.scheduler.release(first, 1.0, 1.0)
    assert bench.scheduler.next(small, 1.0) is tasks[2]


async def test_all_is_kept_for_a_call_that_was_refused_for_want_of_room():
    bench, small, (task,) = await before_small_memory(1)
    bench.scheduler.next(small, 0.0)
    assert task.demand.num_more < 40
    bench.scheduler.release(task, 1.0, 1.0, Outcome("overloaded"))
    assert task.demand.num_more == 600


async def test_a_queue_that_cannot_go_on_is_passed_over_and_an_empty_one_goes():
    scheduler = Bench("rr").scheduler
    scheduler.add_resource("tool", 4, is_selective=True)
    tasks = {}
    for number, name in enumerate(("slow", "slow", "quick"), 1):
        tasks[number] = memory_task(number)
        scheduler.add_queue(name, ["tool"], is_passing=True)
        scheduler.submit(tasks[number], name, 0.0)
    tool = scheduler.resources["tool"]
    assert scheduler.next(tool, 0.0, lambda task: task.id != 1) is tasks[3]
    assert list(tool.draws) == ["slow"]
    assert scheduler.next(tool, 0.0, lambda task: task.id != 1) is None
    assert scheduler.next(tool, 0.0, lambda task: True) is tasks[1]
    scheduler.discard(tasks[2], 0.0)
    assert not tool.draws
    scheduler.check()


async def test_a_passing_queue_goes_although_its_only_call_was_set_aside():
    scheduler = Bench("rr").scheduler
    scheduler.add_resource("tool", 1, is_selective=True)
    task = memory_task(1)
    scheduler.hold(1, [], 0.0)
    scheduler.add_queue("slow", ["tool"], is_passing=True)
    scheduler.submit(task, "slow", 0.0)
    assert not scheduler.resources["tool"].draws
    assert scheduler.resources_of("slow") == []
    assert scheduler.let_go(1) == [task]


POLICIES = get_args(PolicyName)


@given(seed=st.integers(0, 10**9), policy=st.sampled_from(POLICIES), slots=st.integers(1, 3))
def test_nothing_is_lost_or_run_twice(seed, policy, slots):
    asyncio.run(_play(random.Random(seed), policy, slots))


async def _play(draw: random.Random, policy: str, slots: int) -> None:
    """Random events; after each, the invariants hold and no slot is idle while a task waits."""
    bench = Bench(policy, slots, quantum=1)
    scheduler, resource = bench.scheduler, bench.core
    waiting: set[Task] = set()
    suspended: set[int] = set()
    for _ in range(60):
        event = draw.choice(("submit", "submit", "finish", "preempt", "cancel", "hold", "let_go"))
        if event == "submit":
            hints = sc.Hints(
                band=draw.choice((None, "normal", "batch")),
                deadline_s=draw.choice((None, 1.0, 9.0)),
                steps_left=draw.choice((None, 1, 5)),
            )
            pid = draw.randint(1, 4)
            waiting.add(bench.submit(pid, hints=hints, tenant=f"tenant-{pid % 3}"))
        elif event == "finish" and resource.running:
            bench.release(
                draw.choice(sorted(resource.running, key=lambda task: task.id)), 0.1, draw.randint(1, 99)
            )
        elif event == "preempt" and resource.running:
            task = draw.choice(sorted(resource.running, key=lambda task: task.id))
            if scheduler.must_yield(task, 1):
                bench.release(task, 0.1)
                bench.put_back(task)
                waiting.add(task)
        elif event == "cancel" and waiting:
            task = draw.choice(sorted(waiting, key=lambda task: task.id))
            scheduler.discard(task, bench.now)
            waiting.remove(task)
        elif event == "hold":
            pid = draw.randint(1, 4)
            scheduler.hold(pid, [task for task in waiting if task.pid == pid], bench.now)
            suspended.add(pid)
        elif event == "let_go" and suspended:
            pid = suspended.pop()
            for task in scheduler.let_go(pid):
                bench.put_back(task)
        while (task := bench.next()) is not None:
            assert task in waiting
            assert task.pid not in suspended
            waiting.remove(task)
        scheduler.check()
        assert not (resource.has_room and resource.num_waiting)
    for pid in suspended:
        for task in scheduler.let_go(pid):
            bench.put_back(task)
    for task in list(resource.running):
        bench.release(task)
    assert {id for _, id in bench.drain()} == {task.id for task in waiting}
