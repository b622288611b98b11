"""`aios bench schedule` end to end, on workloads of a few programs, in virtual time."""

import gzip
import json

import msgspec
import pytest
from msgspec import structs

from aios.abi.errors import InvalidArgument
from aios.bench.report import Result
from aios.bench.schedule import measures, pictures, records, report, runner, workloads
from aios.bench.schedule.arms import KernelArm, core_config, limit_of
from aios.bench.schedule.bench import Bench
from aios.bench.schedule.bounds import service_gap
from aios.bench.schedule.contenders import ENGINE, OURS, PATIENTLY, SDK, kernel
from aios.bench.schedule.orders import ORDERS
from aios.bench.schedule.play import virtual_trial
from aios.bench.schedule.workload import Workload, upstream
from aios.bench.upstream.config import Stage
from aios.bench.upstream.work import Work

SWARM = Workload("swarm", workloads.react(0, 12), upstream(3))


def said(lines: list[str]):
    return lambda line: lines.append(line)


@pytest.mark.parametrize(
    "arm", [PATIENTLY, ENGINE, OURS, kernel("fifo"), kernel("rr")], ids=lambda arm: arm.name
)
def test_every_arm_brings_every_program_to_its_end(arm):
    trial = virtual_trial(arm, SWARM, 0)
    assert [program.state for program in trial.programs] == ["done"] * 12
    assert len(trial.calls) == 60
    assert not any(call.is_lost for call in trial.calls)
    assert trial.report.num_done == 60
    bounds = SWARM.bounds
    assert bounds.makespan_s <= measures.makespan(trial) + 1e-6
    assert bounds.mean_turnaround_s <= measures.summary(trial).mean_s + 1e-6


@pytest.mark.parametrize("arm", [OURS, kernel("fifo")], ids=lambda arm: arm.name)
def test_a_kernel_that_knows_the_slots_leaves_none_idle(arm):
    trial = virtual_trial(arm, SWARM, 0)
    assert measures.idle_with_backlog(trial) == 0.0
    assert measures.makespan(trial) <= SWARM.bounds.graham_s + 1e-6
    assert trial.report.num_refused == {}


def test_the_same_seed_gives_the_same_trial():
    one, other = virtual_trial(OURS, SWARM, 0), virtual_trial(OURS, SWARM, 0)
    one.wall_s = other.wall_s = 0.0
    assert msgspec.json.encode(one) == msgspec.json.encode(other)


def test_agents_with_an_sdks_retries_are_lost_where_many_want_few_slots():
    trial = virtual_trial(SDK, Workload("crowd", workloads.react(0, 40), upstream(2)), 0)
    lost = [program for program in trial.programs if program.state == "lost"]
    assert lost
    assert all("given up" in program.error for program in lost)
    assert any(call.is_lost for call in trial.calls)


def test_arrivals_gaps_and_parallel_calls_are_played_as_drawn():
    programs = workloads.mix(1, 12, 0.5)
    trial = virtual_trial(OURS, Workload("mix", programs, upstream()), 0)
    created = {call.id: call.created for call in trial.calls}
    for program, record in zip(programs, trial.programs, strict=True):
        assert record.arrival == pytest.approx(program.arrival_s)
        first = [created[work.id] for work in program.steps[0].works]
        assert first == [pytest.approx(program.arrival_s)] * len(first)


def test_the_kernel_is_told_of_the_upstream_or_nothing():
    config = upstream(0, mode="rate", rpm=60, tpm=1000)
    assert core_config(config, "limits").requests_per_minute == 60
    assert core_config(config, "nothing").requests_per_minute == 0
    assert core_config(upstream(5), "nothing").slots == 0
    assert core_config(upstream(5), "limits").slots == 5


def test_an_agent_asks_for_more_than_it_will_need():
    assert [limit_of(Work(1, 1, n_out)) for n_out in (1, 32, 33, 200, 256, 257)] == [
        32,
        32,
        64,
        256,
        256,
        512,
    ]


def test_a_trial_is_kept_as_lines(tmp_path):
    trial = virtual_trial(OURS, SWARM, 0)
    path = records.write(trial, tmp_path)
    with gzip.open(path, "rt") as file:
        kinds = [next(iter(json.loads(line))) for line in file]
    assert kinds[:2] == ["trial", "report"]
    assert kinds.count("program") == 12
    assert kinds.count("call") == kinds.count("try") == 60
    again = records.write(trial, tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()


@pytest.fixture
def tiny(monkeypatch):
    """One experiment of two arms in place of all."""

    def small(bench: Bench) -> None:
        """What is small."""
        trials = bench.trials([(SDK, SWARM, bench.seed), (OURS, SWARM, bench.seed)])
        bench.goal("finished_slots", 1 - measures.num_lost(trials[1]) / 12, None)
        bench.draw("curves", pictures.turnarounds("through", trials))
        bench.draw("bars", pictures.makespans("when", trials, 1.0))

    monkeypatch.setattr(runner, "EXPERIMENTS", {"small": small})


def test_a_run_gives_rows_goals_tables_and_plots(tiny, tmp_path):
    pytest.importorskip("matplotlib")
    lines: list[str] = []
    result = runner.run(True, 0, said(lines), tmp_path, workers=1)
    assert isinstance(result, Result)
    assert [row["arm"] for row in result.rows] == [SDK.name, OURS.name]
    assert result.goals["schedule.finished_slots"].value == 1.0
    assert result.goals["schedule.above_graham"].value == 0
    assert result.goals["schedule.calls_lost"].value == 0
    assert result.goals["schedule.rejections_per_call"].value == 0
    page = (tmp_path / "small.md").read_text()
    assert page.startswith("# small\n\nWhat is small.\n\n`aios bench schedule --only small --seed 0 --quick`")
    assert "Programs the kernel lost: 0. Runs of the kernel above W/C + max CP: 0 of 1." in page
    assert "| finished_slots | 1 |" in page
    assert "## Swarm" in page
    assert "![when](bars.png)" in page
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "bars.png").exists()
    assert len(list((tmp_path / "ledgers").iterdir())) == 2
    assert lines[-4] == f"schedule: wrote {tmp_path / 'small.md'} and 2 plots"


