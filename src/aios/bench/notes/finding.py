"""Whether the right note is found: of each question one note is the answer, and is it among the first?"""

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aios.abi.syscalls import MemorySearch, NoteHits, SearchMode
from aios.bench.notes.facts import ASKED, Asked, Fact, facts
from aios.bench.notes.notebook import fill, notebook, spawn
from aios.bench.notes.speed import MODES
from aios.bench.report import Progress

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel


async def recall(seed: int, num_notes: int, num_questions: int, say: Progress) -> list[dict[str, Any]]:
    """The share of questions whose note is among the first 5 and 10, by how is asked and by mode."""
    with tempfile.TemporaryDirectory() as name:
        async with notebook(Path(name)) as kernel:
            token = await spawn(kernel, "one")
            kept = await fill(kernel, token, facts(seed), num_notes)
            chosen = random.Random(seed).sample(kept, min(num_questions, len(kept)))
            say(f"notes: {len(chosen)} questions about {num_notes:,} notes, asked in each way by each mode")
            return [await _recall(kernel, token, chosen, asked, mode) for asked in ASKED for mode in MODES]


async def _recall(
    kernel: "Kernel", token: str, chosen: list[Fact], asked: Asked, mode: SearchMode
) -> dict[str, Any]:
    ranks = [await _rank(kernel, token, fact, asked, mode) for fact in chosen]
    within = {limit: sum(rank < limit for rank in ranks) / len(ranks) for limit in (1, 5, 10)}
    return {
        "what": f"asked by {asked}, mode {mode}" if asked != "misspelt" else f"asked misspelt, mode {mode}",
        **{f"recall@{limit}": round(share, 3) for limit, share in within.items()},
    }


async def _rank(kernel: "Kernel", token: str, fact: Fact, asked: Asked, mode: SearchMode) -> int:
    """Where the note is; 10 where it is not among the first ten."""
    found = await kernel.trap(token, MemorySearch(text=fact.asked[asked], mode=mode, limit=10))
    assert isinstance(found, NoteHits)
    return next((rank for rank, hit in enumerate(found.hits) if hit.note.text == fact.note), 10)
