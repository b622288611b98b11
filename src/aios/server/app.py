"""All of HTTP as one application, and `serve()`: the socket and HTTP, until told to stop.

Owns the guard before every request (Host, Origin, the end of serving) and the lives of both servers.
"""

import asyncio
import ipaddress
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from msgspec import Struct
from starlette.routing import Router
from uvicorn.server import ServerState

from aios.abi.errors import Conflict, InvalidArgument, PermissionDenied
from aios.kernel.config import Config
from aios.server import native, openai
from aios.server.guard import Guard
from aios.server.http import HttpConnection
from aios.server.socket import SocketServer
from aios.server.trap import Trap

_KEEP_S = 75
"""An idle connection is kept for longer than our own client keeps it, so that the client ends it."""
_GRACE_S = 1.0
_MAX_CONCURRENT = 4096
HTTP_OPTIONS: dict[str, Any] = {
    "lifespan": "off",
    "ws": "none",
    "proxy_headers": False,
    "access_log": False,
    "log_config": None,
    "server_header": False,
    "date_header": False,
}
"""What uvicorn is asked to leave out; the bench's bare echo leaves out the same."""


class Address(Struct, frozen=True):
    """Where a kernel is served."""

    socket: Path
    url: str


def build(kernel: Trap, config: Config, own_host: str) -> Guard:
    """The ASGI application, for requests of `own_host` besides the usual ones."""
    # Looked through one after the other: those that are asked most come first.
    router = Router([*openai.routes(kernel), *native.routes(kernel)], redirect_slashes=False)
    return Guard(router, own_host, config.allowed_hosts)


@asynccontextmanager
async def serving(kernel: Trap, config: Config) -> AsyncIterator[Address]:
    """Both servers, as long as the block lasts; then calls in flight end with `Cancelled`.

    Raises `InvalidArgument` where the address can't be had, `PermissionDenied` where other machines would
    reach it and `allow_remote` does not say so, `Conflict` where another kernel has it.
    """
    local = SocketServer(kernel, config.socket_path)
    bound = _bound(config)
    try:
        host, port = bound.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        http = _HttpServer(build(kernel, config, name))
        await local.start()
        await http.start(bound)
        try:
            yield Address(config.socket_path, f"http://{name}:{port}")
        finally:
            await http.close()
    finally:
        bound.close()
        await local.close()


async def serve(kernel: Trap, config: Config, *, ready: Callable[[Address], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM. `ready` is told where, once both servers listen."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    async with serving(kernel, config) as address:
        for number in signals:
            loop.add_signal_handler(number, stop.set)
        try:
            if ready is not None:
                ready(address)
            await stop.wait()
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


class _HttpServer:
    """Uvicorn's HTTP under our own listening: its own server polls for its end and takes the signals."""

    def __init__(self, app: Guard) -> None:
        self._app = app
        self._config = uvicorn.Config(
            app,
            http=HttpConnection,
            **HTTP_OPTIONS,
            limit_concurrency=_MAX_CONCURRENT,
            timeout_keep_alive=_KEEP_S,
        )
        self._config.load()
        self._state = ServerState()

    async def start(self, bound: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, sock=bound, backlog=2048)

    async def close(self) -> None:
        """Stop listening, end what is in flight, close what is idle."""
        self._server.close()
        await self._app.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=_GRACE_S)

    def _connection(self) -> asyncio.Protocol:
        return HttpConnection(config=self._config, server_state=self._state, app_state={})


def _bound(config: Config) -> socket.socket:
    """A socket at the configured address, not yet listening."""
    if not config.allow_remote and not _is_loopback(config.host):
        raise PermissionDenied(f"{config.host} is open to other machines: set allow_remote if that is meant")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InvalidArgument(f"there is no address {config.host}: {error}") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise Conflict(f"{config.host}:{config.port} can't be had: {error.strerror}") from None
    return bound


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
