"""A call whose connection is lost is made again, with the key it had, until what became of it is known.

Every call with an effect gets a key of its own, but for a tool's: the kernel can't answer for what it does.
"""

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable

from aios.abi import wire
from aios.abi.errors import (
    AiosError,
    Cancelled,
    DeadlineExceeded,
    OutcomeUnknown,
    Overloaded,
    Unauthenticated,
    Unavailable,
)
from aios.abi.syscalls import Reply
from aios.sdk.sending import Emit
from aios.sdk.shown import Shown

PAUSES_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Before each time that it is asked again: a kernel that was killed is back within a second or two."""

_UNTOLD = (OutcomeUnknown, Unavailable, Overloaded, DeadlineExceeded, Cancelled)
"""What the kernel, asked again, may answer without having looked what became of the call."""


class Keys:
    """Keys that nobody else makes, in the order in which they were made."""

    def __init__(self) -> None:
        self._prefix = secrets.token_urlsafe(12)
        self._numbers = itertools.count(1)

    def key_for(self, name: str) -> str:
        """A new key for the call `name`; empty where it needs none."""
        if name == "tool.run" or not wire.may_have_effect(name):
            return ""
        return f"{self._prefix}-{next(self._numbers):08x}"


async def answered(
    name: str, key: str, emit: Emit | None, send: Callable[[Emit | None], Awaitable[Reply]]
) -> Reply:
    """What the call `name` comes to: see `resolved`. `send` makes it, with who takes its pieces.

    A generation with a key is asked for again where its connection was lost, and no piece is given on twice.
    `Conflict` where its core then answers otherwise than was shown.
    """
    goes_on = bool(key) and not wire.may_have_effect(name) and wire.takes_key(name)
    if emit is None or not goes_on:
        return await resolved(key, lambda: send(emit), repeats=goes_on)
    shown = Shown(emit)

    def send_again() -> Awaitable[Reply]:
        shown.begin()
        return send(shown)

    reply = await resolved(key, send_again, repeats=True)
    shown.complete(reply)
    return reply


async def resolved(key: str, send: Callable[[], Awaitable[Reply]], *, repeats: bool = False) -> Reply:
    """What `send` comes to, which makes a call with this key; it is sent again while that is not known.

    Where it `repeats`, also when its connection was lost. Raises `OutcomeUnknown` with the key where nobody
    could tell, `Unavailable` where it had no effect.
    """
    unknown: AiosError
    try:
        return await send()
    except Unavailable as error:
        if not repeats:
            raise
        unknown = error
    except OutcomeUnknown as error:
        if not key:
            raise
        outcome = OutcomeUnknown(f"{error.message}; ask again with the key {key!r}")
        outcome.key = key
        unknown = outcome
    for pause_s in PAUSES_S:
        await asyncio.sleep(pause_s)
        try:
            return await send()
        except _UNTOLD:
            continue
        except Unauthenticated:
            break  # The process ended with its connection or its kernel: only another can ask.
    raise unknown
