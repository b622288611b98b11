"""`aios bench model`: held-out tasks, each by an agent on the kernel with the real tools."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from aios.abi.messages import Message
from aios.bench.report import Goal, Progress, Result
from aios.bench.runner import Run, booted, mixed_tasks, run_all
from aios.kernel.config import Config

NUM_TASKS = 1000
QUICK_TASKS = 100
CONCURRENCY = 64
FIRST_SEED = 1_000_000
"""So that the demo's tasks are others than the bench's."""


def run(quick: bool, seed: int, progress: Progress, failures: Path | None = None) -> Result:
    """`failures` is a file to write the conversations of unsolved tasks to."""
    tasks = mixed_tasks(QUICK_TASKS if quick else NUM_TASKS, FIRST_SEED + seed)
    runs = [Run(index, task) for index, task in enumerate(tasks, 1)]
    asyncio.run(_run_all(runs, seed, progress))
    if failures is not None:
        with failures.open("w", encoding="utf-8") as file:
            for failed in (run for run in runs if not run.verdict.solved):
                write_transcript(failed, file)
    unseen = [run for run in runs if any(turn.kind == "invented" for turn in run.task.turns)]
    return Result(
        rows_of(runs),
        {
            "model.solved": Goal(_share(runs), None, quick),
            "model.solved_unseen_tools": Goal(_share(unseen), None, quick),
        },
    )


async def _run_all(runs: Sequence[Run], seed: int, progress: Progress) -> None:
    num_ended = 0

    def ended(run: Run) -> None:
        nonlocal num_ended
        num_ended += 1
        if num_ended % 50 == 0:
            solved = sum(run.verdict.solved for run in runs)
            progress(f"model: {num_ended}/{len(runs)} tasks, {solved} solved")

    with tempfile.TemporaryDirectory(prefix="aios-model-") as folder:
        async with booted(Config(data=Path(folder), seed=seed)) as (_, connection):
            await run_all(connection, runs, CONCURRENCY, ended)


def rows_of(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The table by kind, and its sum."""
    kinds = sorted({run.task.kind for run in runs})
    groups = [(kind, [run for run in runs if run.task.kind == kind]) for kind in kinds]
    return [
        {
            "kind": kind,
            "tasks": len(group),
            "solved": sum(run.verdict.solved for run in group),
            "share": round(_share(group), 4),
            "turns": sum(len(run.task.turns) for run in group),
            "tool calls": sum(len(turn) for run in group for turn in run.tool_calls),
        }
        for kind, group in [*groups, ("all", list(runs))]
    ]


def _share(runs: Sequence[Run]) -> float:
    """The share solved; all of none is none."""
    return sum(run.verdict.solved for run in runs) / len(runs) if runs else 0.0


def write_transcript(run: Run, file: TextIO) -> None:
    """A conversation as it went, with what was wrong with it."""
    print(f"==== {run.task.kind} seed {run.task.seed}: {run.verdict.reason}", file=file)
    print(f"tools: {', '.join(run.task.tools)}", file=file)
    for message in run.history:
        print(_line(message), file=file)
    print(file=file)


def _line(message: Message) -> str:
    calls = " ".join(f"{call.name}({call.arguments})" for call in message.tool_calls)
    return f"{message.role}: {message.text}{calls}"
