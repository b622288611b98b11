"""WINDOW: how many calls an endpoint bears at once, found out from its refusals.

An endpoint that refuses what is too much says more than a network that drops a packet: its refusal is
certain, comes soon, and what is in flight after it is what the endpoint bore. So the window falls to just
that, not to a share of it, and the refused of one flight count once by themselves: each lowers what is in
flight. A cut to 0.7, as additive increase with multiplicative decrease has it (Chiu & Jain 1989,
doi:10.1016/0169-7552(89)90019-6), left 15 % of the slots idle when tried in a closed loop (50 slots, calls of
2 s on average), and one to 0.7 with CUBIC's way back 13 %; this way left under 1 %.

The way up is that of BIC (Xu, Harfoush, Rhee 2004, doi:10.1109/INFCOM.2004.1354672), which CUBIC (RFC 9438)
smoothed into a curve:

* Nothing known: doubling (slow start). Limits of another kind known: it begins with what they bear.
* Under the edge, the number at which calls were refused last: half of the way to it at a time.
* Just under the edge: stay. Go one over it only after 128 successes: less than one refusal in 100 calls.
  (After 8, 16, ... where it fell to less than a quarter: it may have been a short trouble.)
* A probe went well: the edge is forgotten; steps of 1, 2, 4, ... up to 64 until it is found anew.
* Refused again before anything was let in: cuts of 1, 2, 4, ... below what is in flight.
* Refused once under the edge: a chance, the edge stays. Refused there once more: it is the edge.

A step up waits until the window has been full for a grace, three times what refusals take to come: calls
of a language model last long, and a call that was not refused is a call that was let in. To wait for answers
(rounds) instead makes doubling 64 calls of 5 s each take half a minute. But with no success yet there is no
step, nor beyond eight times of what was in flight at one.

Refused with nothing else in flight: nobody is served there. Pause for 0.5·2^j s up to 30 s, or for as long as
was told, and begin with one; the edge is still known, so one success brings half of the window back.

Pure: no clock. Does not know why a call was refused.
"""

import math

MOST = 4096
"""The widest window where no slots are given."""
_PATIENCE = 128
"""Successes before a probe over the edge: one refusal each, so less than 0.01 a call."""
_FIRST_PATIENCE = 8
_GRACE_S = 0.5
"""How long a call has to be in flight to count as let in, until refusals have been timed."""
_LEAST_GRACE_S, _MOST_GRACE_S = 0.25, 5.0
_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.5, 30.0
_MOST_PAUSES = 10
"""Counted: the pause has long stopped growing."""
_LEAP = 8
"""How many times what was in flight at a success the window may be."""
_MOST_STEP = 64
"""Calls that a step up adds at most, and so the refusals that one too far costs."""
_DEEPEST_CUT = 0.3
_MOST_TRUST = 256
"""Calls that are sent on trust at once, and so the refusals that it costs where it was mistaken."""


