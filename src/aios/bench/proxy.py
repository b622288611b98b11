"""What the kernel adds to a chat call of an upstream, for `aios bench overhead`.

Three processes: the callers here (aiohttp, the same client for both ways), the kernel with its OpenAI
endpoint and an `openai` core, and a light upstream (`bench/chat_server.py`). The same calls go straight to
the upstream and through the kernel, in turn and in short slices, so that a slow or paused machine slows both
alike; a figure is the median over slices. The same upstream at a tenth of its speed asks little of a machine:
there, slots that stay empty are the kernel's, and not for want of processor time.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from aios.abi import wire
from aios.abi.syscalls import ProcessSpawn, Spawned
from aios.bench.chat_server import HOLD_S, SLOTS, SLOWER
from aios.bench.pauses import Pauses
from aios.bench.peer import AT_ONCE, HELD, SLOW, Peer, peer
from aios.bench.report import Goal, Progress, Result, Spread, spread
from aios.bench.slices import Call, cpu_us, quieter_half, rates

if TYPE_CHECKING:
    import aiohttp

AGENTS = 250
CALLERS = 4
"""With one call each in flight, where the kernel's processor time is measured."""
MOST_PER_SECOND = SLOTS / HOLD_S


class Pace(Struct, frozen=True):
    """How much is measured."""

    slices: int
    """Of the one agent's calls, and of the many agents'."""
    calls: int
    """Of the one agent in a slice, each way."""
    span_s: float
    """Of a slice of many agents, each way."""
    slow_slices: int
    """The same before the upstream that takes its time: each is so many times longer."""
    cpu_slices: int


QUICK = Pace(slices=8, calls=25, span_s=1.0, slow_slices=1, cpu_slices=200)
FULL = Pace(slices=24, calls=50, span_s=2.0, slow_slices=4, cpu_slices=1500)


class Ways(Struct, frozen=True):
    """One call each: straight to the upstream, through the kernel, through a bare relay."""

    direct: dict[str, Call]
    """By the upstream's door."""
    proxied: dict[str, list[Call]]
    """By the core that stands before that door, one for each agent."""
    relayed: Call
    kernel: Peer
    relay: Peer


class Throughput(Struct, frozen=True):
    """Calls a second of many agents, slice by slice; `direct` is of the same moments."""

    share: Spread
    """Of the calls a second that go straight through, what goes through the kernel."""
    per_second: Spread
    direct_per_second: Spread


class Proxied(Struct, frozen=True):
    """What was measured, slice by slice; `direct` and `floor` are of the same moments."""

    added_ms: Spread
    direct_ms: Spread
    held: Throughput
    slow: Throughput
    cpu_ms: Spread
    """Of the kernel's process."""
    floor_cpu_ms: Spread
    """Of a bare relay's."""


async def measure(quick: bool, progress: Progress, pace: Pace | None = None) -> Result:
    """Rows and goals, in the shape of the overhead bench. `pace` is for tests."""
    pauses = Pauses()
    async with _ready(AGENTS) as ways:
        found = await _measure(ways, pace or (QUICK if quick else FULL), pauses, progress)
    return Result(_rows(found, pauses), _goals(found, quick))


async def _measure(ways: Ways, pace: Pace, pauses: Pauses, progress: Progress) -> Proxied:
    progress("overhead: chat calls of one agent through the kernel")
    added = await _added(ways, pace, pauses)
    progress("overhead: the kernel's processor time for chat calls")
    cpu = await _cpu_times(ways, pace, pauses)
    progress(f"overhead: chat calls of {AGENTS} agents through the kernel, {MOST_PER_SECOND:,.0f} a second")
    held = await _throughput(ways, HELD, pace.span_s, pace.slices, pauses)
    progress(f"overhead: chat calls of {AGENTS} agents, {MOST_PER_SECOND / SLOWER:,.0f} a second")
    slow = await _throughput(ways, SLOW, SLOWER * pace.span_s, pace.slow_slices, pauses)
    return Proxied(
        added_ms=spread([through - straight for straight, through in added]),
        direct_ms=spread([straight for straight, _ in added]),
        held=held,
        slow=slow,
        cpu_ms=quieter_half([ours for ours, _ in cpu]),
        floor_cpu_ms=quieter_half([floor for _, floor in cpu]),
    )


def _goals(found: Proxied, quick: bool) -> dict[str, Goal]:
    return {
        "overhead.proxy_added_ms": Goal(round(found.added_ms.median, 2), 0.0, quick),
        "overhead.proxy_throughput": Goal(round(found.held.share.median, 3), 1.0, quick),
        "overhead.proxy_cpu_ms": Goal(
            round(found.cpu_ms.median, 3), round(found.floor_cpu_ms.median, 3), quick
        ),
    }


