"""Whether a server process gets the processor it needs, and whether the whole machine stood still.

A loop that should wake every `STEP_S` seconds measures how much later it does. A long gap in which this
process used little processor time is none of its doing: the machine was paused, or the process kept off it.
"""

import asyncio
import time
from collections import deque

from msgspec import Struct

STEP_S = 0.05
PAUSE_S = 0.25
"""A gap from which on it is judged to be a pause."""
SPAN_S = 1.0
"""Over which the processor's share is taken."""
MAX_LAGS = 20_000
"""The newest that are kept: more than a quarter of an hour."""

BUSY_SHARE = 0.85
LATE_S = 0.02
"""Beyond either of them the figures of what was measured are in doubt."""


class Strain(Struct, frozen=True):
    """Since the last reset; pauses are in none of the other figures."""

    watched_s: float
    cpu_share: float
    """Processor time over wall time, of one core."""
    cpu_peak: float
    """The same of the worst second."""
    lag_p99_s: float
    """How late the loop wakes."""
    lag_max_s: float
    paused_s: float
    num_pauses: int

    @property
    def is_short(self) -> bool:
        """Whether it lacked processor time: figures then say more of this machine than of anything else."""
        return self.cpu_peak > BUSY_SHARE or self.lag_p99_s > LATE_S


class Watch:
    """Fed with each wake-up; pure."""

    def __init__(self) -> None:
        self._watched_s = self._cpu_s = self._cpu_peak = 0.0
        self._paused_s, self._num_pauses = 0.0, 0
        self._lags: deque[float] = deque(maxlen=MAX_LAGS)
        self._span_s = self._span_cpu_s = 0.0

    def woke(self, wall_s: float, cpu_s: float) -> None:
        """It slept for `STEP_S`, woke after `wall_s`, and the process used `cpu_s` in between."""
        lag_s = max(0.0, wall_s - STEP_S)
        if lag_s >= PAUSE_S and cpu_s < wall_s / 2:
            self._paused_s += lag_s
            self._num_pauses += 1
            return
        self._lags.append(lag_s)
        self._watched_s += wall_s
        self._cpu_s += cpu_s
        self._span_s += wall_s
        self._span_cpu_s += cpu_s
        if self._span_s >= SPAN_S:
            self._cpu_peak = max(self._cpu_peak, self._span_cpu_s / self._span_s)
            self._span_s = self._span_cpu_s = 0.0

    def strain(self) -> Strain:
        lags = sorted(self._lags) or [0.0]
        return Strain(
            watched_s=self._watched_s,
            cpu_share=self._cpu_s / self._watched_s if self._watched_s else 0.0,
            cpu_peak=self._cpu_peak,
            lag_p99_s=lags[int(0.99 * (len(lags) - 1))],
            lag_max_s=lags[-1],
            paused_s=self._paused_s,
            num_pauses=self._num_pauses,
        )


class Watcher:
    """Watches the running loop until it is cancelled."""

    def __init__(self) -> None:
        self._watch = Watch()

    def reset(self) -> None:
        self._watch = Watch()

    def strain(self) -> Strain:
        return self._watch.strain()

    async def run(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(STEP_S)
            wall_now, cpu_now = time.perf_counter(), time.process_time()
            self._watch.woke(wall_now - wall, cpu_now - cpu)
            wall, cpu = wall_now, cpu_now
