"""What was learnt of each kind of agent: how much its programs still need, given how far they are.

Of each kind it keeps the distribution of the service and of the steps of its programs, in geometric bins, and
one quantile for each place (step, attained service) that they passed; all fade, so that they follow change.
Plain sums; no clock, no I/O.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, takewhile
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]
EstimateRow = tuple[str, int, bytes]
"""What is kept of a kind: its name, the version of the format, and what is in it."""

VERSION = 1
MIN_SAMPLES = 30
"""Fewer programs than this tell nothing of the service that is left."""
MIN_CHAINS = 2.5
"""Fewer (they fade) tell nothing of the steps: a mean asks for less than a quantile of a heavy tail does."""
QUANTILE = 0.8
"""Of the service that is left. Above the median: a long program in front of short ones costs the most."""
LEAST_SHARE = 0.1
"""Of the programs that go on: a span in which fewer end is told by chance more than by Gittins."""
MAX_KINDS = 1000
"""The kinds that have not been seen for the longest are forgotten."""
FADING = 4000
"""The weight of a program has halved after so many others of its kind."""

_FIRST_SERVICE, _PER_OCTAVE, _NUM_BINS = 16.0, 4, 120
_EXACT_STEPS, _STEP_RATIO, _NUM_STEP_BINS = 12, 1.25, 48
_SERVICE_EDGES: Floats = np.concatenate([[0.0], _FIRST_SERVICE * 2.0 ** (np.arange(_NUM_BINS) / _PER_OCTAVE)])
_STEP_EDGES: Floats = np.concatenate(
    [np.arange(_EXACT_STEPS), np.ceil(_EXACT_STEPS * _STEP_RATIO ** np.arange(_NUM_STEP_BINS - _EXACT_STEPS))]
)
"""The least number of each bin of steps."""
_STEP_STARTS: list[int] = [int(first) for first in _STEP_EDGES]
_STEP_ENDS = [*_STEP_STARTS[1:], 2 * _STEP_STARTS[-1]]
_SERVICE_MIDDLES: Floats = np.sqrt(np.maximum(_SERVICE_EDGES[:-1], 4.0) * _SERVICE_EDGES[1:])
_STEP_MIDDLES: Floats = (_STEP_EDGES + np.append(_STEP_EDGES[1:], 2 * _STEP_EDGES[-1]) - 1) / 2


class Place(Struct):
    """A quantile, followed by steps towards each new sample, in logarithms."""

    num_samples: float = 0.0
    log_value: float = 0.0

    def add(self, value: float, quantile: float = QUANTILE) -> None:
        """Robbins and Monro's step for a quantile: up by its share, or down by the rest."""
        x = math.log(max(value, 1.0))
        if self.num_samples == 0:
            self.log_value = x
        self.num_samples += 1
        step = max(2.0 / (1 + self.num_samples**0.75), 0.02)
        self.log_value += step * (quantile if x > self.log_value else quantile - 1.0)


class Learnt(Struct):
    """All that is kept of one kind."""

    services: list[float]
    steps: list[float]
    places: dict[int, Place]


