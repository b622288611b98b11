"""Whether the right file is found: each states a fact among words that say nothing, and is asked for by it.

The facts and the questions are those of `aios bench memory`: by the fact's words, misspelt, in other words.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice
from random import Random
from typing import Any

from aios.abi import syscalls as sc
from aios.bench.notes.facts import ASKED, Asked, Fact, facts

MODES: tuple[sc.SearchMode, ...] = ("keyword", "meaning", "both")
WITHIN = (5, 10)
AT_ONCE = 100
"""Files written at the same time."""

Call = Callable[[sc.SystemCall], Awaitable[Any]]


async def recall(
    call: Call, content: Callable[[], str], seed: int, num_files: int, num_questions: int
) -> list[dict[str, Any]]:
    """A row for each way to ask: the share of questions whose file is among the first 5 and 10, by mode."""
    kept = list(islice(facts(seed), num_files))
    for begin in range(0, num_files, AT_ONCE):
        some = range(begin, min(begin + AT_ONCE, num_files))
        await asyncio.gather(*(call(_file(number, kept[number], content())) for number in some))
    chosen = Random(seed).sample(range(num_files), min(num_questions, num_files))
    return [await _row(call, kept, chosen, asked) for asked in ASKED]


async def _row(call: Call, kept: list[Fact], chosen: list[int], asked: Asked) -> dict[str, Any]:
    row: dict[str, Any] = {"what": f"of {len(kept):,} files, {_ASKED[asked]}"}
    for mode in MODES:
        ranks = [await _rank(call, number, kept[number].asked[asked], mode) for number in chosen]
        shares = (sum(rank < limit for rank in ranks) / len(ranks) for limit in WITHIN)
        row[f"{mode} 5/10"] = " / ".join(f"{share:.2f}" for share in shares)
    return row


_ASKED: dict[Asked, str] = {
    "keyword": "asked by their words",
    "misspelt": "asked misspelt",
    "meaning": "asked in other words",
}


async def _rank(call: Call, number: int, text: str, mode: sc.SearchMode) -> int:
    """Where the file is; 10 where it is not among the first ten."""
    found = await call(sc.StorageSearch(text=text, mode=mode, folder="facts", limit=max(WITHIN)))
    paths = [hit.file.path for hit in found.hits]
    return paths.index(_path(number)) if _path(number) in paths else max(WITHIN)


def _file(number: int, fact: Fact, filler: str) -> sc.StorageWrite:
    middle = len(filler) // 2
    return sc.StorageWrite(path=_path(number), content=f"{filler[:middle]}\n{fact.note}\n{filler[middle:]}\n")


def _path(number: int) -> str:
    return f"facts/{number}.md"
