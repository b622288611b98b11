"""What a bench hands over: rows, goals, and the environment they were measured in. Measures nothing."""

import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from msgspec import Struct, convert

Progress = Callable[[str], None]
"""Takes one line on how far a bench has come."""

PACKAGES = (
    *("aios", "numpy", "msgspec", "apsw", "starlette"),
    *("uvicorn", "aiohttp", "sentencepiece", "zstandard"),
)


class Goal(Struct, frozen=True):
    """A measured value, with the bound or rival beside it where there is one."""

    value: float
    bound: float | None
    quick: bool


class Result(Struct, frozen=True):
    """A bench's table, and its goals by `section.key`."""

    rows: list[dict[str, Any]]
    goals: dict[str, Goal]


def as_result(measured: dict[str, Any]) -> Result:
    """A result from plain data of the same shape."""
    return convert(measured, Result)


class Spread(Struct, frozen=True):
    """Repeated measurements: their median, smallest and largest."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:,.0f}–{self.high:,.0f}" if self.high >= 100 else f"{self.low:.3g}–{self.high:.3g}"


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def environment() -> dict[str, Any]:
    """What a reader needs to judge or repeat the numbers."""
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _commit() -> str | None:
    """The commit this package runs from, `+` where files differ from it; None outside a checkout."""
    folder = Path(__file__).parent.parent
    try:
        found = _git(folder, "rev-parse", "--short=12", "HEAD")
        return found + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
