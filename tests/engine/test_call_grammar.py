"""Calls are valid by construction: of a tool in view, with its arguments, whatever the weights say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.abi.messages import ToolSpec
from aios.drivers.models.call_grammar import CallGrammar

TOOLS = (
    ToolSpec(
        "read",
        "Read a file",
        {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    ),
    ToolSpec(
        "read_all",
        "Read files",
        {
            "type": "object",
            "properties": {
                "paths": {"type": "array", "items": {"type": "string"}},
                "mode": {"enum": ["text", "bytes", 7]},
                "deep": {"type": "boolean"},
                "days": {"type": "array", "items": {"enum": ["mon", "tue"]}},
            },
            "required": ["mode", "days"],
        },
    ),
    ToolSpec("now", "The time", {"type": "object", "properties": {}}),
    ToolSpec("nothing", "Takes nothing", {}),
)


def say(chat, tools, draw, num_tokens):
    """A reply of tokens drawn from those allowed; then calls are brought to their end as soon as may be."""
    grammar, parser = CallGrammar(chat, tools), chat.parser(tools)
    for place in range(num_tokens + 400):
        allowed = [token for token in range(chat.vocab_size) if grammar.allows(token)]
        assert allowed
        logits = np.zeros(chat.vocab_size, dtype=np.float32)
        grammar.restrict(logits)
        assert [int(token) for token in np.flatnonzero(np.isfinite(logits))] == allowed
        token = chat.end_id if place >= num_tokens and chat.end_id in allowed else draw(allowed)
        grammar.feed(token)
        parser.feed(token)
        if token == chat.end_id:
            return parser.finish()[1]
    raise AssertionError("the reply has no end")


@given(random=st.randoms(use_true_random=False), num_tokens=st.integers(1, 60))
def test_every_call_is_valid(chat, random, num_tokens):
    controls = [chat.controls[f"<|{name}|>"] for name in ("call", "arg", "val", "item", "end")]

    def draw(allowed):
        marked = [token for token in allowed if token in controls]
        return random.choice(marked if marked and random.random() < 0.6 else allowed)

    schemas = {tool.name: tool.parameters for tool in TOOLS}
    for call in say(chat, TOOLS, draw, num_tokens):
        properties = schemas[call.name].get("properties", {})
        assert set(schemas[call.name].get("required", ())) <= call.arguments.keys()
        if properties:
            assert call.arguments.keys() <= properties.keys()
        assert call.arguments.get("mode", 7) in ("text", "bytes", 7)
        assert call.arguments.get("deep", True) in (True, False)
        assert set(call.arguments.get("days", ())) <= {"mon", "tue"}


@pytest.mark.parametrize("tools", [(), TOOLS])
def test_only_tools_in_view_make_a_call_possible(chat, tools):
    grammar = CallGrammar(chat, tools)
    assert grammar.allows(chat.controls["<|call|>"]) == bool(tools)
    assert grammar.allows(chat.end_id)
    for name in ("arg", "val", "item"):
        assert not grammar.allows(chat.controls[f"<|{name}|>"])


def test_a_list_of_no_choices_is_free_text(chat):
    parameters = {"type": "object", "properties": {"mode": {"enum": []}}, "required": ["mode"]}
    grammar = CallGrammar(chat, [ToolSpec("pick", "Pick", parameters)])
    head = [chat.controls["<|call|>"], *chat.encode_text("pick")]
    for token in [*head, chat.controls["<|arg|>"], *chat.encode_text("mode"), chat.controls["<|val|>"]]:
        assert grammar.allows(token)
        grammar.feed(token)
    assert all(grammar.allows(token) for token in chat.encode_text(" any"))
