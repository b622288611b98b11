"""Calls are valid by construction: of a tool in view, with its arguments, whatever the weights say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.abi.messages import ToolSpec
from aios.drivers.models.reply_grammar import ReplyGrammar
from aios.drivers.models.schema_grammar import SchemaGrammars

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


def allowed(grammar, chat):
    """The tokens that may come next."""
    logits = np.zeros(chat.vocab_size, dtype=np.float32)
    grammar.restrict(logits)
    return np.flatnonzero(np.isfinite(logits)).tolist()


def say(chat, tools, draw, num_tokens):
    """A reply of tokens drawn from those allowed; then calls are brought to their end as soon as may be."""
    grammar, parser, calls = ReplyGrammar(chat, SchemaGrammars(chat), tools), chat.parser(tools), []
    for place in range(num_tokens + 400):
        tokens = allowed(grammar, chat)
        assert tokens
        token = chat.end_id if place >= num_tokens and chat.end_id in tokens else draw(tokens)
        grammar.feed(token)
        calls += [delta.tool_call for delta in parser.feed(token) if delta.tool_call]
        if token == chat.end_id:
            return calls
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
    tokens = allowed(ReplyGrammar(chat, SchemaGrammars(chat), tools), chat)
    assert (chat.controls["<|call|>"] in tokens) == bool(tools)
    assert chat.end_id in tokens
    assert not {chat.controls[f"<|{name}|>"] for name in ("arg", "val", "item")} & set(tokens)


def test_a_list_of_no_choices_is_free_text(chat):
    parameters = {"type": "object", "properties": {"mode": {"enum": []}}, "required": ["mode"]}
    grammar = ReplyGrammar(chat, SchemaGrammars(chat), [ToolSpec("pick", "Pick", parameters)])
    head = [chat.controls["<|call|>"], *chat.encode_text("pick")]
    for token in [*head, chat.controls["<|arg|>"], *chat.encode_text("mode"), chat.controls["<|val|>"]]:
        assert token in allowed(grammar, chat)
        grammar.feed(token)
    assert set(chat.encode_text(" any")) <= set(allowed(grammar, chat))


def test_the_choices_of_a_list_that_may_be_null_are_kept(chat):
    days = {"anyOf": [{"type": "array", "items": {"enum": ["mon", "tue"]}}, {"type": "null"}]}
    grammar = ReplyGrammar(
        chat,
        SchemaGrammars(chat),
        [ToolSpec("pick", "Pick", {"type": "object", "properties": {"days": days}})],
    )
    head = [chat.controls["<|call|>"], *chat.encode_text("pick")]
    for token in [*head, chat.controls["<|arg|>"], *chat.encode_text("days"), chat.controls["<|val|>"]]:
        grammar.feed(token)
    starts = {chat.encode_text(text)[0] for text in (" mon", " tue")}
    assert set(allowed(grammar, chat)) == starts