def test_an_experiment_nobody_knows_is_refused(tiny):
    with pytest.raises(InvalidArgument, match="small"):
        runner.run(True, 0, said([]), only=["large"], workers=1)


def test_a_kernel_run_above_the_bound_of_no_idle_slots_is_counted():
    bench = Bench(True, 0, said([]), workers=1)
    section = bench.begin("small", "")
    trial = virtual_trial(OURS, SWARM, 0)
    bench.keep(OURS, SWARM, trial)
    assert section.num_above_graham == 0
    trial.programs[0].end = SWARM.bounds.graham_s + 1
    bench.keep(OURS, SWARM, trial)
    assert section.num_above_graham == 1
    trial.programs[0].state = "lost"
    bench.keep(OURS, SWARM, trial)
    assert (section.num_lost, section.num_bounded) == (1, 3)


def test_every_policy_that_an_experiment_names_brings_a_mix_to_its_end():
    workload = Workload("mix", workloads.mix(0, 10, 0.95), upstream(4))
    for policy in ("fifo", "program_fifo", "rr", *ORDERS, "plas", "edf", "llf", "oracle"):
        arm = kernel(policy, says="work")
        assert isinstance(arm, KernelArm)
        assert measures.num_lost(virtual_trial(arm, workload, 0)) == 0


def test_tables_leave_out_columns_that_nobody_has():
    rows = [{"a": 1, "b": None}, {"a": 2.5, "c": "x"}]
    assert report.markdown(rows) == "| a | c |\n| --- | --- |\n| 1 |  |\n| 2.5 | x |"


# ---- replicas


def test_a_kernel_keeps_conversations_where_they_are_cached():
    """Both kernels have the same replicas and calls; one is kept from seeing which calls belong together."""
    programs = workloads.prefixes(0, 60, 0.5, 16)
    workload = Workload("prefixes", programs, upstream(4, cache_tokens=40_000), replicas=4)
    sees, blind = (
        virtual_trial(kernel("fifo", is_forgetful=hidden), workload, 0) for hidden in (False, True)
    )
    assert measures.num_lost(sees) == measures.num_lost(blind) == 0
    assert measures.cached(sees) > measures.cached(blind) + 0.1
    assert workload.bounds.mean_turnaround_s <= measures.summary(sees).mean_s < measures.summary(blind).mean_s


def test_agents_that_stay_with_a_replica_find_their_conversation_there():
    programs = workloads.prefixes(0, 60, 0.5, 16)
    workload = Workload("prefixes", programs, upstream(4, cache_tokens=40_000), replicas=4)
    sticky = structs.replace(ENGINE, is_sticky=True)
    assert measures.cached(virtual_trial(sticky, workload, 0)) > measures.cached(
        virtual_trial(ENGINE, workload, 0)
    )


# ---- pictures


def test_a_bar_says_what_an_arm_lost():
    trial = virtual_trial(SDK, Workload("crowd", workloads.react(0, 40), upstream(2)), 0)
    bars = pictures.makespans("crowd", [trial, virtual_trial(OURS, SWARM, 0)], 7.0).bars
    assert bars[0].note == f"{measures.num_lost(trial) / 40:.1%} of the agents lost"
    assert bars[1].note == ""
    assert bars[1].value == pytest.approx(SWARM.bounds.makespan_s, rel=0.2)


def test_slots_in_use_are_drawn_before_their_capacity():
    config = upstream(4, mode="shift", stages=(Stage(5.0, 2), Stage(10.0, 4)))
    workload = Workload("shift", workloads.react(0, 12), config)
    trial = virtual_trial(kernel("plas", "nothing"), workload, 0)
    capacity, used = pictures.slots_used("shift", [trial], 1.0, config).lines
    assert capacity.x[:5] == [0.0, 5.0, 5.0, 10.0, 10.0]
    assert capacity.y == [4.0, 4.0, 2.0, 2.0, 4.0, 4.0]
    assert max(used.y) <= 4.0
    assert capacity.x[-1] == measures.makespan(trial)


def test_the_gap_between_tenants_begins_at_nothing_and_stays_below_its_bound():
    workload = Workload("fair", workloads.fair(0, 2, 20_000, 4), upstream(4))
    bound = service_gap(workload.largest_prompt, workload.tokens_running)
    drawn = pictures.gaps("fair", [virtual_trial(OURS, workload, 0)], bound, points=50)
    assert drawn.bound == bound
    assert len(drawn.lines[0].x) == 50
    assert 0 < max(drawn.lines[0].y) < bound
