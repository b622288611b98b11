"""The machine under a simulated kernel: a store in memory, and a loop and a clock that tell what they do."""

import asyncio
from collections.abc import Callable
from typing import Any

import apsw

from aios.bench.virtual import LoopClock, VirtualLoop
from aios.drivers.clock import Timer
from aios.drivers.migrations import SCHEMA
from aios.drivers.store import Store


class MemoryStore(Store):
    """A `Store` in memory, without threads. A write takes `write_s`, as one to a disk does."""

    write_s = 0.0

    async def start(self) -> None:
        self._connection = apsw.Connection(":memory:")
        self._connection.execute(SCHEMA)

    async def close(self) -> None: ...

    def _submit(self, queue: Any, work: Callable[[apsw.Connection], Any], *rest: Any) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self._do(work, self.write_s if queue is self._writes else 0.0))

    async def _do(self, work: Callable[[apsw.Connection], Any], seconds: float) -> Any:
        await asyncio.sleep(seconds)
        with self._connection:
            return work(self._connection)


class Clock(LoopClock):
    """Knows the timers that still wait."""

    def __init__(self) -> None:
        super().__init__()
        self._timers: list[asyncio.TimerHandle] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        timer = asyncio.get_running_loop().call_later(delay_s, callback)
        self._timers.append(timer)
        return timer

    @property
    def num_waiting(self) -> int:
        """Timers neither called nor cancelled."""
        now = self.now()
        self._timers = [one for one in self._timers if not one.cancelled() and one.when() > now]
        return len(self._timers)


class Loop(VirtualLoop):
    """Tells when all that could happen at a moment has happened."""

    def __init__(self) -> None:
        super().__init__()
        self.on_quiet: Callable[[], None] = lambda: None

    def _wait(self, *arguments: Any) -> Any:
        self.on_quiet()
        return super()._wait(*arguments)
