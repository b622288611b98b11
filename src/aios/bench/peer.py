"""The other process of the overhead bench: a kernel whose core answers at once, or a bare echo beside it.

`python -m aios.bench.peer kernel|echo FOLDER` listens on `FOLDER/aios.sock` and on a free loopback port,
prints one JSON line once it does, and ends when its stdin ends.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from aios.abi import wire

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel

_HEADER = struct.Struct(">I")


class Address(Struct, frozen=True):
    """Where a peer listens, and the token that opens it."""

    socket: str
    url: str
    token: str = ""


class Echo(asyncio.Protocol):
    """Sends each frame back as it came."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._frames = wire.FrameReader()

    def data_received(self, data: bytes) -> None:
        for body in self._frames.feed(data):
            self._transport.write(_HEADER.pack(len(body)) + body)


@asynccontextmanager
async def kernel_at_once(folder: Path) -> "AsyncIterator[Kernel]":
    """A kernel on `folder` whose only core answers each call at once."""
    from aios.drivers.llm_scripted import ScriptedDriver
    from aios.kernel.config import Config, CoreConfig
    from aios.kernel.kernel import Kernel

    config = Config(data=folder, port=0, cores=(CoreConfig(name="scripted"),))
    driver = ScriptedDriver(lambda job: "It shares what there is.", at_once=True)
    async with Kernel(config, drivers={"scripted": driver}) as kernel:
        yield kernel


async def serve_kernel(folder: Path) -> None:
    """The kernel's own servers."""
    from aios.server.app import serving

    async with kernel_at_once(folder) as kernel, serving(kernel, kernel.config) as address:
        announce(Address(str(address.socket), address.url, kernel.operator_token))
        await stdin_ended()


async def serve_echo(folder: Path) -> None:
    """A bare echo over the kernel's framing, and a bare Starlette echo."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from aios.server.app import HTTP_OPTIONS

    async def echo(request: Request) -> Response:
        return Response(await request.body(), media_type="application/json")

    path = folder / "aios.sock"
    listener = await asyncio.get_running_loop().create_unix_server(Echo, str(path))
    bound = free_port()
    app = Starlette(routes=[Route("/v1/syscalls", echo, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, **HTTP_OPTIONS))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    announce(Address(str(path), f"http://127.0.0.1:{bound.getsockname()[1]}"))
    await stdin_ended()
    server.should_exit = True
    await serving
    listener.close()


def free_port() -> socket.socket:
    """A listening loopback socket on a port of the system's choice."""
    # asyncio turns Nagle's delay off only where the protocol is named; with it the floor would lie too low.
    bound = socket.socket(proto=socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", 0))
    bound.listen(1024)
    return bound


def announce(address: Address) -> None:
    print(wire.encode(address).decode(), flush=True)


async def stdin_ended() -> None:
    """Return when whoever started this process closes its end, by intent or by dying."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while await reader.read(4096):
        pass


if __name__ == "__main__":
    asyncio.run({"kernel": serve_kernel, "echo": serve_echo}[sys.argv[1]](Path(sys.argv[2])))