class Kind:
    """Programs of one kind. What is answered is worked out now and then, not with each program that ends."""

    __slots__ = (
        "_chains",
        "_counted",
        "_num_new",
        "_places",
        "_ranks",
        "_remaining",
        "_services",
        "_steps",
        "_survivors",
    )

    def __init__(self, learnt: Learnt | None = None) -> None:
        self._ranks: list[float] | None = None
        """Made of what was counted when they are asked for: one policy asks, and they take a millisecond."""
        self._services: Floats = np.zeros(_NUM_BINS)
        self._steps: Floats = np.zeros(_NUM_STEP_BINS)
        self._places: dict[int, Place] = {}
        if learnt is not None:
            self._services[:] = learnt.services
            self._steps[:] = learnt.steps
            self._places = learnt.places
        self._num_new = 0
        self._work_out()

    def learnt(self) -> Learnt:
        return Learnt(self._services.tolist(), self._steps.tolist(), self._places)

    def add(self, services: Sequence[float]) -> None:
        """A program ended: the service of each of its steps."""
        attained = [0.0, *accumulate(services)]
        total = attained[-1]
        self._services[_bin_of(total)] += 1
        self._steps[_step_bin(len(services))] += 1
        # One place of each bin of steps: a program of thousands shall not take long, nor outweigh others.
        for step in takewhile(lambda step: step < len(services), _STEP_STARTS):
            key = _place(step, attained[step])
            place = self._places.get(key)
            if place is None:
                place = self._places[key] = Place()
            place.add(total - attained[step])
        self._num_new += 1
        if self._num_new >= min(3 + 0.25 * self._survivors[0], 8 + 0.05 * self._survivors[0]):
            self._fade()
            self._work_out()

    def remaining(self, step: int, attained: float) -> tuple[float, int] | None:
        place = self._places.get(_place(step, attained))
        if place is not None and place.num_samples >= MIN_SAMPLES:
            return math.exp(place.log_value), int(place.num_samples)
        return self._at(self._remaining, attained)

    def rank(self, attained: float) -> tuple[float, int] | None:
        if self._ranks is None:
            self._ranks = _gittins_ranks(self._counted, _from_right(self._counted))
        return self._at(self._ranks, attained)

    def steps_left(self, step: int) -> float | None:
        if self._survivors[0] < MIN_CHAINS:
            return None
        mean = self._chains.mean_beyond(step)
        return max(1.0, step if mean is None else mean - step)

    def _at(self, values: list[float], attained: float) -> tuple[float, int] | None:
        """At the bin of `attained`. Beyond what is known as much again is expected as there was."""
        index = _bin_of(attained)
        if self._survivors[index] >= MIN_SAMPLES:
            return values[index], int(self._survivors[index])
        if self._survivors[0] < MIN_SAMPLES:
            return None
        return max(values[index], attained), int(self._survivors[index])

    def _fade(self) -> None:
        share = 0.5 ** (self._num_new / FADING)
        self._num_new = 0
        self._services *= share
        self._steps *= share
        for key, place in list(self._places.items()):
            place.num_samples *= share
            if place.num_samples < 0.5:
                del self._places[key]

    def _work_out(self) -> None:
        survivors = _from_right(self._services)
        self._survivors: list[float] = survivors.tolist()
        self._remaining = _quantiles(self._services, survivors)
        self._counted = self._services.copy()
        self._ranks = None
        self._chains = _Chains(self._steps)


class Estimates:
    """The tables of all kinds. Service is in the scheduler's tokens."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}
        self._changed: set[str] = set()

    def finished(self, agent: str, services: Sequence[float]) -> None:
        """A program of this kind ended well: the service of each of its steps, in order."""
        if not services:
            return
        kind = self._kinds.pop(agent, None) or Kind()
        self._kinds[agent] = kind  # The one seen last is last.
        kind.add(services)
        self._changed.add(agent)
        if len(self._kinds) > MAX_KINDS:
            del self._kinds[next(iter(self._kinds))]

    def remaining(self, agent: str, step: int, attained: float) -> tuple[float, int] | None:
        """The service left of nearly all such programs (the `QUANTILE`), and the number of samples behind it.

        Of programs at this step and service, else at this service; None where too few of the kind ended.
        """
        kind = self._kinds.get(agent)
        return None if kind is None else kind.remaining(step, attained)

    def gittins(self, agent: str, attained: float) -> tuple[float, int] | None:
        """The Gittins rank, in tokens of service, smaller first, and the number of samples behind it.

        The least, over all spans d, of the expected service within d over the chance to end within d: the
        inverse of Gittins' index (1979), as in SOAP (Scully, Harchol-Balter and Scheller-Wolf, 2018).
        """
        kind = self._kinds.get(agent)
        return None if kind is None else kind.rank(attained)

    def steps_left(self, agent: str, step: int) -> float | None:
        """The mean number of steps such a program still makes, that after `step` finished ones included."""
        kind = self._kinds.get(agent)
        return None if kind is None else kind.steps_left(step)

    def take_rows(self) -> list[EstimateRow]:
        """What changed since the last time, to be kept."""
        changed, self._changed = self._changed, set()
        kinds = [(agent, self._kinds[agent]) for agent in changed if agent in self._kinds]
        return [(agent, VERSION, _encoder.encode(kind.learnt())) for agent, kind in kinds]

    def changed(self, agents: Iterable[str]) -> None:
        """These could not be kept: they are changes again."""
        self._changed.update(agents)

    def load(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Take in what was kept. What another version wrote is learnt anew."""
        for agent, version, data in rows:
            if version == VERSION:
                self._kinds[agent] = Kind(_decoder.decode(data))

    def statistics(self) -> dict[str, int]:
        return {"kinds": len(self._kinds)}


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Learnt)


