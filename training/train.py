"""Train the embedded model: `python training/train.py RUN --minutes 90`. A run that was stopped goes on.

Every worker is a process of one thread. It takes its own part of the data; all share one set of weights, and
each moves its own share of them by everybody's gradients. Threads that wait for each other at every product
would cost most of the time on a machine that others use too. The run's folder holds the newest checkpoint.
"""

import argparse
import ctypes
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from msgspec import Struct
from torch import Tensor

from aios.bench.tasks import KINDS
from aios.bench.tasks.lexicon import Split
from aios.drivers.models.chat import ChatFormat
from dialogues import batches
from evaluate import exact_by_kind, table
from export import export, load
from muon import Muon
from network import Decoder
from recipe import MODEL, RECIPE, SEED

NANO = Path(__file__).parent.parent / "src/aios/drivers/models/nano"


class Crew(Struct, frozen=True):
    """What the workers of a run share: its folder and length, weights and gradients, and where they meet."""

    run: Path
    minutes: float
    first_seed: int
    compiled: bool
    weights: Tensor
    gradients: Tensor
    """A row for each worker; one number more than there are weights, for the first worker's clock."""
    all_there: Barrier


class Trainer:
    """One worker: its network in bfloat16, the shared weights in float32, and its share of the optimisers."""

    def __init__(self, rank: int, crew: Crew) -> None:
        self.rank, self.crew = rank, crew
        self.chat = ChatFormat(NANO / "tokenizer.model")
        self.net = Decoder(MODEL).bfloat16()
        if crew.compiled:
            for layer in self.net.layers:  # one layer's code for each length serves them all
                layer.compile(dynamic=False)
        self.names = [name for name, _ in self.net.named_parameters()]
        self.parameters = list(self.net.parameters())
        self.flat = _views(crew.weights, self.parameters)
        mine = [i for i, _ in enumerate(self.names) if i % RECIPE.workers == rank]
        self.matrices = [i for i in mine if self._is_matrix(i)]
        self.others = [i for i in mine if not self._is_matrix(i)]
        self.muon = Muon([self.flat[i] for i in self.matrices], RECIPE.momentum, RECIPE.weight_decay)
        self.adam = torch.optim.AdamW([self.flat[i] for i in self.others], betas=(0.9, 0.95), weight_decay=0)
        self.step, self.seed, self.spent = 0, crew.first_seed + rank, 0.0
        self._load()

    def _is_matrix(self, index: int) -> bool:
        return self.parameters[index].dim() == 2 and "embed" not in self.names[index]

    def train(self) -> None:
        """Train until the minutes are spent, with log lines, evaluations and checkpoints on the way."""
        data = batches(self.chat, RECIPE.buckets, self.seed, RECIPE.workers, self._longest, self._drilled)
        log = Log(self.crew.minutes)
        self._refresh()
        began = time.monotonic() - self.spent
        while self.share < 1:
            tokens, loss = self._one(data)
            self.spent = self._agreed(time.monotonic() - began)
            if self.rank == 0:
                log.add(self.step, tokens * RECIPE.workers, loss, self.spent)
            if self.step % RECIPE.save_every == 0:
                self._save()
            if self.step % RECIPE.evaluate_every == 0:
                self.evaluate(5)
        self._save()
        self.evaluate(25)

    @property
    def share(self) -> float:
        """How much of the run's minutes is spent, from 0 to 1."""
        return self.spent / 60 / self.crew.minutes

    def _longest(self) -> int:
        return RECIPE.short_length if self.share < RECIPE.short_share else RECIPE.buckets[-1][0]

    def _drilled(self) -> float:
        return RECIPE.drill_share if self.share < RECIPE.drill_until else 0.0

    def _agreed(self, spent: float) -> float:
        """The first worker's clock is everybody's, so that all stop after the same step."""
        if self.rank == 0:
            self.crew.gradients[0, -1] = spent
        self.crew.all_there.wait()
        return float(self.crew.gradients[0, -1])

    def _one(self, data: Iterator[tuple[np.ndarray, np.ndarray, int]]) -> tuple[int, float]:
        """One step: the gradients of this worker's part, then everybody's moves of the weights."""
        seen, total = 0, 0.0
        for _ in range(RECIPE.parts):
            tokens, marks, self.seed = next(data)
            loss = self._loss(torch.from_numpy(tokens), torch.from_numpy(marks)) / RECIPE.parts
            loss.backward()
            seen, total = seen + int((marks >= 0).sum()), total + float(loss.detach())
        slots = _views(self.crew.gradients[self.rank], self.parameters)
        for slot, parameter in zip(slots, self.parameters, strict=True):
            assert parameter.grad is not None
            slot.copy_(parameter.grad)
            parameter.grad.zero_()
        self.crew.all_there.wait()
        self._move(min(1.0, (self.step + 1) / RECIPE.warmup_steps, (1 - self.share) / RECIPE.decay_share))
        self.crew.all_there.wait()
        self._refresh()
        self.step += 1
        return seen, total

    def _loss(self, tokens: Tensor, marks: Tensor) -> Tensor:
        """The weighted mean cross entropy, over what the assistant says and a sample of the rest."""
        hidden = self.net.hidden(tokens[:, :-1]).flatten(0, 1)
        wanted, said = tokens[:, 1:].flatten(), marks[:, 1:].flatten()
        sampled = (said == 0) & (torch.rand(said.shape) < RECIPE.rest_share)
        counted = ((said == 1) | sampled).nonzero().flatten()
        logits = F.linear(hidden[counted], self.net.embed_tokens.weight).float()
        each = F.cross_entropy(logits, wanted[counted], reduction="none")
        weights = torch.where(said[counted] == 1, 1.0, RECIPE.rest_weight)
        return (each * weights).sum() / weights.sum()

    @torch.no_grad()
    def _move(self, rate: float) -> None:
        slots = [_views(gradient, self.parameters) for gradient in self.crew.gradients]
        mean = {i: sum(slot[i] for slot in slots) / len(slots) for i in (*self.matrices, *self.others)}
        self.muon.step([mean[i] for i in self.matrices], RECIPE.matrix_rate * rate)
        for i in self.others:
            self.flat[i].grad = mean[i]
        for group in self.adam.param_groups:
            group["lr"] = RECIPE.other_rate * rate
        self.adam.step()

    @torch.no_grad()
    def _refresh(self) -> None:
        for parameter, weight in zip(self.parameters, self.flat, strict=True):
            parameter.copy_(weight)

    def evaluate(self, count: int) -> None:
        """Print how many assistant turns come out exactly, by kind; each worker measures its own kinds."""
        kinds = KINDS[self.rank :: RECIPE.workers]
        splits: tuple[Split, ...] = ("train", "heldout")
        for split in splits:
            with torch.compiler.set_stance("force_eager"):  # rather than compile for every length
                scores = exact_by_kind(self.net, self.chat, split, count, kinds)
            print(f"exact {split} {table(scores)}", flush=True)

    def _save(self) -> None:
        state = {
            "muon": self.muon.state(),
            "adam": self.adam.state_dict(),
            "weights": self.crew.weights.clone(),
        }
        state |= {"step": self.step, "seed": self.seed, "spent": self.spent}
        path, unfinished = (self.crew.run / f"{stem}.{self.rank}" for stem in ("checkpoint", "unfinished"))
        torch.save(state, unfinished)
        unfinished.replace(path)
        if self.rank == 0:
            export(dict(zip(self.names, self.flat, strict=True)), self.chat, self.crew.run)

    def _load(self) -> None:
        path = self.crew.run / f"checkpoint.{self.rank}"
        if path.exists():
            state = torch.load(path)
            self.muon.load(state["muon"])
            self.adam.load_state_dict(state["adam"])
            self.step, self.seed, self.spent = state["step"], state["seed"], state["spent"]
            torch.manual_seed(SEED + self.rank + self.step)
            if self.rank == 0:
                self.crew.weights.copy_(state["weights"])
        self.crew.all_there.wait()


