"""Time: the system's clock, and one that tests move by hand. The only code that asks what time it is."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A callback that waits for its time."""

    def cancel(self) -> None:
        """Never call it. Harmless once it has been called."""
        ...


class Clock(Protocol):
    """What the kernel knows of time. All seconds are floats."""

    def now(self) -> float:
        """Seconds of a clock that never goes back, from an origin of its own."""
        ...

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` on the running loop after `delay_s` seconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(delay_s, callback)


class ManualClock:
    """A clock that stands still until `advance` moves it, so that tests with time in them never wait."""

    def __init__(self, now: float = 0.0, *, epoch: float = 1_700_000_000.0) -> None:
        self._now = now
        self._epoch = epoch
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _ManualTimer]] = []

    def now(self) -> float:
        return self._now

    def time(self) -> float:
        return self._epoch + self._now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        timer = _ManualTimer(callback)
        heapq.heappush(self._timers, (self._now + delay_s, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Move on, calling what comes due in the order of its time."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            timer.fire()
        self._now = end

    @property
    def num_timers(self) -> int:
        """Timers that still wait."""
        return sum(timer.waits for _, _, timer in self._timers)


class _ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self.waits = True

    def cancel(self) -> None:
        self.waits = False

    def fire(self) -> None:
        if self.waits:
            self.waits = False
            self._callback()