def _rows(found: Proxied, pauses: Pauses) -> list[dict[str, Any]]:
    added, direct = found.added_ms.median, found.direct_ms.median
    rows = [
        {
            "way": "chat call, one agent",
            "spread": f"{found.added_ms} ms added",
            "µs": round(1000 * (added + direct), 1),
            "floor": "aiohttp straight to the upstream",
            "floor µs": round(1000 * direct, 1),
        },
        _throughput_row(found.held, HOLD_S),
        _throughput_row(found.slow, SLOWER * HOLD_S),
        {
            "way": "chat call: the kernel's processor time",
            "cpu µs": f"{1000 * found.cpu_ms.median:.0f}",
            "spread": f"{found.cpu_ms} ms",
            "floor": "a bare Starlette and aiohttp relay",
            "floor µs": round(1000 * found.floor_cpu_ms.median, 1),
        },
    ]
    return [row | {"paused": round(pauses.share, 2)} for row in rows]


def _throughput_row(found: Throughput, hold_s: float) -> dict[str, Any]:
    return {
        "way": f"chat calls, {AGENTS} agents, {SLOTS} slots of {1000 * hold_s:g} ms",
        "calls/s": round(found.per_second.median),
        "spread": f"{found.share} of the floor",
        "floor": f"aiohttp straight, {SLOTS / hold_s:,.0f} at most",
        "floor/s": round(found.direct_per_second.median),
    }


async def _added(ways: Ways, pace: Pace, pauses: Pauses) -> list[tuple[float, float]]:
    """Of each slice: the median milliseconds of a call straight, and through the kernel, made in turn."""
    direct, proxied = ways.direct[AT_ONCE], ways.proxied[AT_ONCE][0]
    found = []
    for _ in range(1 + pace.slices):
        pauses.look()
        pairs = [(await _timed_ms(direct), await _timed_ms(proxied)) for _ in range(pace.calls)]
        straight, through = (statistics.median(times) for times in zip(*pairs, strict=True))
        found.append((straight, through))
    return found[1:]


async def _timed_ms(call: Call) -> float:
    begin = time.perf_counter()
    await call()
    return 1000 * (time.perf_counter() - begin)


async def _throughput(ways: Ways, door: str, span_s: float, times: int, pauses: Pauses) -> Throughput:
    """Of all agents through the kernel, and straight, one slice after the other."""
    proxied, direct = ways.proxied[door], [ways.direct[door]] * AGENTS
    pauses.look(0.5)
    found = await rates(proxied, direct, span_s, times)
    pauses.look(0.5)
    return Throughput(
        share=spread([through / straight for through, straight in found]),
        per_second=spread([through for through, _ in found]),
        direct_per_second=spread([straight for _, straight in found]),
    )


async def _cpu_times(ways: Ways, pace: Pace, pauses: Pauses) -> list[tuple[float, float]]:
    """Of each slice: processor milliseconds of the kernel for a call, and of the bare relay."""
    proxied, relayed = ways.proxied[AT_ONCE][:CALLERS], [ways.relayed] * CALLERS
    found = []
    for _ in range(1 + pace.cpu_slices):
        pauses.look(0.001)
        ours = await cpu_us(ways.kernel, proxied)
        found.append((ours / 1000, await cpu_us(ways.relay, relayed) / 1000))
    return found[1:]


# ---- what is measured


@asynccontextmanager
async def _ready(num_agents: int) -> AsyncIterator[Ways]:
    """An upstream, a kernel and a relay before it, and one process of the kernel for each agent."""
    import aiohttp

    from aios.sdk.transport import UnixSocket

    async with AsyncExitStack() as stack:
        upstream = (await stack.enter_async_context(peer("upstream"))).address.url
        kernel = await stack.enter_async_context(peer("proxy", upstream))
        relay = await stack.enter_async_context(peer("relay", upstream))
        link = UnixSocket(kernel.address.socket)
        stack.push_async_callback(link.close)
        spawning = (_spawn(link, kernel.address.token) for _ in range(num_agents))
        tokens = await asyncio.gather(*spawning)
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield Ways(
            direct={
                AT_ONCE: _chat(session, upstream + "/v1", AT_ONCE),
                HELD: _chat(session, upstream + "/slots/v1", HELD),
                SLOW: _chat(session, upstream + "/slow/v1", SLOW),
            },
            proxied={
                core: [_chat(session, kernel.address.url + "/v1", core, token) for token in tokens]
                for core in (AT_ONCE, HELD, SLOW)
            },
            relayed=_chat(session, relay.address.url + "/v1", AT_ONCE),
            kernel=kernel,
            relay=relay,
        )


async def _spawn(link: Any, operator_token: str) -> str:
    reply = await link.call(operator_token, ProcessSpawn(agent="bench"))
    assert isinstance(reply, Spawned)
    return reply.token


def _chat(session: "aiohttp.ClientSession", base_url: str, model: str, token: str = "none") -> Call:
    """A chat call that is made anew each time it is called."""
    body = wire.encode({"model": model, "messages": [{"role": "user", "content": "What is a kernel?"}]})
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    url = base_url + "/chat/completions"

    async def call() -> None:
        async with session.post(url, data=body, headers=headers) as response:
            answer = await response.read()
            assert response.status == 200, answer

    return call
