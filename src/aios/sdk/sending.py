"""What every way to the kernel shares: a call made to bytes, and what a call becomes that is cut off."""

import math
from collections.abc import Callable

from aios.abi import wire
from aios.abi.errors import AiosError, InvalidArgument, OutcomeUnknown, TooLarge, Unavailable
from aios.abi.messages import Delta
from aios.abi.syscalls import ROW_OF, SystemCall

Emit = Callable[[Delta], None]
"""Takes each delta of a streaming call as it comes."""


def pack(call: SystemCall, timeout_s: float | None) -> tuple[str, bytes]:
    """A call's name and its arguments as JSON. `InvalidArgument` where a value has no JSON form.

    `timeout_s` travels beside them: what is no number would arrive as none, and mean for ever.
    """
    name = ROW_OF[type(call)].name
    if timeout_s is not None and not math.isfinite(timeout_s):
        raise InvalidArgument(f"a timeout is a number of seconds, not {timeout_s}; None waits for ever")
    try:
        args = wire.encode(call)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidArgument(f"{name}: {error}") from None
    if len(args) > wire.MAX_FRAME:
        raise TooLarge(f"a call may have {wire.MAX_FRAME} bytes, this one has {len(args)}")
    return name, args


def lost(name: str, reason: str) -> AiosError:
    """What the call `name`, already sent, fails with when its connection ends."""
    if wire.may_have_effect(name):
        return OutcomeUnknown(
            f"the connection to the kernel was lost, {name} may have taken effect: {reason}"
        )
    return Unavailable(f"the connection to the kernel was lost: {reason}")
