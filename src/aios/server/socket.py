"""The kernel's socket on this machine: frames in, calls made, answers out.

Owns the listening socket and what each connection began: when a connection ends, its calls in flight are
cancelled and the processes spawned over it are killed, but for durable ones and those with a lease.
"""

import asyncio
import errno
import os
import socket
import stat
from pathlib import Path

from aios.abi import wire
from aios.abi.errors import Conflict, InvalidArgument, Overloaded
from aios.server.connection import Connection
from aios.server.trap import Trap

MAX_CONNECTIONS = 10_000
_GRACE_S = 1.0
"""What a client has, when the kernel ends, to read its last answers."""


class SocketServer:
    """Listens at `path` for processes of this user."""

    def __init__(self, kernel: Trap, path: Path) -> None:
        self._kernel = kernel
        self._path = path
        self._connections: set[Connection] = set()
        self._all_ended = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. `Conflict` where somebody else does, `InvalidArgument` where no socket can be."""
        bound = _bound(self._path)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, sock=bound, backlog=1024)

    async def close(self) -> None:
        """Stop listening, answer what is in flight with what is known of it, and end every connection."""
        if self._server is None:
            return
        self._server.close()
        self._path.unlink(missing_ok=True)
        try:
            async with asyncio.timeout(_GRACE_S):
                await asyncio.gather(*(connection.close() for connection in self._connections))
                await self._ended()
        except TimeoutError:
            for connection in self._connections:
                connection.abort()
            await self._ended()

    async def _ended(self) -> None:
        if self._connections:
            await self._all_ended.wait()

    def _accept(self) -> asyncio.Protocol:
        if len(self._connections) >= MAX_CONNECTIONS:
            return _Refusal()
        connection = Connection(self._kernel, self._forget)
        self._connections.add(connection)
        self._all_ended.clear()
        return connection

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_ended.set()


class _Refusal(asyncio.Protocol):
    """A connection over the bound: told so, and ended."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        error = Overloaded("the kernel has all the connections it can hold", retry_after=1.0)
        transport.write(wire.frame(wire.Response(0, error=error.to_reply())))
        transport.close()


def _bound(path: Path) -> socket.socket:
    """A socket at `path` that only this user may open. One that nobody listens on any more is replaced."""
    _remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(bound.fileno(), 0o600)
        bound.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"another kernel has just begun to listen at {path}") from None
        raise InvalidArgument(f"there can be no socket at {path}: {error}") from None
    return bound


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"{path} is there and is no socket; move it away or set another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        else:
            raise Conflict(f"another kernel listens at {path}")
