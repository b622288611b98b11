"""Whether the right note is found: of each question one note is the answer, and is it among the first?"""

import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aios.abi.syscalls import MemorySearch, NoteHits, SearchMode
from aios.bench.notes.facts import ASKED, Asked, Fact, facts
from aios.bench.notes.notebook import fill, notebook, spawn
from aios.bench.notes.speed import MODES
from aios.bench.report import Progress

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel


async def recall(
    seed: int, num_notes: int, num_questions: int, say: Progress, embedding: str = "ngrams"
) -> list[dict[str, Any]]:
    """The share of questions whose note is among the first 5 and 10, by how is asked and by mode.

    `embedding` is as in `[memory]`; of another than `ngrams` also how fast its vectors are made.
    """
    is_trained = embedding != "ngrams"
    suffix = ", with the embedding" if is_trained else ""
    with tempfile.TemporaryDirectory() as name:
        async with notebook(Path(name), embedding) as kernel:
            token = await spawn(kernel, "one")
            begun = time.perf_counter()
            kept = await fill(kernel, token, facts(seed), num_notes)
            if is_trained:
                say(f"notes: vectors of {num_notes:,} notes by {embedding}")
            await kernel.idle()
            made = kernel.statistics()["vectors"].get("made", 0) / (time.perf_counter() - begun)
            chosen = random.Random(seed).sample(kept, min(num_questions, len(kept)))
            say(f"notes: {len(chosen)} questions about {num_notes:,} notes, asked in each way by each mode")
            modes = [mode for mode in MODES if not is_trained or mode != "keyword"]
            rows = [
                await _recall(kernel, token, chosen, asked, mode, suffix) for asked in ASKED for mode in modes
            ]
    return [*rows, {"what": "vectors made", "a second": round(made, 1)}] if is_trained else rows


async def _recall(
    kernel: "Kernel", token: str, chosen: list[Fact], asked: Asked, mode: SearchMode, suffix: str
) -> dict[str, Any]:
    ranks = [await _rank(kernel, token, fact, asked, mode) for fact in chosen]
    within = {limit: sum(rank < limit for rank in ranks) / len(ranks) for limit in (1, 5, 10)}
    how = "misspelt" if asked == "misspelt" else f"by {asked}"
    return {
        "what": f"asked {how}, mode {mode}{suffix}",
        **{f"recall@{limit}": round(share, 3) for limit, share in within.items()},
    }


async def _rank(kernel: "Kernel", token: str, fact: Fact, asked: Asked, mode: SearchMode) -> int:
    """Where the note is; 10 where it is not among the first ten."""
    found = await kernel.trap(token, MemorySearch(text=fact.asked[asked], mode=mode, limit=10))
    assert isinstance(found, NoteHits)
    return next((rank for rank, hit in enumerate(found.hits) if hit.note.text == fact.note), 10)
