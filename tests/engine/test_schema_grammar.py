"""Answers and calls that must fit a schema do, whatever the weights say and wherever their limit lies."""

import json
from random import Random

import jsonschema_rs
import numpy as np
import pytest

from aios.abi.errors import InvalidArgument
from aios.abi.messages import JsonSchema, Sampling, ToolSpec
from aios.bench.schemas import answer_schema, tool
from aios.drivers.engine_answer import Answer, Answers
from aios.drivers.models.chat import ChatFormat
from aios.drivers.models.closing import WayOut
from aios.drivers.models.model import Grammar
from aios.drivers.models.reply_grammar import ReplyGrammar
from aios.drivers.models.schema_grammar import SchemaGrammars

NUM_SCHEMAS = 40


def said(answer: Answer, chat: ChatFormat, seed: int) -> Answer:
    """Speak with random weights until it ends."""
    rng = np.random.default_rng(seed)
    silent = [token for token in range(chat.vocab_size) if not chat.surface(token)]
    silent = [token for token in silent if token not in chat.controls.values()]
    while answer.finish_reason is None:
        logits = rng.standard_normal(chat.vocab_size).astype(np.float32) * 3
        logits[silent] = -np.inf
        agree_on(answer.grammar, rng.integers(0, chat.vocab_size, 8).tolist())
        answer.add(*answer.choose(logits))
    return answer


def agree_on(grammar: Grammar, tokens: list[int]) -> None:
    """A token that may come next is allowed by itself, too, and what is allowed by itself can be taken."""
    allowed = grammar.allowed()
    for token in [*tokens, *np.flatnonzero(allowed)[:4].tolist()]:
        assert grammar.leads([token]) or not allowed[token]
        if grammar.leads([token]):
            grammar.fork().feed(token)


def fits(schema: JsonSchema, value: object) -> bool:
    return jsonschema_rs.is_valid(schema, value)


@pytest.mark.parametrize("max_tokens", [90, 400])
def test_every_answer_by_a_schema_parses_and_fits(chat: ChatFormat, max_tokens: int) -> None:
    answers = Answers(chat, 10_000)
    num_cut = 0
    for seed in range(NUM_SCHEMAS):
        schema = answer_schema(Random(seed))
        sampling = Sampling(max_tokens=max_tokens, temperature=1.0, seed=seed)
        finished = said(answers.begin([chat.bos_id], sampling, schema=schema), chat, seed).choice()
        if finished.finish_reason == "length":
            num_cut += 1  # Not even the shortest way to an end had room.
            continue
        assert fits(schema, json.loads(finished.text)), (schema, finished.text)
    assert num_cut <= (NUM_SCHEMAS // 5 if max_tokens < 100 else 0)


@pytest.mark.parametrize("max_tokens", [120, 400])
def test_every_call_fits_its_tool(chat: ChatFormat, max_tokens: int) -> None:
    answers = Answers(chat, 10_000)
    num_calls = 0
    for seed in range(NUM_SCHEMAS):
        draw = Random(seed)
        tools = [tool(draw, name) for name in ("look_up", "book")]
        prompt = [chat.bos_id, chat.controls["<|assistant|>"], chat.controls["<|call|>"]]
        sampling = Sampling(max_tokens=max_tokens, temperature=1.0, seed=seed)
        finished = said(answers.begin(prompt, sampling, tools, tools), chat, seed).choice()
        schemas = {spec.name: spec.parameters for spec in tools}
        for call in finished.tool_calls:
            num_calls += 1
            assert fits(schemas[call.name], call.arguments), (schemas[call.name], call.arguments)
    assert num_calls > NUM_SCHEMAS / 2


def test_an_answer_with_a_schema_may_be_a_call_instead_but_nothing_between(chat: ChatFormat) -> None:
    schema: JsonSchema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    spec = ToolSpec("now", "", {})
    grammar = Answers(chat, 500).begin([chat.bos_id], Sampling(), [spec], [spec], schema).grammar
    call, end = chat.controls["<|call|>"], chat.end_id
    assert grammar.allowed()[call]
    assert not grammar.allowed()[end]
    for token in chat.encode_text('{"a": 1'):
        grammar.feed(token)
        assert not grammar.allowed()[[call, end]].any()
    grammar.feed(chat.encode_text("}")[0])
    assert np.flatnonzero(grammar.allowed()).tolist() == [end]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 5, "maxLength": 2},
        {"type": "integer", "minimum": 5, "maximum": 2},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"enum": []},
        {"type": "nothing"},
        {"type": 7},
        {"type": [{}]},
        {"properties": 7},
        {"$ref": "#/nowhere"},
        {"type": "string", "pattern": "("},
        {"not": {"type": "string"}},
        {"type": "array", "uniqueItems": True},
    ],
)
def test_a_schema_that_can_not_be_met_or_kept_is_refused(chat: ChatFormat, schema: JsonSchema) -> None:
    with pytest.raises(InvalidArgument, match="schema"):
        SchemaGrammars(chat).strict(schema)


