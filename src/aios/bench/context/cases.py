"""Jobs for the embedded model, of every way of choosing tokens, drawn from a seed."""

from random import Random
from typing import Any

from msgspec import structs

from aios.abi.messages import Beams, Message, Sampling
from aios.bench import schemas
from aios.drivers.llm import Generation

WIDEST = 4
"""The most rows that a case takes."""
_WORDS = (
    *("the", "a", "note", "file", "agent", "reads", "writes", "finds", "city", "train"),
    *("opens", "closes", "before", "after", "seven", "quiet"),
)
_SYSTEM = (
    "You answer in short sentences.",
    "You are a clerk who keeps notes for everybody in the house.",
)


def drawn(seed: int) -> tuple[str, Generation]:
    """A case, and its kind."""
    random = Random(f"context {seed}")
    kind = random.choice(list(_KINDS))
    sampling = _sampling(random, kind)
    job = Generation(_messages(random), (), sampling, is_kept=True)
    if kind == "schema":
        return kind, structs.replace(job, response_schema=schemas.answer_schema(random))
    if kind == "tools":
        return kind, structs.replace(job, tools=(schemas.tool(random, "find"),), tool_choice="required")
    return kind, job


def _messages(random: Random) -> tuple[Message, ...]:
    said = [Message("user", _words(random, random.randint(1, 60)))]
    for _ in range(random.randrange(3)):
        said += [Message("assistant", _words(random, 8)), Message("user", _words(random, 8))]
    head = [Message("system", random.choice(_SYSTEM))] if random.random() < 0.7 else []
    return (*head, *said)


def _words(random: Random, num: int) -> str:
    return " ".join(random.choice(_WORDS) for _ in range(num))


_KINDS: dict[str, Any] = {
    "greedy": {},
    "temperature": {"temperature": (0.3, 1.6)},
    "top_p": {"temperature": (0.5, 1.3), "top_p": (0.5, 0.99)},
    "top_k, min_p": {"temperature": (0.5, 1.5), "top_k": (3, 60), "min_p": (0.0, 0.2)},
    "penalties": {
        "temperature": (0.0, 1.2),
        "repetition_penalty": (1.0, 1.6),
        "presence_penalty": (-0.5, 1.0),
        "frequency_penalty": (-0.2, 0.8),
    },
    "several": {"temperature": (0.5, 1.3)},
    "beams": {},
    "logprobs, stop": {"temperature": (0.5, 1.3)},
    "schema": {"temperature": (0.0, 1.2)},
    "tools": {"temperature": (0.0, 1.2)},
}


def _sampling(random: Random, kind: str) -> Sampling:
    said: dict[str, Any] = {"seed": random.randrange(1 << 40), "max_tokens": random.randint(4, 40)}
    for name, (low, high) in _KINDS[kind].items():
        drawn = random.randint(low, high) if isinstance(low, int) else round(random.uniform(low, high), 3)
        said[name] = drawn
    match kind:
        case "several":
            said["n"] = random.randint(2, WIDEST)
        case "beams":
            width = random.randint(2, WIDEST)
            penalty = random.choice((-0.5, 0.0, 1.0, 2.0))
            said["beams"] = Beams(width, penalty, random.choice((True, False, "never")))
            said["n"] = random.randint(1, width)
        case "logprobs, stop":
            said |= {"logprobs": random.randrange(4), "stop": (random.choice("aeiou"), ". ")}
        case "schema" | "tools":
            said["max_tokens"] = 80
        case _:
            pass
    return Sampling(**said)
