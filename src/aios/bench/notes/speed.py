"""Notes added by many agents at once, beside bare rows of the same store; and searches among many notes."""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from aios.abi.syscalls import MemorySearch, SearchMode
from aios.bench.floor import bare_rows
from aios.bench.notes.facts import ASKED, Fact, facts
from aios.bench.notes.notebook import Adding, fill, notebook, spawn
from aios.bench.report import Progress, Spread, spread
from aios.bench.slices import Call

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel

AGENTS = 50
ROW_BYTES = 220
"""Of a bare row: what a note of these takes, its checksum included."""
MODES: tuple[SearchMode, ...] = ("both", "keyword", "meaning")
TRIES = 3
"""Of each search, the best of which counts: a pause of the machine only ever adds."""


ROUNDS = 4
"""Calls of each agent in one slice."""


class Adds(Struct, frozen=True):
    """Acknowledged a second in the quietest tenth of the slices, and what all of them came to."""

    per_second: float
    floor_per_second: float
    notes: Spread
    floor: Spread


async def adds(seed: int, slices: int) -> Adds:
    """Each agent adds some notes, one after the other; then as many writers as many bare rows; and so on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with bare_rows(folder, ROW_BYTES) as insert, notebook(folder / "notes") as kernel:
            made = facts(seed)
            agents = [await spawn(kernel, f"agent-{number}") for number in range(AGENTS)]
            ours = [Adding(kernel, token, made) for token in agents]
            bare = [insert] * AGENTS
            found = [(await _rate(ours), await _rate(bare)) for _ in range(1 + slices)][1:]
    notes, floor = zip(*found, strict=True)
    return Adds(_quiet(notes), _quiet(floor), spread(notes), spread(floor))


async def _rate(calls: Sequence[Call]) -> float:
    """Calls a second, each of `calls` made some times by a task of its own."""

    async def repeat(call: Call) -> None:
        for _ in range(ROUNDS):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*map(repeat, calls))
    return ROUNDS * len(calls) / (time.perf_counter() - began)


def _quiet(per_second: Sequence[float]) -> float:
    """The 90th percentile: a machine that is paused from outside only ever takes."""
    return statistics.quantiles(per_second, n=10, method="inclusive")[8]


class Searches(Struct, frozen=True):
    """Milliseconds of searches by one mode: of each its best try; and of all tries the 99th percentile."""

    mode: SearchMode
    p50_ms: float
    p99_ms: float
    p99_once_ms: float


async def searches(
    kernel: "Kernel", token: str, kept: Sequence[Fact], num_questions: int, seed: int
) -> list[Searches]:
    """Ask for so many of the notes, in each way there is, by each mode. One at a time."""
    asked = questions(kept, num_questions, seed)
    return [await _searches(kernel, token, asked, mode) for mode in MODES]


def questions(kept: Sequence[Fact], num_questions: int, seed: int) -> list[str]:
    """By keyword, misspelt and by meaning in turn."""
    chosen = random.Random(seed).choices(kept, k=num_questions)
    return [fact.asked[ASKED[number % len(ASKED)]] for number, fact in enumerate(chosen)]


async def _searches(kernel: "Kernel", token: str, asked: Sequence[str], mode: SearchMode) -> Searches:
    tries = [
        [await search_ms(kernel, token, text, mode) for _ in range(TRIES)]
        for text in ("anything at all", *asked)
    ]
    best = [min(one) for one in tries[1:]]
    once = [one for some in tries[1:] for one in some]
    return Searches(mode, statistics.median(best), _p99(best), _p99(once))


async def search_ms(kernel: "Kernel", token: str, text: str, mode: SearchMode) -> float:
    """How long one search takes."""
    began = time.perf_counter()
    await kernel.trap(token, MemorySearch(text=text, mode=mode))
    return 1000 * (time.perf_counter() - began)


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]


async def searched(seed: int, num_notes: int, num_questions: int, say: Progress) -> list[Searches]:
    """Searches among so many notes of one owner."""
    with tempfile.TemporaryDirectory() as name:
        async with notebook(Path(name)) as kernel:
            token = await spawn(kernel, "one")
            say(f"notes: {num_notes:,} are put in")
            kept = await fill(kernel, token, facts(seed), num_notes)
            return await searches(kernel, token, kept, num_questions, seed)


def rows(added: Adds, found: Sequence[Searches], num_notes: int) -> list[dict[str, Any]]:
    """Both as a table."""
    share = added.per_second / added.floor_per_second
    table: list[dict[str, Any]] = [
        {
            "what": f"adds, {AGENTS} agents",
            "per second": round(added.per_second),
            "all slices": str(added.notes),
            "floor": round(added.floor_per_second),
            "the floor's": str(added.floor),
            "of the floor": round(share, 2),
        }
    ]
    return table + [
        {
            "what": f"search {one.mode}, {num_notes:,} notes",
            "p50 ms": round(one.p50_ms, 2),
            "p99 ms": round(one.p99_ms, 2),
            "p99 of all tries": round(one.p99_once_ms, 2),
        }
        for one in found
    ]
