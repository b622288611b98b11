"""The part of `aios bench engine` that needs torch: transformers' own `generate` beside this machine's cores.

Both compute the same weights for the same batch, on one thread of one process, in turns. What is compared is
a step once the prompts are there, that is a token for each row: transformers' is timed between its stopping
criteria, ours is the model, the choice and the text. Of each turn the quickest step counts, in processor
time: what else the machine does then falls on neither.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aios.abi.messages import Sampling
from aios.bench.apart import print_measured
from aios.bench.report import Spread, spread
from aios.drivers.engine_answer import Answers
from aios.drivers.models.chat import ChatFormat
from aios.drivers.models.decoder import Decoder
from aios.drivers.models.kv_row import BLOCK
from aios.drivers.models.model import Model

BATCHES = (1, 8, 64)
PROMPT = 64
"""Tokens of each row before the first step: a multiple of a block."""
RANDOM: dict[str, Any] = {
    "hidden_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "intermediate_size": 1408,
    "max_position_embeddings": 2048,
}
"""A Llama of 13 million parameters with random weights, in the vocabulary of the embedded model."""


def measure(folder: Path, quick: bool, seed: int) -> dict[str, Any]:
    """Rows and goals, for the embedded model in `folder` and for a random one."""
    import torch

    torch.set_num_threads(1)
    chat = ChatFormat(folder / "tokenizer.model")
    with tempfile.TemporaryDirectory() as made:
        _save_random(Path(made), chat.vocab_size, seed)
        rows = [
            row
            for name, where in (("nano", folder), ("random", Path(made)))
            for row in _rows(name, where, chat, quick, seed)
        ]
    numpy_least = min(row["over_transformers"] for row in rows if row["core"] == "numpy")
    torch_least = min(row["over_transformers"] for row in rows if row["core"] == "torch")
    goals = {
        "engine.over_transformers": {"value": numpy_least, "bound": None, "quick": quick},
        "engine.torch_over_transformers": {"value": torch_least, "bound": None, "quick": quick},
    }
    return {"rows": rows, "goals": goals}


def _save_random(folder: Path, vocab_size: int, seed: int) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, **RANDOM)).save_pretrained(folder)


def _rows(name: str, folder: Path, chat: ChatFormat, quick: bool, seed: int) -> Iterator[dict[str, Any]]:
    import torch

    from aios.drivers.models.huggingface.decoder import TorchDecoder

    theirs = _generating(folder)
    cores: dict[str, Model[Any]] = {"torch": TorchDecoder.load(folder, torch.float32, torch.device("cpu"))}
    if name == "nano":
        cores["numpy"] = Decoder.load(folder)
    repeats, steps = (2, 8) if quick else (5, 16)
    for batch in BATCHES:
        rng = np.random.default_rng([seed, batch])
        spoken = [token for token in range(chat.vocab_size) if chat.surface(token)]
        prompts = rng.choice(spoken, (batch, PROMPT)).tolist()
        ours = {core: _decoding(model, chat, prompts) for core, model in cores.items()}
        yield from _side_by_side(name, theirs, ours, prompts, repeats, steps)


def _side_by_side(
    name: str,
    theirs: Callable[[Sequence[Sequence[int]], int], float],
    ours: dict[str, Callable[[int], float]],
    prompts: Sequence[Sequence[int]],
    repeats: int,
    steps: int,
) -> Iterator[dict[str, Any]]:
    """In turns, `repeats` times: each time the quickest of so many steps."""
    batch = len(prompts)
    found: dict[str, list[float]] = {core: [] for core in ours}
    their_seconds = []
    for _ in range(repeats):
        their_seconds.append(theirs(prompts, steps))
        for core, run in ours.items():
            found[core].append(run(steps))
    for core, seconds in found.items():
        ratios = spread([other / own for other, own in zip(their_seconds, seconds, strict=True)])
        yield {
            "model": name,
            "core": core,
            "batch": batch,
            **_speeds("tokens_per_second", "range", batch, spread(seconds)),
            **_speeds("transformers_per_second", "its range", batch, spread(their_seconds)),
            "over_transformers": round(ratios.median, 2),
            "ratios": str(ratios),
        }


def _speeds(name: str, span: str, batch: int, seconds: Spread) -> dict[str, Any]:
    return {
        name: round(batch / seconds.median),
        span: f"{batch / seconds.high:.0f} to {batch / seconds.low:.0f}",
    }


def _generating(folder: Path) -> Callable[[Sequence[Sequence[int]], int], float]:
    """transformers' `generate`: seconds of a step, the quickest of so many."""
    import torch
    from transformers import AutoModelForCausalLM, StoppingCriteria, StoppingCriteriaList

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None  # no row is to end early
    model.generation_config.pad_token_id = 0

    class Clock(StoppingCriteria):  # type: ignore[misc]  # typed only where transformers is
        def __init__(self) -> None:
            self.times: list[float] = []

        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            self.times.append(time.process_time())
            return torch.zeros(len(input_ids), dtype=torch.bool)

    def generate(prompts: Sequence[Sequence[int]], steps: int) -> float:
        ids, clock = torch.tensor(prompts), Clock()
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=steps + 1,
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([clock]),
        )
        return _quickest(clock.times)

    return generate


def _decoding(
    model: Model[Any], chat: ChatFormat, prompts: Sequence[Sequence[int]]
) -> Callable[[int], float]:
    """The same of a model here, greedily too; each time it begins again after the prompts."""
    rows = [model.new_row() for _ in prompts]
    for row, prompt in zip(rows, prompts, strict=True):
        for start in range(0, PROMPT, BLOCK):
            model.prefill(row, prompt[start : start + BLOCK], start, last=False)
    answers = Answers(chat, model.config.max_position_embeddings)

    def run(steps: int) -> float:
        replies = [answers.begin(prompt, Sampling()) for prompt in prompts]
        tokens = [prompt[-1] for prompt in prompts]
        times = [time.process_time()]
        for step in range(steps):
            logits = model.decode(rows, tokens, [PROMPT + step] * len(rows))
            logits[:, chat.end_id] = -np.inf
            tokens = []
            for index, reply in enumerate(replies):
                token, _ = reply.choose(logits[index])
                reply.add(token)
                tokens.append(token)
            times.append(time.process_time())
        return _quickest(times)

    return run


def _quickest(times: Sequence[float]) -> float:
    return float(np.diff(times).min())


if __name__ == "__main__":
    print_measured(measure)
