"""The other processes of the overhead bench: kernels, an upstream, and the bare servers beside them.

`python -m aios.bench.peer KIND FOLDER [UPSTREAM]` listens on `FOLDER/aios.sock` or a free loopback port or
both, prints one JSON line once it does, answers each line of its stdin with the processor seconds that it has
used, and ends when its stdin ends. `peer(KIND, …)` starts one.
"""

import asyncio
import socket
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, structs

from aios.abi import wire
from aios.abi.messages import Delta, Usage
from aios.drivers.llm import Finished, Generation, Snapshot
from aios.drivers.llm_scripted import ScriptedDriver

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from aios.kernel.kernel import Kernel

    Endpoint = Callable[[Request], Awaitable[Response]]

_HEADER = struct.Struct(">I")

AT_ONCE = "at-once"
HELD = "held"
SLOW = "slow"
"""The cores of the kernel before an upstream, and their models: each is one of its doors."""


class Address(Struct, frozen=True):
    """Where a peer listens, and the token that opens it."""

    socket: str
    url: str
    token: str = ""


class Peer:
    """Another process, as whoever started it sees it."""

    def __init__(self, address: Address, process: asyncio.subprocess.Process) -> None:
        self.address = address
        self._process = process

    async def cpu_s(self) -> float:
        """Processor seconds that it has used so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        return float(await self._process.stdout.readline())


@asynccontextmanager
async def peer(kind: str, *words: str) -> AsyncIterator[Peer]:
    """A peer process that ends with this block."""
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aios.bench.peer", kind, folder, *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), 60)
            yield Peer(msgspec.json.decode(line, type=Address), process)
        finally:
            process.stdin.close()
            await process.wait()


class Echo(asyncio.Protocol):
    """Sends each frame back as it came."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._frames = wire.FrameReader()

    def data_received(self, data: bytes) -> None:
        for body in self._frames.feed(data):
            self._transport.write(_HEADER.pack(len(body)) + body)


class AtOnce(ScriptedDriver):
    """Says the same to everything, whole and at once: next to nothing of a call's time is the core's."""

    async def run(
        self,
        job: Generation,
        resume: Snapshot | None,
        emit: Callable[[Delta], None],
        must_yield: Callable[[int], bool],
    ) -> Finished:
        emit(_DELTA)
        return _FINISHED


_DELTA = Delta("It shares what there is.", num_tokens=1)
_FINISHED = Finished(_DELTA.text, (), "stop", Usage(12, 1), "scripted")


@asynccontextmanager
async def kernel_at_once(folder: Path, **sections: Any) -> "AsyncIterator[Kernel]":
    """A kernel on `folder` whose only core answers each call at once, with these `sections` of `Config`."""
    from aios.kernel.config import Config, CoreConfig
    from aios.kernel.kernel import Kernel

    config = Config(data=folder, port=0, cores=(CoreConfig(name="scripted"),), **sections)
    async with Kernel(config, drivers={"scripted": AtOnce()}) as kernel:
        yield kernel


async def serve_kernel(folder: Path) -> None:
    """The kernel's own servers."""
    async with kernel_at_once(folder) as kernel:
        await _serve(kernel)


async def serve_proxy(folder: Path, upstream: str) -> None:
    """A kernel before an upstream of `chat_server`.

    That one lets calls wait, so it is given more than it has slots for: none then idles while an answer is on
    its way and the next call on another.
    """
    from aios.bench.chat_server import SLOTS
    from aios.kernel.config import Config, CoreConfig
    from aios.kernel.kernel import Kernel

    doors = ((AT_ONCE, "/v1", 4 * SLOTS), (HELD, "/slots/v1", 2 * SLOTS), (SLOW, "/slow/v1", 2 * SLOTS))
    cores = tuple(
        CoreConfig(name=name, model=name, kind="openai", base_url=upstream + path, slots=slots)
        for name, path, slots in doors
    )
    async with Kernel(Config(data=folder, port=0, cores=cores)) as kernel:
        await _serve(kernel)


async def _serve(kernel: "Kernel") -> None:
    from aios.server.app import serving

    async with serving(kernel, kernel.config) as address:
        announce(Address(str(address.socket), address.url, kernel.operator_token))
        await questions_answered()


async def serve_upstream(folder: Path) -> None:
    """A light OpenAI-compatible server."""
    from aios.bench.chat_server import HOLD_S, SLOWER, ChatConnection, Slots

    slots, slow, bound = Slots(), Slots(hold_s=SLOWER * HOLD_S), free_port()
    server = await asyncio.get_running_loop().create_server(lambda: ChatConnection(slots, slow), sock=bound)
    announce(Address("", _url_of(bound)))
    await questions_answered()
    server.close()


async def serve_relay(folder: Path, upstream: str) -> None:
    """The least that a server in between can do: a body in, the same body on, the answer back."""
    import aiohttp
    from starlette.responses import Response

    async def relay(request: "Request") -> "Response":
        async with session.post(upstream + "/v1/chat/completions", data=await request.body()) as response:
            return Response(await response.read(), media_type="application/json")

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await _serve_bare("/v1/chat/completions", relay, Address("", ""))


async def serve_echo(folder: Path) -> None:
    """A bare echo over the kernel's framing, and a bare Starlette echo."""
    from starlette.responses import Response

    async def echo(request: "Request") -> "Response":
        return Response(await request.body(), media_type="application/json")

    path = folder / "aios.sock"
    listener = await asyncio.get_running_loop().create_unix_server(Echo, str(path))
    await _serve_bare("/v1/syscalls", echo, Address(str(path), ""))
    listener.close()


async def _serve_bare(path: str, endpoint: "Endpoint", address: Address) -> None:
    """One endpoint under Starlette and uvicorn, with the kernel's own options."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Route

    from aios.server.app import HTTP_OPTIONS

    bound = free_port()
    app = Starlette(routes=[Route(path, endpoint, methods=["POST"])])
    # Clients keep a connection for less, so that a slice that has to wait for its turn finds it as it was.
    server = uvicorn.Server(uvicorn.Config(app, **HTTP_OPTIONS, timeout_keep_alive=75))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    announce(structs.replace(address, url=_url_of(bound)))
    await questions_answered()
    server.should_exit = True
    await serving


def free_port() -> socket.socket:
    """A listening loopback socket on a port of the system's choice."""
    # asyncio turns Nagle's delay off only where the protocol is named; with it the floor would lie too low.
    bound = socket.socket(proto=socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", 0))
    bound.listen(1024)
    return bound


def _url_of(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


def announce(address: Address) -> None:
    print(wire.encode(address).decode(), flush=True)


async def questions_answered() -> None:
    """Return when whoever started this process closes its end, by intent or by dying."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while await reader.readline():
        print(time.process_time(), flush=True)


SERVERS: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "kernel": serve_kernel,
    "proxy": serve_proxy,
    "upstream": serve_upstream,
    "relay": serve_relay,
    "echo": serve_echo,
}

if __name__ == "__main__":
    asyncio.run(SERVERS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:]))
