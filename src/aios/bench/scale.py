"""`aios bench scale`: 50, 250, 1,000 agents in one process, a task each; time per agent must not grow."""

import asyncio
import gc
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from aios.bench.report import Goal, Progress, Result
from aios.bench.runner import Run, booted, mixed_tasks, run_all
from aios.kernel.config import Config

SIZES = (50, 250, 1000)
QUICK_SIZES = (10, 50)


def run(quick: bool, seed: int, progress: Progress) -> Result:
    sizes = QUICK_SIZES if quick else SIZES
    rows = []
    for num_agents in sizes:
        progress(f"scale: {num_agents} agents")
        rows.append(asyncio.run(_measure(num_agents, seed)))
    last, middle = rows[-1], rows[-2]
    return Result(
        rows,
        {
            "scale.all_finished": Goal(last["finished"] / last["agents"], 1.0, quick),
            "scale.linearity": Goal(round(last["ms/agent"] / middle["ms/agent"], 3), 1.0, quick),
        },
    )


async def _measure(num_agents: int, seed: int) -> dict[str, Any]:
    """All agents at once, on a fresh kernel."""
    with tempfile.TemporaryDirectory(prefix="aios-scale-") as folder:
        async with booted(Config(data=Path(folder), seed=seed)) as (kernel, connection):
            runs = [Run(index, task) for index, task in enumerate(mixed_tasks(num_agents, seed), 1)]
            gc.collect()
            begin = time.perf_counter()
            await run_all(connection, runs)
            wall_s = time.perf_counter() - begin
            counted = kernel.journal.statistics()
    return {
        "agents": num_agents,
        "finished": sum(run.state == "finished" for run in runs),
        "solved": sum(run.verdict.solved for run in runs),
        "wall s": round(wall_s, 2),
        "ms/agent": round(1000 * wall_s / num_agents, 2),
        "tokens/s": round(counted["tokens"] / wall_s),
        "switches": counted["context_switches"],
        "calls": sum(counted["syscalls"].values()),
        "p50 wait ms": counted["waiting_ms"]["p50"],
        "kernel MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
