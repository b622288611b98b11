"""`aios bench cache`: how much of prompts the prefix cache finds, and what it forgets too early.

The first part asks the embedded core's engine: agents of twenty kinds, each kind with a system prompt of its
own, in an order drawn from a seed; beside it the same engine with a cache without end. The second replays
what the blocks of 12,031 real requests say (Mooncake's conversation trace) through the cache itself, at
shares of what they take together; beside it Belady's misses, which nobody has who does not know the future.
What the cache knows of it are the prompts that wait: none in the first rows, then some.
"""

import gzip
import heapq
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from aios.abi.messages import Message, Sampling
from aios.bench.apart import measured_apart, print_measured
from aios.bench.data import find
from aios.drivers.engine import Engine
from aios.drivers.engine_frames import Load, Submit
from aios.drivers.llm import Generation
from aios.drivers.llm_local import EMBEDDED_MODEL
from aios.drivers.models.prefix_cache import Node, PrefixCache

KINDS = 20
CALLS = 400
BATCH = 8
"""Calls that are asked for together."""
ROOM = 2.0
"""The cache's room, over what one call of each kind takes."""
TRACE = "mooncake_conversation.jsonl.gz"
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
WAITING = (0, 64, 256)
_WORDS = (
    *("keep", "each", "note", "short", "and", "say", "which", "file", "it", "came", "from"),
    *("before", "you", "answer", "the", "next", "one"),
)
_BLOCK = np.zeros(1, np.uint8)


def run(quick: bool, seed: int, folder: Path = EMBEDDED_MODEL) -> dict[str, Any]:
    """Rows and goals. `errors.Unavailable` where `folder` has no model."""
    return measured_apart(__name__, folder, quick, seed)


def measure(folder: Path, quick: bool, seed: int) -> dict[str, Any]:
    """What `run` gives, measured in this process."""
    found, goal = _reuse(folder, CALLS // 4 if quick else CALLS, seed)
    rows, goals = [found], {"cache.reuse": goal | {"quick": quick}}
    path = find(TRACE)
    if path is None:
        print(f"cache: {TRACE} is not there, so it is not replayed", file=sys.stderr, flush=True)
        return {"rows": rows, "goals": goals}
    prompts = _prompts(path, 3000 if quick else None)
    replayed = [_replayed(prompts, share) for share in SHARES]
    worst = max(row["over Belady"] for row in replayed)
    goals["cache.misses_over_belady"] = {"value": worst, "bound": 1.0, "quick": quick}
    return {"rows": rows + replayed, "goals": goals}


def _reuse(folder: Path, num_calls: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    draw = Random(f"cache {seed}")
    kinds = [" ".join(draw.choice(_WORDS) for _ in range(90)) for _ in range(KINDS)]
    jobs = [
        Generation(
            (Message("system", draw.choice(kinds)), Message("user", f"Tell of train {number}.")),
            sampling=Sampling(max_tokens=2, seed=number),
        )
        for number in range(num_calls)
    ]
    firsts = {job.messages[0].text: job for job in jobs}
    _, taken = _cached(folder, list(firsts.values()), 1 << 40)
    endless, _ = _cached(folder, jobs, 1 << 40)
    bounded, _ = _cached(folder, jobs, int(ROOM * taken))
    row = {
        "what": f"{KINDS} system prompts",
        "prompts": num_calls,
        "found, of endless": round(bounded / endless, 4),
        "endless tokens": endless,
        "room": f"{ROOM:g} times one call of each",
    }
    return row, {"value": round(bounded / endless, 4), "bound": 1.0}


def _cached(folder: Path, jobs: Sequence[Generation], max_bytes: int) -> tuple[int, int]:
    """Tokens that the cache had, and the bytes it took in the end."""
    engine = Engine.load(Load(str(folder), "embedded", BATCH, max_bytes, 0))
    for start in range(0, len(jobs), BATCH):
        for number, job in enumerate(jobs[start : start + BATCH], start):
            engine.obey(Submit(number, job, None))
        while engine.is_busy:
            engine.step()
    statistics = engine.statistics()
    return statistics.cached_tokens, statistics.cache_bytes


def _prompts(path: Path, most: int | None) -> list[list[int]]:
    with gzip.open(path, "rt") as lines:
        return [json.loads(line)["hash_ids"] for line in lines][:most]


def _replayed(prompts: Sequence[Sequence[int]], share: float) -> dict[str, Any]:
    blocks = [block for prompt in prompts for block in prompt]
    room = int(share * len(set(blocks)))
    best = _belady(blocks, room)
    misses = {waiting: _misses(prompts, room, waiting) for waiting in WAITING}
    row: dict[str, Any] = {
        "what": f"trace, room for {share:.0%}",
        "prompts": len(prompts),
        "blocks": len(blocks),
        "Belady's misses": best,
        "over Belady": round(misses[0] / best, 4),
    }
    return row | {f"over Belady, {waiting} wait": round(misses[waiting] / best, 4) for waiting in WAITING[1:]}


def _misses(prompts: Sequence[Sequence[int]], room: int, num_waiting: int) -> int:
    """Blocks that the cache does not have when a prompt comes to them."""
    cache = PrefixCache(room * _BLOCK.nbytes)
    awaited: list[list[Node]] = []
    misses = 0
    for place, prompt in enumerate(prompts):
        if num_waiting:
            known = prompts[place + len(awaited) : place + num_waiting]
            awaited += [_expected(cache, each) for each in known]
            cache.expect(awaited.pop(0), -1)
        node, nodes = cache.root(""), []
        for block in prompt:
            found = cache.find(node, (block,))
            misses += found is None
            node = found or cache.add(node, (block,), _BLOCK)
            nodes.append(node)
        cache.touch(nodes)
    return misses


def _expected(cache: PrefixCache, prompt: Sequence[int]) -> list[Node]:
    """What there is of a prompt that waits, held as the engine has it held."""
    node, nodes = cache.root(""), []
    for block in prompt:
        found = node.after.get((block,))
        if found is None:
            break
        node = found
        nodes.append(node)
    cache.expect(nodes, 1)
    return nodes


def _belady(blocks: Sequence[int], room: int) -> int:
    """Misses where what is needed last goes first, or is not kept at all."""
    later: dict[int, int] = {}
    nexts = [0] * len(blocks)
    for place in range(len(blocks) - 1, -1, -1):
        nexts[place] = later.get(blocks[place], len(blocks))
        later[blocks[place]] = place
    kept: dict[int, int] = {}
    farthest: list[tuple[int, int]] = []
    misses = 0
    for place, block in enumerate(blocks):
        misses += block not in kept
        kept[block] = nexts[place]
        heapq.heappush(farthest, (-nexts[place], block))
        while len(kept) > room:
            when, other = heapq.heappop(farthest)
            if kept.get(other) == -when:
                del kept[other]
    return misses


if __name__ == "__main__":
    print_measured(measure)
