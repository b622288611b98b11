"""BUCKET: a rate limit of a provider, kept so that its bucket over there never runs dry.

The generic cell rate algorithm in its form of virtual scheduling (ITU-T I.371, Annex A): the moment at which
the bucket would be full is all there is to keep. Where the provider tells of its own bucket, ours is set by
that at each answer.

Where it refuses without a word, the rate is found out: between two refusals its bucket went from empty to
empty, so what passed is what flowed in, however large it is. From a refusal on the rate follows the curve of
CUBIC (RFC 9438, section 4.2), counted in calls: 15 % under what was found, flat around it, and beyond it ever
faster. What is left over below it is used up above it, so nothing is lost, and a refusal comes once in about
160 calls.

Pure: no clock. Does not know what it counts: requests or tokens.
"""

import math

from msgspec import Struct

from aios.drivers.limits import Bucket

_KEPT = 0.05
"""Share of the limit that is left there: calls sent evenly arrive unevenly. Taken once, not for each call."""
_EXACT_S = 10.0
"""A reset that far away gives the rate exactly; some providers tell whole seconds only."""
_FIRST_DOUBT_S, _MOST_DOUBT_S = 1.0, 60.0
_FOUND_BURST_S = 1.0
_DEPTH = 0.15
_LEAST_FLAT, _FLAT, _FLAT_S = 10, 80, 5.0
"""Calls until the curve is flat: twice as many as the rate was found from, up to 80 or 5 seconds' worth."""
_MOST_FACTOR = 4.0
_FIRST_FACTOR = 4.0
_ENOUGH = 32
"""Calls between two refusals that tell the rate by themselves."""
_MEANINGFUL = 6
"""Calls that can contradict what was found before."""


class BucketStatus(Struct, frozen=True):
    """A bucket as `aios cores` shows it. In requests or tokens."""

    name: str
    per_minute: float
    """What flows in; 0 while not known."""
    remaining: float
    limit: float


class RateBucket:
    """Holds up to `burst`, fills at `rate` a second. `per_minute` 0 means not known: then all passes."""

    __slots__ = (
        "_doubt_s",
        "_doubts_until",
        "_finder",
        "_full_at",
        "_given",
        "_is_rate_told",
        "_said",
        "burst",
        "is_told",
        "rate",
    )

    def __init__(self, per_minute: float = 0.0) -> None:
        self._given = per_minute / 60
        """The rate that somebody gave, which is never exceeded; 0 for none."""
        self.rate = self._given
        self.burst = (1 - _KEPT) * per_minute
        self.is_told = False
        """Whether a provider's headers set it."""
        self._is_rate_told = False
        self._said = 0.0
        """What there is, as they said last, less what is kept."""
        self._doubts_until = -math.inf
        self._doubt_s = _FIRST_DOUBT_S
        self._full_at = -math.inf
        self._finder = RateFinder()

    @property
    def is_known(self) -> bool:
        """Whether somebody told its rate; else it is found out."""
        return self.is_told or self._given > 0

    # ---- what passes

    def opens_at(self, cost: float) -> float:
        """When `cost` may be taken. What is more than the bucket holds has to wait for a full one."""
        if not self.rate:
            return -math.inf
        return self._full_at - (self.burst - min(cost, self.burst)) / self.rate

    def remaining(self, now: float) -> float:
        """What it holds; below 0 where a call took more than there is."""
        return self.burst - max(0.0, self._full_at - now) * self.rate

    def take(self, now: float, cost: float) -> None:
        """A call takes `cost` as it enters."""
        if not self.is_told:
            self._finder.took(now, cost, max(0.0, now - self._full_at))
            if self._finder.rate:
                self._set(now, self.remaining(now), self._rate_found())
        if self.rate:
            self._full_at = max(self._full_at, now) + cost / self.rate

    def give_back(self, cost: float) -> None:
        """A call took less than it had reserved; more where `cost` is below 0.

        Not where the provider tells: what it said already holds what it charged.
        """
        if not self.is_told:
            self._finder.passed -= cost
            if self.rate:
                self._full_at -= cost / self.rate

    # ---- what the provider says

    def observe(self, now: float, said: Bucket, unseen: float) -> None:
        """Set by what the provider says; `unseen` was sent and is not yet in what it says."""
        kept = _KEPT * said.limit
        self._said = said.remaining - kept
        level = self.remaining(now) if now < self._doubts_until else self._said - unseen
        self.is_told = True
        self.burst = said.limit - kept
        self._set(now, level, self._rate_told(said))

    def refused(self, now: float, resumes_at: float) -> None:
        """The provider refused a call for its rate; what that call had taken was given back before.

        Nothing will be taken before `resumes_at`.
        """
        if self.is_told:
            self._doubt(now)
            self._set(now, self._said, self.rate)
        elif self._finder.refused(now):
            self.burst = max(self._finder.cost, _FOUND_BURST_S * self._finder.sound_rate)
            self._set(resumes_at, 0.0, self._rate_found())

    def passed(self, since: float, num_calls: int) -> None:
        """So many calls passed since then, before anybody counted."""
        self._finder.began_at, self._finder.num_calls, self._finder.passed = since, num_calls, num_calls

    # ---- looking

    def statistics(self, name: str, now: float) -> BucketStatus:
        """How it stands."""
        remaining = self.remaining(now) if self.rate else 0.0
        return BucketStatus(name, 60 * self.rate, remaining, self.burst)

    def check(self) -> None:
        """Assert what must always hold."""
        assert self.rate >= 0
        assert self.burst >= 0
        assert not self._given or self.is_told or self.rate <= self._given

    # ---- inside

    def _set(self, now: float, level: float, rate: float) -> None:
        self.rate = rate
        self._full_at = now + (self.burst - min(level, self.burst)) / rate

    def _rate_told(self, said: Bucket) -> float:
        if not said.reset_s or said.remaining >= said.limit:
            return self.rate or said.limit / 60
        rate = (said.limit - said.remaining) / said.reset_s
        weight = min(1.0, said.reset_s / _EXACT_S) if self._is_rate_told else 1.0
        self._is_rate_told = True
        return self.rate + weight * (rate - self.rate)

    def _doubt(self, now: float) -> None:
        """What comes with a refusal is of this moment: what is said for a while after may be from before."""
        is_again = now < self._doubts_until + self._doubt_s
        self._doubt_s = min(2 * self._doubt_s, _MOST_DOUBT_S) if is_again else _FIRST_DOUBT_S
        self._doubts_until = now + self._doubt_s

    def _rate_found(self) -> float:
        return min(self._finder.rate_by_now(), self._given or math.inf)


