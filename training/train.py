"""Train the embedded model: `python training/train.py RUN --minutes 90`. A run that was stopped goes on.

The run's folder holds its log and its newest checkpoint: weights, optimisers, step and data seed.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from dialogues import batches
from evaluate import exact_by_kind
from export import export
from muon import Muon
from network import Decoder
from recipe import MODEL, RECIPE, SEED
from torch import Tensor

from aios.drivers.models.chat import ChatFormat

NANO = Path(__file__).parent.parent / "src/aios/drivers/models/nano"


def loss_of(hidden: Tensor, embedding: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean cross entropy of the next tokens."""
    logits = F.linear(hidden, embedding).flatten(0, 1).float()
    each = F.cross_entropy(logits, targets.flatten(), reduction="none")
    return (each * weights.flatten()).sum() / weights.sum()


class Trainer:
    """The network, its optimisers and where in the data it is."""

    def __init__(self, run: Path, minutes: float, threads: int, compiled: bool) -> None:
        torch.manual_seed(SEED)
        torch.set_num_threads(threads)
        self.run, self.minutes = run, minutes
        self.chat = ChatFormat(NANO / "tokenizer.model")
        self.net = Decoder(MODEL)
        matrices = [p for n, p in self.net.named_parameters() if p.dim() == 2 and "embed" not in n]
        others = [p for n, p in self.net.named_parameters() if p.dim() != 2 or "embed" in n]
        self.muon = Muon(matrices, RECIPE.matrix_rate, RECIPE.momentum, RECIPE.weight_decay)
        self.adam = torch.optim.AdamW(others, RECIPE.other_rate, (0.9, 0.95), weight_decay=0.0, fused=True)
        self.step, self.seed, self.spent = 0, 0, 0.0
        self.head = loss_of
        if compiled:
            self._compile()
        self._load()

    def _compile(self) -> None:
        # One layer's code serves them all, so compiling it takes seconds and not minutes.
        for layer in self.net.layers:
            layer.compile(dynamic=True)
        self.head = torch.compile(loss_of, dynamic=True)

    def _loss(self, tokens: Tensor, weights: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = self.net.hidden(tokens[:, :-1])
            return self.head(hidden, self.net.embed_tokens.weight, tokens[:, 1:], weights[:, 1:])

    def train(self) -> None:
        """Train until the minutes are spent, with log lines, evaluations and checkpoints on the way."""
        data = batches(self.chat, RECIPE.buckets, RECIPE.rest_weight, self.seed)
        began, seen, mean = time.monotonic() - self.spent, 0, 0.0
        since = time.monotonic()
        while (share := (time.monotonic() - began) / 60 / self.minutes) < 1:
            tokens, loss = self._one(data, share)
            self.spent = time.monotonic() - began
            seen += tokens
            mean = loss if not mean else mean + 0.05 * (loss - mean)
            if self.step % 20 == 0 or self.step < 10:
                speed = seen / (time.monotonic() - since)
                left = self.minutes - self.spent / 60
                print(f"step {self.step} loss {mean:.4f} {speed:.0f} tokens/s {left:.1f} minutes left", flush=True)
                seen, since = 0, time.monotonic()
            if self.step % RECIPE.save_every == 0:
                self._save()
            if self.step % RECIPE.evaluate_every == 0:
                self.evaluate(40)
                seen, since = 0, time.monotonic()
        self._save()
        self.evaluate(400)

    def _one(self, data: Iterator[tuple[np.ndarray, np.ndarray, int]], share: float) -> tuple[int, float]:
        tokens, weights, self.seed = next(data)
        rate = min(1.0, (self.step + 1) / RECIPE.warmup_steps, max(0.0, 1 - share) / RECIPE.decay_share)
        for optimiser, full in ((self.muon, RECIPE.matrix_rate), (self.adam, RECIPE.other_rate)):
            for group in optimiser.param_groups:
                group["lr"] = full * rate
        loss = self._loss(torch.from_numpy(tokens), torch.from_numpy(weights))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), RECIPE.clip)
        self.muon.step()
        self.adam.step()
        self.net.zero_grad(set_to_none=False)
        self.step += 1
        return tokens.size, float(loss.detach())

    def evaluate(self, count: int) -> None:
        """Print how many assistant turns come out exactly, by kind, on dialogues not trained on."""
        for split in ("train", "heldout"):
            scores = exact_by_kind(self.net, self.chat, split, count)
            right, turns = (sum(score[i] for score in scores.values()) for i in (0, 1))
            table = " ".join(f"{kind} {a}/{b}" for kind, (a, b) in sorted(scores.items()))
            print(f"exact {split} {right}/{turns} = {right / max(1, turns):.3f}: {table}", flush=True)

    def _save(self) -> None:
        state: dict[str, Any] = {"net": self.net.state_dict(), "muon": self.muon.state_dict()}
        state |= {"adam": self.adam.state_dict(), "step": self.step, "seed": self.seed, "spent": self.spent}
        torch.save(state, self.run / "checkpoint.new")
        (self.run / "checkpoint.new").replace(self.run / "checkpoint.pt")
        export(self.net, self.chat, self.run)

    def _load(self) -> None:
        path = self.run / "checkpoint.pt"
        if path.exists():
            state = torch.load(path)
            self.net.load_state_dict(state["net"])
            self.muon.load_state_dict(state["muon"])
            self.adam.load_state_dict(state["adam"])
            self.step, self.seed, self.spent = state["step"], state["seed"], state["spent"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the embedded model.")
    parser.add_argument("run", type=Path, help="the run's folder; one with a checkpoint goes on from it")
    parser.add_argument("--minutes", type=float, default=90.0, help="how long the whole run takes")
    parser.add_argument("--threads", type=int, default=2, help="CPU cores to use")
    parser.add_argument("--no-compile", action="store_true", help="do not use torch.compile")
    options = parser.parse_args()
    options.run.mkdir(parents=True, exist_ok=True)
    Trainer(options.run, options.minutes, options.threads, not options.no_compile).train()


if __name__ == "__main__":
    main()
