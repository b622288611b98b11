"""`aios bench overhead`: system calls a second in process, over the socket, over HTTP, beside their floors.

The core answers at once: all that is measured is the kernel and its servers. For socket and HTTP the kernel
runs in a process of its own (`bench/peer.py`) and its 32 clients in this one, as do the floors' echoes. What
the kernel adds to chat calls of an upstream is `bench/proxy.py`'s to measure, and reported here.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aios.abi import wire
from aios.abi.messages import Message
from aios.abi.syscalls import LlmGenerate, ProcessSpawn, Spawned
from aios.bench import proxy
from aios.bench.pauses import Pauses
from aios.bench.peer import Address, kernel_at_once, peer
from aios.bench.report import Goal, Progress, Result, Spread, spread

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel

CONNECTIONS = 32
AGENTS = 256
"""Callers in process, each with one call in flight."""
MANY_AGENTS = 2000
"""The same, where the processor time of a call is measured."""
SLICE = 100
"""Calls of a slice of processor time: most are over before the host pauses the machine, which would count."""
CALL = LlmGenerate(messages=(Message("user", "What is a kernel?"),))

Once = Callable[[], Awaitable[object]]
"""Makes one call and waits for its answer."""


def run(quick: bool, seed: int, progress: Progress) -> Result:
    """Nothing is drawn at random, so `seed` changes nothing."""
    return asyncio.run(_measure_all(quick, progress))


async def _measure_all(quick: bool, progress: Progress) -> Result:
    pauses = Pauses()
    progress("overhead: in process")
    pauses.look(0.5)
    future = await _rates([_bare_future] * AGENTS, quick)
    trap, sdk = await _in_process(quick)
    cpu, future_cpu = await _cpu_in_process(quick)
    pauses.look(0.5)
    progress("overhead: over the socket")
    socket, socket_echo = await _socket(quick)
    pauses.look(0.5)
    progress("overhead: over HTTP")
    http, http_echo = await _http(quick)
    pauses.look(0.5)
    rows = [
        _row("in process: the trap", trap, "a bare future", future),
        _row("in process: through the SDK", sdk, "a bare future", future),
        _cpu_row(f"in process, {MANY_AGENTS} agents: processor time", cpu, "a bare future", future_cpu),
        _row(f"socket, {CONNECTIONS} connections", socket, "a bare echo, same frames", socket_echo),
        _row(f"HTTP, {CONNECTIONS} connections", http, "a bare Starlette echo", http_echo),
    ]
    proxied = await proxy.measure(quick, progress)
    goals = {
        "overhead.in_process_per_second": Goal(round(sdk.median), round(future.median), quick),
        "overhead.cpu_us_per_call": Goal(round(cpu.median, 1), round(future_cpu.median, 1), quick),
        "overhead.socket_per_second": Goal(round(socket.median), round(socket_echo.median), quick),
        "overhead.http_per_second": Goal(round(http.median), round(http_echo.median), quick),
    }
    for row in rows:
        row["paused"] = round(pauses.share, 2)
    return Result(rows + proxied.rows, goals | proxied.goals)


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


def _cpu_row(name: str, ours: Spread, floor_name: str, floor: Spread) -> dict[str, Any]:
    """Spreads are of microseconds."""
    return {
        "way": name,
        "spread": f"{ours} µs",
        "µs": round(ours.median, 1),
        "floor": floor_name,
        "floor µs": round(floor.median, 1),
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


async def _cpu_in_process(quick: bool) -> tuple[Spread, Spread]:
    """Processor microseconds of a call through the SDK, in short slices of many callers; and of a future."""
    from aios.sdk.transport import InProcess

    with tempfile.TemporaryDirectory() as folder:
        async with kernel_at_once(Path(folder)) as kernel:
            tokens = [await _spawn(kernel, index) for index in range(MANY_AGENTS)]
            sdk = InProcess(kernel.trap)
            ours = await _cpu_times([partial(sdk.call, token, CALL) for token in tokens], quick)
    return ours, await _cpu_times([_bare_future] * MANY_AGENTS, quick)


async def _cpu_times(calls: Sequence[Once], quick: bool) -> Spread:
    """Of a call, slice by slice, while each of `calls` is made again and again by a task of its own."""
    readings: list[float] = []
    num_made = 0

    async def repeat(call: Once) -> None:
        nonlocal num_made
        for _ in range(6 if quick else 25):
            await call()
            num_made += 1
            if num_made % SLICE == 0:
                readings.append(time.process_time())

    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(repeat(call))
    # In the first round each task is begun, and pools and tables grow.
    settled = readings[len(calls) // SLICE :]
    return spread([1e6 * (after - before) / SLICE for before, after in pairwise(settled)])


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

    async with peer("kernel") as kernel:
        links = [UnixSocket(kernel.address.socket) for _ in range(CONNECTIONS)]
        ours = await _rates([partial(link.call, kernel.address.token, CALL) for link in links], quick)
        for link in links:
            await link.close()
    async with peer("echo") as echo:
        loop = asyncio.get_running_loop()
        frame = wire.frame(_request())
        pairs = [
            await loop.create_unix_connection(lambda: _BareConnection(frame), echo.address.socket)
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
    async with peer("kernel") as kernel:
        ours = await _http_rates(kernel.address, quick)
    async with peer("echo") as echo:
        floor = await _http_rates(echo.address, quick)
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
