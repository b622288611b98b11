"""What no scheduler can beat, worked out from a workload alone. Knows nothing of any run.

Each bound holds for every schedule of the same calls on the same slots; the last of them (`graham_s`) holds
for every schedule that leaves no slot idle while a call could run, so a run above it shows a bug.
"""

import heapq
import math
import statistics
from collections.abc import Iterable, Sequence

from msgspec import Struct

from aios.bench.schedule.program import WEIGHT_IN, WEIGHT_OUT, Program, Speed

Job = tuple[float, float]
"""When a program arrives, and the slot-seconds it needs."""


class Rates(Struct, frozen=True):
    """Limits of an upstream by the minute; 0 for none."""

    calls_per_minute: float = 0.0
    tokens_per_minute: float = 0.0
    calls_at_once: float = 0.0
    tokens_at_once: float = 0.0
    """What the buckets hold when they are full, free at the begin."""


class Bounds(Struct, frozen=True):
    """Seconds, from the workload's begin."""

    work_s: float
    """W: slot-seconds of all calls."""
    longest_s: float
    """The largest arrival + critical path of a program."""
    makespan_s: float
    """No schedule ends sooner."""
    graham_s: float
    """No schedule without idle slots ends later: W/C + the largest arrival + critical path."""
    mean_turnaround_s: float
    """No schedule has a smaller mean."""


def bounds_of(
    programs: Sequence[Program],
    speed: Speed,
    slots: int,
    rates: Rates | None = None,
    changes: Sequence[tuple[float, int]] = (),
) -> Bounds:
    """All of them. `slots` is 0 where there are only rates; `changes` say from when on there are how many."""
    work_s = speed.work_s(programs)
    paths = [speed.path_s(program) for program in programs]
    longest_s = max(
        (program.arrival_s + path for program, path in zip(programs, paths, strict=True)), default=0.0
    )
    spread_s = changing_s(work_s, slots, changes) if slots else 0.0
    served_s = 0.0
    if slots:
        most = max(slots, *(after for _, after in changes)) if changes else slots
        served_s = srpt_mean_s([(program.arrival_s, speed.work_s([program])) for program in programs], most)
    return Bounds(
        work_s,
        longest_s,
        max(spread_s, longest_s, rate_s(programs, rates or Rates())),
        spread_s + longest_s,
        max(statistics.fmean(paths) if paths else 0.0, served_s),
    )


def changing_s(work_s: float, slots: int, changes: Sequence[tuple[float, int]]) -> float:
    """Seconds until slots whose number changes, at times in order, have done so much; inf where never."""
    since = 0.0
    for until, after in [*changes, (math.inf, 0)]:
        if slots and work_s <= slots * (until - since):
            return since + work_s / slots
        work_s -= slots * (until - since) if slots else 0.0
        since, slots = until, after
    return math.inf


def rate_s(programs: Iterable[Program], rates: Rates) -> float:
    """Seconds that the rate limits alone ask for."""
    works = [work for program in programs for work in program.works]
    tokens = sum(work.n_in + work.n_out for work in works)
    return max(
        _seconds(len(works) - rates.calls_at_once, rates.calls_per_minute),
        _seconds(tokens - rates.tokens_at_once, rates.tokens_per_minute),
    )


def _seconds(amount: float, per_minute: float) -> float:
    return max(0.0, 60.0 * amount / per_minute) if per_minute else 0.0


def srpt_mean_s(jobs: Sequence[Job], speed: float) -> float:
    """Mean turnaround on one server that does `speed` slot-seconds a second, least remaining work first.

    A relaxation of any number of slots that do as much together, with the order that is best on one.
    """
    if not jobs:
        return 0.0
    left: list[tuple[float, float]] = []
    now = total_s = 0.0
    for arrival, work in sorted(jobs):
        now, ended_s = _serve(left, now, arrival)
        total_s += ended_s
        heapq.heappush(left, (work / speed, arrival))
    _, ended_s = _serve(left, now, math.inf)
    return (total_s + ended_s) / len(jobs)


def _serve(left: list[tuple[float, float]], now: float, until: float) -> tuple[float, float]:
    """Work on the jobs that are `left` until a time; that time, and the turnarounds of those that ended."""
    ended_s = 0.0
    while left and now < until:
        remaining_s, arrival = heapq.heappop(left)
        if now + remaining_s > until:
            heapq.heappush(left, (remaining_s - (until - now), arrival))
            break
        now += remaining_s
        ended_s += now - arrival
    return until, ended_s


def service_gap(largest_in: float, running_out: float) -> float:
    """The VTC bound: how far two tenants' service over weight may part while both are backlogged, in tokens.

    `largest_in` is the largest prompt, `running_out` the most answer tokens in flight at once.
    """
    return 2 * max(WEIGHT_IN * largest_in, WEIGHT_OUT * running_out)


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 where all are equal, 1/n where one has everything."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0
