"""What of some trials is worth a picture. Pure: trials in, plots out."""

from collections.abc import Iterable, Mapping

import numpy as np

from aios.bench.schedule import measures
from aios.bench.schedule.plots import Bar, Bars, Curves, Line
from aios.bench.schedule.records import Trial
from aios.bench.upstream.config import UpstreamConfig


def makespans(title: str, trials: Iterable[Trial], bound_s: float) -> Bars:
    """With how many each arm lost: a short bar of an arm that loses its agents is no win."""
    bars = []
    for trial in trials:
        lost = measures.num_lost(trial) / max(1, len(trial.programs))
        bars.append(
            Bar(trial.arm, measures.makespan(trial), f"{lost:.1%} of the agents lost" if lost else "")
        )
    return Bars(title, "makespan, seconds", bars, bound_s, "none can be shorter than")


def means(title: str, trials: Iterable[Trial], bound_s: float) -> Bars:
    """Mean turnaround, with the 99th percentile as a note."""
    found = [(trial.arm, measures.summary(trial)) for trial in trials]
    bars = [Bar(arm, one.mean_s, f"p99 {one.p99_s:,.0f}") for arm, one in found]
    return Bars(title, "mean turnaround, seconds", bars, bound_s, "none can be smaller than")


def turnarounds(title: str, trials: Iterable[Trial]) -> Curves:
    """The share of programs that are through after so many seconds."""
    parts = np.linspace(0, 1, 201)
    lines = [
        Line(trial.arm, np.quantile(measures.turnarounds(trial), parts).tolist(), parts.tolist())
        for trial in trials
    ]
    return Curves(title, "turnaround, seconds", "share of programs that are through", lines, log="x")


def slots_used(title: str, trials: Iterable[Trial], window_s: float, config: UpstreamConfig) -> Curves:
    """Slots in use over time, and how many there are."""
    lines, end = [], 0.0
    for trial in trials:
        used = measures.used_over_time(trial, window_s)
        lines.append(
            Line(trial.arm, [at + window_s / 2 for at, _ in used], [round(slots, 3) for _, slots in used])
        )
        end = max(end, measures.makespan(trial))
    return Curves(title, "seconds", "slots in use", [_capacity(config, end), *lines])


def _capacity(config: UpstreamConfig, end: float) -> Line:
    """A step for each change."""
    at, slots = [0.0], [float(config.slots)]
    for stage in config.stages:
        at += [stage.at_s, stage.at_s]
        slots += [slots[-1], float(stage.slots)]
    return Line("capacity", [*at, end], [*slots, slots[-1]])


def gaps(title: str, trials: Iterable[Trial], bound: float, points: int = 400) -> Curves:
    """How far the services of the best and the worst served tenant lie apart over time."""
    lines = []
    for trial in trials:
        curves = list(measures.services(trial).values())
        _, until = measures.all_backlogged(trial)
        times = np.linspace(0.0, until, points)
        values = np.array([np.interp(times, *curve) for curve in curves])
        lines.append(Line(trial.arm, times.tolist(), np.round(np.ptp(values, axis=0), 1).tolist()))
    return Curves(
        title, "seconds", "tokens of service", lines, log="y", bound=bound, bound_label="the VTC bound"
    )


def shares(title: str, x: str, found: Mapping[str, float]) -> Bars:
    """A figure for each arm."""
    return Bars(title, x, [Bar(arm, round(value, 4)) for arm, value in found.items()])
