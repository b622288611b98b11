"""`aios bench scale`: up to 10,000 agents on one kernel, a task each; time per agent must not grow.

Up to 1,000 agents share the embedded model, and its processor time is nearly all of theirs. More run on a
scripted core that says at once what a perfect assistant would: kernel, memory, files and tools are as real,
and all the time that is left is theirs. `quiet ms/agent` is this process's processor time, less what it was
paused meanwhile. What an idle agent weighs is measured in a process of its own (`bench/idle.py`).
"""

import asyncio
import gc
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aios.abi.messages import Message
from aios.bench.collector import full_pass_s, full_passes
from aios.bench.pauses import Pauses, QuietTime
from aios.bench.report import Goal, Progress, Result
from aios.bench.runner import Drivers, Run, booted, mixed_tasks, perfect, run_all
from aios.bench.tasks import Task
from aios.drivers.llm import Generation
from aios.drivers.llm_scripted import ScriptedDriver
from aios.kernel.config import Config

EMBEDDED = (50, 250, 1000)
SCRIPTED = (250, 1000, 2000, 10_000)
BASE = 250
"""Agents to whose time per agent that of more is compared."""
IDLE = 10_000
QUICK_EMBEDDED = (10, 50)
QUICK_SCRIPTED = (50, 250)
QUICK_IDLE = 1000
TIMES = 5
"""How often the base is run on the scripted core: the median counts."""
TIMES_IDLE = 3
"""How often idle agents are weighed."""

MOST_IDLE_BYTES = 16_384


def run(quick: bool, seed: int, progress: Progress) -> Result:
    pauses = Pauses()
    embedded, scripted = (QUICK_EMBEDDED, QUICK_SCRIPTED) if quick else (EMBEDDED, SCRIPTED)
    rows = []
    for core, sizes in (("embedded", embedded), ("scripted, at once", scripted)):
        found = [
            _row(core, num_agents, seed, 1 if quick else TIMES, pauses, progress) for num_agents in sizes
        ]
        _compare(found)
        rows += found
    num_idle = QUICK_IDLE if quick else IDLE
    progress(f"scale: what each of {num_idle} idle agents weighs")
    idle_bytes = _idle_bytes(num_idle, 1 if quick else TIMES_IDLE)
    rows.append({"core": "idle, one call each", "agents": num_idle, "B/agent": idle_bytes})
    for row in rows:
        row["paused"] = round(pauses.share, 2)
    return Result(rows, _goals(rows, idle_bytes, quick))


def _goals(rows: Sequence[dict[str, Any]], idle_bytes: int, quick: bool) -> dict[str, Goal]:
    """Time per agent is quiet processor time: all that agents on the scripted core take."""
    largest = max((row for row in rows if "finished" in row), key=lambda row: int(row["agents"]))
    return {
        "scale.all_finished": Goal(largest["finished"] / largest["agents"], 1.0, quick),
        "scale.linearity": Goal(largest["over base"], 1.0, quick),
        "scale.idle_agent_bytes": Goal(idle_bytes, MOST_IDLE_BYTES, quick),
    }


def _row(
    core: str, num_agents: int, seed: int, times: int, pauses: Pauses, progress: Progress
) -> dict[str, Any]:
    """The run with the median time per agent, where one is short enough to be made several `times`."""
    rows = []
    for _ in range(times if core != "embedded" and num_agents <= BASE else 1):
        progress(f"scale: {num_agents} agents, {core}")
        pauses.look(0.5)
        rows.append(asyncio.run(_measure(core, num_agents, seed)))
    return sorted(rows, key=lambda row: float(row["quiet ms/agent"]))[len(rows) // 2]


def _compare(rows: Sequence[dict[str, Any]]) -> None:
    """Add each row's time per agent over the base's. The embedded model's passes in a process of its own."""
    key = "ms/agent" if rows[0]["core"] == "embedded" else "quiet ms/agent"
    base = next((row for row in rows if row["agents"] == BASE), rows[0])
    for row in rows:
        row["over base"] = round(row[key] / base[key], 3)


async def _measure(core: str, num_agents: int, seed: int) -> dict[str, Any]:
    """All agents at once, on a fresh kernel."""
    if core == "embedded":
        tasks, drivers = mixed_tasks(num_agents, seed), None
    else:
        tasks, drivers = scripted(num_agents, seed)
    with tempfile.TemporaryDirectory(prefix="aios-scale-") as folder:
        async with booted(Config(data=Path(folder), seed=seed), drivers) as (kernel, connection):
            runs = [Run(index, task) for index, task in enumerate(tasks, 1)]
            gc.collect()
            num_passes = full_passes()
            begin, quiet = time.perf_counter(), QuietTime()
            kernel.journal.subscribe(lambda event: quiet.look())
            await run_all(connection, runs)
            wall_s = time.perf_counter() - begin
            quiet_s = quiet.seconds + (full_passes() - num_passes) * full_pass_s()
            counted = kernel.journal.statistics()
    return {
        "core": core,
        "agents": num_agents,
        "finished": sum(run.state == "finished" for run in runs),
        "solved": sum(run.verdict.solved for run in runs),
        "wall s": round(wall_s, 2),
        "ms/agent": round(1000 * wall_s / num_agents, 2),
        "quiet ms/agent": round(1000 * quiet_s / num_agents, 2),
        "tokens/s": round(counted["tokens"] / wall_s),
        "switches": counted["context_switches"],
        "calls": sum(counted["syscalls"].values()),
        "p50 wait ms": counted["waiting_ms"]["p50"],
        "kernel MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def scripted(num_tasks: int, seed: int) -> tuple[list[Task], Drivers]:
    """Tasks, and a core that says what a perfect assistant would.

    It knows a task by what its user says first, so of tasks that begin alike there is one.
    """
    known: dict[str, tuple[Task, list[Message]]] = {}
    for task in mixed_tasks(num_tasks + num_tasks // 4, seed):
        messages, _, _ = perfect(task)
        known.setdefault(_first_said(messages), (task, messages))
    tasks = [task for task, _ in known.values()][:num_tasks]

    def next_message(job: Generation) -> Message:
        return known[_first_said(job.messages)][1][len(job.messages)]

    return tasks, {"nano": ScriptedDriver(next_message, at_once=True)}


def _first_said(messages: Sequence[Message]) -> str:
    return next(message.text for message in messages if message.role == "user")


def _idle_bytes(num_agents: int, times: int) -> int:
    """In fresh processes. The median: a heap does not grow evenly."""
    command = (sys.executable, "-m", "aios.bench.idle", str(num_agents))
    found = [int(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(times)]
    return round(statistics.median(found))
