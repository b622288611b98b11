"""Virtual time: a loop whose clock jumps to the next timer whenever nothing is left to do before it.

A kernel on it lives through hours in seconds, the same way on every machine. The store's threads are real:
while any of their work is out, time stands still. What threads bring back is taken in as it comes, and what
that wakes waits until all of it is there, so that their speed decides nothing. (Reads that are out at the
same moment may still come back in either order; writes come in their own.)
"""

import asyncio
import heapq
import selectors
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from aios.bench.upstream.driver import UpstreamDriver
from aios.drivers.clock import Timer
from aios.drivers.llm import LLMDriver

if TYPE_CHECKING:
    from aios.kernel.config import Config
    from aios.kernel.kernel import Kernel

__all__ = ["LoopClock", "Stuck", "UpstreamDriver", "VirtualLoop", "run_virtual", "virtual_kernel"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Stuck(RuntimeError):
    """Tasks wait, and nothing is left that could wake them. On a real loop they would wait for ever."""


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, on virtual time that begins at 0. Raises `Stuck` where it would never return."""
    results: list[T] = []

    async def run() -> None:
        # Not as the task's own result: the runner writes out the task as it puts back the signal handler.
        results.append(await work)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())
    return results[0]


@asynccontextmanager
async def virtual_kernel(config: "Config", drivers: Mapping[str, LLMDriver]) -> "AsyncIterator[Kernel]":
    """A whole kernel, booted, on the running virtual loop."""
    from aios.kernel.kernel import Kernel

    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    kernel = Kernel(config, drivers=drivers, clock=LoopClock(loop))
    with loop.waiting_for(lambda: kernel.is_storing):
        async with kernel:
            yield kernel


class LoopClock:
    """A `Clock` that is a loop's own; `epoch` is the day it begins at. May be read from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None, epoch: float = 1_700_000_000.0) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._epoch = epoch

    def now(self) -> float:
        return self._loop.time()

    def time(self) -> float:
        return self._epoch + self._loop.time()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        return self._loop.call_later(delay_s, callback)


class VirtualLoop(asyncio.SelectorEventLoop):
    """For work in this process alone: it would not wait for what comes over a socket or from a child.

    Its turns are its own (`_run_once`). Asyncio's ask the system each time whether something has come in,
    which is much of what a loop costs, and here only threads hand something in.
    """

    # Parts of asyncio's loop that its types do not tell of.
    _ready: "deque[_Handle]"
    _scheduled: "list[_Timer]"
    _stopping: bool
    _timer_cancelled_count: int
    _selector: selectors.BaseSelector
    _process_events: "Callable[[Events], None]"
    _check_closed: Callable[[], None]
    _write_to_self: Callable[[], None]

    def __init__(self) -> None:
        self._now = 0.0
        self._inbox: deque[asyncio.Handle] = deque()
        """What threads have handed in."""
        self._woken: list[_Handle] = []
        """What that has made ready."""
        self._num_out = 0
        """Jobs handed to executors and not back."""
        self._busy: list[Callable[[], bool]] = []
        super().__init__()
        self._pool = ThreadPoolExecutor(thread_name_prefix="virtual")
        self.set_default_executor(self._pool)

    def time(self) -> float:
        return self._now

    @contextmanager
    def waiting_for(self, is_busy: Callable[[], bool]) -> Iterator[None]:
        """Inside this, time stands still while `is_busy`, asked on this loop.

        It must turn True on this loop, and False only by what a thread hands in with `call_soon_threadsafe`.
        """
        self._busy.append(is_busy)
        try:
            yield
        finally:
            self._busy.remove(is_busy)

    # ---- threads

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """It is called once nothing else is ready. From any thread."""
        self._check_closed()
        handle = asyncio.Handle(callback, args, self, context)
        self._inbox.append(handle)
        self._write_to_self()
        return handle

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As ever; time stands still until it is back, even where nobody waits for it any more."""
        job = (executor or self._pool).submit(func, *args)
        self._num_out += 1
        future = asyncio.wrap_future(job, loop=self)
        # After the future's own callback, so that its result is here when it no longer counts as out.
        job.add_done_callback(lambda _: self.call_soon_threadsafe(self._is_back))
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing else is left to run, so this may block."""
        self._pool.shutdown()

    def _is_back(self) -> None:
        self._num_out -= 1

    @property
    def _is_busy(self) -> bool:
        return self._num_out > 0 or any(is_busy() for is_busy in self._busy)

    # ---- time

    def _run_once(self) -> None:
        """A turn: run what is ready. Where nothing is, let time go on to what comes next."""
        ready, scheduled = self._ready, self._scheduled
        self._forget_cancelled()
        if not ready and not self._stopping and not (scheduled and scheduled[0]._when <= self._now):
            self._wait()
        while scheduled and scheduled[0]._when <= self._now:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _forget_cancelled(self) -> None:
        """The first of the timers is one that is still wanted."""
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
            self._timer_cancelled_count -= 1

    def _wait(self) -> None:
        """Nothing is ready: take in what threads bring; while none has work, go on to the next timer."""
        if self._inbox or self._woken or self._is_busy or self._hears_others:
            must_block = self._is_busy and not self._inbox
            events = self._selector.select(None if must_block else 0)
            self._take_in()
            self._process_events(events)
            if self._ready or self._is_busy:
                return
            self._forget_cancelled()
        if self._scheduled:
            self._now = max(self._now, self._scheduled[0]._when)
        else:
            self._wait_for_ever()

    def _take_in(self) -> None:
        """Run what threads have handed in. What it wakes is ready once no thread has work any more."""
        assert not self._ready
        while self._inbox:
            handle = self._inbox.popleft()
            if not handle.cancelled():
                handle._run()
        self._woken += self._ready
        self._ready.clear()
        if not self._is_busy:
            self._ready.extend(self._woken)
            self._woken.clear()

    @property
    def _hears_others(self) -> bool:
        """Whether it listens to more than its own socket, by which threads wake it."""
        return len(self._selector.get_map()) > 1

    def _wait_for_ever(self) -> None:
        if self._hears_others:
            self._process_events(self._selector.select(None))
            return
        waiting = [task.get_name() for task in asyncio.all_tasks(self) if not task.done()]
        raise Stuck(f"nothing is left to happen, and {len(waiting)} tasks wait: {', '.join(waiting[:8])}")


Events = list[tuple[selectors.SelectorKey, int]]


class _Handle(asyncio.Handle):
    """What asyncio's types do not tell of what is to be called."""

    _cancelled: bool


class _Timer(_Handle, asyncio.TimerHandle):
    _when: float
    _scheduled: bool
