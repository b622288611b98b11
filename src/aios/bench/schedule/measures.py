"""What a trial came to. Pure: records in, numbers out; the bounds beside them are `bounds.py`'s.

A call waits from its creation until the upstream begins it. All seconds count from the run's begin.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from aios.bench.schedule.bounds import jain
from aios.bench.schedule.program import WEIGHT_IN, WEIGHT_OUT
from aios.bench.schedule.records import CallRecord, Trial

Numbers: TypeAlias = NDArray[np.float64]
Curve: TypeAlias = tuple[Numbers, Numbers]
"""Times in order, and the value from each on."""
Span = tuple[float, float]

SETTLED_S = 30.0
"""After which an arm that was told nothing should have found out."""


class Summary(Struct, frozen=True):
    """A trial in one line."""

    programs: int
    lost: int
    makespan_s: float
    mean_s: float
    p50_s: float
    p99_s: float
    """Turnaround of the programs that finished."""
    calls_per_s: float
    rejections: float
    """Tries turned away, for each call."""
    rejections_after: float
    """The same of what came after 30 s."""
    wasted: float
    """Share of the slot time in use that went into calls that came to nothing."""


def summary(trial: Trial) -> Summary:
    times = np.array(turnarounds(trial) or [0.0])
    end_s, report = makespan(trial), trial.report
    used_s = report.useful_s + report.wasted_s
    return Summary(
        programs=len(trial.programs),
        lost=num_lost(trial),
        makespan_s=end_s,
        mean_s=float(times.mean()),
        p50_s=float(np.quantile(times, 0.5)),
        p99_s=float(np.quantile(times, 0.99)),
        calls_per_s=sum(not call.is_lost for call in trial.calls) / end_s if end_s else 0.0,
        rejections=report.rejections_per_call,
        rejections_after=report.rejections_after(SETTLED_S),
        wasted=report.wasted_s / used_s if used_s else 0.0,
    )


def turnarounds(trial: Trial) -> list[float]:
    """Of the programs that finished, in no order."""
    return [
        program.end - program.arrival
        for program in trial.programs
        if program.state == "done" and program.end is not None
    ]


def makespan(trial: Trial) -> float:
    """When the last program ended, done or lost."""
    return max((program.end for program in trial.programs if program.end is not None), default=0.0)


def num_lost(trial: Trial) -> int:
    return sum(program.state != "done" for program in trial.programs)


def on_time(trial: Trial) -> float:
    """Share of the programs with a deadline that met it."""
    due = [(program, program.deadline) for program in trial.programs if program.deadline is not None]
    met = [
        program
        for program, deadline in due
        if program.state == "done" and program.end is not None and program.end <= deadline
    ]
    return len(met) / len(due) if due else 1.0


def cached(trial: Trial) -> float:
    """Share of the prompts' tokens that servers' caches held."""
    calls = trial.report.calls
    total = sum(call.n_in for call in calls)
    return sum(call.n_hit for call in calls) / total if total else 0.0


# ---- slots


def waiting(calls: Iterable[CallRecord], end: float) -> Curve:
    """Calls created and not begun, nor given up."""
    return curve((call.created, _until(call, end)) for call in calls)


def _until(call: CallRecord, end: float) -> float:
    """When a call's wait was over."""
    if call.begun is not None:
        return call.begun
    return end if call.left is None else call.left


def busy(trial: Trial) -> Curve:
    """Calls that run in the upstream."""
    points = trial.report.curve
    return np.array([point.at_s for point in points]), np.array(
        [float(point.num_running) for point in points]
    )


def curve(spans: Iterable[Span]) -> Curve:
    """How many spans are open at each time."""
    pairs = np.array([span for span in spans if span[1] > span[0]], dtype=np.float64).reshape(-1, 2)
    times = np.concatenate([pairs[:, 0], pairs[:, 1]])
    steps = np.concatenate([np.ones(len(pairs)), -np.ones(len(pairs))])
    found, where = np.unique(times, return_inverse=True)
    return found, np.cumsum(np.bincount(where, steps, len(found)))


