"""What `aios bench memory` tells of notes: adds, searches, whether they find, and growth."""

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from aios.bench.notes.finding import recall
from aios.bench.notes.growth import growth
from aios.bench.notes.speed import adds, rows, searched
from aios.bench.report import Goal, Progress, Result


class Pace(Struct, frozen=True):
    """How much is measured."""

    slices: int
    num_notes: int
    num_searches: int
    num_to_find: int
    num_questions: int
    sizes: Sequence[int]


QUICK = Pace(20, 10_000, 60, 2_000, 60, (2_000, 10_000))
FULL = Pace(200, 100_000, 300, 20_000, 300, (10_000, 100_000, 1_000_000))


def run(quick: bool, seed: int, say: Progress, embedding: str = "") -> Result:
    """Measure. `say` is told how far it has come; `embedding` is one by which notes are found, too."""
    return asyncio.run(_run(QUICK if quick else FULL, quick, seed, say, embedding))


async def _run(pace: Pace, quick: bool, seed: int, say: Progress, embedding: str) -> Result:
    say("notes: adds of 50 agents, beside bare rows")
    added = await adds(seed, pace.slices)
    found = await searched(seed, pace.num_notes, pace.num_searches, say)
    table: list[dict[str, Any]] = rows(added, found, pace.num_notes)
    table += await recall(seed, pace.num_to_find, pace.num_questions, say)
    if embedding:
        table += await recall(seed, pace.num_to_find, pace.num_questions, say, embedding)
    table += await growth(seed, pace.sizes, say)
    both = found[0]
    goals = {
        "memory.adds_per_second": Goal(added.per_second, added.floor_per_second, quick),
        "memory.search_p50_ms": Goal(both.p50_ms, None, quick),
        "memory.search_p99_ms": Goal(both.p99_ms, None, quick),
    }
    return Result(table, goals)
