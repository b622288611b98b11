"""The workloads: the same for the same seed, of the shape and at the load that is asked for."""

import gzip
import statistics

import msgspec
import pytest

from aios.bench.schedule import trace, workloads
from aios.bench.schedule.program import Program
from aios.bench.schedule.workloads import SLOTS, SPEED

ALL = {
    "react": lambda seed: workloads.react(seed, 30),
    "heavy": lambda seed: workloads.heavy(seed, 60, 0.95),
    "mix": lambda seed: workloads.mix(seed, 60, 0.95),
    "deadlines": lambda seed: workloads.deadlines(seed, 30, 0.95),
    "noisy": lambda seed: workloads.noisy(seed, 30, 20),
    "fair": lambda seed: workloads.fair(seed, 3, 20_000),
    "chains": lambda seed: workloads.chains(seed, 50),
    "even": lambda seed: workloads.even(seed, 20, 2, 500, 200),
}


def works(programs: list[Program]) -> list:
    return [work for program in programs for work in program.works]


@pytest.mark.parametrize("name", ALL)
def test_a_workload_is_made_from_its_seed(name):
    make = ALL[name]
    assert make(3) == make(3)
    assert make(3) != make(4)


@pytest.mark.parametrize("name", ALL)
def test_ids_are_unique_and_amounts_positive(name):
    programs = ALL[name](0)
    ids = [work.id for work in works(programs)]
    assert len(set(ids)) == len(ids)
    assert len({program.id for program in programs}) == len(programs)
    assert all(work.n_in > 0 and work.n_out > 0 for work in works(programs))
    assert all(program.steps and program.steps[-1].gap_s == 0 for program in programs)


@pytest.mark.parametrize("load", workloads.LOADS)
def test_open_workloads_arrive_at_their_load(load):
    programs = workloads.heavy(1, 4000, load)
    span_s = programs[-1].arrival_s
    assert SPEED.work_s(programs) / (SLOTS * span_s) == pytest.approx(load, rel=0.05)


def test_heavy_programs_have_the_tail_they_are_named_for():
    steps = [len(program.steps) for program in workloads.heavy(0, 4000, 0.95)]
    assert statistics.median(steps) == 2
    assert statistics.fmean(steps) > 7
    assert max(steps) > 200
    answers = [work.n_out for work in works(workloads.heavy(0, 1000, 0.95))]
    assert statistics.median(answers) == pytest.approx(200, rel=0.1)


def test_a_mix_has_every_kind_and_calls_in_parallel():
    programs = workloads.mix(0, 200, 0.95)
    assert {program.kind for program in programs} == {"chat", "heavy", "fan"}
    widest = max(len(step.works) for program in programs for step in program.steps)
    assert widest > 8


def test_the_neighbour_floods_and_the_quiet_ones_do_not():
    programs = workloads.noisy(0, 40, 100)
    flood = [program for program in programs if program.tenant == "flood"]
    assert len(flood) == 100
    assert all(program.arrival_s == 0 for program in flood)
    assert len({program.tenant for program in programs}) == 9


def test_fair_tenants_have_as_much_to_do_in_calls_of_different_size():
    programs = workloads.fair(0, 3, 600_000)
    asked = {}
    for program in programs:
        for work in program.works:
            asked[program.tenant] = asked.get(program.tenant, 0) + work.n_in + 2 * work.n_out
    assert len(asked) == 3
    assert max(asked.values()) / min(asked.values()) < 1.2


def test_deadlines_can_be_met_alone():
    for program in workloads.deadlines(0, 50, 0.95):
        assert program.deadline_s >= 1.5 * SPEED.path_s(program)


def test_chains_are_of_very_different_length():
    kinds = {program.kind: len(program.steps) for program in workloads.chains(0, 300)}
    assert kinds["long"] > 2 * kinds["middle"] > 8 * kinds["short"]


@pytest.fixture
def recorded(tmp_path):
    """A trace of four requests, two of which share a block with the first."""
    path = tmp_path / trace.FILE
    lines = [(0, 600, 10, [1, 2]), (1000, 1100, 20, [1, 3, 4]), (3000, 700, 1, [1, 2]), (4000, 100, 5, [9])]
    with gzip.open(path, "wb") as file:
        for line in lines:
            file.write(msgspec.json.encode(trace.Request(*line)) + b"\n")
    return path


def test_a_trace_is_played_at_a_load_and_without_what_is_cached(recorded):
    programs = trace.played(trace.read(recorded, 100), SPEED, slots=2, load=0.8)
    assert [work.n_in for work in works(programs)] == [600, 588, 1, 100]
    assert SPEED.work_s(programs) / (2 * programs[-1].arrival_s) == pytest.approx(0.8)
    assert programs[1].arrival_s == pytest.approx(programs[-1].arrival_s / 4)


def test_a_trace_is_read_as_far_as_asked(recorded):
    assert len(trace.read(recorded, 3)) == 3


def test_a_trace_is_found_where_the_environment_says(recorded, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(recorded.parent))
    assert trace.found() == recorded
