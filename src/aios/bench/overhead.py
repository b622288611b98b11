"""`aios bench overhead`: system calls a second in process, over the socket, over HTTP, beside their floors.

The core answers at once: all that is measured is the kernel and its servers. For socket and HTTP the kernel
runs in a process of its own (`bench/peer.py`) and its 32 clients in this one, as do the floors' echoes.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aios.abi import wire
from aios.abi.messages import Message
from aios.abi.syscalls import LlmGenerate, ProcessSpawn, Spawned
from aios.bench.peer import Address, kernel_at_once
from aios.bench.report import Goal, Progress, Result, Spread, spread

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel

CONNECTIONS = 32
AGENTS = 256
"""Callers in process, each with one call in flight."""
CALL = LlmGenerate(messages=(Message("user", "What is a kernel?"),))

Once = Callable[[], Awaitable[object]]
"""Makes one call and waits for its answer."""


def run(quick: bool, seed: int, progress: Progress) -> Result:
    """Nothing is drawn at random, so `seed` changes nothing."""
    return asyncio.run(_measure_all(quick, progress))


async def _measure_all(quick: bool, progress: Progress) -> Result:
    progress("overhead: in process")
    future = await _rates([_bare_future] * AGENTS, quick)
    trap, sdk = await _in_process(quick)
    progress("overhead: over the socket")
    socket, socket_echo = await _socket(quick)
    progress("overhead: over HTTP")
    http, http_echo = await _http(quick)
    rows = [
        _row("in process: the trap", trap, "a bare future", future),
        _row("in process: through the SDK", sdk, "a bare future", future),
        _row(f"socket, {CONNECTIONS} connections", socket, "a bare echo, same frames", socket_echo),
        _row(f"HTTP, {CONNECTIONS} connections", http, "a bare Starlette echo", http_echo),
    ]
    goals = {
        "overhead.in_process_per_second": Goal(round(sdk.median), round(future.median), quick),
        "overhead.socket_per_second": Goal(round(socket.median), round(socket_echo.median), quick),
        "overhead.http_per_second": Goal(round(http.median), round(http_echo.median), quick),
    }
    return Result(rows, goals)


def _row(name: str, ours: Spread, floor_name: str, floor: Spread) -> dict[str, Any]:
    return {
        "way": name,
        "calls/s": round(ours.median),
        "spread": str(ours),
        "µs": round(1e6 / ours.median, 1),
        "floor": floor_name,
        "floor/s": round(floor.median),
        "floor µs": round(1e6 / floor.median, 1),
    }


async def _rates(calls: Sequence[Once], quick: bool) -> Spread:
    """Calls a second, each of `calls` made again and again by a task of its own."""
    await _rate(calls, 0.1)
    span_s, times = (0.5, 3) if quick else (1.5, 7)
    return spread([await _rate(calls, span_s) for _ in range(times)])


async def _rate(calls: Sequence[Once], span_s: float) -> float:
    begin = time.perf_counter()
    end = begin + span_s

    async def repeat(call: Once) -> int:
        made = 0
        while time.perf_counter() < end:
            await call()
            made += 1
        return made

    made = await asyncio.gather(*map(repeat, calls))
    return sum(made) / (time.perf_counter() - begin)


# ---- in process


async def _bare_future() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_soon(future.set_result, None)
    await future


async def _in_process(quick: bool) -> tuple[Spread, Spread]:
    """System calls of many processes on a kernel in this one: straight to the trap, and through the SDK."""
    from aios.sdk.transport import InProcess

    with tempfile.TemporaryDirectory() as folder:
        async with kernel_at_once(Path(folder)) as kernel:
            tokens = [await _spawn(kernel, index) for index in range(AGENTS)]
            trap = await _rates([partial(kernel.trap, token, CALL) for token in tokens], quick)
            sdk = InProcess(kernel.trap)
            through_sdk = await _rates([partial(sdk.call, token, CALL) for token in tokens], quick)
    return trap, through_sdk


async def _spawn(kernel: "Kernel", index: int) -> str:
    reply = await kernel.trap(kernel.operator_token, ProcessSpawn(agent=f"bench-{index}"))
    assert isinstance(reply, Spawned)
    return reply.token


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


async def _socket(quick: bool) -> tuple[Spread, Spread]:
    from aios.sdk.transport import UnixSocket

    async with _peer("kernel") as address:
        links = [UnixSocket(address.socket) for _ in range(CONNECTIONS)]
        ours = await _rates([partial(link.call, address.token, CALL) for link in links], quick)
        for link in links:
            await link.close()
    async with _peer("echo") as address:
        loop = asyncio.get_running_loop()
        frame = wire.frame(_request())
        pairs = [
            await loop.create_unix_connection(lambda: _BareConnection(frame), address.socket)
            for _ in range(CONNECTIONS)
        ]
        floor = await _rates([connection for _, connection in pairs], quick)
        for transport, _ in pairs:
            transport.close()
    return ours, floor


def _request() -> wire.Request:
    return wire.Request("llm.generate", msgspec.Raw(wire.encode(CALL)), 1, "t" * 43)


# ---- over HTTP


async def _http(quick: bool) -> tuple[Spread, Spread]:
    async with _peer("kernel") as address:
        ours = await _http_rates(address, quick)
    async with _peer("echo") as address:
        floor = await _http_rates(address, quick)
    return ours, floor


async def _http_rates(address: Address, quick: bool) -> Spread:
    """The same aiohttp client for the kernel and for the floor, so that it weighs the same in both."""
    import aiohttp

    url = address.url + "/v1/syscalls"
    body = wire.encode({"call": "llm.generate", "args": CALL})
    headers = {"authorization": f"Bearer {address.token}", "content-type": "application/json"}

    async def once() -> None:
        async with session.post(url, data=body, headers=headers) as response:
            answer = await response.read()
            assert response.status == 200, answer

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        return await _rates([once] * CONNECTIONS, quick)


# ---- the other process


@asynccontextmanager
async def _peer(kind: str) -> AsyncIterator[Address]:
    """A peer process that ends with this block."""
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aios.bench.peer", kind, folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), 60)
            yield msgspec.json.decode(line, type=Address)
        finally:
            process.stdin.close()
            await process.wait()
