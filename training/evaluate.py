"""How often the network's assistant turns are exactly right, each after the true turns before it."""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from aios.bench.tasks import KINDS, generate
from aios.bench.tasks.lexicon import Split
from aios.drivers.models.chat import ChatFormat
from dialogues import Row, encode
from export import load
from network import Decoder

FIRST_SEED = 2**41  # above every seed that training or its tokenizer draws


@torch.no_grad()
def exact_by_kind(
    net: nn.Module, chat: ChatFormat, split: Split, count: int, kinds: Sequence[str] = KINDS
) -> dict[str, tuple[int, int]]:
    """By kind of task: the assistant turns that were exactly right, and all of them; `count` tasks each."""
    scores: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for kind in kinds:
        rows = [encode(generate(FIRST_SEED + i, split, kind), chat) for i in range(count)]
        rows = sorted((row for row in rows if len(row[0]) <= 2048), key=lambda row: len(row[0]))
        for start in range(0, len(rows), 4):
            for right in _turns(net, rows[start : start + 4], chat.pad_id):
                scores[kind][0] += right
                scores[kind][1] += 1
    return {kind: (right, turns) for kind, (right, turns) in scores.items()}


def _turns(net: nn.Module, rows: list[Row], pad: int) -> list[bool]:
    length = max(len(tokens) for tokens, _ in rows)
    batch = np.full((len(rows), length), pad, dtype=np.int64)
    for index, (tokens, _) in enumerate(rows):
        batch[index, : len(tokens)] = tokens
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


def table(scores: dict[str, tuple[int, int]]) -> str:
    """Scores as one line: the whole, then each kind."""
    right, turns = (sum(score[i] for score in scores.values()) for i in (0, 1))
    by_kind = " ".join(f"{kind} {a}/{b}" for kind, (a, b) in sorted(scores.items()))
    return f"{right}/{turns} = {right / max(1, turns):.3f}: {by_kind}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Score a run's exported weights by kind of task.")
    parser.add_argument("run", type=Path, help="a folder with model.safetensors and config.json")
    parser.add_argument("--count", type=int, default=40, help="tasks of each kind and split")
    options = parser.parse_args()
    nano = Path(__file__).parent.parent / "src/aios/drivers/models/nano"
    net = Decoder(json.loads((options.run / "config.json").read_text())).bfloat16()
    net.load_state_dict(load(options.run))
    splits: tuple[Split, ...] = ("train", "heldout")
    for split in splits:
        print(split, table(exact_by_kind(net, ChatFormat(nano / "tokenizer.model"), split, options.count)))


if __name__ == "__main__":
    main()