class Log:
    """Prints a line every twenty steps: step, smoothed loss, tokens a second, minutes left."""

    def __init__(self, minutes: float) -> None:
        self.minutes, self.tokens, self.loss, self.since = minutes, 0, 0.0, time.monotonic()

    def add(self, step: int, tokens: int, loss: float, spent: float) -> None:
        """Take one step's figures; `spent` is the run's seconds so far."""
        self.tokens += tokens
        self.loss += (0.05 if self.loss else 1.0) * (loss - self.loss)
        if step % 20 and step > 5:
            return
        speed, left = self.tokens / (time.monotonic() - self.since), self.minutes - spent / 60
        print(f"step {step} loss {self.loss:.4f} {speed:.0f} tokens/s {left:.1f} minutes left", flush=True)
        self.tokens, self.since = 0, time.monotonic()


def _views(flat: Tensor, parameters: list[torch.nn.Parameter]) -> list[Tensor]:
    views, at = [], 0
    for parameter in parameters:
        views.append(flat[at : at + parameter.numel()].view(parameter.shape))
        at += parameter.numel()
    return views


def _keep_memory() -> None:
    """Let the allocator keep what it freed: on a virtual machine the first touch of a page is slow."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:  # glibc; its M_MMAP_MAX is -4, its M_TRIM_THRESHOLD -1
        mallopt(-4, 0)
        mallopt(-1, 2**31 - 1)


def work(rank: int, crew: Crew) -> None:
    """What each worker process does."""
    _keep_memory()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # tiny attention weights would cost a hundred times an ordinary number
    torch.manual_seed(SEED + rank)
    Trainer(rank, crew).train()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the embedded model.")
    parser.add_argument("run", type=Path, help="the run's folder; one with a checkpoint goes on from it")
    parser.add_argument("--minutes", type=float, default=90.0, help="how long the whole run takes")
    parser.add_argument("--compile", action="store_true", help="compile the layers (needs a C++ compiler)")
    parser.add_argument("--first-seed", type=int, default=0, help="of the dialogues of a new run")
    parser.add_argument("--start", type=Path, help="a folder whose weights a new run begins with")
    options = parser.parse_args()
    options.run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    net = Decoder(MODEL)
    if options.start is not None:
        net.load_state_dict(load(options.start))
    weights = torch.cat([p.detach().flatten() for p in net.parameters()]).share_memory_()
    gradients = torch.zeros(RECIPE.workers, len(weights) + 1).share_memory_()
    all_there = mp.get_context("spawn").Barrier(RECIPE.workers)
    crew = Crew(
        options.run, options.minutes, options.first_seed, options.compile, weights, gradients, all_there
    )
    mp.spawn(work, (crew,), nprocs=RECIPE.workers)


if __name__ == "__main__":
    main()
