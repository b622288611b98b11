"""`aios bench overhead`: system calls a second in process, over the socket, over HTTP, beside their floors.

The core answers at once: all that is measured is the kernel and its servers. For socket and HTTP the kernel
runs in a process of its own (`bench/peer.py`) and its 32 clients in this one, as do the floors' echoes. What
the kernel adds to chat calls of an upstream is `bench/proxy.py`'s to measure, and reported here. The machine
may be paused from outside: `bench/slices.py` says what is done about it, the column `paused` how much it was.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from aios.abi import wire
from aios.abi.messages import Message
from aios.abi.syscalls import LlmGenerate, ProcessSpawn, Spawned
from aios.bench import proxy
from aios.bench.pauses import Pauses
from aios.bench.peer import Address, Peer, kernel_at_once, peer
from aios.bench.report import Goal, Progress, Result, Spread, spread
from aios.bench.slices import Call, Sliced, cpu_us, quieter_half, rates, sliced

if TYPE_CHECKING:
    import aiohttp

    from aios.kernel.kernel import Kernel

CONNECTIONS = 32
AGENTS = 2000
"""Callers in process, each with one call in flight."""
CALL = LlmGenerate(messages=(Message("user", "What is a kernel?"),))


class Pace(Struct, frozen=True):
    """How much is measured."""

    rounds: int
    """Calls of each caller in process."""
    slices: int
    """Of calls of other processes, each way."""
    span_s: float
    """Of each of these."""
    cpu_slices: int


QUICK = Pace(rounds=12, slices=6, span_s=0.3, cpu_slices=60)
FULL = Pace(rounds=30, slices=24, span_s=0.5, cpu_slices=400)


class Remote(Struct, frozen=True):
    """Calls of another process, beside those of its floor, and its processor time for one."""

    per_second: Spread
    floor_per_second: Spread
    share: Spread
    cpu_us: Spread
    floor_cpu_us: Spread


def run(quick: bool, seed: int, progress: Progress) -> Result:
    """Nothing is drawn at random, so `seed` changes nothing."""
    return asyncio.run(_measure_all(quick, progress))


async def _measure_all(quick: bool, progress: Progress) -> Result:
    pauses = Pauses()
    measured = await measure(QUICK if quick else FULL, quick, pauses, progress)
    proxied = await proxy.measure(quick, progress)
    for row in measured.rows:
        row["paused"] = round(pauses.share, 2)
    return Result(measured.rows + proxied.rows, measured.goals | proxied.goals)


async def measure(pace: Pace, quick: bool, pauses: Pauses, progress: Progress) -> Result:
    """Rows and goals of all but chat calls of an upstream."""
    progress(f"overhead: {AGENTS} agents in process")
    pauses.look(0.5)
    future = await sliced([_bare_future] * AGENTS, pace.rounds)
    trap, sdk = await _in_process(pace)
    async with peer("kernel") as kernel, peer("echo") as echo:
        progress("overhead: over the socket")
        pauses.look(0.5)
        socket = await _socket(kernel, echo, pace)
        progress("overhead: over HTTP")
        pauses.look(0.5)
        http = await _http(kernel, echo, pace)
        pauses.look(0.5)
    rows = [
        _row("in process: the trap", trap, future),
        _row("in process: through the SDK", sdk, future),
        _remote_row(f"socket, {CONNECTIONS} connections", socket, "a bare echo, same frames"),
        _remote_row(f"HTTP, {CONNECTIONS} connections", http, "a bare Starlette echo"),
    ]
    goals = {
        "in_process_per_second": (sdk.per_second.median, future.per_second.median),
        "cpu_us_per_call": (_cpu_us(sdk), _cpu_us(future)),
        "socket_per_second": (socket.per_second.median, socket.floor_per_second.median),
        "http_per_second": (http.per_second.median, http.floor_per_second.median),
    }
    return Result(
        rows,
        {f"overhead.{key}": Goal(round(x, 1), round(bound, 1), quick) for key, (x, bound) in goals.items()},
    )


def _cpu_us(found: Sliced) -> float:
    return found.cpu_us.median + found.collector_us


def _row(name: str, ours: Sliced, floor: Sliced) -> dict[str, Any]:
    return {
        "way": name,
        "calls/s": round(ours.per_second.median),
        "spread": str(ours.per_second),
        "cpu µs": f"{_cpu_us(ours):.1f} ({ours.cpu_us})",
        "floor": "a bare future",
        "floor/s": round(floor.per_second.median),
        "floor µs": f"{_cpu_us(floor):.1f}",
        "left out": round(ours.left_out, 2),
    }


def _remote_row(name: str, found: Remote, floor: str) -> dict[str, Any]:
    return {
        "way": name,
        "calls/s": round(found.per_second.median),
        "spread": f"{found.per_second}, {found.share} of the floor",
        "cpu µs": f"{found.cpu_us.median:.0f} ({found.cpu_us})",
        "floor": floor,
        "floor/s": round(found.floor_per_second.median),
        "floor µs": f"{found.floor_cpu_us.median:.0f}",
    }


# ---- in process


async def _bare_future() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_soon(future.set_result, None)
    await future


async def _in_process(pace: Pace) -> tuple[Sliced, Sliced]:
    """System calls of many processes on a kernel in this one: straight to the trap, and through the SDK."""
    from aios.sdk.transport import InProcess

    with tempfile.TemporaryDirectory() as folder:
        async with kernel_at_once(Path(folder)) as kernel:
            tokens = await asyncio.gather(*(_spawn(kernel, index) for index in range(AGENTS)))
            trap = await sliced([partial(kernel.trap, token, CALL) for token in tokens], pace.rounds)
            sdk = InProcess(kernel.trap)
            through_sdk = await sliced([partial(sdk.call, token, CALL) for token in tokens], pace.rounds)
    return trap, through_sdk


async def _spawn(kernel: "Kernel", index: int) -> str:
    reply = await kernel.trap(kernel.operator_token, ProcessSpawn(agent=f"bench-{index}"))
    assert isinstance(reply, Spawned)
    return reply.token


# ---- in another process


async def _remote(
    kernel: Peer, ours: Sequence[Call], echo: Peer, floor: Sequence[Call], pace: Pace
) -> Remote:
    """Both in turn and in short slices, so that what slows this machine slows both alike."""
    found = await rates(ours, floor, pace.span_s, pace.slices)
    cpu = [(await cpu_us(kernel, ours), await cpu_us(echo, floor)) for _ in range(pace.cpu_slices)]
    return Remote(
        per_second=spread([through for through, _ in found]),
        floor_per_second=spread([straight for _, straight in found]),
        share=spread([through / straight for through, straight in found]),
        cpu_us=quieter_half([through for through, _ in cpu]),
        floor_cpu_us=quieter_half([straight for _, straight in cpu]),
    )


# ---- over the socket


class _BareConnection(asyncio.Protocol):
    """One frame out, one frame back: the least a client can do."""

    def __init__(self, frame: bytes) -> None:
        self._frame = frame
        self._frames = wire.FrameReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for _ in self._frames.feed(data):
            self._answer.set_result(None)

    async def __call__(self) -> None:
        self._answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport.write(self._frame)
        await self._answer


async def _socket(kernel: Peer, echo: Peer, pace: Pace) -> Remote:
    from aios.sdk.transport import UnixSocket

    links = [UnixSocket(kernel.address.socket) for _ in range(CONNECTIONS)]
    loop = asyncio.get_running_loop()
    frame = wire.frame(_request())
    pairs = [
        await loop.create_unix_connection(lambda: _BareConnection(frame), echo.address.socket)
        for _ in range(CONNECTIONS)
    ]
    ours = [partial(link.call, kernel.address.token, CALL) for link in links]
    found = await _remote(kernel, ours, echo, [connection for _, connection in pairs], pace)
    for link in links:
        await link.close()
    for transport, _ in pairs:
        transport.close()
    return found


def _request() -> wire.Request:
    return wire.Request("llm.generate", msgspec.Raw(wire.encode(CALL)), 1, "t" * 43)


# ---- over HTTP


async def _http(kernel: Peer, echo: Peer, pace: Pace) -> Remote:
    """The same aiohttp client for the kernel and for the floor, so that it weighs the same in both."""
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        ours = [_posting(session, kernel.address)] * CONNECTIONS
        floor = [_posting(session, echo.address)] * CONNECTIONS
        return await _remote(kernel, ours, echo, floor, pace)


def _posting(session: "aiohttp.ClientSession", address: Address) -> Call:
    url = address.url + "/v1/syscalls"
    body = wire.encode({"call": "llm.generate", "args": CALL})
    headers = {"authorization": f"Bearer {address.token}", "content-type": "application/json"}

    async def once() -> None:
        async with session.post(url, data=body, headers=headers) as response:
            answer = await response.read()
            assert response.status == 200, answer

    return once