def _bin_of(service: float) -> int:
    if service < _FIRST_SERVICE:
        return 0
    return min(_NUM_BINS - 1, 1 + int(_PER_OCTAVE * math.log2(service / _FIRST_SERVICE)))


def _step_bin(num_steps: int) -> int:
    if num_steps < _EXACT_STEPS:
        return num_steps
    return bisect_right(_STEP_STARTS, num_steps) - 1


def _place(step: int, attained: float) -> int:
    """Where a program stands: its step, and its attained service by octaves."""
    return _step_bin(step) * _NUM_BINS + _bin_of(attained) // _PER_OCTAVE


def _from_right(counts: Floats) -> Floats:
    """Of each bin, the sum of it and those above."""
    return np.cumsum(counts[::-1])[::-1]


def _quantiles(services: Floats, survivors: Floats) -> list[float]:
    """The quantile of what is left at the lower edge of each bin."""
    below = np.concatenate([[0.0], np.cumsum(services)])
    wanted = below[:-1] + QUANTILE * survivors
    left = np.interp(wanted, below, _SERVICE_EDGES) - _SERVICE_EDGES[:-1]
    return _beyond(left, survivors)


def _gittins_ranks(services: Floats, survivors: Floats) -> list[float]:
    """The rank at the lower edge of each bin, over the spans that end at a bin's upper edge."""
    attained, ends = _SERVICE_EDGES[:-1, None], _SERVICE_EDGES[None, 1:]
    below = np.concatenate([[0.0], np.cumsum(services)])
    sums = np.concatenate([[0.0], np.cumsum(services * _SERVICE_MIDDLES)])
    num_ended = below[None, 1:] - below[:-1, None]
    served = sums[None, 1:] - sums[:-1, None] - attained * num_ended
    served = served + (below[-1] - below[None, 1:]) * (ends - attained)
    with np.errstate(divide="ignore", invalid="ignore"):
        ranks = np.where(num_ended > LEAST_SHARE * survivors[:, None], served / num_ended, np.inf)
    return _beyond(ranks.min(axis=1), survivors)


def _beyond(values: Floats, survivors: Floats) -> list[float]:
    """With the last value that enough programs speak for in place of those beyond."""
    num_known = max(1, int(np.count_nonzero(survivors >= MIN_SAMPLES)))
    values[num_known:] = values[num_known - 1]
    found: list[float] = values.tolist()
    return found


class _Chains:
    """How many programs had how many steps. A bin's are taken to be spread evenly over its numbers."""

    __slots__ = ("_counts", "_nums", "_sums")

    def __init__(self, counts: Floats) -> None:
        self._counts: list[float] = counts.tolist()
        self._nums: list[float] = [*_from_right(counts).tolist(), 0.0]
        self._sums: list[float] = [*_from_right(counts * _STEP_MIDDLES).tolist(), 0.0]

    def mean_beyond(self, step: int) -> float | None:
        """The mean number of steps of programs that have more than `step`; None where too few have."""
        index = _step_bin(step)
        first, end = _STEP_STARTS[index], _STEP_ENDS[index]
        num_here = self._counts[index] * max(0, end - 1 - step) / (end - first)
        num = num_here + self._nums[index + 1]
        if num < MIN_CHAINS:
            return None
        return (num_here * (step + end) / 2 + self._sums[index + 1]) / num
