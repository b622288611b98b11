"""Anthropic's own wire: what is asked, and what only its answers hold."""

import json
from typing import Any

import pytest

from aios.abi import errors
from aios.abi.messages import Message, Sampling, ToolCall, ToolSpec, Usage
from aios.drivers.anthropic_models import Abilities, abilities
from aios.drivers.anthropic_request import ANSWER_TOOL, request_body
from aios.drivers.llm import Finished, Generation
from aios.drivers.llm_anthropic import AnthropicDriver
from fakes.upstream import Script, refusal
from fakes.wires import driving, message_end, message_start, named, run, text_block, tool_block, whole

USER = Message("user", "hello")
ADD = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "number"}}})
OPEN = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
CLOSED = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}


OLD, NEW = "claude-opus-4-6", "claude-opus-5-5"


def body(job: Generation, model: str = OLD, **fields: str) -> dict[str, Any]:
    return json.loads(request_body(job, model, fields))


async def answered(job: Generation, *pieces: bytes, **more: Any) -> Finished:
    async with driving(AnthropicDriver, Script(pieces), **more) as (driver, _):
        return await run(driver, job)


# ---- what is asked


def test_a_plain_request_holds_only_what_is_asked() -> None:
    assert body(Generation((USER,), sampling=Sampling(seed=3))) == {
        "model": OLD,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "stream": True,
        "temperature": 0.0,
    }


def test_all_that_determines_an_answer_is_asked() -> None:
    sampling = Sampling(temperature=1.7, top_p=0.9, top_k=40, seed=3, max_tokens=100, stop=("END",))
    asked = body(Generation((USER,), (ADD,), sampling, "required"))
    assert (asked["temperature"], asked["top_p"], asked["top_k"]) == (1.0, 0.9, 40)
    assert (asked["max_tokens"], asked["stop_sequences"]) == (100, ["END"])
    assert asked["tools"] == [{"name": "add", "description": "Adds.", "input_schema": ADD.parameters}]
    assert asked["tool_choice"] == {"type": "any"}
    assert "seed" not in asked


@pytest.mark.parametrize(
    ("choice", "theirs"),
    [
        ("auto", None),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ("add", {"type": "tool", "name": "add"}),
    ],
)
def test_choices_of_tools_are_mapped(choice: str, theirs: dict | None) -> None:
    assert body(Generation((USER,), (ADD,), tool_choice=choice)).get("tool_choice") == theirs


def test_a_tool_without_parameters_has_an_empty_schema() -> None:
    (tool,) = body(Generation((USER,), (ToolSpec("now"),)))["tools"]
    assert tool == {"name": "now", "input_schema": {"type": "object", "properties": {}}}


def test_a_conversation_becomes_turns_that_alternate() -> None:
    calls = (ToolCall("call:1", "add", {"a": 1}), ToolCall("c2", "now"))
    asked = body(
        Generation(
            (
                Message("system", "Be brief."),
                USER,
                Message("user", "and now"),
                Message("assistant", "I look.", calls),
                Message("user", "be quick"),
                Message("tool", "2", tool_call_id="call:1"),
                Message("tool", "", tool_call_id="c2"),
                Message("system", "Be kind."),
                Message("assistant", ""),
            )
        )
    )
    assert asked["system"] == "Be brief.\n\nBe kind."
    first, second, third = asked["messages"]
    assert first == {
        "role": "user",
        "content": [{"type": "text", "text": "hello"}, {"type": "text", "text": "and now"}],
    }
    assert second == {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 1}},
            {"type": "tool_use", "id": "c2", "name": "now", "input": {}},
        ],
    }
    assert third == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "2"}]},
            {"type": "tool_result", "tool_use_id": "c2", "content": []},
            {"type": "text", "text": "be quick"},
        ],
    }


def test_parts_become_blocks() -> None:
    parts = [
        {"type": "text", "text": "look"},
        {"type": "text", "text": ""},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": "https://example.org/cat.jpg"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,BBBB"}},
    ]
    (turn,) = body(Generation((Message("user", parts),)))["messages"]
    png = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}
    assert turn["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image", "source": png},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.jpg"}},
        {"type": "document", "source": pdf},
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}},
        {"type": "image_url"},
        {"type": "image_url", "image_url": {"url": "data:image/png,raw"}},
        {"type": "image_url", "image_url": {"url": 7}},
        {"type": "video"},
        {},
    ],
)
async def test_a_part_that_cannot_be_said_is_refused_before_it_is_sent(part: dict) -> None:
    async with driving(AnthropicDriver, Script((text_block(0, "no"),))) as (driver, upstream):
        with pytest.raises(errors.InvalidArgument):
            await run(driver, Generation((Message("user", [part]),)))
        assert upstream.asked == []


