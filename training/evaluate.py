"""How often the network's assistant turns are exactly right, teacher-forced: the turns before are the true ones."""

from collections import defaultdict

import numpy as np
import torch
from dialogues import Row, encode
from torch import nn

from aios.bench.tasks import KINDS, generate
from aios.bench.tasks.generate import Split
from aios.drivers.models.chat import ChatFormat

FIRST_SEED = 2**41  # above every seed that training or its tokenizer draws


@torch.no_grad()
def exact_by_kind(net: nn.Module, chat: ChatFormat, split: Split, count: int) -> dict[str, tuple[int, int]]:
    """For each kind of task: the assistant turns that were exactly right, and all of them; `count` tasks a kind."""
    scores: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for kind in KINDS:
        rows = [encode(generate(FIRST_SEED + i, split, kind), chat) for i in range(max(1, count // 4))]
        rows = sorted((row for row in rows if len(row[0]) <= 2048), key=lambda row: len(row[0]))
        for start in range(0, len(rows), 10):
            for right in _turns(net, rows[start : start + 10], chat.pad_id):
                scores[kind][0] += right
                scores[kind][1] += 1
    return {kind: (right, turns) for kind, (right, turns) in scores.items()}


def _turns(net: nn.Module, rows: list[Row], pad: int) -> list[bool]:
    length = max(len(tokens) for tokens, _ in rows)
    batch = np.full((len(rows), length), pad, dtype=np.int64)
    for index, (tokens, _) in enumerate(rows):
        batch[index, : len(tokens)] = tokens
    with torch.autocast("cpu", dtype=torch.bfloat16):
        best = net(torch.from_numpy(batch)).argmax(-1).numpy()
    found = []
    for index, (_, said) in enumerate(rows):
        right: bool | None = None
        for at in range(1, len(said)):
            if said[at]:
                right = bool(best[index, at - 1] == batch[index, at]) and right is not False
            if right is not None and (not said[at] or at == len(said) - 1):
                found.append(right)
                right = None
    return found
