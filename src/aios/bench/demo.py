"""Many agents with a task each, sharing one model through one kernel: what `aios demo` draws."""

import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from aios.abi.syscalls import CoreEntry
from aios.bench.runner import Drivers, Run, booted, mixed_tasks, run_all
from aios.kernel.config import Config, CoreConfig, PolicyName, SchedulerConfig
from aios.kernel.kernel import Kernel
from aios.sdk.agent import Connection

SLOTS = 16
"""Rows of the core: fewer than agents, so that they must take turns."""


class Report(Struct, frozen=True):
    """What a demo came to. Times are milliseconds of the kernel's clock, `wall_s` is seconds."""

    agents: int
    finished: int
    solved: int
    syscalls: dict[str, int]
    """Settled system calls, by group."""
    tokens: int
    """Tokens that the model generated."""
    tokens_per_s: float
    context_switches: int
    waiting_ms: dict[str, float]
    """Of LLM calls, from creation to first run: mean, p50, p90, p99."""
    turnaround_ms: dict[str, float]
    wall_s: float
    answers: dict[str, str]
    policy: str
    seed: int
    unsolved: list[dict[str, str]]
    """Agents whose task was not solved: agent, kind, reason."""


class Demo:
    """A kernel on a folder of its own, and agents with a task each."""

    def __init__(self, kernel: Kernel, connection: Connection, runs: Sequence[Run], seed: int) -> None:
        self.runs = runs
        self._kernel = kernel
        self._connection = connection
        self._seed = seed
        self._began = time.perf_counter()
        self._ended: float | None = None

    async def run(self) -> None:
        """Let every agent come to its end."""
        self._began = time.perf_counter()
        await run_all(self._connection, self.runs)
        self._ended = time.perf_counter()

    @property
    def wall_s(self) -> float:
        """Seconds since the agents began, until now or until the last one ended."""
        return (self._ended or time.perf_counter()) - self._began

    def statistics(self) -> dict[str, Any]:
        """The kernel's counts so far."""
        return self._kernel.journal.statistics()

    def cores(self) -> Sequence[CoreEntry]:
        return self._kernel.cores()

    @property
    def scheduler(self) -> SchedulerConfig:
        return self._kernel.config.scheduler

    def report(self) -> Report:
        """What it came to so far."""
        counted = self.statistics()
        wall_s = self.wall_s
        return Report(
            agents=len(self.runs),
            finished=sum(run.state == "finished" for run in self.runs),
            solved=sum(run.verdict.solved for run in self.runs),
            syscalls=counted["syscalls"],
            tokens=counted["tokens"],
            tokens_per_s=round(counted["tokens"] / wall_s, 1),
            context_switches=counted["context_switches"],
            waiting_ms=counted["waiting_ms"],
            turnaround_ms=counted["turnaround_ms"],
            wall_s=round(wall_s, 3),
            answers={run.name: "\n".join(run.answers) for run in self.runs},
            policy=self.scheduler.policy,
            seed=self._seed,
            unsolved=[
                {"agent": run.name, "kind": run.task.kind, "reason": run.verdict.reason}
                for run in self.runs
                if not run.verdict.solved
            ],
        )


@asynccontextmanager
async def prepared(
    num_agents: int,
    policy: PolicyName,
    quantum: int,
    seed: int,
    *,
    slots: int = SLOTS,
    drivers: Drivers = None,
) -> AsyncIterator[Demo]:
    """A demo that is ready to run; its kernel and its folder end with this block.

    `drivers` stand in for the embedded core, by its name.
    """
    with tempfile.TemporaryDirectory(prefix="aios-demo-") as folder:
        scheduler = SchedulerConfig(policy=policy, quantum=quantum)
        config = Config(data=Path(folder), seed=seed, cores=(CoreConfig(slots=slots),), scheduler=scheduler)
        async with booted(config, drivers) as (kernel, connection):
            runs = [Run(index, task) for index, task in enumerate(mixed_tasks(num_agents, seed), 1)]
            yield Demo(kernel, connection, runs, seed)


def by_kind(runs: Sequence[Run]) -> list[tuple[str, int, int]]:
    """Each kind of task: how many agents had one, how many solved it."""
    agents = Counter(run.task.kind for run in runs)
    solved = Counter(run.task.kind for run in runs if run.verdict.solved)
    return [(kind, number, solved[kind]) for kind, number in sorted(agents.items())]