async def test_a_result_of_no_call_is_refused() -> None:
    with pytest.raises(errors.InvalidArgument, match="tool_call_id"):
        body(Generation((USER, Message("tool", "2"))))


async def test_the_version_of_the_wire_is_named() -> None:
    script = Script((text_block(0, "ok") + message_end(),))
    async with driving(AnthropicDriver, script) as (driver, upstream):
        await run(driver)
        assert upstream.asked[0].headers["anthropic-version"] == "2023-06-01"


def test_fields_an_endpoint_chokes_on_are_left_out() -> None:
    asked = body(Generation((USER,), sampling=Sampling(top_p=0.9)), temperature="", top_p="")
    assert not {"temperature", "top_p"} & asked.keys()


# ---- what models take


@pytest.mark.parametrize(
    ("model", "samples", "forces_tools", "formats", "prefills"),
    [
        ("claude-2.1", True, True, False, True),
        ("claude-3-5-sonnet-20241022", True, True, False, True),
        ("claude-opus-4-20250514", True, True, False, True),
        ("claude-opus-4-1@20250805", True, True, False, True),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", True, True, True, True),
        ("claude-sonnet-4-6", True, True, True, False),
        ("claude-opus-4-7", False, True, True, False),
        ("claude-opus-5", False, True, True, False),
        ("claude-fable-5-1", False, False, True, False),
        ("claude-opus-5-5", False, False, True, False),
        ("claude-mythos-preview", False, False, True, False),
        ("qwen3:8b", True, True, False, True),
    ],
)
def test_what_a_model_takes_is_told_by_its_name(
    model: str, samples: bool, forces_tools: bool, formats: bool, prefills: bool
) -> None:
    assert abilities(model) == Abilities(samples, forces_tools, formats, prefills)


def test_a_model_that_takes_no_sampling_is_sent_none() -> None:
    sampling = Sampling(temperature=0.5, top_p=0.9, top_k=4, stop=("END",))
    asked = body(Generation((USER,), sampling=sampling), NEW)
    assert not {"temperature", "top_p", "top_k"} & asked.keys()
    assert asked["stop_sequences"] == ["END"]
    asked = body(Generation((USER,), sampling=sampling), NEW, temperature="temperature")
    assert asked["temperature"] == 0.5


@pytest.mark.parametrize(("choice", "says"), [("required", "calling a tool now."), ("add", "Call add.")])
def test_where_no_tool_can_be_forced_the_model_is_told_to(choice: str, says: str) -> None:
    asked = body(Generation((USER,), (ADD,), tool_choice=choice), NEW)
    assert "tool_choice" not in asked
    assert asked["system"].endswith(says)
    assert body(Generation((USER,), (ADD,), tool_choice="none"), NEW)["tool_choice"] == {"type": "none"}


# ---- thoughts


def thinking(index: int, signature: str) -> bytes:
    block = {"type": "thinking", "thinking": "", "signature": ""}
    return (
        named("content_block_start", index=index, content_block=block)
        + named("content_block_delta", index=index, delta={"type": "thinking_delta", "thinking": "hm"})
        + named("content_block_delta", index=index, delta={"type": "signature_delta", "signature": signature})
        + named("content_block_stop", index=index)
    )


HIDDEN = named("content_block_start", index=3, content_block={"type": "redacted_thinking", "data": "xyz"})
THINKING = (
    thinking(0, "sig0")
    + text_block(1, "I look.")
    + tool_block(2, "t1", "add", '{"a": 1}')
    + HIDDEN
    + tool_block(4, "t2", "now")
    + message_end("tool_use")
)
BLOCKS = [
    {"type": "thinking", "thinking": "hm", "signature": "sig0"},
    {"type": "text", "text": "I look."},
    {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}},
    {"type": "redacted_thinking", "data": "xyz"},
    {"type": "tool_use", "id": "t2", "name": "now", "input": {}},
]


async def second_turn(
    *before: Message, after: tuple[Message, ...] | None = None, says: str = "I look."
) -> list[dict[str, Any]]:
    """What the assistant's turn is sent as, after a call in another or the same conversation."""
    async with driving(AnthropicDriver, Script((THINKING,)), model=NEW) as (driver, upstream):
        answer = await run(driver, Generation(before, (ADD,)))
        said = Message("assistant", says, answer.tool_calls)
        result = Message("tool", "2", tool_call_id="t1")
        await run(driver, Generation((*(before if after is None else after), said, result), (ADD,)))
        turns = upstream.asked[1].body["messages"]
        return next(turn["content"] for turn in turns if turn["role"] == "assistant")


