"""The scheduler by itself: orders, turns, slots, bounds, and what must hold after every event."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.abi import syscalls as sc
from aios.abi.errors import Overloaded
from aios.kernel.policy import policy_of
from aios.kernel.scheduler import Scheduler
from aios.kernel.task import Task

ROW = sc.TABLE["memory.read"]


class Bench:
    """A scheduler with one resource `r` and one queue `q`, and tasks for it."""

    def __init__(self, policy: str, slots: int = 1, quantum: int = 4, max_waiting: int = 1000) -> None:
        self.scheduler = Scheduler(policy_of(policy, quantum), max_waiting)
        self.scheduler.add_resource("r", slots)
        self.scheduler.add_queue("q", ["r"])
        self.resource = self.scheduler.resources["r"]
        self.num_tasks = 0

    def submit(self, pid: int, program: int | None = None, *, is_nested: bool = False) -> Task:
        self.num_tasks += 1
        task = Task(self.num_tasks, pid, program or pid, 1, ROW, sc.MemoryRead(), 0.0)
        task.is_nested = is_nested
        self.scheduler.submit(task, "q")
        return task

    def next(self) -> Task | None:
        return self.scheduler.next(self.resource, 0.0)

    def drain(self) -> list[tuple[int, int]]:
        """(pid, task) in the order they get the slot."""
        order = []
        while (task := self.next()) is not None:
            order.append((task.pid, task.id))
            self.scheduler.release(task, 0.0)
        return order


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
    bench.scheduler.release(first, 0.0)
    bench.scheduler.put_back(first, "q", first=False)
    assert [task for _, task in bench.drain()] == [second.id, third.id, first.id]


async def test_what_is_tried_again_goes_to_the_head_of_its_lane():
    bench = Bench("fifo")
    first, second = bench.submit(1), bench.submit(1)
    assert bench.next() is first
    bench.scheduler.release(first, 0.0)
    bench.scheduler.put_back(first, "q", first=True)
    assert [task for _, task in bench.drain()] == [first.id, second.id]


async def test_what_is_tried_again_is_the_oldest_once_more():
    bench = Bench("fifo")
    first, second, third = bench.submit(1), bench.submit(2), bench.submit(1)
    assert bench.next() is first
    bench.scheduler.release(first, 0.0)
    bench.scheduler.put_back(first, "q", first=True)
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
    bench.scheduler.hold(1, [held])
    late = bench.submit(1)
    assert bench.drain() == [(2, other.id)]
    back = bench.scheduler.let_go(1)
    assert back == [held, late]
    for task in back:
        bench.scheduler.put_back(task, "q", first=False)
    assert bench.drain() == [(1, held.id), (1, late.id)]


async def test_what_a_running_tool_asks_for_is_not_held():
    bench = Bench("fifo")
    nested, other = bench.submit(1, is_nested=True), bench.submit(1)
    bench.scheduler.hold(1, [nested, other])
    late = bench.submit(1, is_nested=True)
    assert bench.drain() == [(1, nested.id), (1, late.id)]
    assert bench.scheduler.let_go(1) == [other]


async def test_a_failing_core_leaves_what_it_shares_to_a_sound_one():
    scheduler = Scheduler(policy_of("fifo", 1), 100)
    for name in ("a", "b"):
        scheduler.add_resource(name, 2)
        scheduler.add_queue(name, [name])
    scheduler.add_queue("both", ["a", "b"])
    tasks = [Task(number, number, number, 1, ROW, sc.MemoryRead(), 0.0) for number in range(1, 6)]
    for task, queue in zip(tasks, ("both", "a", "both", "both", "both"), strict=True):
        scheduler.submit(task, queue)
    a, b = scheduler.resources["a"], scheduler.resources["b"]
    assert scheduler.resources_of("both") == [a, b]
    a.rests_until = 10.0
    assert scheduler.resources_of("both") == [b, a]
    assert scheduler.next(a, 0.0) is tasks[1], "what only it can serve, it serves"
    assert scheduler.next(a, 20.0) is None, "nor does it try another while something runs"
    scheduler.release(tasks[1], 0.0)
    assert scheduler.next(a, 9.0) is None
    assert scheduler.next(a, 10.0) is tasks[0], "having rested it tries one"
    assert scheduler.next(a, 10.0) is None
    b.rests_until = 99.0
    assert scheduler.sharing_with(b) == [b, a]
    assert scheduler.next(a, 11.0) is tasks[2], "no sound one is left"
    a.rests_until = None
    assert scheduler.next(b, 11.0) is None
    scheduler.release(tasks[0], 0.0)
    assert scheduler.next(a, 11.0) is tasks[3]
    scheduler.check()


async def test_a_core_draws_from_the_queue_whose_turn_it_is():
    scheduler = Scheduler(policy_of("fifo", 1), 100)
    for name in ("a", "b"):
        scheduler.add_resource(name, 1)
        scheduler.add_queue(name, [name])
    scheduler.add_queue("both", ["a", "b"])
    tasks = [Task(number, number, number, 1, ROW, sc.MemoryRead(), 0.0) for number in range(1, 5)]
    for task, queue in zip(tasks, ("both", "a", "both", "b"), strict=True):
        scheduler.submit(task, queue)
    a, b = scheduler.resources["a"], scheduler.resources["b"]
    assert scheduler.next(a, 0.0) is tasks[0]
    assert scheduler.next(b, 0.0) is tasks[2]
    scheduler.release(tasks[0], 0.0)
    scheduler.release(tasks[2], 0.0)
    assert scheduler.next(a, 0.0) is tasks[1]
    assert scheduler.next(b, 0.0) is tasks[3]
    scheduler.check()


async def test_a_queue_that_cannot_go_on_is_passed_over_and_an_empty_one_goes():
    scheduler = Scheduler(policy_of("rr", 1), 100)
    scheduler.add_resource("tool", 4, is_selective=True)
    tasks = {}
    for number, name in enumerate(("slow", "slow", "quick"), 1):
        tasks[number] = Task(number, number, number, 1, ROW, sc.MemoryRead(), 0.0)
        scheduler.add_queue(name, ["tool"], is_passing=True)
        scheduler.submit(tasks[number], name)
    tool = scheduler.resources["tool"]
    assert scheduler.next(tool, 0.0, lambda task: task.id != 1) is tasks[3]
    assert list(tool.draws) == ["slow"]
    assert scheduler.next(tool, 0.0, lambda task: task.id != 1) is None
    assert scheduler.next(tool, 0.0, lambda task: True) is tasks[1]
    scheduler.discard(tasks[2])
    assert not tool.draws
    scheduler.check()


async def test_a_passing_queue_goes_although_its_only_call_was_set_aside():
    scheduler = Scheduler(policy_of("rr", 1), 100)
    scheduler.add_resource("tool", 1, is_selective=True)
    task = Task(1, 1, 1, 1, ROW, sc.MemoryRead(), 0.0)
    scheduler.hold(1, [])
    scheduler.add_queue("slow", ["tool"], is_passing=True)
    scheduler.submit(task, "slow")
    assert not scheduler.resources["tool"].draws
    assert scheduler.resources_of("slow") == []
    assert scheduler.let_go(1) == [task]


@given(seed=st.integers(0, 10**9), policy=st.sampled_from(["fifo", "rr"]), slots=st.integers(1, 3))
def test_nothing_is_lost_or_run_twice(seed, policy, slots):
    asyncio.run(_play(random.Random(seed), policy, slots))


async def _play(draw: random.Random, policy: str, slots: int) -> None:
    """Random events; after each, the invariants hold and no slot is idle while a task waits."""
    bench = Bench(policy, slots, quantum=1)
    scheduler, resource = bench.scheduler, bench.resource
    waiting: set[Task] = set()
    suspended: set[int] = set()
    for _ in range(60):
        event = draw.choice(("submit", "submit", "finish", "preempt", "cancel", "hold", "let_go"))
        if event == "submit":
            waiting.add(bench.submit(draw.randint(1, 4)))
        elif event == "finish" and resource.running:
            scheduler.release(draw.choice(sorted(resource.running, key=lambda task: task.id)), 0.1)
        elif event == "preempt" and resource.running:
            task = draw.choice(sorted(resource.running, key=lambda task: task.id))
            if scheduler.must_yield(task, 1):
                scheduler.release(task, 0.1)
                scheduler.put_back(task, "q", first=False)
                waiting.add(task)
        elif event == "cancel" and waiting:
            task = draw.choice(sorted(waiting, key=lambda task: task.id))
            scheduler.discard(task)
            waiting.remove(task)
        elif event == "hold":
            pid = draw.randint(1, 4)
            scheduler.hold(pid, [task for task in waiting if task.pid == pid])
            suspended.add(pid)
        elif event == "let_go" and suspended:
            pid = suspended.pop()
            for task in scheduler.let_go(pid):
                scheduler.put_back(task, "q", first=False)
        while (task := bench.next()) is not None:
            assert task in waiting
            assert task.pid not in suspended
            waiting.remove(task)
        scheduler.check()
    for pid in suspended:
        for task in scheduler.let_go(pid):
            scheduler.put_back(task, "q", first=False)
    for task in list(resource.running):
        scheduler.release(task, 0.0)
    assert {id for _, id in bench.drain()} == {task.id for task in waiting}
