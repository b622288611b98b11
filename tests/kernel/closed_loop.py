"""A gate and a small upstream in a closed loop on virtual time: whenever the gate lets a call in, one comes.

The upstream does what endpoints do: slots that change, rate limits that it tells of or not, memory that
overflows, outages. Service and wire times are random, seeded.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from aios.drivers.limits import Bucket, BucketName, RateLimits
from aios.kernel.cores.gate import DONE, Gate, Outcome

NAMES: tuple[BucketName, BucketName] = ("requests", "tokens")


@dataclass(eq=False)
class Call:
    """`tokens` are what it takes."""

    tokens: int
    reserved: int
    service_s: float
    is_alive: bool = True


class Upstream:
    """Bears everything. `judge` says what is wrong with a call that arrives, None for nothing."""

    def __init__(self) -> None:
        self.running: list[Call] = []

    def judge(self, now: float, call: Call) -> Outcome | None:
        return None

    def killed(self, now: float) -> list[Call]:
        """Calls that die by the one that arrived last."""
        return []

    def limits(self, now: float) -> RateLimits | None:
        return None


class Slots(Upstream):
    """`stages`: from a time on so many slots; 0 is an outage that breaks what runs."""

    def __init__(self, *stages: tuple[float, int], outage: Outcome) -> None:
        super().__init__()
        self.stages, self.outage = stages, outage

    def slots(self, now: float) -> int:
        return [slots for at, slots in self.stages if at <= now][-1]

    def judge(self, now: float, call: Call) -> Outcome | None:
        slots = self.slots(now)
        if not slots:
            return self.outage
        return Outcome("overloaded") if len(self.running) >= slots else None


class Rate(Upstream):
    """`stages`: from a time on so many requests and tokens a minute; buckets of `burst_s` seconds."""

    def __init__(self, *stages: tuple[float, int, int], tells: bool, burst_s: float = 60.0) -> None:
        super().__init__()
        self.stages, self.tells, self.burst_s = stages, tells, burst_s
        self.at = 0.0
        self.levels = [limit / 60 * burst_s for limit in stages[0][1:]]

    def rates(self, now: float) -> list[float]:
        return [limit / 60 for limit in [stage for stage in self.stages if stage[0] <= now][-1][1:]]

    def judge(self, now: float, call: Call) -> Outcome | None:
        rates, costs = self._fill(now), (1, call.tokens)
        if not any(rates):
            return Outcome("failed")
        lacks = zip(costs, self.levels, rates, strict=True)
        wait_s = max((cost - level) / rate for cost, level, rate in lacks if rate)
        if wait_s > 1e-6:
            return Outcome("rate_limited", wait_s if self.tells else None)
        self.levels = [level - cost for level, cost in zip(self.levels, costs, strict=True)]
        return None

    def _fill(self, now: float) -> list[float]:
        rates = self.rates(now)
        self.levels = [
            min(rate * self.burst_s, level + rate * (now - self.at))
            for level, rate in zip(self.levels, rates, strict=True)
        ]
        self.at = now
        return rates

    def limits(self, now: float) -> RateLimits | None:
        if not self.tells:
            return None
        rates = self._fill(now)
        told: dict[BucketName, Bucket] = {}
        for name, level, rate in zip(NAMES, self.levels, rates, strict=True):
            if rate:
                size = rate * self.burst_s
                told[name] = Bucket(size, math.floor(level), round((size - level) / rate, 3))
        return RateLimits(told) if told else None


class Memory(Upstream):
    """Room for so many tokens; when there is no more, who came last dies."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens

    def killed(self, now: float) -> list[Call]:
        used = sum(call.tokens for call in self.running)
        dead = []
        for call in reversed(self.running):
            if used <= self.tokens:
                break
            used -= call.tokens
            dead.append(call)
        return dead


