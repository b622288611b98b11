"""`aios bench overhead`: system calls a second in process, over the socket, over HTTP, beside their floors.

The core answers at once: all that is measured is the kernel and its servers. For socket and HTTP the kernel
runs in a process of its own (`bench/peer.py`) and its 32 clients in this one, as do the floors' echoes.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from aios.abi import wire
from aios.abi.messages import Message
from aios.abi.syscalls import LlmGenerate
from aios.bench.peer import Address
from aios.bench.report import Goal, Progress, Result, Spread, spread

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
    rows: list[dict[str, Any]] = []
    goals: dict[str, Goal] = {}
    for name, floor_name, measure, key in (
        ("in process", "a bare future", _in_process, "overhead.in_process_per_second"),
        ("unix socket, 32 connections", "a bare echo, same frames", _socket, "overhead.socket_per_second"),
        ("HTTP, 32 connections", "a bare Starlette echo", _http, "overhead.http_per_second"),
    ):
        progress(f"overhead: {name}")
        ours, floor = await measure(quick)
        rows.append(_row(name, ours, floor_name, floor))
        goals[key] = Goal(ours.median, floor.median, quick)
    return Result(rows, goals)


def _row(name: str, ours: Spread, floor_name: str, floor: Spread) -> dict[str, Any]:
    return {
        "way": name,
        "calls/s": round(ours.median),
        "spread": str(ours),
        "floor": floor_name,
        "floor/s": round(floor.median),
        "µs over it": round(1e6 / ours.median - 1e6 / floor.median, 1),
    }


async def _rates(calls: list[Once], quick: bool, num_calls: int) -> Spread:
    """Calls a second, each of `calls` made again and again by a task of its own."""
    each = max(1, num_calls // len(calls) // (5 if quick else 1))

    async def repeat(call: Once, times: int) -> None:
        for _ in range(times):
            await call()

    await asyncio.gather(*(repeat(call, max(1, each // 10)) for call in calls))
    found = []
    for _ in range(3 if quick else 7):
        begin = time.perf_counter()
        await asyncio.gather(*(repeat(call, each) for call in calls))
        found.append(each * len(calls) / (time.perf_counter() - begin))
    return spread(found)


# ---- in process


async def _bare_future() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_soon(future.set_result, None)
    await future


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
        ours = await _rates([_call_over(link, address.token) for link in links], quick, 60_000)
        for link in links:
            await link.close()
    async with _peer("echo") as address:
        loop = asyncio.get_running_loop()
        frame = wire.frame(_request())
        pairs = [
            await loop.create_unix_connection(lambda: _BareConnection(frame), address.socket)
            for _ in range(CONNECTIONS)
        ]
        floor = await _rates([connection for _, connection in pairs], quick, 60_000)
        for transport, _ in pairs:
            transport.close()
    return ours, floor


def _call_over(transport: Any, token: str) -> Once:
    return lambda: transport.call(token, CALL)


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
        return await _rates([once] * CONNECTIONS, quick, 20_000)


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
