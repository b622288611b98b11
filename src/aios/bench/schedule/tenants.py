"""Tenants: fair shares, weights, and quiet ones beside one that floods."""

import statistics
from collections.abc import Sequence

from msgspec import structs

from aios.bench.schedule import measures, pictures, workloads
from aios.bench.schedule.arms import Arm
from aios.bench.schedule.bench import Bench
from aios.bench.schedule.bounds import service_gap
from aios.bench.schedule.contenders import ENGINE, OURS, compete, kernel
from aios.bench.schedule.records import Trial
from aios.bench.schedule.workload import Workload, upstream

FINE_S = 0.25
"""Pieces of answers, where service is compared while it streams."""


def fair(bench: Bench) -> None:
    """Tenants that always want more than there is."""
    service = 60_000.0 if bench.quick else 1_000_000.0
    config = upstream(tick_s=FINE_S)
    even = Workload("fair, six tenants", workloads.fair(bench.seed, 6, service), config)
    arms = [kernel("fifo"), kernel("fair"), OURS]
    found = compete(bench, even, arms)
    bound = service_gap(even.largest_prompt, even.tokens_running)
    for row, trial in zip(bench.rows[-len(arms) :], found.values(), strict=True):
        span = measures.all_backlogged(trial)
        row["Jain"] = round(measures.jain_index(trial, span, {}), 5)
        row["gap/VTC"] = round(measures.largest_gap(trial, {}) / bound, 4)
        row["service/s"] = round(measures.service_rate(trial, span))
    _fair_goals(bench, even, [found[arm.name] for arm in arms], bound)
    _weighted(bench, service)


def _fair_goals(bench: Bench, workload: Workload, trials: Sequence[Trial], bound: float) -> None:
    ours = trials[1:]
    spans = [measures.all_backlogged(trial) for trial in ours]
    until = min(measures.backlog_end(trial) for trial in trials)
    rates = [measures.service_rate(trial, (0.0, until)) for trial in trials]
    bench.goal("service_gap", max(measures.largest_gap(trial, {}) for trial in ours) / bound, 1.0)
    jains = [measures.jain_index(trial, span, {}) for trial, span in zip(ours, spans, strict=True)]
    bench.goal("jain", min(jains), 1.0)
    bench.goal("fair_throughput", min(rates[1:]) / rates[0], 1.0)
    title = "the best and the worst served of six tenants that always want more: how far apart"
    bench.draw("fair", pictures.gaps(title, trials, bound))


def _weighted(bench: Bench, service: float) -> None:
    weights = {f"middle-{number}": weight for number, weight in enumerate((1.0, 2.0, 4.0))}
    programs = [
        structs.replace(program, tenant=f"middle-{program.id % 3}")
        for program in workloads.even(bench.seed, 96, round(service / 32 / 900), 500, 200)
    ]
    workload = Workload("fair, weights 1 2 4", programs, upstream(tick_s=FINE_S), weights)
    arms = [kernel("fair"), OURS]
    found = compete(bench, workload, arms)
    errors = [
        measures.weights_error(trial, measures.all_backlogged(trial), weights) for trial in found.values()
    ]
    for row, error in zip(bench.rows[-len(arms) :], errors, strict=True):
        row["from weights"] = round(error, 5)
    bench.goal("weights_error", max(errors), 0.0)


def noisy(bench: Bench) -> None:
    """Quiet tenants beside one that floods: their turnaround, and what it is without the flood."""
    quiet, flood = (80, 200) if bench.quick else (400, 1000)
    programs = workloads.noisy(bench.seed, quiet, flood)
    arms: list[Arm] = [ENGINE, kernel("fifo"), OURS]
    both = Workload("noisy neighbour", programs, upstream())
    alone = Workload("quiet ones alone", [p for p in programs if p.tenant != "flood"], upstream())
    quiet_s = {}
    for workload in (both, alone):
        found = compete(bench, workload, arms)
        for row, trial in zip(bench.rows[-len(arms) :], found.values(), strict=True):
            own = [p.end - p.arrival for p in trial.programs if p.tenant != "flood" and p.end is not None]
            row["quiet mean s"] = round(statistics.fmean(own), 2)
            beside = "alone" if workload is alone else "beside the flood"
            quiet_s[f"{trial.arm}: {beside}"] = statistics.fmean(own)
    title = "eight quiet tenants, and one that sends everything at once"
    bench.draw("noisy", pictures.shares(title, "mean turnaround of the quiet ones, seconds", quiet_s))
