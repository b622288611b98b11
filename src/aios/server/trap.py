"""What a server needs of the kernel: the one door, and the operator's secret for what is the operator's."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from aios.abi.errors import UnknownCall
from aios.abi.messages import Delta
from aios.abi.syscalls import Reply, SystemCall


class Trap(Protocol):
    """The kernel, as servers see it."""

    operator_token: str

    async def trap(
        self,
        token: str,
        call: SystemCall,
        *,
        emit: Callable[[Delta], None] | None = None,
        timeout_s: float | None = None,
    ) -> Reply:
        """See `Kernel.trap`."""
        ...

    def statistics(self) -> dict[str, Any]: ...

    def cores(self) -> Sequence[Any]: ...


async def verify(kernel: Trap, token: str) -> None:
    """`Unauthenticated` unless the kernel gave this token.

    What is no call of the table is refused right behind that check: nothing runs, nothing is counted.
    """
    with suppress(UnknownCall):
        await kernel.trap(token, SystemCall())
