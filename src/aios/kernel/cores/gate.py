"""GATE: whether a core can take another call now, and if not, when it could.

Owns what is known of the endpoint behind a core: how many calls it bears at once (`window.py`), tokens in
flight (`room.py`), rate limits (`bucket.py`), whether it is well (`circuit.py`). Pure: no clock, no I/O;
`now` is in seconds of a clock that never goes back.
"""

import math
from typing import Literal

from msgspec import Struct

from aios.abi.calls.core import Health
from aios.abi.errors import AiosError, Exhausted, Misconfigured, Overloaded, RateLimited, Unavailable
from aios.drivers.limits import RateLimits
from aios.kernel.cores.bucket import BucketStatus, RateBucket
from aios.kernel.cores.circuit import Circuit
from aios.kernel.cores.room import Held, Room, Whole
from aios.kernel.cores.window import MOST, Window

_CALL_S = 10.0
"""What a call is taken to last while none has ended: an answer of 500 tokens at 50 a second."""
_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.5, 30.0
_MOST_PAUSES = 10
"""Counted: the pause has long stopped growing."""


class Outcome(Struct, frozen=True):
    """What a call's end tells of the core it ran on."""

    kind: Literal["done", "overloaded", "rate_limited", "exhausted", "misconfigured", "failed", "neutral"]
    """`neutral`: ended by us, or refused for what it asked: nothing is learned of the core."""
    retry_after: float | None = None
    """Seconds, as the endpoint said."""


DONE = Outcome("done")
NEUTRAL = Outcome("neutral")


def outcome_of(error: AiosError) -> Outcome:
    """What a driver's error tells of its core."""
    if isinstance(error, RateLimited):
        return Outcome("rate_limited", error.retry_after)
    if isinstance(error, Overloaded):
        return Outcome("overloaded", error.retry_after)
    if isinstance(error, Exhausted):
        return Outcome("exhausted", error.retry_after)
    if isinstance(error, Misconfigured):
        return Outcome("misconfigured")
    if isinstance(error, Unavailable):
        return Outcome("failed", error.retry_after)
    return NEUTRAL


class GateStatus(Struct, frozen=True):
    """A gate as `aios cores` shows it."""

    running: int
    window: int
    """Calls that it lets in at once, as far as it knows by now."""
    slots: int
    """As given; 0 where it finds out."""
    tokens: int
    """That what runs is expected to come to at most; all it may come to where they are not limited."""
    tokens_in_flight: int
    """As given; 0 for no such limit."""
    buckets: tuple[BucketStatus, ...]
    health: Health
    opens_at: float
    """When a call of one token could enter; in the past if now, infinity if one must leave first."""


