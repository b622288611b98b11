"""`aios bench engine`: tokens a second of the embedded core, beside its matrix products alone.

A step is the decoder, the choice of a token for each row, and reading it as text; sending it to the kernel
and prompts that come in between are not in it. It runs in a process of its own on one BLAS thread, as the
engine does. Which tokens are fed is drawn from a seed, so that no answer ends early; what they say does not
change the time.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aios.bench.apart import measured_apart, print_measured
from aios.bench.report import Spread, spread
from aios.drivers.llm_local import EMBEDDED_MODEL

if TYPE_CHECKING:
    import numpy as np

    from aios.drivers.models.chat import ChatFormat
    from aios.drivers.models.decoder import Decoder

BATCHES = (1, 8, 64)
CONTEXT = (100, 500)
"""Tokens that a row has behind it at the start: mixed, within these."""


def run(quick: bool, folder: Path = EMBEDDED_MODEL) -> dict[str, Any]:
    """Rows and goals. `errors.Unavailable` where `folder` has no model.

    Where torch and transformers are installed, transformers' own `generate` is measured beside ours.
    """
    from aios.drivers.models.huggingface import missing

    alone = measured_apart(__name__, folder, quick)
    if absent := missing():
        print(f"engine: no side by side with transformers' generate: {absent}", file=sys.stderr, flush=True)
        return alone
    beside = measured_apart("aios.bench.beside", folder, quick)
    return {"rows": alone["rows"] + beside["rows"], "goals": alone["goals"] | beside["goals"]}


def measure(folder: Path, quick: bool, seed: int = 0) -> dict[str, Any]:
    """What `run` gives, measured in this process."""
    from aios.drivers.models.chat import ChatFormat
    from aios.drivers.models.decoder import Decoder

    decoder, chat = Decoder.load(folder), ChatFormat(folder / "tokenizer.model")
    rows = [_row(decoder, chat, batch, quick) for batch in BATCHES]
    widest = rows[-1]
    goal = {"value": widest["tokens_per_second"], "bound": widest["floor_tokens_per_second"], "quick": quick}
    return {"rows": rows, "goals": {f"engine.tokens_per_second_{BATCHES[-1]}": goal}}


def _row(decoder: "Decoder", chat: "ChatFormat", batch: int, quick: bool) -> dict[str, Any]:
    repeats, steps = (5, 4) if quick else (15, 16)
    step, restart = _decoding(decoder, chat, batch, steps)
    whole = _seconds(step, repeats, steps, restart)
    floor = _seconds(_products(decoder, batch), repeats, steps, lambda: None)
    return {
        "batch": batch,
        "tokens_per_second": round(batch / whole.median),
        "range": f"{batch / whole.high:.0f} to {batch / whole.low:.0f}",
        "step_ms": round(whole.median * 1e3, 2),
        "floor_ms": round(floor.median * 1e3, 2),
        "floor_tokens_per_second": round(batch / floor.median),
        "over_floor": round(whole.median / floor.median, 2),
        "context": f"{CONTEXT[0]} to {CONTEXT[1]}",
    }


def _seconds(once: Callable[[], object], repeats: int, steps: int, restart: Callable[[], None]) -> Spread:
    """Seconds of one call: the mean of `steps` in a row, `repeats` times, after one that warms up."""
    once()
    means = []
    for _ in range(repeats):
        restart()
        begun = time.perf_counter()
        for _ in range(steps):
            once()
        means.append((time.perf_counter() - begun) / steps)
    return spread(means)


def _decoding(
    decoder: "Decoder", chat: "ChatFormat", batch: int, steps: int
) -> tuple[Callable[[], object], Callable[[], None]]:
    """A step of `batch` rows, and what takes them back to where they began."""
    import numpy as np

    from aios.abi.messages import Sampling
    from aios.drivers.engine_answer import Answer, Answers

    rng = np.random.default_rng(batch)
    window = decoder.config.max_position_embeddings
    begun = rng.integers(CONTEXT[0], min(CONTEXT[1], window - steps), batch).tolist()
    spoken = [token for token in range(chat.vocab_size) if chat.surface(token)]
    rows = [_filled(decoder, rng, spoken, length) for length in begun]
    lengths = list(begun)
    made = Answers(chat, window)
    answers: list[Answer] = []

    def restart() -> None:
        lengths[:] = begun
        answers[:] = [made.begin((), Sampling()) for _ in rows]

    def step() -> None:
        tokens = rng.choice(spoken, batch).tolist()
        logits = decoder.decode(rows, tokens, lengths)
        for index, (answer, token) in enumerate(zip(answers, tokens, strict=True)):
            answer.choose(logits[index])
            answer.add(token)
            lengths[index] += 1

    restart()
    return step, restart


def _filled(decoder: "Decoder", rng: "np.random.Generator", spoken: list[int], length: int) -> Any:
    from aios.drivers.models.kv_row import BLOCK

    row = decoder.new_row()
    for start in range(0, length, BLOCK):
        decoder.prefill(row, rng.choice(spoken, BLOCK).tolist(), start, last=False)
    return row


def _products(decoder: "Decoder", batch: int) -> Callable[[], object]:
    """The matrix products of one step and nothing else, in the width that the step uses."""
    import numpy as np

    from aios.drivers.models.panels import multiply

    width = next((width for width in decoder.widths if width >= batch), decoder.widths[-1])
    ones = {matrix.shape[0]: np.ones((width, matrix.shape[0]), np.float32) for matrix in decoder.matrices}
    outs = {matrix.shape[1]: np.empty((width, matrix.shape[1]), np.float32) for matrix in decoder.matrices}

    def once() -> None:
        for _ in range(-(-batch // width)):
            for matrix in decoder.matrices:
                multiply(ones[matrix.shape[0]], matrix, outs[matrix.shape[1]])

    return once


if __name__ == "__main__":
    print_measured(measure)
