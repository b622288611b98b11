"""Figures of speed from many short slices, so that a machine that is paused from outside still tells some.

A pause only ever adds, to wall time and to what a process is told of its processor time, too. So a slice is
shorter than most pauses are apart, and those with a pause in them are left out: in this process a gap between
two calls shows it; of another one the upper half of the slices is taken for them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from aios.bench.collector import full_pass_s, full_passes
from aios.bench.pauses import GAP_S
from aios.bench.peer import Peer
from aios.bench.report import Spread, spread

SLICE = 20
"""Calls of a slice in this process."""
HOPS = 12
"""Callers begin up to so many turns of the loop apart. In step, all would be asked and then all be answered:
no slice would have its share of either."""

Call = Callable[[], Awaitable[object]]
"""Makes one call and waits for its answer."""


class Sliced(Struct, frozen=True):
    """Calls in this process, slice by slice."""

    per_second: Spread
    cpu_us: Spread
    """Processor microseconds of a call, without the collector's full passes."""
    collector_us: float
    """Of those, for each call."""
    left_out: float
    """The share of slices with a gap: a pause, or a long pass of the collector."""


class _Slices:
    """Is told of each call that ends."""

    def __init__(self) -> None:
        self._num_calls = 0
        self._has_gap = False
        self._begin = self._last = time.perf_counter()
        self._cpu_begin = time.process_time()
        self.taken: list[tuple[float, float, bool]] = []
        """Wall and processor seconds of each, and whether there was a gap in it."""

    def ended(self) -> None:
        now = time.perf_counter()
        if now - self._last > GAP_S:
            self._has_gap = True
        self._last = now
        self._num_calls += 1
        if self._num_calls % SLICE == 0:
            cpu = time.process_time()
            self.taken.append((now - self._begin, cpu - self._cpu_begin, self._has_gap))
            self._begin, self._cpu_begin, self._has_gap = now, cpu, False


async def sliced(calls: Sequence[Call], rounds: int) -> Sliced:
    """Each of `calls` made so often by a task of its own, in this process."""
    slices = _Slices()
    num_passes = full_passes()

    async def repeat(call: Call, hops: int) -> None:
        for _ in range(hops):
            await asyncio.sleep(0)
        for _ in range(rounds):
            await call()
            slices.ended()

    async with asyncio.TaskGroup() as group:
        for index, call in enumerate(calls):
            group.create_task(repeat(call, index % HOPS))
    num_passes = full_passes() - num_passes
    collector_us = 1e6 * num_passes * full_pass_s() / (rounds * len(calls)) if num_passes else 0.0
    # In the first round tasks are begun, and pools and tables grow; in the last there are ever fewer callers.
    edge = len(calls) // SLICE
    taken = slices.taken[edge:-edge]
    whole = [one for one in taken if not one[2]]
    told = whole or taken
    return Sliced(
        per_second=spread([SLICE / wall_s for wall_s, _, _ in told]),
        cpu_us=spread([1e6 * cpu_s / SLICE for _, cpu_s, _ in told]),
        collector_us=collector_us,
        left_out=1 - len(whole) / len(taken),
    )


async def rates(
    ours: Sequence[Call], floor: Sequence[Call], span_s: float, times: int
) -> list[tuple[float, float]]:
    """Calls a second of ours and of the floor, in turn, after a first slice of each that does not count."""
    found = [(await rate(ours, span_s), await rate(floor, span_s)) for _ in range(1 + times)]
    return found[1:]


async def rate(calls: Sequence[Call], span_s: float) -> float:
    """Calls a second: each of `calls` is made once, and again by a task of its own until the time is over."""
    begin = time.perf_counter()

    async def repeat(call: Call) -> int:
        made = 0
        while not made or time.perf_counter() < begin + span_s:
            await call()
            made += 1
        return made

    made = sum(await asyncio.gather(*map(repeat, calls)))
    return made / (time.perf_counter() - begin)


async def cpu_us(server: Peer, calls: Sequence[Call]) -> float:
    """Processor microseconds of another process for each of `calls`, made together once."""
    asked = await server.cpu_s()
    before = await server.cpu_s()
    await asyncio.gather(*(call() for call in calls))
    after = await server.cpu_s()
    return 1e6 * ((after - before) - (before - asked)) / len(calls)


def quieter_half(values: Sequence[float]) -> Spread:
    """Of times: of its lower half, where least was added."""
    return spread(sorted(values)[: (len(values) + 1) // 2])
