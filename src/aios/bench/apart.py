"""Measuring in a process of its own, on one BLAS thread, as the embedded core's engine runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aios.abi.errors import Unavailable

_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def measured_apart(module: str, folder: Path, quick: bool, seed: int = 0) -> dict[str, Any]:
    """What `print_measured` prints when `module` is run. `errors.Unavailable` where that fails.

    What the module says on stderr is passed on.
    """
    command = [sys.executable, "-P", "-m", module, str(folder), "quick" if quick else "full", str(seed)]
    measured = subprocess.run(
        command, env=os.environ | dict.fromkeys(_BLAS_THREADS, "1"), stdout=subprocess.PIPE, check=False
    )
    if measured.returncode:
        raise Unavailable(f"{module} could not be measured: exit code {measured.returncode}")
    found: dict[str, Any] = json.loads(measured.stdout)
    return found


def print_measured(measure: Callable[[Path, bool, int], dict[str, Any]]) -> None:
    """Measure as this process's arguments say."""
    print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2] == "quick", int(sys.argv[3]))))
