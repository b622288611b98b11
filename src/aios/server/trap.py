"""What a server needs of the kernel: the one door, and the operator's secret for what is the operator's."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

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
        key: str = "",
    ) -> Reply:
        """See `Kernel.trap`."""
        ...

    def verify(self, token: str) -> None:
        """See `Kernel.verify`."""
        ...

    def statistics(self) -> dict[str, Any]: ...

    def cores(self) -> Sequence[Any]: ...
