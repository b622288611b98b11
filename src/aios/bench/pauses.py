"""How much of the time this machine does not give: to other processes, or paused from outside.

A figure of wall time can't be judged without it. Processor time suffers too, where the host stops a machine
that does not notice: hence short slices and their median in whatever measures here.
"""

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
