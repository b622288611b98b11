"""What every way to the kernel shares: a call made to bytes, and what a call becomes that is cut off."""

from collections.abc import Callable

from aios.abi import wire
from aios.abi.errors import AiosError, InvalidArgument, OutcomeUnknown, TooLarge, Unavailable
from aios.abi.messages import Delta
from aios.abi.syscalls import ROW_OF, SystemCall

Emit = Callable[[Delta], None]
"""Takes each delta of a streaming call as it comes."""

_READS = frozenset(
    {"generate", "read", "get", "search", "list", "stat", "history", "check", "pending", "usage", "wait"}
)
"""Verbs that change nothing: when the connection is lost, they have simply failed."""


def pack(call: SystemCall) -> tuple[str, bytes]:
    """A call's name and its arguments as JSON. `InvalidArgument` where a value has no JSON form."""
    name = ROW_OF[type(call)].name
    try:
        args = wire.encode(call)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidArgument(f"{name}: {error}") from None
    if len(args) > wire.MAX_FRAME:
        raise TooLarge(f"a call may have {wire.MAX_FRAME} bytes, this one has {len(args)}")
    return name, args


def lost(name: str, reason: str) -> AiosError:
    """What the call `name`, already sent, fails with when its connection ends."""
    if name.partition(".")[2] in _READS:
        return Unavailable(f"the connection to the kernel was lost: {reason}")
    return OutcomeUnknown(f"the connection to the kernel was lost, {name} may have taken effect: {reason}")
