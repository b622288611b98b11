"""CIRCUIT: stops sending to a core that fails, and tries it with one call after a while.

A failure is a connection that breaks or an endpoint that answers with a defect of its own. Refusals for want
of room are none: they are the window's and the buckets'. Pure: no clock.
"""

import math
from typing import Literal

Circuitry = Literal["closed", "open", "probing"]
Stop = Literal["exhausted", "misconfigured"]
"""No quota is left; or its key, address or model is refused. Somebody has to do something about it."""

MOST_FAILURES = 5
"""In a row, until it opens."""
_FIRST_REST_S, _MOST_REST_S = 1.0, 30.0
_MOST_RESTS = 10
"""Counted: the rest has long stopped growing."""
_FIRST_STOP_S, _MOST_STOP_S = 60.0, 960.0


class Circuit:
    """Closed: calls pass. Open: none does. Probing: one is under way, and what becomes of it decides."""

    __slots__ = ("_has_answered", "_num_rests", "num_failures", "opens_at", "state", "stopped_for")

    def __init__(self) -> None:
        self.state: Circuitry = "closed"
        self.stopped_for: Stop | None = None
        """Why it stands open, or probes, where the core does not just fail."""
        self._has_answered = False
        """Since it was made, or was stopped last."""
        self.num_failures = 0
        """In a row."""
        self._num_rests = 0
        self.opens_at = -math.inf
        """When a call may pass; infinity while one probes."""

    def entered(self) -> None:
        if self.state == "open":
            self.state = "probing"
            self.opens_at = math.inf

    def succeeded(self) -> None:
        """A call was answered: any answer shows that the core is well, the probe's or an older call's."""
        self._has_answered = True
        if self.num_failures or self.state != "closed":
            self._close()

    def failed(self, now: float, retry_after: float | None) -> None:
        """A call failed. Those that entered before the circuit opened do not count again."""
        self.num_failures += 1
        if self.state == "probing" or (self.state == "closed" and self.num_failures >= MOST_FAILURES):
            self._rest(now, _FIRST_REST_S, _MOST_REST_S, retry_after)

    def exhausted(self, now: float, retry_after: float | None) -> None:
        """The account has no quota left: a minute's rest at least."""
        self._stop("exhausted", now, retry_after)

    def misconfigured(self, now: float) -> None:
        """Its key, address or model was refused: as without quota.

        Where it has answered with them before, what this one call asks may be why: it counts as a failure.
        """
        self.num_failures += 1
        if not self._has_answered or self.num_failures >= MOST_FAILURES:
            self._stop("misconfigured", now, None)

    def left(self, now: float) -> None:
        """A call ended in a way that shows nothing: if it was the probe, the next one may try."""
        if self.state == "probing":
            self.state = "open"
            self.opens_at = now

    def _stop(self, cause: Stop, now: float, retry_after: float | None) -> None:
        if self.state == "open" and self.stopped_for:
            return
        if not self.stopped_for:
            self._num_rests = 0
        self.stopped_for = cause
        self._has_answered = False
        self._rest(now, _FIRST_STOP_S, _MOST_STOP_S, retry_after)

    def _close(self) -> None:
        self.state = "closed"
        self.stopped_for = None
        self.num_failures = self._num_rests = 0
        self.opens_at = -math.inf

    def _rest(self, now: float, first_s: float, most_s: float, retry_after: float | None) -> None:
        rest_s = min(first_s * 2.0**self._num_rests, most_s)
        self._num_rests = min(self._num_rests + 1, _MOST_RESTS)
        self.state = "open"
        self.opens_at = now + max(rest_s, retry_after or 0.0)
