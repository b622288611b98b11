"""What an interruption costs: a snapshot and going on from it, beside computing the prompt again.

The blocks of the run's prompt lie in the prefix cache, as they do when it has been computed; its tail is what
has been said since. The same is measured without the cache, where all of a run has to be copied. The bound is
the machine's own copying of as many bytes.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from aios.abi.messages import Message, Sampling
from aios.bench.apart import print_measured
from aios.drivers.engine_answer import Answers
from aios.drivers.engine_branches import branches_of
from aios.drivers.engine_frames import Load
from aios.drivers.engine_models import load_model
from aios.drivers.engine_runs import Run
from aios.drivers.llm import Generation
from aios.drivers.models.kv_row import BLOCK
from aios.drivers.models.model import Chat, Model
from aios.drivers.models.prefix_cache import PrefixCache

LENGTHS = (256, 512, 1024, 2048)
ANSWER = 64
"""Tokens said when it is interrupted."""


def measure(folder: Path, quick: bool, seed: int) -> dict[str, Any]:
    """A row for each length; the worst ratio and the lowest bandwidth are the goals."""
    model, chat = load_model(Load(str(folder), "embedded", 1, 0, 0))
    window = model.config.max_position_embeddings
    lengths = [length for length in LENGTHS if length <= window - ANSWER]
    rows = [_row(model, chat, length, 7 if quick else 41, seed) for length in lengths]
    worst = max(row["switch_over_prefill"] for row in rows)
    slowest = min(row["of_bandwidth"] for row in rows)
    goals = {
        "context.switch_over_prefill": {"value": worst, "bound": 0.0, "quick": quick},
        "context.copy_bandwidth": {"value": slowest, "bound": 1.0, "quick": quick},
    }
    return {"rows": rows, "goals": goals}


def _row(model: Model[Any], chat: Chat, length: int, repeats: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    prompt = rng.integers(20, chat.vocab_size, length).tolist()
    answers = Answers(chat, model.config.max_position_embeddings)
    job = Generation((Message("user", "x"),), sampling=Sampling(max_tokens=ANSWER))
    branches = branches_of(job.sampling, lambda number: answers.begin(prompt, job.sampling, number=number))
    row, other = model.new_row(), model.new_row()
    prefill_s = _median(lambda: _prefill(model, row, prompt), max(3, repeats // 4))
    logits = model.decode([row], [5], [length])
    branches.grow([logits[0].copy()])
    run = Run(1, job, prompt, branches, rows=[row], length=length + ANSWER)
    row.reserve(run.length, length)
    cache = PrefixCache(1 << 40)
    node = cache.root("")
    for start in range(0, length - length % BLOCK, BLOCK):
        node = cache.add(node, prompt[start : start + BLOCK], row.copy(start, start + BLOCK))
        run.nodes.append(node)
    switch_s, num_bytes = _switch(run, other, repeats)
    run.nodes = []
    whole_s, whole_bytes = _switch(run, other, repeats)
    copy_s = _copying(whole_bytes, repeats)
    return {
        "prompt": length,
        "prefill_ms": round(prefill_s * 1e3, 2),
        "switch_ms": round(switch_s * 1e3, 3),
        "switch_over_prefill": round(switch_s / prefill_s, 4),
        "MB": round(num_bytes / 1e6, 2),
        "whole_ms": round(whole_s * 1e3, 3),
        "whole_over_prefill": round(whole_s / prefill_s, 4),
        "copying_ms": round(copy_s * 1e3, 3),
        "of_bandwidth": round(copy_s / whole_s, 3),
    }


def _prefill(model: Model[Any], row: Any, prompt: list[int]) -> None:
    for start in range(0, len(prompt), BLOCK):
        model.prefill(row, prompt[start : start + BLOCK], start, last=start + BLOCK >= len(prompt))


def _switch(run: Run, other: Any, repeats: int) -> tuple[float, int]:
    """Seconds of leaving a row and entering another, and the bytes that both copy."""
    rows = [run.rows[0], other]
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        (left,) = run.leave()
        num_bytes = run.tails[0].nbytes * 2 + sum(node.num_bytes for node in run.nodes)
        run.enter(rows[left is rows[0]], _no_more)
        seconds.append(time.perf_counter() - began)
    return median(seconds), num_bytes


def _no_more() -> Any:
    raise AssertionError("one branch needs one row")


def _copying(num_bytes: int, repeats: int) -> float:
    """Seconds that copying as many bytes takes, from and to memory that is there already."""
    source, target = np.ones(num_bytes, np.uint8), np.ones(num_bytes, np.uint8)
    return _median(lambda: np.copyto(target, source), repeats)


def _median(once: Callable[[], object], repeats: int) -> float:
    once()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


if __name__ == "__main__":
    print_measured(measure)
