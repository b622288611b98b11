"""What is far too long is refused unread, and nothing else is."""

from pathlib import Path

import pytest

from aios.abi.errors import ContextOverflow
from aios.abi.messages import JsonSchema, Message, ToolCall, ToolSpec
from aios.drivers.engine_prompts import Prompts
from aios.drivers.models.chat import ChatFormat

MANY = [f"choice {n}" for n in range(10_000)]
HELLO = Message("user", "hello")


class Unread(ChatFormat):
    """Splits no text."""

    def encode_text(self, text: str) -> list[int]:
        raise AssertionError("it was read")


def calling(**arguments: object) -> Message:
    return Message("assistant", "", (ToolCall("call_1", "f", arguments),))


def taking(schema: JsonSchema) -> ToolSpec:
    return ToolSpec("f", "", {"type": "object", "properties": {"x": schema}})


@pytest.mark.parametrize(
    ("messages", "tools"),
    [
        ((Message("user", "x" * 100_000),), ()),
        ((calling(text="x" * 100_000),), ()),
        ((calling(items=["choice", *MANY]),), ()),
        ((calling(**dict.fromkeys(MANY, 1)),), ()),
        ((HELLO,), (taking({"enum": MANY}),)),
        ((HELLO,), (taking({"type": "array", "items": {"enum": MANY}}),)),
        ((HELLO,), (taking({"type": ["array", "null"], "items": {"enum": MANY}}),)),
    ],
)
def test_what_is_far_too_long_is_refused_unread(
    model_folder: Path, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...]
) -> None:
    with pytest.raises(ContextOverflow, match="characters"):
        Prompts(Unread(model_folder / "tokenizer.model"), "tiny", 300).encode(messages, tools)


def test_tools_that_are_hidden_do_not_count(chat: ChatFormat) -> None:
    prompts = Prompts(chat, "tiny", 300)
    with pytest.raises(ContextOverflow):
        prompts.encode((HELLO,), (taking({"enum": MANY}),))
    assert prompts.encode((HELLO,), (taking({"enum": MANY}),), "none") == chat.encode((HELLO,))