class RateFinder:
    """Finds a rate out from what passes between refusals."""

    __slots__ = ("_flat", "_idle_s", "_seen", "began_at", "cost", "num_calls", "passed", "rate")

    def __init__(self) -> None:
        self.rate = 0.0
        """As found; 0 before the first refusal."""
        self.began_at: float | None = None
        """When what follows was begun to be counted: at the last refusal."""
        self.passed = 0.0
        self.num_calls = 0
        self._idle_s = 0.0
        """Seconds for which our bucket stood full: nobody wanted to call, or nobody could."""
        self.cost = 1.0
        """Of the last call."""
        self._seen: _Seen | None = None
        """What `rate` was found from; None where the bucket over there was not empty at the begin of it."""
        self._flat: float = _LEAST_FLAT

    @property
    def sound_rate(self) -> float:
        """The rate, if it is more than a first guess."""
        return self.rate if self._seen else 0.0

    def took(self, now: float, cost: float, idle_s: float) -> None:
        """A call entered, after the bucket had stood full for `idle_s`."""
        if self.began_at is None:
            self.began_at = now
        self.passed += cost
        self.num_calls += 1
        self.cost = cost
        self._idle_s += idle_s if self.rate else 0.0

    def refused(self, now: float) -> bool:
        """A refusal: find the rate, and count anew. Nothing where nothing passed before."""
        if self.began_at is None:
            return False
        self._find(_Seen(max(self.passed, self.cost / 2), max(now - self.began_at, 0.01), self.num_calls))
        self.began_at, self.passed, self._idle_s, self.num_calls = now, 0.0, 0.0, 0
        return True

    def rate_by_now(self) -> float:
        """So many calls after the refusal: under what was found, then about it, then over it."""
        away = self.num_calls / self._flat - 1
        return self.rate * min(1 + _DEPTH * away**3, _MOST_FACTOR)

    def _find(self, seen: "_Seen") -> None:
        if self._seen is not None and seen.num_calls < _ENOUGH and not seen.contradicts(self._seen):
            seen = self._seen.and_then(seen)
        self._flat = _flat_after(seen)
        if not self.rate:
            # The bucket over there may have been full, or few calls came. Too much is soon found out.
            self.rate = _FIRST_FACTOR * seen.rate
            return
        # What would have flowed in while we stood idle was lost if it stood full over there too, else not.
        most = seen.passed / max(seen.seconds - self._idle_s, 0.01)
        self.rate = min(max(self.rate, seen.rate), most)
        self._seen = _Seen(seen.passed, seen.passed / self.rate, seen.num_calls)


class _Seen(Struct, frozen=True):
    """What passed between two refusals, or several that follow each other."""

    passed: float
    seconds: float
    num_calls: int

    @property
    def rate(self) -> float:
        return self.passed / self.seconds

    def contradicts(self, other: "_Seen") -> bool:
        return self.num_calls >= _MEANINGFUL and not 0.6 < self.rate / other.rate < 1.6

    def and_then(self, other: "_Seen") -> "_Seen":
        """Both together; the older counts half once there are enough."""
        share = 0.5 if self.num_calls > _ENOUGH else 1.0
        return _Seen(
            share * self.passed + other.passed,
            share * self.seconds + other.seconds,
            int(share * self.num_calls) + other.num_calls,
        )


def _flat_after(seen: _Seen) -> float:
    """Calls until the curve is flat. What was found from few calls is soon tried anew."""
    most = max(_FLAT, _FLAT_S * seen.num_calls / seen.seconds)
    return min(most, max(_LEAST_FLAT, 2 * seen.num_calls))
