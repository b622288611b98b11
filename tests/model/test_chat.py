"""The embedded model's chat format: what goes in comes out, and nothing a model says can break the parser."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aios.drivers.models
from aios.abi.messages import Message, ToolCall, ToolSpec
from aios.bench.runner import perfect
from aios.bench.tasks import generate
from aios.drivers.models.chat import CONTROLS, ChatFormat
from aios.drivers.models.reply_grammar import ReplyGrammar
from aios.drivers.models.schema_grammar import SchemaGrammars
from aios.drivers.models.schema_text import tool_line
from aios.drivers.toolbox import BUILTIN

TOKENIZER = Path(aios.drivers.models.__file__).parent / "nano" / "tokenizer.model"
CHAT = ChatFormat(TOKENIZER)
NAME = st.from_regex(r"[a-z][a-z0-9_./-]{0,12}", fullmatch=True)
TEXT = st.text(max_size=40)
BOOK = ToolSpec(
    "book_table",
    "book a table",
    {
        "type": "object",
        "properties": {
            "guest": {"type": "string"},
            "seats": {"type": "integer"},
            "price": {"type": "number"},
            "outside": {"type": "boolean"},
            "meal": {"enum": ["lunch", "dinner"]},
            "dishes": {"type": "array", "items": {"type": "string"}},
            "extra": {"type": "object", "properties": {"wine": {"type": "boolean"}}},
        },
        "required": ["guest"],
    },
)


GRAMMAR_TASKS = 60


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_the_grammar_of_calls_lets_a_perfect_assistant_speak(split):
    specs = {tool.spec.name: tool.spec for tool in BUILTIN}
    grammars = SchemaGrammars(CHAT)
    for seed in range(GRAMMAR_TASKS):
        task = generate(seed, split)
        for message in perfect(task)[0]:
            if message.role == "assistant":
                grammar = ReplyGrammar(CHAT, grammars, task.specs(specs))
                for token in CHAT.encode_turn(message)[1:]:
                    logits = np.zeros(CHAT.vocab_size, np.float32)
                    grammar.restrict(logits)
                    assert logits[token] == 0
                    grammar.feed(token)


def reply_tokens(text, calls):
    turn = CHAT.encode_turn(Message("assistant", text, tuple(calls)))
    return turn[1:]


def parse(tokens, tools=(BOOK,), prompt=()):
    parser = CHAT.parser(tools, prompt)
    deltas = [delta for token in tokens for delta in parser.feed(token)]
    return joined(deltas), deltas


def joined(deltas):
    calls = tuple(delta.tool_call for delta in deltas if delta.tool_call)
    return "".join(delta.text for delta in deltas), calls


@given(TEXT | st.text(alphabet="<|>ensdcal ▁\n0123456789", max_size=40))
@settings(max_examples=200)
def test_text_survives_and_never_becomes_a_control_symbol(text):
    tokens = CHAT.encode_text(text)
    assert CHAT.decode(tokens) == text
    assert not {*CHAT.controls.values(), CHAT.bos_id, CHAT.pad_id} & set(tokens)


def test_symbols_written_in_text_are_plain_text():
    for symbol in (*CONTROLS, "<s>", "<pad>", "<unk>", "<0x0A>"):
        assert CHAT.decode(CHAT.encode_text(symbol)) == symbol


@given(
    st.text(max_size=20),
    st.fixed_dictionaries(
        {"guest": TEXT},
        optional={
            "seats": st.integers(),
            "price": st.integers() | st.floats(allow_nan=False, allow_infinity=False),
            "outside": st.booleans(),
            "meal": st.sampled_from(["lunch", "dinner"]),
            "dishes": st.lists(TEXT, max_size=4),
            "extra": st.fixed_dictionaries({"wine": st.booleans()}),
        },
    ),
)
@settings(max_examples=150)
def test_a_call_comes_back_as_it_was_written(text, arguments):
    calls = [ToolCall("call_1", "book_table", arguments), ToolCall("call_2", "other", {})]
    (said, found), deltas = parse(reply_tokens(text, calls))
    assert said == text
    assert found == tuple(calls)
    assert sum(delta.num_tokens for delta in deltas) == len(reply_tokens(text, calls))


@given(st.lists(st.integers(0, CHAT.vocab_size - 1), max_size=60), st.booleans())
@settings(max_examples=200)
def test_no_reply_breaks_the_parser_or_loses_tokens(tokens, cut):
    parser = CHAT.parser((BOOK,))
    deltas = [delta for token in tokens for delta in parser.feed(token)]
    deltas += parser.cut() if cut else parser.feed(CHAT.end_id)
    calls = joined(deltas)[1]
    assert all(call.name for call in calls)
    assert sum(delta.num_tokens for delta in deltas) <= len(tokens) + 1


def test_text_streams_by_whole_characters():
    tokens = reply_tokens("Zoë 日本", ())
    _, deltas = parse(tokens)
    assert len(deltas) > 2
    assert all("\ufffd" not in delta.text for delta in deltas)


def test_a_call_is_reported_as_soon_as_it_is_complete():
    calls = [
        ToolCall("call_1", "book_table", {"guest": "Ann"}),
        ToolCall("call_2", "book_table", {"guest": "Bo"}),
    ]
    tokens = reply_tokens("", calls)
    second = [i for i, token in enumerate(tokens) if token == CHAT.controls["<|call|>"]][1]
    parser = CHAT.parser((BOOK,))
    reported = [delta for token in tokens[: second + 1] for delta in parser.feed(token)]
    assert [delta.tool_call for delta in reported] == [calls[0]]


def test_a_call_that_was_cut_short_is_text_and_no_call():
    tokens = reply_tokens("", [ToolCall("call_1", "book_table", {"guest": "Ann"})])[:-1]
    parser = CHAT.parser((BOOK,))
    said = [delta for token in tokens for delta in parser.feed(token)]
    text, calls = joined([*said, *parser.cut()])
    assert calls == ()
    assert "book_table" in text


@pytest.mark.parametrize(("written", "value"), [("x7", "x7"), ("7", 7), ("7.5", "7.5"), ("", "")])
def test_a_value_that_does_not_fit_its_type_stays_text(written, value):
    tokens = reply_tokens("", [ToolCall("", "book_table", {"seats": written})])
    (_, calls), _ = parse(tokens)
    assert calls[0].arguments == {"seats": value}


def test_calls_are_numbered_on_from_those_in_the_conversation():
    messages = [
        Message("user", "book"),
        Message("assistant", "", (ToolCall("call_1", "book_table", {"guest": "Ann"}),)),
        Message("tool", "ok", tool_call_id="call_1"),
    ]
    prompt = CHAT.encode(messages, (BOOK,))
    (_, calls), _ = parse(reply_tokens("", [ToolCall("", "book_table", {})]), prompt=prompt)
    assert [call.id for call in calls] == ["call_2"]


def test_a_named_choice_opens_the_call_and_the_parser_takes_it_up():
    prompt = CHAT.encode([Message("user", "book")], (BOOK,), "book_table")
    whole = reply_tokens("", [ToolCall("", "book_table", {"guest": "Ann"})])
    rest = whole[whole.index(CHAT.controls["<|arg|>"]) :]
    (text, calls), _ = parse(rest, prompt=prompt)
    assert (text, calls) == ("", (ToolCall("call_1", "book_table", {"guest": "Ann"}),))


def test_a_required_call_is_opened_and_no_choice_hides_the_tools():
    messages = [Message("user", "hi")]
    assert CHAT.encode(messages, (BOOK,), "required")[-1] == CHAT.controls["<|call|>"]
    assert CHAT.encode(messages, (BOOK,), "none") == CHAT.encode(messages)


def test_results_follow_the_order_of_their_calls():
    calls = (ToolCall("a", "one", {}), ToolCall("b", "two", {}))
    head = [Message("user", "go"), Message("assistant", "", calls)]
    results = [Message("tool", "first", tool_call_id="a"), Message("tool", "second", tool_call_id="b")]
    assert CHAT.encode(head + results) == CHAT.encode(head + results[::-1])


def test_system_messages_are_joined_and_part_lists_give_their_text():
    parts = Message("system", [{"type": "text", "text": "Be brief."}])
    later = Message("system", "Be kind.")
    joined = CHAT.encode([Message("system", "Be brief.\n\nBe kind."), Message("user", "hi")])
    assert CHAT.encode([parts, Message("user", "hi"), later]) == joined


def test_users_who_speak_twice_are_one_turn():
    assert CHAT.encode([Message("user", "a"), Message("user", "b")]) == CHAT.encode([Message("user", "a\nb")])


def test_a_tool_is_one_compact_line():
    assert tool_line(BOOK) == (
        "book_table: book a table (guest: string, seats?: integer, price?: number, outside?: boolean, "
        "meal?: lunch|dinner, dishes?: [string], extra?: {wine?: boolean})"
    )
