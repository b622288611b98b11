"""The same workloads over the wire: the upstream a process of its own, agents and kernel on another core.

For what virtual time cannot show: what the hand-over of a slot costs, and that both ways come to the same.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
from msgspec import structs

from aios.bench.schedule.arms import Arm, Begin, DirectArm, KernelArm, beginning, core_config
from aios.bench.schedule.play import Player
from aios.bench.schedule.records import Trial, join
from aios.bench.schedule.workload import Workload, speed_of
from aios.bench.upstream.direct import Direct, OverHttp
from aios.bench.upstream.remote import RemoteUpstream, upstream_process
from aios.kernel.kernel import Kernel
from aios.sdk import transport


def wire_trial(arm: Arm, workload: Workload, seed: int) -> Trial:
    """In real time; takes as long as the workload does."""
    with one_core():
        return asyncio.run(_trial(arm, workload, seed))


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, with kernel and agents, to the first core; the upstream takes the last."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class Pauses:
    """Notes when this machine stands still: what should wake every `STEP_S` seconds wakes late, and idle."""

    STEP_S = 0.01
    LATE_S = 0.03
    CATCH_UP_S = 0.2
    """After a pause many calls end at once, and each is handed over as it would have been without."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []

    async def watch(self) -> None:
        """Until it is cancelled."""
        now = asyncio.get_running_loop().time
        while True:
            at, cpu_s = now(), time.process_time()
            await asyncio.sleep(self.STEP_S)
            late_s = now() - at - self.STEP_S
            if late_s > self.LATE_S and time.process_time() - cpu_s < late_s / 2:
                self.spans.append((at, now() + self.CATCH_UP_S))


async def _trial(arm: Arm, workload: Workload, seed: int) -> Trial:
    config = arm.upstream(workload.upstream)
    wall = time.perf_counter()
    async with upstream_process(config) as remote, _opened(arm, remote, workload, seed) as begin:
        await remote.reset()
        loop, pauses = asyncio.get_running_loop(), Pauses()
        origin = loop.time()
        player, watching = Player(origin), loop.create_task(pauses.watch())
        await player.play(workload.programs, begin)
        watching.cancel()
        standing = await remote.standing()
    join(player.calls, standing.report, speed_of(config))
    return Trial(
        f"{workload.name}, over the wire",
        arm.name,
        seed,
        config.slots,
        player.programs,
        player.calls,
        standing.report,
        time.perf_counter() - wall,
        [(since - origin, until - origin) for since, until in pauses.spans],
        {"strain": structs.asdict(standing.strain)},
    )


@asynccontextmanager
async def _opened(arm: Arm, remote: RemoteUpstream, workload: Workload, seed: int) -> AsyncIterator[Begin]:
    if isinstance(arm, KernelArm):
        async with _kernel(arm, remote, workload, seed) as begin:
            yield begin
        return
    assert isinstance(arm, DirectArm)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield beginning(Direct(OverHttp(remote.url, session), arm.retries, seed))


@asynccontextmanager
async def _kernel(
    arm: KernelArm, remote: RemoteUpstream, workload: Workload, seed: int
) -> AsyncIterator[Begin]:
    core = core_config(workload.upstream, arm.told, kind="openai", base_url=remote.url)
    with tempfile.TemporaryDirectory(prefix="aios-wire-") as folder:
        config = arm.config(Path(folder), [core], workload, seed)
        async with Kernel(config) as kernel:
            yield arm.beginning(transport.InProcess(kernel.trap), kernel.operator_token)
