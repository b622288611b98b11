"""One verb, `call`, three ways: in this process, over the kernel's unix socket, over HTTP.

Knows how to reach a kernel and nothing of what a call means. A call is made to bytes and checked whichever
way it goes, so bounds hold everywhere and no mutable value is shared with the kernel.
"""

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol

from aios.abi import wire
from aios.abi.errors import PermissionDenied, Unavailable
from aios.abi.messages import Delta
from aios.abi.syscalls import Reply, SystemCall
from aios.sdk.http import Http
from aios.sdk.link import Link
from aios.sdk.repeating import Keys, answered
from aios.sdk.sending import Emit, pack

__all__ = ["Http", "InProcess", "Transport", "Trap", "UnixSocket"]

_CONNECT_S = 10.0


class Transport(Protocol):
    """A way to the kernel."""

    @property
    def lease_s(self) -> float | None:
        """The lease that processes spawned this way need; None where the kernel sees their client go."""
        ...

    async def call(
        self,
        token: str,
        call: SystemCall,
        emit: Emit | None = None,
        timeout_s: float | None = None,
        key: str = "",
    ) -> Reply:
        """The reply to `call`, made as the process whose token this is.

        `emit` takes deltas before the reply, where the call streams; `timeout_s` is the kernel's deadline.
        Cancelling the awaiting task cancels the call in the kernel. Raises the kernel's error; `Unavailable`
        when the kernel can't be reached, or was lost during a call that changes nothing; `OutcomeUnknown`
        when it was lost during one that may have taken effect, and asking again told nothing.

        `key` is the idempotency key. Where a kernel can be lost, a call that writes gets one if it has none.
        """
        ...

    async def close(self) -> None:
        """Give up all connections; calls in flight fail."""
        ...


class Trap(Protocol):
    """The kernel's one door, as `Kernel.trap` is."""

    def __call__(
        self,
        token: str,
        call: SystemCall,
        *,
        emit: Emit | None = None,
        timeout_s: float | None = None,
        key: str = "",
    ) -> Awaitable[Reply]: ...


class InProcess:
    """Straight to a kernel on this event loop."""

    lease_s: float | None = None

    def __init__(self, trap: Trap) -> None:
        self._trap = trap

    async def call(
        self,
        token: str,
        call: SystemCall,
        emit: Emit | None = None,
        timeout_s: float | None = None,
        key: str = "",
    ) -> Reply:
        checked = wire.decode_call(*pack(call, timeout_s))
        if emit is None:
            return await self._trap(token, checked, timeout_s=timeout_s, key=key)
        return await self._stream(token, checked, emit, timeout_s, key)

    async def close(self) -> None:
        """Nothing to give up: the kernel belongs to whoever started it."""

    async def _stream(
        self, token: str, call: SystemCall, emit: Emit, timeout_s: float | None, key: str
    ) -> Reply:
        raised: list[Exception] = []

        def guarded(delta: Delta) -> None:
            try:
                if not raised:
                    emit(delta)
            except Exception as error:  # noqa: BLE001 - the caller's own code: it fails its call, not the core
                raised.append(error)
                work.cancel()

        work = asyncio.ensure_future(self._trap(token, call, emit=guarded, timeout_s=timeout_s, key=key))
        await asyncio.gather(work, return_exceptions=True)
        if raised:
            raise raised[0]
        return work.result()


class UnixSocket:
    """The kernel's socket on this machine. One connection for all calls; once lost, the next makes one."""

    lease_s: float | None = None

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._keys = Keys()
        self._link: Link | None = None
        self._connecting = asyncio.Lock()

    async def call(
        self,
        token: str,
        call: SystemCall,
        emit: Emit | None = None,
        timeout_s: float | None = None,
        key: str = "",
    ) -> Reply:
        name, args = pack(call, timeout_s)
        key = key or self._keys.key_for(name)

        async def send(emit: Emit | None) -> Reply:
            link = self._link
            if link is None or link.closed is not None:
                link = await self._connect()
            return await link.call(token, name, args, emit, timeout_s, key)

        return await answered(name, key, emit, send)

    async def close(self) -> None:
        if self._link is not None:
            self._link.close()

    async def _connect(self) -> Link:
        async with self._connecting:
            if self._link is None or self._link.closed is not None:
                self._link = await self._new_link()
            return self._link

    async def _new_link(self) -> Link:
        try:
            owner = self._path.stat().st_uid
            if owner != os.getuid():
                raise PermissionDenied(f"{self._path} is another user's: tokens are not sent there")
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(_CONNECT_S):
                _, link = await loop.create_unix_connection(Link, str(self._path))
        except OSError as error:
            raise Unavailable(f"no kernel listens at {self._path}: {error}") from None
        return link