class Window:
    """At most `most` calls (0 for an unknown number); a known number is where it begins."""

    __slots__ = (
        "_cut",
        "_edge",
        "_full_at",
        "_grace_s",
        "_not_before",
        "_num_done",
        "_num_pauses",
        "_patience",
        "_proven",
        "_remembered",
        "_step",
        "_tried_at",
        "_was_chance",
        "most",
        "resumes_at",
        "size",
    )

    def __init__(self, most: int) -> None:
        self.most = most or MOST
        self.size = most or 1
        """Calls that may be in flight."""
        self.resumes_at = -math.inf
        """Nothing enters before."""
        self._edge: float = math.inf
        """The number in flight at which calls are refused, as far as known."""
        self._remembered: float = math.inf
        """The edge before this run of refusals."""
        self._patience = _PATIENCE
        self._grace_s = _GRACE_S
        self._not_before = -math.inf
        """No step up before then: the endpoint asked for time."""
        self._num_pauses = 0
        """One after the other, with no success between."""
        self._step = self._cut = 1
        """How far the next step up or cut goes."""
        self._was_chance = False
        """Whether a refusal under the edge was taken for one by chance: the next one is not."""
        self._num_done = 0
        """Successes since the window changed."""
        self._proven = 0
        """The most that were in flight at a success, since the last pause."""
        self._full_at: float | None = None
        """Since when a call has been in the last place, since the window changed."""
        self._tried_at: float | None = -math.inf
        """When the first call entered after the last refusal; at first there was none."""

    @property
    def is_paused(self) -> bool:
        """Whether it was refused with nothing in flight, and nothing succeeded since."""
        return self._num_pauses > 0

    def resize(self, most: int) -> None:
        """Another number of slots was given (0 for unknown): what was learned under the old one is void."""
        self.most = most or MOST
        self.size = most or self.size
        self._edge = self._remembered = math.inf
        self._patience = _PATIENCE
        self._begin_anew()
        self._tried_at = -math.inf

    # ---- what the gate asks

    def opens_at(self, num_running: int) -> float:
        """When a call may enter while so many are in flight; infinity where one must leave first."""
        return self.resumes_at if num_running < self.size else max(self._grows_at(), self.resumes_at)

    def _grows_at(self) -> float:
        if self.size >= self.most or self._full_at is None or not self._proven:
            return math.inf
        if self.size + 1 < self._edge:
            must_wait = self._edge == math.inf and self.size >= _LEAP * self._proven
        else:
            must_wait = self._num_done < self._patience
        return math.inf if must_wait else max(self._full_at + self._grace_s, self._not_before)

    # ---- what the gate tells

    def entered(self, now: float, num_running: int) -> None:
        """A call entered: there are `num_running` now. Steps up if that is what let it in."""
        if num_running > self.size:
            self._grow()
        if self._tried_at is None:
            self._tried_at = now
        if self._full_at is None and num_running >= self.size:
            self._full_at = now

    def trust(self, num_calls: int) -> None:
        """So many should be borne, by what else is known: begin with them, unless one was refused before."""
        size = min(num_calls, _MOST_TRUST, self.most)
        if self._tried_at == -math.inf and size > self.size:
            self.size = size
            self._step = min(size, _MOST_STEP)
            self._full_at = None

    def succeeded(self, num_running: int) -> None:
        """One of `num_running` was answered."""
        self._num_done += 1
        self._num_pauses = 0
        if num_running > self._proven:
            self._proven = num_running

    def refused(self, now: float, num_running: int, retry_after: float | None) -> None:
        """One of `num_running` was turned away as too much."""
        tried_at = self._tried_at
        self._time_refusal(now)
        if retry_after is not None:
            self._not_before = now + min(retry_after, _MOST_PAUSE_S)
        if num_running == 1:
            self._pause(now, retry_after)
        elif tried_at is None:
            self._edge = min(self._edge, num_running)
            self._fall(num_running, 0)
        elif now - tried_at < self._grace_s:
            self._cut_deeper(num_running)
        else:
            self._begin_fall(num_running)
        self._tried_at = self._full_at = None
        self._num_done = 0

    def check(self) -> None:
        """Assert what must always hold."""
        assert 1 <= self.size <= self.most
        assert self._edge > 1
        assert _LEAST_GRACE_S <= self._grace_s <= _MOST_GRACE_S

    # ---- inside

    def _grow(self) -> None:
        if self.size + 1 < self._edge < math.inf:
            self.size += min((int(self._edge) - self.size) // 2, _MOST_STEP)
        else:
            if self._edge < math.inf:
                self._edge, self._step, self._was_chance = math.inf, 1, False
            self.size += self._step
            self._step = min(2 * self._step, self.size, _MOST_STEP)
        self.size = min(self.size, self.most)
        self._full_at = None
        self._num_done = 0

    def _begin_fall(self, num_running: int) -> None:
        """The first refusal after calls were let in: a probe that failed, a chance, or the first of many."""
        is_probe = num_running >= self._edge or self._edge == math.inf
        self._remembered = min(self._edge, self.size + 1)
        if is_probe or self._was_chance:
            self._edge = num_running
            self._patience = min(2 * self._patience, _PATIENCE)
        self._was_chance = not is_probe
        self._cut = self._step = 1
        self._fall(num_running, 0)

    def _cut_deeper(self, num_running: int) -> None:
        self._edge = min(self._edge, num_running)
        self._fall(num_running, min(self._cut, int(_DEEPEST_CUT * num_running)))
        self._cut *= 2
        if self.size < self._remembered / 4:
            self._patience = _FIRST_PATIENCE

    def _fall(self, num_running: int, cut: int) -> None:
        self.size = max(1, min(self.size, num_running - 1 - cut))

    def _pause(self, now: float, retry_after: float | None) -> None:
        pause_s = min(_FIRST_PAUSE_S * 2.0**self._num_pauses, _MOST_PAUSE_S)
        self._num_pauses = min(self._num_pauses + 1, _MOST_PAUSES)
        self.resumes_at = now + (pause_s if retry_after is None else retry_after)
        self._edge = max(self._edge, self._remembered)
        self._begin_anew()
        self.size = 1

    def _begin_anew(self) -> None:
        self._step = self._cut = 1
        self._was_chance = False
        self._proven = self._num_done = 0
        self._full_at = self._tried_at = None

    def _time_refusal(self, now: float) -> None:
        if self._full_at is not None and now - self._full_at < _MOST_GRACE_S:
            taken_s = 3 * (now - self._full_at)
            weight = 0.5 if taken_s > self._grace_s else 0.1
            grace_s = self._grace_s + weight * (taken_s - self._grace_s)
            self._grace_s = min(max(grace_s, _LEAST_GRACE_S), _MOST_GRACE_S)
