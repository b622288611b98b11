"""`aios bench schedule`: runs experiments and hands over rows and goals (`experiments.py`, `extras.py`)."""

import inspect
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
    num_seeds: int | None = None,
) -> Result:
    """`only` names experiments; `wire` and `embedded` add those in real time.

    Tables and plots go to `out` after each experiment, its ledgers to `out/ledgers`. `workers` is how many
    processes run trials; None for one each core. `num_seeds`: see `Bench`.
    """
    extras = [name for name, is_asked in (("wire", wire), ("embedded", embedded)) if is_asked]
    experiments = _chosen([*(only or EXPERIMENTS), *extras])
    with Bench(quick, seed, progress, out, workers, num_seeds) as bench:
        for name, experiment in experiments.items():
            section = bench.begin(name, inspect.getdoc(experiment) or "")
            experiment(bench)
            if out is not None:
                for line in write(section, bench, out):
                    bench.say(line)
    _overall(bench)
    return Result(bench.rows, bench.goals)


def _overall(bench: Bench) -> None:
    """Goals over all that was run."""
    bench.goal("calls_lost", sum(section.num_lost for section in bench.sections), 0.0)
    bench.goal("above_graham", sum(section.num_above_graham for section in bench.sections), 0.0)
    rejections = [share for section in bench.sections for share in section.rejections]
    if rejections:
        bench.goal("rejections_per_call", max(rejections), 0.0)


def _chosen(names: Sequence[str]) -> dict[str, Callable[[Bench], None]]:
    there_are = EXPERIMENTS | EXTRAS
    unknown = [name for name in names if name not in there_are]
    if unknown:
        raise InvalidArgument(f"there is no experiment {unknown[0]!r}; there are: {', '.join(there_are)}")
    return {name: there_are[name] for name in names}
