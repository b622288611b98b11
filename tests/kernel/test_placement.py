"""Which of several cores with room takes a call: caches, loads, speeds."""

import pytest
from queueing import Bench

from aios.abi.messages import Message
from aios.kernel.cores.gate import Gate
from aios.kernel.cores.placement import Candidate, Placement

TALK = [Message("system", "s" * 2000), Message("user", "u" * 2000)]
LATER = [*TALK, Message("assistant", "a" * 100), Message("user", "v" * 100)]
TOKENS = 1000


def candidate(name: str, load: float = 0.0, rate: float = 100.0, slots: float = 8.0) -> Candidate:
    return Candidate(name, load, rate, slots)


def placed(*where: str) -> Placement:
    placement = Placement()
    for core in where:
        placement.placed(core, TALK)
    return placement


def test_a_conversation_goes_on_where_it_began():
    assert placed("b").order([candidate("a"), candidate("b")], LATER, TOKENS) == ["b", "a"]


def test_a_call_is_read_in_one_slot_and_a_load_is_spread_over_all():
    """Nearly all of the prompt is cached at `b`: worth seven prompts of load in 8 slots."""
    placement = placed("b")
    assert placement.order([candidate("a"), candidate("b", 7 * TOKENS)], LATER, TOKENS)[0] == "b"
    assert placement.order([candidate("a"), candidate("b", 8 * TOKENS)], LATER, TOKENS)[0] == "a"
    assert placement.order([candidate("a"), candidate("b", 7 * TOKENS, slots=4)], LATER, TOKENS)[0] == "a"


def test_a_small_part_of_a_prompt_does_not_count():
    longer = [TALK[0], Message("user", "w" * 6000)]
    assert placed("b").order([candidate("a"), candidate("b", 1.0)], longer, TOKENS)[0] == "a"


def test_of_cores_without_load_the_faster_comes_first():
    assert placed().order([candidate("a"), candidate("b", rate=200.0)], LATER, TOKENS)[0] == "b"


def test_what_a_core_is_believed_to_hold_is_told_when_a_call_goes_there():
    placement = Placement()
    assert placement.placed("a", TALK) == 0.0
    assert placement.placed("a", LATER) == pytest.approx(0.95, abs=0.01)
    assert placement.placed("b", LATER) == 0.0


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