async def test_thoughts_go_back_with_the_results_as_they_were() -> None:
    assert await second_turn(USER) == BLOCKS
    assert await second_turn(Message("system", "Be brief."), USER) == BLOCKS


async def test_thoughts_go_back_in_no_other_conversation() -> None:
    plain = [block for block in BLOCKS if "thinking" not in block["type"]]
    assert await second_turn(USER, after=(Message("user", "hallo"),)) == plain
    assert await second_turn(USER, after=(Message("system", "Be brief."), USER)) == plain
    assert (await second_turn(USER, says="I see."))[0] == {"type": "text", "text": "I see."}


# ---- answers by a schema


def test_a_plain_schema_is_asked_for_as_the_format_of_the_answer() -> None:
    asked = body(Generation((USER,), (ADD,), response_schema=CLOSED))
    assert asked["output_config"] == {"format": {"type": "json_schema", "schema": CLOSED}}
    assert [tool["name"] for tool in asked["tools"]] == ["add"]
    assert "tool_choice" not in asked


ANY = {"type": "object"}
RECURSIVE = {"$ref": "#/$defs/a", "$defs": {"a": {**CLOSED, "properties": {"b": {"$ref": "#/$defs/a"}}}}}


@pytest.mark.parametrize("schema", [ANY, RECURSIVE, {**CLOSED, "allOf": [CLOSED]}])
def test_any_other_schema_is_asked_for_by_a_tool(schema: dict) -> None:
    asked = body(Generation((USER,), response_schema=schema))
    assert "output_config" not in asked
    assert asked["tool_choice"] == {"type": "tool", "name": ANSWER_TOOL}


def test_where_no_tool_can_be_forced_it_is_told_in_the_prompt() -> None:
    asked = body(Generation((Message("system", "Be brief."), USER), (ADD,), response_schema=ANY), NEW)
    assert asked["system"].startswith("Be brief.\n\nAnswer with nothing but JSON")
    assert asked["system"].endswith('{"type":"object"}')
    assert not {"output_config", "tool_choice"} & asked.keys()
    assert [tool["name"] for tool in asked["tools"]] == ["add"]


def test_a_model_without_formats_is_asked_by_a_tool_always() -> None:
    asked = body(Generation((USER,), response_schema=CLOSED), output_config="")
    assert [tool["input_schema"] for tool in asked["tools"]] == [CLOSED]


@pytest.mark.parametrize(
    ("choice", "theirs"),
    [
        ("auto", {"type": "any"}),
        ("required", {"type": "any"}),
        ("add", {"type": "tool", "name": "add"}),
        ("none", {"type": "tool", "name": ANSWER_TOOL}),
    ],
)
def test_beside_other_tools_the_model_chooses(choice: str, theirs: dict) -> None:
    asked = body(Generation((USER,), (ADD,), tool_choice=choice, response_schema=OPEN), "big")
    assert asked["tool_choice"] == theirs
    assert [tool["name"] for tool in asked["tools"]] == ["add", ANSWER_TOOL]


def test_what_is_no_object_is_wrapped_and_its_definitions_stay_at_the_root() -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": CLOSED}}
    (tool,) = body(Generation((USER,), response_schema=schema), "big")["tools"]
    assert tool["input_schema"] == {
        "type": "object",
        "properties": {"answer": {"type": "array", "items": {"$ref": "#/$defs/a"}}},
        "required": ["answer"],
        "$defs": {"a": CLOSED},
    }


@pytest.mark.parametrize(
    ("schema", "pieces", "text"),
    [
        (OPEN, ('{"a"', ": 1}"), '{"a": 1}'),
        ({"type": "array", "minItems": 2}, ('{"answer": [1,', "2]}"), "[1,2]"),
        (OPEN, (), "{}"),
    ],
)
async def test_the_tools_input_is_the_answer(schema: dict, pieces: tuple[str, ...], text: str) -> None:
    job = Generation((USER,), response_schema=schema)
    end = message_end("tool_use", output_tokens=5)
    answer = await answered(job, tool_block(0, "t1", ANSWER_TOOL, *pieces) + end)
    assert answer == Finished(text, (), "stop", Usage(0, 5), "big")


async def test_an_answer_cut_by_its_tokens_is_told_so() -> None:
    job = Generation((USER,), response_schema=OPEN)
    answer = await answered(job, tool_block(0, "t1", ANSWER_TOOL, '{"a"') + message_end("max_tokens"))
    assert (answer.text, answer.finish_reason) == ('{"a"', "length")


