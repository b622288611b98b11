"""`aios bench schedule`: runs experiments and hands over rows and goals (`experiments.py`, `extras.py`)."""

from collections.abc import Callable, Sequence
from pathlib import Path

from aios.abi.errors import InvalidArgument
from aios.bench.report import Progress, Result
from aios.bench.schedule.bench import Bench
from aios.bench.schedule.experiments import EXPERIMENTS
from aios.bench.schedule.extras import EXTRAS
from aios.bench.schedule.report import write


def run(
    quick: bool,
    seed: int,
    progress: Progress,
    out: Path | None = None,
    only: Sequence[str] = (),
    *,
    wire: bool = False,
    embedded: bool = False,
    workers: int | None = None,
) -> Result:
    """`only` names experiments; `wire` and `embedded` add those in real time.

    Ledgers, tables and plots go to `out`. `workers` is how many processes run trials; None for one each core.
    """
    extras = [name for name, is_asked in (("wire", wire), ("embedded", embedded)) if is_asked]
    experiments = _chosen([*(only or EXPERIMENTS), *extras])
    with Bench(quick, seed, progress, out, workers) as bench:
        for experiment in experiments:
            experiment(bench)
    bench.goal("calls_lost", bench.num_lost, 0.0)
    bench.goal("above_graham", bench.num_above_graham, 0.0)
    if bench.rejections:
        bench.goal("rejections_per_call", max(bench.rejections), 0.0)
    if out is not None:
        for line in write(bench, out):
            progress(f"schedule: {line}")
    return Result(bench.rows, bench.goals)


def _chosen(names: Sequence[str]) -> list[Callable[[Bench], None]]:
    there_are = EXPERIMENTS | EXTRAS
    unknown = [name for name in names if name not in there_are]
    if unknown:
        raise InvalidArgument(f"there is no experiment {unknown[0]!r}; there are: {', '.join(there_are)}")
    return [there_are[name] for name in dict.fromkeys(names)]
