"""What became of an upstream's slot time: useful, wasted, idle; and what became of each call.

A slot-second is one slot held for one second. It is useful where the call it went into was answered whole,
wasted where it was not, open while that is not known yet. Useful + wasted + open + idle = capacity × time.
Pure: `now` is an argument, in seconds of one clock; reports count from the ledger's begin.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from msgspec import Struct, structs

from aios.bench.upstream.work import Work

Outcome = Literal["open", "done", "killed", "broken", "abandoned"]
"""Answered whole; killed for want of memory; broken off by a failure or outage; given up by its caller."""


_KIND_OF: dict[Outcome, str] = {"done": "useful", "open": "open"}


class Record(Struct):
    """One try of a call that was let in. Seconds since the ledger's begin."""

    id: int
    n_in: int
    n_out: int
    arrived_s: float
    began_s: float | None = None
    """None while it waits in the upstream's own queue."""
    ended_s: float | None = None
    outcome: Outcome = "open"
    slot_s: float = 0.0
    """Slot-seconds that went into it."""
    num_pauses: int = 0
    n_hit: int = 0
    """Tokens of its prompt that the server's cache held."""


class Point(Struct, frozen=True, array_like=True, order=True):
    """How things stand from a moment on, until the next."""

    at_s: float
    num_running: int
    num_waiting: int
    """In the upstream's own queue."""
    busy: float
    """Slots in use."""
    capacity: float


class Refusal(Struct, frozen=True, array_like=True, order=True):
    at_s: float
    id: int
    reason: str


class Report(Struct, frozen=True):
    """A ledger as it stands. It is plain data, so that one from another process is as good."""

    span_s: float
    """From the begin of the ledger to this report."""
    capacity_s: float
    """Slot-seconds there were. Slots in use beyond a lowered capacity, or without a limit, count as there."""
    useful_s: float
    wasted_s: float
    open_s: float
    idle_s: float
    num_calls: int
    """Different calls that came; each may have come many times."""
    num_tries: int
    num_done: int
    num_refused: dict[str, int]
    """Tries turned away, by reason."""
    calls: tuple[Record, ...]
    refusals: tuple[Refusal, ...]
    curve: tuple[Point, ...]

    @property
    def rejections_per_call(self) -> float:
        return len(self.refusals) / self.num_calls if self.num_calls else 0.0

    @property
    def in_flight_s(self) -> float:
        """Call-seconds from slot to end: more than slot-seconds only where calls share slots."""
        return sum((until_s - point.at_s) * point.num_running for point, until_s in self._pieces())

    def rejections_after(self, begin_s: float, end_s: float | None = None) -> float:
        """Tries turned away for each one let in, between two moments."""
        end_s = self.span_s if end_s is None else end_s
        turned_away = sum(begin_s <= refusal.at_s < end_s for refusal in self.refusals)
        let_in = sum(begin_s <= call.arrived_s < end_s for call in self.calls)
        return turned_away / let_in if let_in else float(turned_away)

    def capacity_used(self, begin_s: float = 0.0, end_s: float | None = None) -> float:
        """The share of the slot-seconds between two moments that were not idle."""
        end_s = self.span_s if end_s is None else end_s
        busy = capacity = 0.0
        for point, until_s in self._pieces():
            span_s = min(until_s, end_s) - max(point.at_s, begin_s)
            if span_s > 0:
                busy += span_s * point.busy
                capacity += span_s * point.capacity
        return busy / capacity if capacity else 0.0

    def rate_used(self, rpm: int, tpm: int, begin_s: float = 0.0, end_s: float | None = None) -> float:
        """What was let in between two moments, over what the limits bring; of two limits the nearer one."""
        end_s = self.span_s if end_s is None else end_s
        let_in = [call for call in self.calls if begin_s <= call.arrived_s < end_s]
        minutes = (end_s - begin_s) / 60
        requests = len(let_in) / (rpm * minutes) if rpm else 0.0
        tokens = sum(call.n_in + call.n_out for call in let_in) / (tpm * minutes) if tpm else 0.0
        return max(requests, tokens)

    def _pieces(self) -> list[tuple[Point, float]]:
        """Each point with the moment until which it holds."""
        if not self.curve:
            return []
        pieces = [(point, after.at_s) for point, after in pairwise(self.curve)]
        return [*pieces, (self.curve[-1], self.span_s)]