# ---- what is read


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
    ],
)
async def test_finish_reasons_are_mapped(theirs: str, ours: str) -> None:
    answer = await answered(Generation((USER,)), text_block(0, "a") + message_end(theirs))
    assert answer.finish_reason == ours


async def test_what_the_caller_can_mend_is_told() -> None:
    job = Generation((USER,), (ADD,))
    with pytest.raises(errors.InvalidArgument, match="refusal"):
        await answered(job, text_block(0, "I") + message_end("refusal"))
    with pytest.raises(errors.InvalidArgument, match="did not fit"):
        await answered(job, tool_block(0, "t1", "add", '{"a"') + message_end("max_tokens"))


async def test_cached_tokens_are_part_of_the_prompt() -> None:
    start = message_start(
        input_tokens=10, cache_creation_input_tokens=20, cache_read_input_tokens=30, output_tokens=1
    )
    answer = await answered(Generation((USER,)), start + text_block(0, "a") + message_end(output_tokens=4))
    assert answer.usage == Usage(60, 4, 30)


async def test_the_last_counts_are_the_ones() -> None:
    start = message_start(input_tokens=10, output_tokens=1)
    end = message_end(input_tokens=12, cache_read_input_tokens=3, output_tokens=4)
    answer = await answered(Generation((USER,)), start + text_block(0, "a") + end)
    assert answer.usage == Usage(15, 4, 3)


async def test_thoughts_and_kinds_that_are_not_known_are_passed_over() -> None:
    thinking = named("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
    thought = {"type": "thinking_delta", "thinking": "hm"}
    strange = named("content_block_delta", index=0, delta=thought) + named("strange", what=[1])
    answer = await answered(Generation((USER,)), thinking + strange + text_block(1, "a") + message_end())
    assert answer.text == "a"


async def test_an_answer_that_is_not_streamed_is_taken_too() -> None:
    content = [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}},
    ]
    message = {"type": "message", "model": "big-1", "content": content, "stop_reason": "tool_use"}
    message["usage"] = {"input_tokens": 3, "output_tokens": 2}
    async with driving(AnthropicDriver, whole(message)) as (driver, _):
        answer = await run(driver)
    calls = (ToolCall("t1", "add", {"a": 1}),)
    assert answer == Finished("I look.", calls, "tool_calls", Usage(3, 2), "big-1")


@pytest.mark.parametrize(
    "data",
    [
        tool_block(0, "t1", "add", "[1]") + message_end("tool_use"),
        tool_block(0, "t1", "add", '{"a": ') + message_end("tool_use"),
        tool_block(0, "t1", "", "{}") + message_end("tool_use"),
        b"".join(tool_block(n, f"t{n}", "add", "{}") for n in range(200)) + message_end("tool_use"),
        named("content_block_start", index="x", content_block={}),
        named("message_start", message=[]),
    ],
)
async def test_nonsense_is_an_unavailable_endpoint(data: bytes) -> None:
    with pytest.raises(errors.AiosError) as caught:
        await answered(Generation((USER,), (ADD,)), data)
    assert type(caught.value) is errors.Unavailable


def told(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (refusal(400, told("invalid_request_error", "max_tokens: too large")), errors.InvalidArgument),
        (refusal(400, told("invalid_request_error", "prompt is too long: 9 > 8")), errors.ContextOverflow),
        (
            refusal(400, told("invalid_request_error", "Your credit balance is too low to access the API")),
            errors.Exhausted,
        ),
        (refusal(401, told("authentication_error", "invalid x-api-key")), errors.Misconfigured),
        (refusal(402, told("billing_error", "Check your payment details")), errors.Exhausted),
        (refusal(413, told("request_too_large", "Request exceeds the maximum size")), errors.TooLarge),
        (refusal(429, told("rate_limit_error", "This would exceed your rate limit")), errors.RateLimited),
        (refusal(429, told("rate_limit_error", "Number of concurrent connections")), errors.Overloaded),
        (refusal(500, told("api_error", "Internal server error")), errors.Unavailable),
        (refusal(529, told("overloaded_error", "Overloaded")), errors.Overloaded),
        (Script((named("error", error=told("overloaded_error", "Overloaded")["error"]),)), errors.Overloaded),
        (Script((named("error", error=told("api_error", "Oh no")["error"]),)), errors.Unavailable),
    ],
)
async def test_refusals_are_typed(script: Script, kind: type) -> None:
    async with driving(AnthropicDriver, script) as (driver, _):
        with pytest.raises(errors.AiosError) as caught:
            await run(driver)
    assert type(caught.value) is kind
