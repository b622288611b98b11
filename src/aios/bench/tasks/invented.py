"""A tool that exists for one conversation only: its spec, its results, and the answers that tell them."""

import json
import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from aios.abi.messages import JsonSchema, ToolSpec
from aios.bench.tasks.play import Answer


class Field(Struct, frozen=True):
    """One argument: its schema, whether it may be left out, and how values of it are drawn."""

    name: str
    schema: JsonSchema
    optional: bool
    draw: Callable[[], Any]
    link: str = ""
    """A preposition that says this argument without naming it, such as `in` for a city."""


class Invented(Struct, frozen=True):
    """A made-up tool: its spec, what a user calls what it does, and its results."""

    spec: ToolSpec
    act: str
    fields: tuple[Field, ...]
    result_fields: tuple[str, ...]
    style: str
    seed: int
    fails: str = ""

    def run(self, arguments: dict[str, Any]) -> str:
        """The result for these arguments, always the same."""
        if self.fails:
            return f"error: {self.fails}"
        key = json.dumps(arguments, sort_keys=True, ensure_ascii=False)
        return _result(random.Random(f"{self.seed} {key}"), self)


def _result(rng: random.Random, tool: Invented) -> str:
    letters = "ABCDEFGHKLMNPRSTUVWXYZ"
    values: dict[str, Any] = {}
    for field in tool.result_fields:
        draw = rng.random()
        if draw < 0.4:
            values[field] = rng.randrange(10 ** rng.choice((1, 2, 3, 4)))
        elif draw < 0.7:
            values[field] = f"{rng.choice(letters)}{rng.choice(letters)}-{rng.randrange(10, 1000)}"
        else:
            values[field] = tool.seed % 7919 + rng.randrange(100)
    first = next(iter(values.values()))
    match tool.style:
        case "json":
            return json.dumps(values)
        case "lines":
            return "\n".join(f"{field}: {value}" for field, value in values.items())
        case "pairs":
            return ", ".join(f"{field}={value}" for field, value in values.items())
        case "bare":
            return str(first)
        case "done":
            return rng.choice(("ok", "done", "success", "ok, done"))
        case _:
            field = tool.result_fields[0].replace("_", " ")
            shapes = (
                "The {f} is {v}.",
                "{f} {v} it is.",
                "All set: {f} {v}.",
                "Found {f} {v}.",
                "It worked, {f}: {v}",
            )
            return rng.choice(shapes).format(f=field, v=first)


def answer_result(tool: Invented, result: str, asked: str = "") -> Answer:
    """The answer that tells a result; only the field that was asked for, where one was."""
    if result.startswith("error: "):
        sentence = result.removeprefix("error: ")
        return Answer(f"That failed: {sentence}.", (sentence,))
    if tool.style == "done":
        return Answer("Done.")
    if tool.style == "bare":
        return Answer(f"The result is {result}.", (result,))
    if tool.style == "sentence":
        return Answer(
            f"Done. {result}", tuple(w for w in result.strip(".").split() if any(c.isdigit() for c in w))
        )
    values = _read(tool.style, result)
    if asked:
        return Answer(f"The {asked.replace('_', ' ')} is {values[asked]}.", (values[asked],))
    said = ", ".join(f"the {field.replace('_', ' ')} is {value}" for field, value in values.items())
    return Answer(said[0].upper() + said[1:] + ".", tuple(values.values()))


def _read(style: str, result: str) -> dict[str, str]:
    if style == "json":
        return {key: str(value) for key, value in json.loads(result).items()}
    lines, sign = (result.split("\n"), ": ") if style == "lines" else (result.split(", "), "=")
    return dict(line.split(sign, 1) for line in lines)
