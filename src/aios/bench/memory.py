"""`aios bench memory`: how small histories are kept and who leaves memory first; how fast notes are, how well
they are found, and how they grow."""

from aios.bench.histories import bench as histories
from aios.bench.notes import bench as notes
from aios.bench.report import Progress, Result


def run(quick: bool, seed: int, say: Progress, embedding: str = "") -> Result:
    """Measure both. `say` is told how far it has come; `embedding` is one by which notes are found, too."""
    parts = [histories.run(quick, seed, say), notes.run(quick, seed, say, embedding)]
    rows = [row for part in parts for row in part.rows]
    return Result(rows, {key: goal for part in parts for key, goal in part.goals.items()})