def test_a_schema_can_not_loosen_what_is_kept(chat: ChatFormat) -> None:
    with pytest.raises(InvalidArgument, match="not"):
        SchemaGrammars(chat).strict({"not": {}, "x-guidance": {"lenient": True}})


def test_an_argument_beyond_what_can_be_kept_is_left_to_whoever_takes_it(chat: ChatFormat) -> None:
    odd = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    grammar = SchemaGrammars(chat).argument(odd)
    for token in chat.encode_text(" [1, 1]"):
        assert grammar.allowed()[token]
        grammar.feed(token)
    assert grammar.is_complete


def test_numbers_stay_within_what_readers_hold(chat: ChatFormat) -> None:
    grammar = SchemaGrammars(chat).strict({"type": "number"})
    for token in chat.encode_text("1" * 15):
        grammar.feed(token)
    digits = [token for token in range(chat.vocab_size) if chat.surface(token)[:1].isdigit()]
    assert not grammar.allowed()[digits].any()
    grammar = SchemaGrammars(chat).strict({"type": "integer", "minimum": 10**18})
    for token in chat.encode_text(str(10**18)):
        grammar.feed(token)
    assert grammar.is_complete


def test_free_text_is_not_copied_token_by_token(chat: ChatFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReplyGrammar, "hurried", None)
    spec = ToolSpec("now", "", {})
    answer = Answers(chat, 500).begin([chat.bos_id], Sampling(max_tokens=20), [spec], ())
    assert said(answer, chat, 1).num_tokens <= 20


def test_an_answer_without_room_for_any_end_is_cut_and_says_so(chat: ChatFormat) -> None:
    schema: JsonSchema = {"type": "string", "minLength": 500}
    answer = Answers(chat, 1000).begin([chat.bos_id], Sampling(max_tokens=20), schema=schema)
    assert said(answer, chat, 1).finish_reason == "length"


@pytest.mark.parametrize("format", ["email", "date-time", "uuid", "ipv4"])
def test_text_with_a_form_is_ended_though_the_weights_never_would(chat: ChatFormat, format: str) -> None:
    schema: JsonSchema = {"type": "object", "properties": {"a": {"type": "string", "format": format}}}
    schema |= {"required": ["a"], "additionalProperties": False}
    letters = [token for token in range(chat.vocab_size) if chat.surface(token).isalpha()]
    for seed in range(5):
        rng = np.random.default_rng(seed)
        answer = Answers(chat, 1000).begin([chat.bos_id], Sampling(max_tokens=80), schema=schema)
        while answer.finish_reason is None:
            logits = rng.standard_normal(chat.vocab_size).astype(np.float32)
            logits[letters] += 20
            answer.add(*answer.choose(logits))
        text = answer.choice().text
        assert answer.finish_reason == "stop", text
        assert fits(schema, json.loads(text)), text


def test_a_copy_goes_its_own_way(chat: ChatFormat) -> None:
    one = SchemaGrammars(chat).strict({"enum": ["a", "b"]})
    for token in chat.encode_text('"'):
        one.feed(token)
    other = one.copy()
    for token in chat.encode_text('a"'):
        one.feed(token)
    assert one.is_complete
    assert not other.is_complete


@pytest.mark.parametrize("begun", [" ", " 0.0", " -0.50000"])
def test_a_list_that_needs_more_items_is_ended_after_them(chat: ChatFormat, begun: str) -> None:
    items: JsonSchema = {"type": "array", "items": {"type": "number"}, "minItems": 3}
    spec = ToolSpec("book", "", {"type": "object", "properties": {"a": items}, "required": ["a"]})
    prompt = [chat.bos_id, chat.controls["<|assistant|>"], chat.controls["<|call|>"]]
    grammar = Answers(chat, 1000).begin(prompt, Sampling(), [spec], [spec]).grammar
    arg, val = chat.controls["<|arg|>"], chat.controls["<|val|>"]
    for token in (*chat.encode_text("book"), arg, *chat.encode_text("a"), val, *chat.encode_text(begun)):
        grammar.feed(token)
    way = WayOut(chat).find(grammar.hurried(), 20)
    assert way is not None
    assert way.count(chat.controls["<|item|>"]) == 2
