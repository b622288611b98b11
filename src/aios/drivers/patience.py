"""How long a stream is waited for: as a whole, and from one piece of it to the next; one timer for both."""

import asyncio
from types import TracebackType
from typing import Self


class Patience:
    """`async with Patience(...)` ends its block with `TimeoutError` when nothing came for too long.

    Each piece puts the end off. That only notes a time: the timer is set again when it goes off too early, or
    where it would go off too late.
    """

    def __init__(self, whole_s: float, silence_s: float) -> None:
        """Of the whole block, and of its begin until `wait_at_most` says something else."""
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._whole_ends = now + whole_s
        self._ends = min(now + silence_s, self._whole_ends)
        # It has no time of its own, and cuts the block off when it is given one.
        self._cut = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        await self._cut.__aenter__()
        self._timer = self._loop.call_at(self._ends, self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._cut.__aexit__(kind, error, traceback)

    @property
    def is_whole_over(self) -> bool:
        """Whether what ended the block was the time for all of it."""
        return self._ends == self._whole_ends

    def wait_at_most(self, seconds: float) -> None:
        """From now on, inside the block, in place of what was said before; the whole ends when it ends."""
        self._ends = min(self._loop.time() + seconds, self._whole_ends)
        if self._ends < self._timer.when():
            self._set_timer()

    def _set_timer(self) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_at(self._ends, self._look)

    def _look(self) -> None:
        if self._loop.time() < self._ends:
            self._set_timer()
        elif not self._cut.expired():
            self._cut.reschedule(0)
