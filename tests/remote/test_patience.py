"""How long a stream is waited for, on a loop whose clock is moved by hand."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from aios.drivers.patience import Patience


class Hand:
    """The running loop's clock."""

    def __init__(self) -> None:
        self.now = 100.0
        asyncio.get_running_loop().time = lambda: self.now  # type: ignore[method-assign]

    async def advance(self, seconds: float) -> None:
        """Move on, and let what comes due be done."""
        self.now += seconds
        for _ in range(5):
            await asyncio.sleep(0)


async def stands(patience: Patience, events: Callable[[], Awaitable[None]]) -> bool:
    """Whether the block goes on until all of `events` have happened in it."""
    try:
        async with patience:
            await events()
    except TimeoutError:
        return False
    return True


async def test_silence_ends_the_block() -> None:
    hand = Hand()
    assert await stands(Patience(60, 2), partial(hand.advance, 1.9))
    late = Patience(60, 2)
    assert not await stands(late, partial(hand.advance, 2.1))
    assert not late.is_whole_over


async def test_each_piece_puts_the_end_off_and_costs_no_timer() -> None:
    hand = Hand()
    patience = Patience(60, 2)

    async def pieces() -> None:
        timer = patience._timer
        for _ in range(5):
            hand.now += 0.3
            patience.wait_at_most(2)
            assert patience._timer is timer
        await hand.advance(1.9)  # The timer goes off for the first two seconds, and too early.
        assert patience._timer is not timer

    async def pieces_and_silence() -> None:
        await pieces()
        await hand.advance(0.2)

    assert await stands(patience, pieces)
    patience = Patience(60, 2)
    assert not await stands(patience, pieces_and_silence)


async def test_a_shorter_silence_counts_at_once() -> None:
    hand = Hand()
    patience = Patience(60, 30)

    async def ending() -> None:
        patience.wait_at_most(0.5)
        await hand.advance(0.6)

    assert not await stands(patience, ending)


async def test_pieces_do_not_put_the_end_of_the_whole_off() -> None:
    hand = Hand()
    patience = Patience(10, 4)

    async def pieces() -> None:
        while True:
            await hand.advance(2)
            patience.wait_at_most(4)

    assert not await stands(patience, pieces)
    assert hand.now == 110
    assert patience.is_whole_over


async def test_a_cancel_from_outside_stays_a_cancel() -> None:
    hand = Hand()

    async def work() -> None:
        async with Patience(60, 2):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await hand.advance(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_no_timer_is_left_behind() -> None:
    hand = Hand()
    patience = Patience(60, 2)
    assert await stands(patience, partial(hand.advance, 0))
    assert patience._timer.cancelled()
