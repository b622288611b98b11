"""The bounds: hand-worked cases, and that no schedule on paper beats them."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paper import on_paper

from aios.bench.schedule.bounds import Rates, bounds_of, changing_s, jain, rate_s, service_gap, srpt_mean_s
from aios.bench.schedule.program import Program, Speed, Step, service_left, service_of
from aios.bench.upstream.work import Work

SPEED = Speed(prefill_s=0.1, decode_s=1.0)


def program(number: int, arrival_s: float, *answers: int, gap_s: float = 0.0) -> Program:
    """One call after the other, with answers of so many seconds and a prompt of one."""
    steps = [Step((Work(100 * number + step, 10, n_out),), gap_s) for step, n_out in enumerate(answers)]
    return Program(number, arrival_s, tuple(steps))


def test_a_call_takes_its_prompt_and_its_answer():
    work = Work(1, 20, 5)
    assert SPEED.service_s(work) == pytest.approx(7.0)
    assert service_of(work) == 30.0


def test_the_path_takes_the_longest_of_parallel_calls_and_every_gap():
    works = (Work(1, 10, 3), Work(2, 10, 8))
    fan = Program(1, 0.0, (Step(works, 2.0), Step((Work(3, 10, 1),))))
    assert SPEED.path_s(fan) == pytest.approx(9.0 + 2.0 + 2.0)
    assert SPEED.work_s([fan]) == pytest.approx(4.0 + 9.0 + 2.0)
    assert service_left(fan, 0) == 10 + 6 + 10 + 16 + 10 + 2
    assert service_left(fan, 1) == 12.0


def test_bounds_worked_by_hand():
    programs = [program(1, 0.0, 3, 3), program(2, 1.0, 9, gap_s=2.0), program(3, 0.0, 1)]
    bounds = bounds_of(programs, SPEED, slots=2)
    assert bounds.work_s == pytest.approx(8 + 10 + 2)
    assert bounds.longest_s == pytest.approx(1 + 10 + 2)
    assert bounds.makespan_s == pytest.approx(13)
    assert bounds.graham_s == pytest.approx(10 + 13)
    # The paths are 8, 12, 2; on one server of double speed the work takes 4, 5, 1: ends at 1, 5, 10.
    assert bounds.mean_turnaround_s == pytest.approx((8 + 12 + 2) / 3)


def test_srpt_interrupts_for_what_is_shorter():
    jobs = [(0.0, 10.0), (2.0, 2.0), (3.0, 20.0)]
    # At speed 2: the first has 3 s left at 2 s and gives way for 1 s; it ends at 6, the last at 16.
    assert srpt_mean_s(jobs, 2.0) == pytest.approx((6 + 1 + 13) / 3)
    assert srpt_mean_s([], 2.0) == 0.0


def test_srpt_waits_for_what_has_not_come():
    assert srpt_mean_s([(5.0, 4.0), (100.0, 2.0)], 2.0) == pytest.approx((2 + 1) / 2)


def test_rate_limits_ask_for_time_beyond_what_a_full_bucket_holds():
    programs = [program(1, 0.0, 10, 10), program(2, 0.0, 10, 10)]
    assert rate_s(programs, Rates(calls_per_minute=2)) == pytest.approx(120)
    assert rate_s(programs, Rates(calls_per_minute=2, calls_at_once=3)) == pytest.approx(30)
    assert rate_s(programs, Rates(tokens_per_minute=60, tokens_at_once=20)) == pytest.approx(60)
    assert rate_s(programs, Rates(calls_per_minute=2, calls_at_once=9)) == 0.0
    assert bounds_of(programs, SPEED, 0, Rates(calls_per_minute=2)).makespan_s == pytest.approx(120)


def test_slots_that_change_do_what_they_can_meanwhile():
    changes = [(10.0, 1), (20.0, 0), (30.0, 4)]
    assert changing_s(12.0, 2, changes) == pytest.approx(6)
    assert changing_s(25.0, 2, changes) == pytest.approx(15)
    assert changing_s(38.0, 2, changes) == pytest.approx(32)
    assert changing_s(31.0, 2, changes[:2]) == math.inf
    assert changing_s(8.0, 2, []) == pytest.approx(4)


def test_nothing_to_do_takes_no_time():
    bounds = bounds_of([], SPEED, 4)
    assert (bounds.makespan_s, bounds.graham_s, bounds.mean_turnaround_s) == (0.0, 0.0, 0.0)


def test_fairness_by_hand():
    assert service_gap(largest_in=1000, running_out=200) == 2000
    assert service_gap(largest_in=100, running_out=200) == 800
    assert jain([2.0, 2.0, 2.0]) == pytest.approx(1.0)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain([]) == jain([0.0]) == 1.0


WORKS = st.tuples(st.integers(1, 40), st.integers(1, 12))
STEPS = st.lists(
    st.tuples(st.lists(WORKS, min_size=1, max_size=3), st.sampled_from([0.0, 0.5, 4.0])), max_size=4
)
PROGRAMS = st.lists(st.tuples(st.sampled_from([0.0, 1.0, 7.5]), STEPS), min_size=1, max_size=8)


@given(PROGRAMS, st.integers(1, 4), st.integers(0, 5))
def test_no_schedule_beats_the_bounds(drawn, slots, seed):
    programs = [
        Program(
            number,
            arrival_s,
            tuple(Step(tuple(Work(0, *work) for work in works), gap_s) for works, gap_s in steps),
        )
        for number, (arrival_s, steps) in enumerate(drawn)
    ]
    draw = random.Random(seed)
    ends = on_paper(programs, SPEED, slots, lambda program, step: draw.random())
    bounds = bounds_of(programs, SPEED, slots)
    makespan = max(ends.values())
    mean = statistics.fmean(ends[program.id] - program.arrival_s for program in programs)
    assert bounds.makespan_s - 1e-6 <= makespan <= bounds.graham_s + 1e-6
    assert bounds.mean_turnaround_s <= mean + 1e-6


@given(PROGRAMS, st.integers(1, 4))
def test_the_best_order_that_is_known_beats_no_bound_either(drawn, slots):
    programs = [
        Program(number, arrival_s, tuple(Step(tuple(Work(0, *work) for work in works)) for works, _ in steps))
        for number, (arrival_s, steps) in enumerate(drawn)
    ]
    ends = on_paper(programs, SPEED, slots, service_left)
    mean = statistics.fmean(ends[program.id] - program.arrival_s for program in programs)
    assert bounds_of(programs, SPEED, slots).mean_turnaround_s <= mean + 1e-6
