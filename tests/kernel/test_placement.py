"""Which of several cores with room takes a call: caches, loads, speeds."""

from collections.abc import Sequence

import pytest
from queueing import Bench

from aios.abi.messages import Message
from aios.kernel.cores.gate import Gate
from aios.kernel.cores.placement import Candidate, Placement, prefixes_of
from aios.kernel.scheduling.lanes import Lanes
from aios.kernel.scheduling.runqueue import RunQueue
from aios.kernel.scheduling.scheduler import Resource
from aios.kernel.task import Task

TALK = [Message("system", "s" * 2000), Message("user", "u" * 2000)]
LATER = [*TALK, Message("assistant", "a" * 100), Message("user", "v" * 100)]
TOKENS = 1000


def candidate(name: str, load: float = 0.0, rate: float = 100.0, slots: float = 8.0) -> Candidate:
    return Candidate(name, load, rate, slots)


def placed(*where: str) -> Placement:
    placement = Placement()
    for core in where:
        placement.placed(core, prefixes_of(TALK))
    return placement


def order(placement: Placement, talk: list[Message], *candidates: Candidate) -> list[str]:
    return placement.order(candidates, prefixes_of(talk), TOKENS)


def test_a_conversation_goes_on_where_it_began():
    assert order(placed("b"), LATER, candidate("a"), candidate("b")) == ["b", "a"]


def test_a_call_is_read_in_one_slot_and_a_load_is_spread_over_all():
    """Nearly all of the prompt is cached at `b`: worth seven prompts of load in 8 slots."""
    placement = placed("b")
    assert order(placement, LATER, candidate("a"), candidate("b", 7 * TOKENS))[0] == "b"
    assert order(placement, LATER, candidate("a"), candidate("b", 8 * TOKENS))[0] == "a"
    assert order(placement, LATER, candidate("a"), candidate("b", 7 * TOKENS, slots=4))[0] == "a"


def test_a_small_part_of_a_prompt_does_not_count():
    longer = [TALK[0], Message("user", "w" * 6000)]
    assert order(placed("b"), longer, candidate("a"), candidate("b", 1.0))[0] == "a"


def test_of_cores_without_load_the_faster_comes_first():
    assert order(placed(), LATER, candidate("a"), candidate("b", rate=200.0))[0] == "b"


def test_what_a_core_is_believed_to_hold_is_told_when_a_call_goes_there():
    placement = Placement()
    assert placement.placed("a", prefixes_of(TALK)) == 0.0
    assert placement.placed("a", prefixes_of(LATER)) == pytest.approx(0.95, abs=0.01)
    assert placement.placed("b", prefixes_of(LATER)) == 0.0


async def test_what_a_core_has_cached_is_no_load():
    bench = Bench("fifo", slots=2)
    bench.scheduler.add_resource("other", 1, gate=Gate(1))
    for pid, load in ((1, 1000), (2, 0)):
        bench.submit(pid, text="x" * 4000, max_tokens=50)
        before = bench.core.load
        assert bench.next() is not None
        assert bench.core.load - before == pytest.approx(load + 2 * 50, abs=10)


def test_a_core_whose_slots_nobody_told_bears_what_its_window_lets_in():
    """Counted with all slots that it may have, its load would be nothing."""
    bench = Bench("fifo", slots=2)
    bench.scheduler.add_resource("other", 4096, gate=Gate(0))
    assert bench.core.bears == 2
    assert 0 < bench.scheduler.resources["other"].bears < 100


class Two:
    """Two cores of one slot each. `home` has read a conversation that takes about ten seconds to read."""

    def __init__(self, policy: str = "fifo") -> None:
        self.bench = Bench(policy)
        scheduler = self.bench.scheduler
        scheduler.add_resource("home", 1, gate=Gate(1))
        scheduler.add_queue("two", ["core", "home"])
        self.home, self.other = scheduler.resources["home"], scheduler.resources["core"]
        self.first = self.submit(1, LATER)
        assert self.next(self.home) is self.first
        self.other_task = self.submit(2)
        assert self.next(self.other) is self.other_task
        self.again = self.submit(1, [*LATER, Message("assistant", "b" * 100)])

    def submit(self, pid: int, said: Sequence[Message] = ()) -> Task:
        return self.bench.submit(pid, said=said, queue="two")

    def next(self, resource: Resource) -> Task | None:
        return self.bench.scheduler.next(resource, self.bench.now)


async def test_a_call_waits_for_the_core_that_has_its_beginning_no_longer_than_that_is_worth():
    two = Two()
    two.bench.release(two.other_task, 1.0)
    assert two.next(two.other) is None
    assert two.again.demand is not None
    assert 3.5 < two.other.opens_at * two.other.rate / two.again.demand.num_in <= 4
    two.bench.now = two.other.opens_at
    assert two.next(two.other) is two.again


async def test_others_go_before_a_call_that_waits_for_its_core_and_lower_bands_too():
    two = Two()
    two.bench.release(two.other_task, 1.0)
    behind = two.submit(3)
    assert two.next(two.other) is behind
    two.bench.release(behind, 1.0)
    two.bench.release(two.first, 0.0, 10)
    assert two.next(two.home) is two.again


async def test_of_two_tenants_the_one_that_waits_for_no_core_goes_first():
    two = Two()
    two.bench.release(two.other_task, 1.0)
    behind = two.bench.submit(4, tenant="other", queue="two")
    assert two.next(two.other) is behind
    assert two.next(two.other) is None
    two.bench.scheduler.check()


async def test_nothing_waits_for_a_core_that_takes_no_calls():
    two = Two()
    two.bench.release(two.other_task, 1.0)
    two.home.is_draining = True
    assert two.next(two.other) is two.again


async def test_what_others_may_begin_with_too_is_no_reason_to_wait():
    two = Two()
    two.bench.release(two.other_task, 1.0)
    alike = two.submit(5, TALK)
    assert two.next(two.other) is alike


async def test_calls_of_one_program_leave_nothing_behind_in_the_order():
    """Whose lane is never empty, and is taken from while another lets it pass."""
    two = Two("plas")
    two.bench.release(two.other_task, 1.0)
    for _ in range(300):
        two.submit(9)
        two.submit(9)
        taken = two.next(two.other)
        assert taken is not None
        assert taken.pid == 9
        two.bench.release(taken)
    two.bench.scheduler.check()
    (lanes,) = lanes_of(two)
    assert len(lanes._heap) < 100


def lanes_of(two: Two) -> list[Lanes]:
    queue = two.bench.scheduler._queues["two"]
    assert isinstance(queue, RunQueue)
    return [share.lanes for band in queue._bands for share in band.shares.values()]
