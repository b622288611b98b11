"""Recorded data that benches use and that is no part of this package.

It is looked for in the folder that `BENCH_DATA` names, else in `../shared/data` beside the checkout.
"""

import os
from pathlib import Path


def find(name: str) -> Path | None:
    """Where a file is on this machine; None where it is not."""
    checkout = Path(__file__).parents[3]
    folders = [os.environ.get("BENCH_DATA"), checkout.parent / "shared" / "data"]
    return next((file for folder in folders if folder and (file := Path(folder) / name).is_file()), None)
