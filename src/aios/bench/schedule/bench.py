"""What every experiment is given: a way to run trials, and a place for rows, goals and series.

Trials run in processes of their own, one for each processor: virtual time makes them the same in any order.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from msgspec import Struct

from aios.bench.report import Goal, Progress
from aios.bench.schedule import measures, records
from aios.bench.schedule.arms import Arm, KernelArm
from aios.bench.schedule.play import virtual_trial
from aios.bench.schedule.plots import Plot
from aios.bench.schedule.records import Trial
from aios.bench.schedule.workload import Workload

Job = tuple[Arm, Workload, int]
"""An arm, what it is to run, and the seed."""

ROUNDING_S = 1e-6
"""By which a makespan may lie above a bound for the sake of arithmetic alone."""


class Section(Struct):
    """What one experiment came to."""

    name: str
    about: str
    rows: list[dict[str, Any]] = []
    goals: list[str] = []
    """Their keys."""
    plots: dict[str, Plot] = {}
    num_lost: int = 0
    """Programs that the kernel lost."""
    num_bounded: int = 0
    """Runs of the kernel that are bound by W/C + max CP."""
    num_above_graham: int = 0
    """Those of them that lie above it."""
    rejections: list[float] = []
    """Of the kernel after it has settled, where the upstream's limits are steady slots or rates."""


class Bench:
    """Runs trials and keeps what they came to. `workers` 1 runs them in this process.

    What is run for several seeds is for `num_seeds` of them, from `seed` on; None for three, one if `quick`.
    """

    def __init__(
        self,
        quick: bool,
        seed: int,
        progress: Progress,
        out: Path | None = None,
        workers: int | None = None,
        num_seeds: int | None = None,
    ) -> None:
        self.quick = quick
        self.seed = seed
        self.num_seeds = num_seeds
        self.out = out
        self.sections: list[Section] = []
        self.goals: dict[str, Goal] = {}
        self._progress = progress
        self._workers = workers or len(os.sched_getaffinity(0))
        self._pool: Executor | None = None

    def __enter__(self) -> Self:
        if self._workers > 1:
            self._pool = ProcessPoolExecutor(self._workers, get_context("spawn"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    @property
    def seeds(self) -> Sequence[int]:
        num_seeds = self.num_seeds or (1 if self.quick else 3)
        return range(self.seed, self.seed + num_seeds)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for section in self.sections for row in section.rows]

    def begin(self, experiment: str, about: str) -> Section:
        """What comes from here on is this experiment's."""
        self.sections.append(Section(experiment, about))
        return self.sections[-1]

    def say(self, line: str) -> None:
        self._progress(f"schedule: {line}")

    # ---- trials

    def trials(self, jobs: Iterable[Job]) -> list[Trial]:
        """Run all of them, and add a row for each; in the order given."""
        jobs = list(jobs)
        ledgers = self.out / "ledgers" if self.out else None
        parts = [[job[part] for job in jobs] for part in range(3)]
        run = map if self._pool is None else self._pool.map
        found = []
        for (arm, workload, _), trial in zip(jobs, run(_trial, *parts, [ledgers] * len(jobs)), strict=True):
            self.keep(arm, workload, trial)
            found.append(trial)
        return found

    def keep(self, arm: Arm, workload: Workload, trial: Trial, **more: Any) -> dict[str, Any]:
        """A trial's row, and what it adds to the counts over all trials."""
        bounds, summary = workload.bounds, measures.summary(trial)
        row: dict[str, Any] = {
            "workload": trial.workload,
            "arm": trial.arm,
            "seed": trial.seed,
            "programs": summary.programs,
            "lost": summary.lost,
            "makespan s": round(summary.makespan_s, 1),
            "bound s": round(bounds.makespan_s, 1),
            "mean s": round(summary.mean_s, 2),
            "mean bound s": round(bounds.mean_turnaround_s, 2),
            "p50 s": round(summary.p50_s, 2),
            "p99 s": round(summary.p99_s, 2),
            "refused/call": round(summary.rejections, 4),
            "after 30 s": round(summary.rejections_after, 4),
            "wasted": round(summary.wasted, 4),
            "run s": round(trial.wall_s, 1),
            **more,
        }
        self.say(f"{trial.workload}, {trial.arm}: {_told(row)}")
        if isinstance(arm, KernelArm):
            self._count(arm, workload, trial)
        return self.add(row)

    def _count(self, arm: KernelArm, workload: Workload, trial: Trial) -> None:
        config, section = workload.upstream, self.sections[-1]
        fails = config.error_share or config.cut_share
        section.num_lost += measures.num_lost(trial)
        if config.mode == "slots" and arm.told == "limits" and not fails:
            section.num_bounded += 1
            section.num_above_graham += measures.makespan(trial) > workload.bounds.graham_s + ROUNDING_S
        if config.mode in ("slots", "rate") and not fails:
            section.rejections.append(trial.report.rejections_after(measures.SETTLED_S))

    # ---- what comes of them

    def add(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of the experiment that runs: the row as it is kept."""
        kept = {"experiment": self.sections[-1].name, **row}
        self.sections[-1].rows.append(kept)
        return kept

    def goal(self, name: str, value: float, bound: float | None) -> None:
        """Goal `schedule.NAME`: its value, and the bound or rival beside it."""
        key = f"schedule.{name}"
        self.goals[key] = Goal(round(value, 4), bound if bound is None else round(bound, 4), self.quick)
        if key not in self.sections[-1].goals:
            self.sections[-1].goals.append(key)
        self.say(f"goal {name}: {value:.4g} (beside it {bound})")

    def draw(self, name: str, plot: Plot) -> None:
        """Leave a picture for the file `name`."""
        self.sections[-1].plots[name] = plot


def _told(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {row[key]}" for key in ("makespan s", "mean s", "p99 s", "lost", "after 30 s", "run s")
    )


def _trial(arm: Arm, workload: Workload, seed: int, ledgers: Path | None) -> Trial:
    trial = virtual_trial(arm, workload, seed)
    if ledgers is not None:
        records.write(trial, ledgers)
    return trial
