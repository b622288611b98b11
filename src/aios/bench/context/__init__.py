"""`aios bench context`: whether an interruption changes anything, and what it costs."""

from typing import Any

from aios.bench.report import Progress, Result, as_result
from aios.drivers.llm_local import EMBEDDED_MODEL


def run(quick: bool, seed: int, say: Progress) -> Result:
    """All parts, one after the other. `errors.Unavailable` where the embedded model is missing."""
    from aios.bench.apart import measured_apart
    from aios.bench.context import restart, sharing

    parts: list[dict[str, Any]] = [
        measured_apart("aios.bench.context.exactness", EMBEDDED_MODEL, quick, seed),
        measured_apart("aios.bench.context.cost", EMBEDDED_MODEL, quick, seed),
        sharing.run(quick, say),
        restart.run(12 if quick else restart.NUM_CALLS, say),
    ]
    return as_result(
        {
            "rows": [row for part in parts for row in part["rows"]],
            "goals": {name: goal for part in parts for name, goal in part["goals"].items()},
        }
    )
