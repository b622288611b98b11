"""How notes grow: time, memory, disk and start-up with ever more notes of one owner.

Each size is lived through in a process of its own that finds the notes there: its memory is what the kernel
needs for them, not what putting them in has left behind.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from aios.bench.idle import resident_bytes
from aios.bench.notes.facts import Fact, facts
from aios.bench.notes.notebook import fill, notebook, spawn
from aios.bench.notes.speed import search_ms, searches
from aios.bench.report import Progress

QUESTIONS = 60


async def growth(seed: int, sizes: Sequence[int], say: Progress) -> list[dict[str, Any]]:
    """A row for each size, ascending."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made, num_notes = facts(seed), 0
        for size in sizes:
            say(f"notes: growing to {size:,}")
            put_in_s = await _grow(folder, made, size - num_notes)
            seen = await asyncio.to_thread(_live, folder, seed, size)
            per_second = round((size - num_notes) / put_in_s)
            found.append({"what": f"growth to {size:,} notes", "put in per second": per_second} | seen)
            num_notes = size
    return found


async def _grow(folder: Path, made: Iterator[Fact], num_notes: int) -> float:
    began = time.perf_counter()
    async with notebook(folder) as kernel:
        token = await spawn(kernel, "one")
        await fill(kernel, token, made, num_notes)
        await kernel.idle()
    return time.perf_counter() - began


def _live(folder: Path, seed: int, size: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "aios.bench.notes.growth", str(folder), str(seed), str(size)],
        stdout=subprocess.PIPE,
        check=True,
    )
    seen: dict[str, Any] = msgspec.json.decode(done.stdout)
    return seen


async def _seen(folder: Path, seed: int, size: int) -> dict[str, Any]:
    """What a kernel is like that finds these notes."""
    some = _some(seed, size)
    empty = resident_bytes()
    began = time.perf_counter()
    async with notebook(folder) as kernel:
        ready_s = time.perf_counter() - began
        token = await spawn(kernel, "one")
        first_s = await search_ms(kernel, token, some[0].asked["keyword"], "both") / 1000
        found = (await searches(kernel, token, some, QUESTIONS, seed))[0]
        resident_mib = (resident_bytes() - empty) / 2**20
    return {
        "ready s": round(ready_s, 3),
        "first search s": round(first_s, 3),
        "p50 ms": round(found.p50_ms, 2),
        "p99 ms": round(found.p99_ms, 2),
        "RAM MiB": round(resident_mib),
        "disk MiB": round(_disk_mib(folder)),
    }


def _some(seed: int, size: int) -> list[Fact]:
    """Every so manieth of the notes."""
    return list(islice(facts(seed), 0, size, size // 50))


def _disk_mib(folder: Path) -> float:
    """Of the database with its log; the reserve is no part of it."""
    files = (folder / name for name in ("aios.db", "aios.db-wal", "aios.db-shm"))
    return sum(file.stat().st_size for file in files if file.exists()) / 2**20


if __name__ == "__main__":
    where, seed, size = sys.argv[1:]
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_seen(Path(where), int(seed), int(size)))))
