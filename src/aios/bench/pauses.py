"""How much of the time this machine does not give: to other processes, or paused from outside.

A figure of wall time can't be judged without it. Processor time suffers too, where the host stops a machine
that does not notice: hence short slices in whatever measures here, and `QuietTime` for what has none.
"""

import statistics
import time

GAP_S = 0.0005
"""A loop that only reads the clock is never this long between two readings unless it is not running."""


class Pauses:
    """Looks, whenever asked, at what a process that only spins loses; `share` is of all that time."""

    def __init__(self) -> None:
        self._watched_s = 0.0
        self._lost_s = 0.0

    @property
    def share(self) -> float:
        """Lost wall time over all wall time watched; 0 before the first look."""
        return self._lost_s / self._watched_s if self._watched_s else 0.0

    def look(self, span_s: float = 0.05) -> None:
        """Spin for `span_s` seconds of wall time, blocking the loop: between slices, never during one."""
        begin = last = time.perf_counter()
        while last - begin < span_s:
            now = time.perf_counter()
            if now - last > GAP_S:
                self._lost_s += now - last
            last = now
        self._watched_s += last - begin


LONG_S = 0.005
"""Processor time between two looks that is taken for a pause: no work measured here takes as long."""
YARD = 1000
"""Turns of an empty loop: some 20 microseconds."""


class QuietTime:
    """Processor time of this process, less what it was paused meanwhile and is told to have used.

    Has to be asked to `look` several times a millisecond. Long pauses are seen, as gaps. How many short ones
    there are shows a yardstick, laid at each look: the mean time of the same little work, over its best.
    """

    def __init__(self) -> None:
        self._cpu_s = 0.0
        self._yards: list[float] = []
        self._last = time.process_time()

    def look(self) -> None:
        """Count the time since the last look."""
        begin = time.process_time()
        if begin - self._last < LONG_S:
            self._cpu_s += begin - self._last
        for _ in range(YARD):
            pass
        self._last = time.process_time()
        if self._last - begin < LONG_S:
            self._yards.append(self._last - begin)

    @property
    def seconds(self) -> float:
        return self._cpu_s / self.slowness

    @property
    def slowness(self) -> float:
        """How much longer all takes for short pauses."""
        best = statistics.quantiles(self._yards, n=20)[0]
        return statistics.fmean(self._yards) / best