def at(times: Numbers, line: Curve) -> Numbers:
    """The curve's value at each of `times`; 0 before its first."""
    found, values = line
    if not len(found):
        return np.zeros(len(times))
    index = np.searchsorted(found, times, side="right") - 1
    return np.where(index >= 0, values[np.maximum(index, 0)], 0.0)


def idle_with_backlog(trial: Trial) -> float:
    """Share of the slots' time that is idle while a call waits that could have it; pauses are left out."""
    end = makespan(trial)
    waits, used, paused = waiting(trial.calls, end), busy(trial), curve(trial.paused)
    times = np.unique(np.concatenate([waits[0], used[0], paused[0]]))
    times = times[times <= end]
    spans = np.diff(times) * (at(times, paused)[:-1] == 0)
    idle = np.minimum(at(times, waits), np.maximum(0.0, trial.slots - at(times, used)))[:-1]
    return float((idle * spans).sum() / (trial.slots * spans.sum())) if spans.any() else 0.0


def backlog_end(trial: Trial) -> float:
    """Until when there was enough to do for all slots: at least as many calls waited as there are."""
    times, values = waiting(trial.calls, makespan(trial))
    enough = np.flatnonzero(values >= max(1, trial.slots))
    return float(times[min(enough[-1] + 1, len(times) - 1)]) if len(enough) else 0.0


def resettle_s(trial: Trial, change: float, until: float, window_s: float = 5.0) -> float:
    """Seconds after a change until 95 % of the capacity is used and at most 1 % of the tries are refused.

    To the begin of the first window of `window_s` that is used so well, with nineteen of twenty windows from
    there until `until`, and no more refused in all of them; the whole time where there is none.
    """
    begins = np.arange(change, until - window_s / 2, window_s).tolist()
    used = [trial.report.capacity_used(begin, begin + window_s) >= 0.95 for begin in begins]
    for index, begin in enumerate(begins):
        rest = used[index:]
        if used[index] and sum(rest) >= 0.95 * len(rest) and _refused(trial, begin, until) <= 0.01:
            return float(begin - change)
    return until - change


def _refused(trial: Trial, since: float, until: float) -> float:
    """Share of the tries between two times that were turned away."""
    refused = sum(since <= refusal.at_s < until for refusal in trial.report.refusals)
    let_in = sum(since <= call.arrived_s < until for call in trial.report.calls)
    return refused / max(1, refused + let_in)


def used_over_time(trial: Trial, window_s: float) -> list[tuple[float, float]]:
    """Slots in use over time, each the mean of a window, by the window's begin."""
    edges = np.arange(0.0, makespan(trial) + window_s, window_s)
    times, values = busy(trial)
    until = np.append(times[1:], max(times[-1], edges[-1]))
    total = np.concatenate([[0.0], np.cumsum(values * (until - times))])
    done = np.interp(edges, np.append(times, until[-1]), total)
    return [(float(edge), float(used)) for edge, used in zip(edges, np.diff(done) / window_s, strict=False)]


# ---- tenants


def services(trial: Trial) -> dict[str, Curve]:
    """Service by tenant over time, in tokens: prompts when they are begun, answers as they stream.

    All curves share their times. Each is there twice: before and after the prompts that begin at it. Between
    two of them service grows evenly.
    """
    served = [call for call in trial.calls if call.ended is not None]
    grid = np.unique(np.array([_times(call) for call in served], dtype=np.float64))
    return {
        tenant: (np.repeat(grid, 2), _service([call for call in served if call.tenant == tenant], grid))
        for tenant in tenants(trial)
    }


def tenants(trial: Trial) -> list[str]:
    return sorted({program.tenant for program in trial.programs})


def _times(call: CallRecord) -> tuple[float, float, float]:
    assert call.begun is not None
    assert call.first is not None
    assert call.ended is not None
    return call.begun, call.first, call.ended


