"""Recorded runs of a tool-using agent, as histories that grow call by call: `tau_airline_gpt4o.jsonl.gz`."""

import gzip
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from aios.abi.messages import Message, ToolCall

FILE = "tau_airline_gpt4o.jsonl.gz"


class Run(Struct, frozen=True):
    """One conversation. Each message of the assistant answers a call, in which all before it was asked."""

    agent: str
    messages: tuple[Message, ...]

    def turns(self) -> list[tuple[Message, ...]]:
        """The messages cut at the calls: after each piece a call is made with all that there is so far.

        What follows the last call is left out: nothing is asked with it.
        """
        calls = [at for at, message in enumerate(self.messages) if message.role == "assistant"]
        return [self.messages[begin:end] for begin, end in zip([0, *calls], calls, strict=False)]


def read(path: Path, most: int | None = None) -> list[Run]:
    """The first `most` runs, or all."""
    with gzip.open(path, "rb") as lines:
        found = [msgspec.json.decode(line) for line in islice(lines, most)]
    return [Run(f"agent-{number}", tuple(map(_message, run["messages"]))) for number, run in enumerate(found)]


def _message(given: dict[str, Any]) -> Message:
    calls = tuple(_tool_call(call) for call in given.get("tool_calls") or ())
    role, content, name = given["role"], given.get("content") or "", given.get("name")
    return Message(role, content, calls, given.get("tool_call_id"), name)


def _tool_call(given: dict[str, Any]) -> ToolCall:
    function = given["function"]
    return ToolCall(given["id"], function["name"], msgspec.json.decode(function["arguments"]))