class Gate:
    """Of one core. 0 means not known: `slots` are found out then, and rates by headers or refusals."""

    __slots__ = (
        "_began_at",
        "_buckets",
        "_circuit",
        "_num_entered",
        "_num_pauses",
        "_num_unseen",
        "_resumes_at",
        "_room",
        "_slots",
        "_window",
        "num_running",
        "num_tokens",
    )

    def __init__(
        self,
        slots: int,
        *,
        tokens_in_flight: int = 0,
        requests_per_minute: int = 0,
        tokens_per_minute: int = 0,
    ) -> None:
        self.num_running = 0
        self.num_tokens = 0
        """The most that what runs may come to: what rate limits are charged with."""
        self._slots = slots
        self._window = Window(slots)
        self._circuit = Circuit()
        self._room = Room(tokens_in_flight)
        self._buckets: dict[str, RateBucket] = {}
        if requests_per_minute:
            self._buckets["requests"] = RateBucket(requests_per_minute)
        if tokens_per_minute:
            self._buckets["tokens"] = RateBucket(tokens_per_minute)
        self._resumes_at = -math.inf
        """A refusal for its rate closes the gate until then."""
        self._num_pauses = 0
        self._num_unseen = 0
        """Calls sent whose headers have not been seen."""
        self._num_entered = 0
        self._began_at = 0.0

    @property
    def window(self) -> float:
        """How many calls it lets in at once, as far as it knows by now."""
        return float(self._window.size)

    @property
    def is_sound(self) -> bool:
        """Whether it takes calls, and not only one to see how the core is."""
        return self._circuit.state == "closed"

    def is_stopped(self, now: float) -> bool:
        """Whether it takes no call because somebody has to do something about it first."""
        circuit = self._circuit
        return circuit.stopped_for is not None and circuit.state == "open" and now < circuit.opens_at

    @property
    def health(self) -> Health:
        circuit = self._circuit
        if circuit.stopped_for is not None:
            return circuit.stopped_for
        if circuit.state != "closed":
            return circuit.state
        if circuit.num_failures:
            return "failing"
        return "overloaded" if self._window.is_paused else "ready"

    def resize(self, slots: int) -> None:
        """From now on there are so many slots; 0 to find out. What runs beyond them runs on."""
        self._slots = slots
        self._window.resize(slots)

    # ---- what passes

    def opens_at(self, now: float, num_tokens: int, held: Held | None = None) -> float:
        """When a call that may come to `num_tokens` (prompt and answer) could enter.

        `held` is what it is expected to have in flight; all of them from the begin where it is not given.
        Not after `now`: it may enter now. Later: the earliest moment at which time alone could open the gate.
        Infinity: only a call that leaves can.
        """
        opens_at = max(self._window.opens_at(self.num_running), self._circuit.opens_at, self._resumes_at)
        if self._room.most and not self._room.has_room(held or Whole(num_tokens)):
            return math.inf
        for name, bucket in self._buckets.items():
            opens_at = max(opens_at, bucket.opens_at(1 if name == "requests" else num_tokens))
        return opens_at

    def look(self) -> None:
        """See how far what runs has come: from now on that counts in what passes."""
        if self._room.most:
            self._room.look()

    def enter(self, now: float, num_tokens: int, held: Held | None = None) -> None:
        """A call passes, which `opens_at` must have allowed; it reserves `num_tokens`."""
        self.num_running += 1
        self.num_tokens += num_tokens
        self._room.enter(held or Whole(num_tokens))
        if not self._num_entered:
            self._began_at = now
        self._num_entered += 1
        self._window.entered(now, self.num_running)
        self._circuit.entered()
        self._num_unseen += 1
        if self._buckets:
            for name, bucket in self._buckets.items():
                bucket.take(now, 1 if name == "requests" else num_tokens)
        self._trust_limits()

    def leave(
        self,
        now: float,
        num_reserved: int,
        num_used: int | None,
        outcome: Outcome,
        held: Held | None = None,
    ) -> None:
        """A call ends, which reserved `num_reserved` tokens and took `num_used` (None if nobody knows)."""
        num_running = self.num_running
        self.num_running = num_running - 1
        self.num_tokens -= num_reserved
        self._room.leave(held or Whole(num_reserved))
        if self._num_unseen > self.num_running:
            self._num_unseen = self.num_running
        kind = outcome.kind
        if self._buckets and not (kind == "rate_limited" and now < self._resumes_at):
            self._settle(num_reserved, num_used, kind)
        if kind == "done":
            self._num_pauses = 0
            self._window.succeeded(num_running)
            self._circuit.succeeded()
        elif kind == "failed":
            self._circuit.failed(now, outcome.retry_after)
        elif kind == "exhausted":
            self._circuit.exhausted(now, outcome.retry_after)
        elif kind == "misconfigured":
            self._circuit.misconfigured(now)
        else:
            self._circuit.left(now)
            if kind == "overloaded":
                self._window.refused(now, num_running, outcome.retry_after)
            elif kind == "rate_limited":
                self._pause(now, outcome.retry_after)

    def observe(self, now: float, limits: RateLimits) -> None:
        """A provider's headers tell of its buckets, as of before what was sent since."""
        self._num_unseen = max(0, self._num_unseen - 1)
        share = self._num_unseen / max(1, self.num_running)
        for name, said in limits.buckets.items():
            bucket = self._buckets.get(name) or self._buckets.setdefault(name, RateBucket())
            unseen = self._num_unseen if name == "requests" else share * self.num_tokens
            bucket.observe(now, said, unseen)
        self._trust_limits()

    # ---- looking

    def statistics(self, now: float) -> GateStatus:
        """How it stands."""
        return GateStatus(
            running=self.num_running,
            window=self._window.size,
            slots=self._slots,
            tokens=self._room.num_tokens if self._room.most else self.num_tokens,
            tokens_in_flight=self._room.most,
            buckets=tuple(bucket.statistics(name, now) for name, bucket in self._buckets.items()),
            health=self.health,
            opens_at=self.opens_at(now, 1),
        )

    def check(self) -> None:
        """Assert what must always hold."""
        assert self.num_running >= 0
        assert self.num_tokens >= 0
        assert self.num_running or not self.num_tokens
        assert 0 <= self._num_unseen <= self.num_running
        self._window.check()
        for bucket in self._buckets.values():
            bucket.check()

    # ---- inside

    def _trust_limits(self) -> None:
        """Who tells its limits bears what they let in: what there is room for; and of rates, by Little's law
        (1961), the calls that come while one lasts."""
        if not self.num_running or not (self._buckets or self._room.most):
            return
        mean = max(1.0, self.num_tokens / self.num_running)
        borne = [
            _CALL_S * bucket.rate / (1.0 if name == "requests" else mean)
            for name, bucket in self._buckets.items()
            if bucket.is_known
        ]
        if borne or self._room.most:
            self._window.trust(int(min(borne, default=MOST)))

    def _settle(self, num_reserved: int, num_used: int | None, kind: str) -> None:
        """Give the buckets back what a call did not take. Nobody knows what a broken one took: all of it."""
        if num_used is None and kind in ("overloaded", "rate_limited", "exhausted", "misconfigured"):
            num_used = 0
        for name, bucket in self._buckets.items():
            if name != "requests":
                if num_used is not None:
                    bucket.give_back(num_reserved - num_used)
            elif kind == "rate_limited":
                bucket.give_back(1)

    def _pause(self, now: float, retry_after: float | None) -> None:
        """Refused for its rate. Who entered before the last pause does not count again."""
        if now < self._resumes_at:
            return
        pause_s = min(_FIRST_PAUSE_S * 2.0**self._num_pauses, _MOST_PAUSE_S)
        self._num_pauses = min(self._num_pauses + 1, _MOST_PAUSES)
        self._resumes_at = now + (pause_s if retry_after is None else retry_after)
        if not self._buckets:
            self._buckets["requests"] = RateBucket()
            self._buckets["requests"].passed(self._began_at, self._num_entered - 1)
        for bucket in self._buckets.values():
            bucket.refused(now, self._resumes_at)
