"""Asking a model for something with a shape: it is made to call a tool that takes it, as every model can."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct

from aios.abi.errors import Unavailable
from aios.abi.messages import Message, ToolSpec
from aios.abi.schema import schema_of
from aios.abi.syscalls import LlmAnswer
from aios.sdk.client import Client

T = TypeVar("T", bound=Struct)

TOOL = "answer"
TRIES = 2


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """What a model is asked for; every field is required."""


async def ask(client: Client, system: str, text: str, kind: type[T], model: str | None) -> T:
    """The model's answer to `text`. `Unavailable` where, told once that it has not, it has not this shape."""
    messages = [Message("system", system), Message("user", text)]
    tool = ToolSpec(TOOL, "Takes your answer.", schema_of(kind))
    for _ in range(TRIES):
        answer = await client.llm.generate(messages, tools=[tool], tool_choice=TOOL, model=model)
        try:
            return _read(answer, kind)
        except msgspec.ValidationError as error:
            fault = str(error)
            messages += (Message("assistant", answer.text), Message("user", f"That is not right: {fault}"))
    raise Unavailable(f"the model's answer does not fit what it was asked for: {fault}")


def _read(answer: LlmAnswer, kind: type[T]) -> T:
    for call in answer.tool_calls:
        if call.name == TOOL:
            return msgspec.convert(call.arguments, kind)
    raise msgspec.ValidationError(f"the tool {TOOL!r} was not called")


def by_id(entries: Sequence[str]) -> dict[str, str]:
    """What `id: text` entries say of each id; those that are not so say nothing."""
    pairs = (entry.partition(":") for entry in entries)
    return {id.strip(): text.strip() for id, _, text in pairs if text.strip()}


def quoted(text: str) -> str:
    """A text as one line of a prompt: nothing in it ends the line."""
    return msgspec.json.encode(text).decode()