@dataclass
class Loop:
    """Runs `gate` against `upstream`; `service` and `tokens` draw a call's. `wire_s` is one way at most."""

    gate: Gate
    upstream: Upstream
    seed: int = 0
    service: Callable[[random.Random], float] = lambda draw: draw.expovariate(1.0)
    tokens: Callable[[random.Random], int] = lambda draw: 100
    reserve: float = 1.0
    """What is reserved, over what is used."""
    wire_s: float = 0.01
    now: float = 0.0
    refused_at: list[float] = field(default_factory=list)
    let_in: list[tuple[float, int]] = field(default_factory=list)
    """When, and the call's tokens."""
    curve: list[tuple[float, int]] = field(default_factory=list)
    """How many run upstream, from when on."""

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.order = itertools.count()
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.wakes_at = math.inf
        self.offered = self._draw()

    def run(self, until: float) -> "Loop":
        self._offer()
        while self.events and self.events[0][0] <= until:
            self.now, _, event = heapq.heappop(self.events)
            event()
            self.gate.check()
            self._offer()
            self.curve.append((self.now, len(self.upstream.running)))
        return self

    def at(self, moment: float, event: Callable[[], None]) -> None:
        heapq.heappush(self.events, (moment, next(self.order), event))

    def break_all(self, outcome: Outcome) -> None:
        """All that runs dies."""
        for call in list(self.upstream.running):
            self._break(call, outcome)

    def used(self, slots: int, begin: float, end: float) -> float:
        """The share of so many slots that was busy between two moments."""
        pieces = itertools.pairwise([*self.curve, (end, 0)])
        busy = (running * max(0.0, min(until, end) - max(at, begin)) for (at, running), (until, _) in pieces)
        return sum(busy) / (slots * (end - begin))

    def per_second(self, begin: float, end: float) -> tuple[float, float]:
        """Calls and tokens let in."""
        tokens = [tokens for at, tokens in self.let_in if begin <= at < end]
        return len(tokens) / (end - begin), sum(tokens) / (end - begin)

    def rejections(self, begin: float, end: float) -> float:
        """For each call let in."""
        let_in = sum(begin <= at < end for at, _ in self.let_in)
        return sum(begin <= at < end for at in self.refused_at) / max(1, let_in)

    # ---- inside

    def _draw(self) -> Call:
        tokens = self.tokens(self.draw)
        return Call(tokens, int(tokens * self.reserve), self.service(self.draw))

    def _later(self, delay_s: float, event: Callable[[], None]) -> None:
        self.at(self.now + delay_s, event)

    def _wire(self) -> float:
        return self.draw.uniform(0.2, 1.0) * self.wire_s

    def _offer(self) -> None:
        while (opens_at := self.gate.opens_at(self.now, self.offered.reserved)) <= self.now:
            call, self.offered = self.offered, self._draw()
            self.gate.enter(self.now, call.reserved)
            self._later(self._wire(), partial(self._arrive, call))
        if opens_at < math.inf and not self.now < self.wakes_at <= opens_at:
            self.wakes_at = opens_at
            self.at(opens_at, lambda: None)

    def _arrive(self, call: Call) -> None:
        refusal = self.upstream.judge(self.now, call)
        limits = self.upstream.limits(self.now)
        if refusal is not None:
            self._later(self._wire(), partial(self._leave, call, 0, refusal, limits))
            return
        self.upstream.running.append(call)
        self.let_in.append((self.now, call.tokens))
        self._later(call.service_s, partial(self._finish, call))
        if limits is not None:
            self._later(self._wire(), partial(self._observe, limits))
        for dead in self.upstream.killed(self.now):
            self._break(dead, Outcome("overloaded"))

    def _finish(self, call: Call) -> None:
        if call.is_alive:
            self.upstream.running.remove(call)
            self._later(self._wire(), partial(self._leave, call, call.tokens, DONE, None))

    def _break(self, call: Call, outcome: Outcome) -> None:
        call.is_alive = False
        self.upstream.running.remove(call)
        self._later(self._wire(), partial(self._leave, call, None, outcome, None))

    def _observe(self, limits: RateLimits) -> None:
        self.gate.observe(self.now, limits)

    def _leave(self, call: Call, used: int | None, outcome: Outcome, limits: RateLimits | None) -> None:
        if limits is not None:
            self._observe(limits)
        self.gate.leave(self.now, call.reserved, used, outcome)
        if outcome is not DONE:
            self.refused_at.append(self.now)