def _service(served: Sequence[CallRecord], grid: Numbers) -> Numbers:
    """Service done just before each time of the grid, and just after it."""
    times = np.array([_times(call) for call in served], dtype=np.float64).reshape(-1, 3)
    begun, first, ended = np.searchsorted(grid, times).T
    prompts = WEIGHT_IN * np.array([float(call.n_in) for call in served])
    answers = WEIGHT_OUT * np.array([float(call.n_out) for call in served])
    rates = answers / np.maximum(times[:, 2] - times[:, 1], 1e-9)
    slopes = np.bincount(first, rates, len(grid)) - np.bincount(ended, rates, len(grid))
    grown = np.concatenate([[0.0], np.cumsum(np.cumsum(slopes)[:-1] * np.diff(grid))])
    jumps = np.bincount(begun, prompts, len(grid))
    after = np.cumsum(jumps) + grown
    return np.column_stack([after - jumps, after]).ravel()


def backlogged(trial: Trial, among: Iterable[str]) -> list[Span]:
    """Spans in which calls of every one of these tenants wait."""
    end = makespan(trial)
    lines = [waiting((call for call in trial.calls if call.tenant == tenant), end) for tenant in among]
    times = np.unique(np.concatenate([found for found, _ in lines]))
    all_wait = np.all([at(times, line) > 0 for line in lines], axis=0)
    spans: list[Span] = []
    for (begin, stop), waits in zip(pairwise(times.tolist()), all_wait, strict=False):
        if waits and spans and spans[-1][1] == begin:
            spans[-1] = spans[-1][0], stop
        elif waits:
            spans.append((begin, stop))
    return spans


def all_backlogged(trial: Trial) -> Span:
    """The longest span in which calls of every tenant wait."""
    spans = backlogged(trial, tenants(trial))
    return max(spans, key=lambda span: span[1] - span[0], default=(0.0, 0.0))


def largest_gap(trial: Trial, weights: dict[str, float]) -> float:
    """How far any two tenants' service over weight parts within a span in which both are backlogged."""
    curves, names = services(trial), tenants(trial)
    worst = 0.0
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            times = curves[one][0]
            between = curves[one][1] / weights.get(one, 1.0) - curves[other][1] / weights.get(other, 1.0)
            spans = backlogged(trial, (one, other))
            worst = max([worst, *(_range_within(times, between, span) for span in spans)])
    return worst


def _range_within(times: Numbers, values: Numbers, span: Span) -> float:
    """Largest minus smallest value inside `span`."""
    inside = values[np.searchsorted(times, span[0]) : np.searchsorted(times, span[1], side="right")]
    return float(inside.max() - inside.min()) if len(inside) else 0.0


def shares(trial: Trial, span: Span) -> dict[str, float]:
    """Tokens of service that each tenant had in a span."""
    return {
        tenant: _value(line, span[1], "right") - _value(line, span[0], "left")
        for tenant, line in services(trial).items()
    }


def _value(line: Curve, time: float, side: Literal["left", "right"]) -> float:
    """Service by a time: without (left) or with (right) the prompts that begin at it."""
    times, values = line
    index = np.searchsorted(times, time, side=side) - (side == "right")
    if index < len(times) and times[index] == time:
        return float(values[index])
    return float(np.interp(time, times, values))


def jain_index(trial: Trial, span: Span, weights: dict[str, float]) -> float:
    """Of the tenants' service over weight in a span."""
    return jain([share / weights.get(tenant, 1.0) for tenant, share in shares(trial, span).items()])


def weights_error(trial: Trial, span: Span, weights: dict[str, float]) -> float:
    """The largest distance of a tenant's share in a span from what its weight asks, over that."""
    found = shares(trial, span)
    total, asked = sum(found.values()), sum(weights.get(tenant, 1.0) for tenant in found)
    return max(abs(share / total / (weights.get(tenant, 1.0) / asked) - 1) for tenant, share in found.items())


def service_rate(trial: Trial, span: Span) -> float:
    """Tokens of service a second in a span, of all tenants."""
    return sum(shares(trial, span).values()) / (span[1] - span[0]) if span[1] > span[0] else 0.0
