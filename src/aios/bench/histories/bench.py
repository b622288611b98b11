"""What `aios bench memory` tells of histories: how small they are kept, and who leaves memory first.

Measured on recorded runs that are no part of this package (`runs.FILE`); left out, saying so, where they are
not found.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from aios.bench import data
from aios.bench.histories.accesses import End, Event, Reference, events_of
from aios.bench.histories.policies import Belady, Lru, LruK, misses
from aios.bench.histories.runs import FILE, Run, read
from aios.bench.histories.size import Size
from aios.bench.report import Goal, Progress, Result
from aios.drivers.store import Store
from aios.kernel.histories.schema import STEPS

BUDGETS = (0.10, 0.25, 0.50)
"""Of the bytes of all nodes."""
JUDGED = (1, 8, 24)
"""Agents at a time, by which the goals go: from one after the other, as the runs were recorded, to as many
as a tenth of all has room for. Of more it has not, and then nobody can tell who comes next (but Belady)."""
WIDTHS = (1, 8, 24, 50, 200)
QUICK_WIDTHS = (1,)
QUICK_RUNS = 60


class Misses(Struct, frozen=True):
    """Of the same references under one budget. The first to each node is a miss for all three."""

    width: int
    budget: float
    references: int
    lruk: int
    lru: int
    belady: int


def run(quick: bool, seed: int, say: Progress) -> Result:
    """Measure. `say` is told how far it has come."""
    path = data.find(FILE)
    if path is None:
        say(f"histories: left out, there is no {FILE}; BENCH_DATA may name its folder")
        return Result([], {})
    runs = read(path, QUICK_RUNS if quick else None)
    say(f"histories: the whole history of each call of {len(runs)} runs is kept")
    size = _size(path, len(runs))
    say("histories: who leaves memory first")
    found = [one for width in (QUICK_WIDTHS if quick else WIDTHS) for one in _misses(runs, width, seed)]
    return Result(_size_rows(size) + [_misses_row(one) for one in found], _goals(size, found, quick))


def _size(path: Path, num_runs: int) -> Size:
    command = [sys.executable, "-m", "aios.bench.histories.size", str(path), str(num_runs)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Size)


def _misses(runs: Sequence[Run], width: int, seed: int) -> list[Misses]:
    events = asyncio.run(_events(runs, width, seed))
    sizes = {event.node_id: event.size for event in events if not isinstance(event, End)}
    first = len({event.node_id for event in events if isinstance(event, Reference)})
    references = sum(isinstance(event, Reference) and not event.is_new for event in events)
    found = []
    for budget in BUDGETS:
        num_bytes = int(budget * sum(sizes.values()))
        counts = [first + misses(events, policy, num_bytes) for policy in (LruK(), Lru(), Belady(events))]
        found.append(Misses(width, budget, references, *counts))
    return found


async def _events(runs: Sequence[Run], width: int, seed: int) -> list[Event]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "aios.db")
        await store.start()
        try:
            await store.migrate("history", STEPS)
            return await store.write(lambda connection: events_of(connection, runs, width, seed))
        finally:
            await store.close()


def _goals(size: Size, found: Sequence[Misses], quick: bool) -> dict[str, Goal]:
    judged = [one for one in found if one.width in JUDGED]
    return {
        "memory.trie_over_raw": Goal(round(size.raw / size.kept, 2), None, quick),
        "memory.resident_over_raw": Goal(round(size.raw / size.resident, 2), None, quick),
        "memory.trie_over_zstd": Goal(round(size.zstd / size.kept, 2), None, quick),
        "memory.lruk_over_belady": Goal(round(max(one.lruk / one.belady for one in judged), 3), 1.0, quick),
        "memory.lruk_over_lru": Goal(round(max(one.lruk / one.lru for one in judged), 3), None, quick),
    }


def _size_rows(size: Size) -> list[dict[str, Any]]:
    ways = {
        "each apart": size.raw,
        "each apart, zstd": size.zstd,
        "trie, plain text": size.text,
        "trie, as kept": size.kept,
        "trie, all pages on disk": size.disk,
        "trie, growth of the process": size.resident,
    }
    return [
        {
            "what": f"{size.num_calls:,} calls' histories, {way}",
            "MB": round(num_bytes / 1e6, 2),
            "raw over it": round(size.raw / num_bytes, 1),
            "zstd over it": round(size.zstd / num_bytes, 1),
        }
        for way, num_bytes in ways.items()
    ]


def _misses_row(one: Misses) -> dict[str, Any]:
    return {
        "what": f"misses, {one.width} agents at a time, budget {one.budget:.0%}",
        "references": one.references,
        "LRU-2": one.lruk,
        "LRU": one.lru,
        "Belady": one.belady,
        "over LRU": round(one.lruk / one.lru, 3),
        "over Belady": round(one.lruk / one.belady, 3),
    }