def merged(reports: Sequence[Report]) -> Report:
    """Of several upstreams, begun at the same time, as if they were one."""
    if len(reports) == 1:
        return reports[0]
    total: Counter[str] = Counter()
    ids: set[int] = set()
    for report in reports:
        total.update(report.num_refused)
        ids |= {call.id for call in report.calls} | {refusal.id for refusal in report.refusals}
    return Report(
        span_s=max(report.span_s for report in reports),
        capacity_s=sum(report.capacity_s for report in reports),
        useful_s=sum(report.useful_s for report in reports),
        wasted_s=sum(report.wasted_s for report in reports),
        open_s=sum(report.open_s for report in reports),
        idle_s=sum(report.idle_s for report in reports),
        num_calls=len(ids),
        num_tries=sum(report.num_tries for report in reports),
        num_done=sum(report.num_done for report in reports),
        num_refused=dict(total),
        calls=tuple(call for report in reports for call in report.calls),
        refusals=tuple(sorted(refusal for report in reports for refusal in report.refusals)),
        curve=_summed([report.curve for report in reports]),
    )


def _summed(curves: Sequence[Sequence[Point]]) -> tuple[Point, ...]:
    """A point wherever one of the curves has one."""
    now = [curve[0] for curve in curves]
    changes = sorted((point.at_s, number, point) for number, curve in enumerate(curves) for point in curve)
    summed: list[Point] = []
    for at_s, number, point in changes:
        now[number] = point
        if summed and summed[-1].at_s == at_s:
            summed.pop()
        sums = (
            sum(one.num_running for one in now),
            sum(one.num_waiting for one in now),
            sum(one.busy for one in now),
            sum(one.capacity for one in now),
        )
        summed.append(Point(at_s, *sums))
    return tuple(summed)


class Ledger:
    """Begins at `now` with nothing running."""

    def __init__(self, now: float, capacity: float) -> None:
        self._begin = self._at = now
        self._busy_s = self._capacity_s = 0.0
        self._records: list[Record] = []
        self._refusals: list[Refusal] = []
        self._ids: set[int] = set()
        self._curve = [Point(0.0, 0, 0, 0.0, capacity)]

    # ---- what happens

    def stands(self, now: float, num_running: int, num_waiting: int, busy: float, capacity: float) -> None:
        """From now on so many run and wait, in so many of the slots."""
        last = self._curve[-1]
        point = Point(now - self._begin, num_running, num_waiting, busy, max(busy, capacity))
        if structs.replace(point, at_s=last.at_s) == last:
            return
        self._advance(now)
        if last.at_s == point.at_s:
            self._curve.pop()
        self._curve.append(point)

    def refused(self, now: float, work: Work, reason: str) -> None:
        self._ids.add(work.id)
        self._refusals.append(Refusal(now - self._begin, work.id, reason))

    def let_in(self, now: float, work: Work) -> Record:
        """The record of a call that runs or waits from now on; who runs it adds its slot-seconds to it."""
        self._ids.add(work.id)
        record = Record(work.id, work.n_in, work.n_out, now - self._begin)
        self._records.append(record)
        return record

    def began(self, now: float, record: Record) -> None:
        if record.began_s is None:
            record.began_s = now - self._begin

    def ended(self, now: float, record: Record, outcome: Outcome) -> None:
        assert record.outcome == "open", record
        record.ended_s, record.outcome = now - self._begin, outcome

    # ---- looking

    def report(self, now: float) -> Report:
        """All of it. The slot-seconds of calls that run now count up to when each was last looked at."""
        self._advance(now)
        slot_s: defaultdict[str, float] = defaultdict(float)
        for record in self._records:
            slot_s[_KIND_OF.get(record.outcome, "wasted")] += record.slot_s
        return Report(
            span_s=now - self._begin,
            capacity_s=self._capacity_s,
            useful_s=slot_s["useful"],
            wasted_s=slot_s["wasted"],
            open_s=slot_s["open"],
            idle_s=self._capacity_s - self._busy_s,
            num_calls=len(self._ids),
            num_tries=len(self._records) + len(self._refusals),
            num_done=sum(record.outcome == "done" for record in self._records),
            num_refused=dict(Counter(refusal.reason for refusal in self._refusals)),
            calls=tuple(structs.replace(record) for record in self._records),
            refusals=tuple(self._refusals),
            curve=tuple(self._curve),
        )

    def _advance(self, now: float) -> None:
        last, span_s = self._curve[-1], now - self._at
        self._busy_s += span_s * last.busy
        self._capacity_s += span_s * last.capacity
        self._at = now
