"""The remote driver against an endpoint that answers, and fails, on order."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from aios.abi import errors
from aios.abi.messages import Delta, Message, Sampling, ToolCall, ToolSpec, Usage
from aios.drivers.llm import Finished, Generation, Snapshot
from aios.drivers.llm_remote import Limits, OpenAIDriver
from fakes.upstream import (
    Ending,
    Script,
    Upstream,
    call_piece,
    chunk,
    event,
    refusal,
    stream,
    text_stream,
    usage,
)

JOB = Generation((Message("user", "hello"),), sampling=Sampling(seed=3, max_tokens=100))
KEY = "sk-canary-0123456789"
SOON = Limits(connect_s=5, first_byte_s=0.05, idle_s=0.05, total_s=5, linger_s=0.05)


@asynccontextmanager
async def driving(*scripts: Script, **more) -> AsyncIterator[tuple[OpenAIDriver, Upstream]]:
    async with Upstream(*scripts) as upstream:
        driver = OpenAIDriver(upstream.base_url, "big", KEY, **more)
        await driver.start()
        try:
            yield driver, upstream
        finally:
            await driver.close()


async def run(
    driver: OpenAIDriver, job: Generation = JOB, emit: Callable[[Delta], None] | None = None
) -> Finished:
    answer = await driver.run(job, None, emit or (lambda delta: None), lambda num_tokens: False)
    assert isinstance(answer, Finished)
    return answer


async def answered(*scripts: Script, job: Generation = JOB, **more) -> Finished:
    async with driving(*scripts, **more) as (driver, _):
        return await run(driver, job)


async def failed(*scripts: Script, job: Generation = JOB, **more) -> errors.AiosError:
    with pytest.raises(errors.AiosError) as caught:
        await answered(*scripts, job=job, **more)
    assert KEY not in str(caught.value)
    return caught.value


async def asked(job: Generation, **more) -> dict:
    async with driving(text_stream(["ok"]), **more) as (driver, upstream):
        await run(driver, job)
        return upstream.asked[0].body


# ---- what is sent


async def test_a_plain_request_holds_only_what_every_server_takes() -> None:
    assert await asked(JOB) == {
        "model": "big",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.0,
        "max_tokens": 100,
    }


async def test_all_that_determines_an_answer_is_sent() -> None:
    sampling = Sampling(temperature=0.7, top_p=0.9, top_k=40, seed=3, max_tokens=100, stop=("END",))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tool = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "number"}}})
    body = await asked(Generation(JOB.messages, (tool,), sampling, "required", schema))
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "add", "description": "Adds.", "parameters": tool.parameters},
        }
    ]
    assert (body["tool_choice"], body["seed"], body["stop"]) == ("required", 3, ["END"])
    assert (body["temperature"], body["top_p"], body["top_k"]) == (0.7, 0.9, 40)
    assert body["response_format"]["json_schema"]["schema"] == schema


CLOSED = {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("properties", "more", "is_strict"),
    [
        ({"a": {"type": "string"}}, {"required": ["a"]}, True),
        ({"a": {"type": "string"}}, {"required": []}, False),
        ({"a": {"type": "string"}}, {"required": ["a"], "additionalProperties": True}, False),
        ({"a": CLOSED}, {"required": ["a"]}, True),
        ({"a": {"type": "object"}}, {"required": ["a"]}, False),
        ({"a": {"type": ["object", "null"]}}, {"required": ["a"]}, False),
        ({"a": {"type": "array", "items": {"properties": {}}}}, {"required": ["a"]}, False),
        ({"a": {"anyOf": [CLOSED, {"type": "object"}]}}, {"required": ["a"]}, False),
        ({"a": {"$ref": "#/$defs/b"}}, {"required": ["a"], "$defs": {"b": {"type": "object"}}}, False),
        ({"a": True}, {"required": ["a"]}, False),
        (7, {}, False),
    ],
)
async def test_strict_is_asked_for_only_where_it_can_be(
    properties: object, more: dict, is_strict: bool
) -> None:
    schema = CLOSED | {"properties": properties} | more
    form = (await asked(Generation(JOB.messages, response_schema=schema)))["response_format"]["json_schema"]
    assert form["schema"] == schema
    assert form.get("strict", False) is is_strict


async def test_a_seed_keeps_within_31_bits() -> None:
    body = await asked(Generation(JOB.messages, sampling=Sampling(temperature=1, seed=2**63 - 1)))
    assert body["seed"] == 2**31 - 1


async def test_one_tool_is_chosen_by_its_name() -> None:
    body = await asked(Generation(JOB.messages, (ToolSpec("add"),), tool_choice="add"))
    assert body["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    assert body["tools"][0]["function"] == {"name": "add", "parameters": {"type": "object", "properties": {}}}


async def test_any_object_is_asked_for_as_json_object() -> None:
    body = await asked(Generation(JOB.messages, response_schema={"type": "object"}))
    assert body["response_format"] == {"type": "json_object"}


async def test_a_conversation_with_tools_and_parts_keeps_its_form() -> None:
    parts = [{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    messages = (
        Message("user", parts),
        Message("assistant", "", (ToolCall("c1", "look", {"deep": True}),)),
        Message("tool", "a cat", tool_call_id="c1", name="look"),
    )
    user, assistant, tool = (await asked(Generation(messages)))["messages"]
    assert user["content"] == parts
    assert assistant["content"] is None
    assert assistant["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"deep":true}'}}
    ]
    assert tool == {"role": "tool", "content": "a cat", "tool_call_id": "c1", "name": "look"}


async def test_fields_an_endpoint_chokes_on_are_renamed_or_left_out() -> None:
    job = Generation(JOB.messages, sampling=Sampling(max_tokens=7))
    fields = {"max_tokens": "max_completion_tokens", "temperature": "", "stream_options": ""}
    body = await asked(job, fields=fields)
    assert body["max_completion_tokens"] == 7
    assert not {"max_tokens", "temperature", "stream_options"} & body.keys()


async def test_a_prompt_of_megabytes_is_sent_whole() -> None:
    body = await asked(Generation((Message("user", "x" * 3_000_000),)))
    assert len(body["messages"][0]["content"]) == 3_000_000


async def test_the_key_goes_in_the_header_and_one_connection_is_used_again() -> None:
    async with driving(text_stream(["ok"])) as (driver, upstream):
        for _ in range(3):
            await run(driver)
        assert [one.headers["authorization"] for one in upstream.asked] == [f"Bearer {KEY}"] * 3
        assert upstream.asked[0].path == "/v1/chat/completions"
        assert upstream.num_connections == 1


# ---- what is read


async def test_text_is_emitted_as_it_comes_and_returned_whole() -> None:
    seen: list[Delta] = []
    async with driving(text_stream(["Hel", "lo", " you"])) as (driver, _):
        answer = await run(driver, emit=seen.append)
    assert answer == Finished("Hello you", (), "stop", Usage(7, 3, 2), "big-1")
    assert [delta.text for delta in seen] == ["Hel", "lo", " you"]


async def test_tool_calls_are_joined_by_index_and_emitted_whole() -> None:
    seen: list[Delta] = []
    script = stream(
        chunk(call_piece(0, "", id="c1", name="add")),
        chunk(call_piece(1, '{"te', id="c2", name="note")),
        chunk(call_piece(0, '{"a": 1')),
        chunk(call_piece(1, 'xt": "x"}')),
        chunk(call_piece(0, ', "b": 2}')),
        chunk({}, "tool_calls"),
    )
    async with driving(script) as (driver, _):
        answer = await run(driver, emit=seen.append)
    calls = (ToolCall("c1", "add", {"a": 1, "b": 2}), ToolCall("c2", "note", {"text": "x"}))
    assert (answer.tool_calls, answer.finish_reason) == (calls, "tool_calls")
    assert tuple(delta.tool_call for delta in seen) == calls


async def test_tool_calls_without_index_or_id_are_told_apart() -> None:
    def piece(**more) -> dict:
        return {"tool_calls": [{"function": {"name": "f", "arguments": {"n": 1}}, **more}]}

    answer = await answered(stream(chunk(piece(id="a")), chunk(piece(id="b")), chunk({}, "stop")))
    assert [(call.id, call.arguments) for call in answer.tool_calls] == [("a", {"n": 1}), ("b", {"n": 1})]
    assert answer.finish_reason == "tool_calls"
    (call,) = (await answered(stream(chunk(piece()), chunk({}, "stop")))).tool_calls
    assert call.id.startswith("call_")


def numbers(answer: Finished) -> list[tuple[str, dict]]:
    return [(call.name, call.arguments) for call in answer.tool_calls]


async def test_calls_that_all_have_one_index_are_told_apart() -> None:
    script = stream(
        chunk(call_piece(0, '{"n"', id="a", name="f")),
        chunk(call_piece(0, ":1}")),
        chunk(call_piece(0, '{"n":', id="b", name="f")),
        chunk(call_piece(1, '{"n":9}', id="z", name="h")),
        chunk(call_piece(0, "2}")),
        chunk(call_piece(0, "{}", id="c", name="g")),
        chunk({}, "tool_calls"),
    )
    answer = await answered(script)
    assert numbers(answer) == [("f", {"n": 1}), ("f", {"n": 2}), ("g", {}), ("h", {"n": 9})]
    assert [call.id for call in answer.tool_calls] == ["a", "b", "c", "z"]


async def test_calls_without_index_and_id_are_told_apart_by_their_names() -> None:
    def piece(arguments: str, **name: str) -> dict:
        return {"tool_calls": [{"function": {"arguments": arguments, **name}}]}

    pieces = [piece('{"n"', name="f"), piece(":1}", name="f"), piece('{"n":', name="f"), piece("2}")]
    answer = await answered(stream(*map(chunk, pieces), chunk({}, "stop")))
    assert numbers(answer) == [("f", {"n": 1}), ("f", {"n": 2})]


@pytest.mark.parametrize(
    "repeated",
    [
        [{"id": "a", "name": "f"}] * 3,
        [{"id": "a", "name": "f"}, {"id": "b"}, {"id": "c"}],
        [{"id": "a", "name": "f"}, {"id": "b", "name": "f"}, {"id": "c", "name": "f"}],
        [{"id": "a", "name": "f"}, {"name": "f"}, {"name": "f"}],
    ],
)
async def test_what_an_endpoint_repeats_in_every_piece_begins_no_call(repeated: list[dict]) -> None:
    parts = zip(("", '{"n":', "1}"), repeated, strict=True)
    script = stream(*(chunk(call_piece(0, text, **more)) for text, more in parts), chunk({}, "stop"))
    (call,) = (await answered(script)).tool_calls
    assert call == ToolCall("a", "f", {"n": 1})


async def test_a_new_id_without_index_or_name_begins_no_call() -> None:
    first = {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": '{"n":'}}]}
    second = {"tool_calls": [{"id": "b", "function": {"arguments": "1}"}}]}
    (call,) = (await answered(stream(chunk(first), chunk(second), chunk({}, "stop")))).tool_calls
    assert call == ToolCall("a", "f", {"n": 1})


async def test_a_call_without_arguments_has_none() -> None:
    (call,) = (await answered(stream(chunk(call_piece(0, "", id="c", name="now"), "tool_calls")))).tool_calls
    assert call.arguments == {}


@pytest.mark.parametrize(
    ("theirs", "ours"), [("stop", "stop"), ("length", "length"), ("eos", "stop"), ("max_time", "stop")]
)
async def test_finish_reasons_are_mapped(theirs: str, ours: str) -> None:
    assert (await answered(text_stream(["a"], theirs))).finish_reason == ours


async def test_a_provider_that_tells_no_usage_costs_nothing() -> None:
    answer = await answered(stream(chunk({"content": "a"}, "stop")))
    assert answer.usage == Usage()


async def test_content_parts_and_refusals_are_text() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "I "}]
    answer = await answered(stream(chunk({"content": parts}), chunk({"refusal": "can't"}, "stop")))
    assert answer.text == "I can't"


async def test_an_answer_that_is_not_streamed_is_taken_too() -> None:
    whole = {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}
    assert (await answered(refusal(200, whole))).text == "hi"


BYTES = (
    b": waiting\r\n\r\n"
    + event(chunk({"role": "assistant", "content": ""}))
    + b'event: x\r\ndata: {"choices":\r\ndata: [{"delta":{"content":"na\xc3\xafve "}}]}\r\n\r\n'
    + b"\n\n:again\n"
    + event(chunk({"content": "日本 \r\n"})).replace(b"\n", b"\r")
    + event(chunk(call_piece(0, '{"a"', id="c1", name="f")))
    + event(chunk(call_piece(0, ":1}"), "tool_calls"))
    + event(usage(5, 4))
)
WHOLE = Finished("naïve 日本 \r\n", (ToolCall("c1", "f", {"a": 1}),), "tool_calls", Usage(5, 4), "big-1")


@given(cuts=st.lists(st.integers(0, len(BYTES)), max_size=40), done=st.booleans())
@settings(max_examples=30)
def test_any_pieces_give_the_same_answer(cuts: list[int], done: bool) -> None:
    data = BYTES + (b"data: [DONE]\n\n" if done else b"")
    places = [0, *sorted(cuts), len(data)]
    pieces = tuple(data[start:end] for start, end in pairwise(places))
    assert asyncio.run(answered(Script(pieces))) == WHOLE


async def test_a_stream_byte_by_byte_gives_the_same_answer() -> None:
    assert await answered(Script(tuple(bytes([byte]) for byte in BYTES))) == WHOLE


async def test_a_stream_cut_at_any_byte_is_an_error_or_whole() -> None:
    ends = [*range(0, len(BYTES), 29), *range(len(BYTES) - 40, len(BYTES))]
    scripts = [Script((BYTES[:end],), ending=ending) for end in ends for ending in ("cut", "finish")]
    outcomes = []
    async with driving(*scripts) as (driver, _):
        for _ in scripts:
            try:
                answer = await run(driver)
                outcomes.append((answer.text, answer.tool_calls))
            except errors.Unavailable:
                outcomes.append(None)
    assert set(map(repr, outcomes)) == {"None", repr((WHOLE.text, WHOLE.tool_calls))}
    assert outcomes[-1] is not None


# ---- what it refuses


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        (
            refusal(400, {"error": {"message": "bad top_p", "code": "invalid"}}),
            errors.InvalidArgument,
            "bad top_p",
        ),
        (refusal(404, {"error": {"message": "no model big"}}), errors.InvalidArgument, "no model big"),
        (refusal(422, {"detail": "temperature"}), errors.InvalidArgument, "temperature"),
        (refusal(413, b"<html>too large"), errors.TooLarge, "413"),
        (refusal(401, {"error": {"message": f"bad key {KEY}"}}), errors.Misconfigured, "key"),
        (refusal(403, b"no"), errors.Misconfigured, "key"),
        (refusal(402, {"error": "pay"}), errors.Exhausted, "pay"),
        (refusal(400, {"error": {"message": f"see {KEY}"}}), errors.InvalidArgument, "[key]"),
        (
            refusal(400, {"error": {"message": "no", "code": "context_length_exceeded"}}),
            errors.ContextOverflow,
            "no",
        ),
        (refusal(400, [{"error": {"message": "maximum context is 8"}}]), errors.ContextOverflow, "8"),
        (refusal(429, {"error": {"message": "slow"}}), errors.Overloaded, "slow"),
        (refusal(429, {"error": {"code": "rate_limit_exceeded"}}), errors.RateLimited, "429"),
        (refusal(429, {"error": {"code": "insufficient_quota"}}), errors.Exhausted, "quota"),
        (refusal(500, b"\xff\xfe"), errors.Unavailable, "500"),
        (refusal(502, b""), errors.Unavailable, "502"),
        (refusal(503, {"message": "busy"}), errors.Overloaded, "busy"),
        (
            refusal(529, {"type": "error", "error": {"message": "overloaded"}}),
            errors.Overloaded,
            "overloaded",
        ),
        (refusal(307, b"", Location="http://127.0.0.1:1/"), errors.Misconfigured, "redirects"),
    ],
)
async def test_refusals_are_typed(script: Script, kind: type, says: str) -> None:
    error = await failed(script)
    assert type(error) is kind
    assert says in str(error)


async def test_a_refusal_without_end_is_cut() -> None:
    error = await failed(refusal(500, b"x" * 1_000_000))
    assert len(str(error)) < 1000


async def test_retry_after_reaches_the_kernel() -> None:
    assert (await failed(refusal(429, b"", Retry_After="7"))).retry_after == 7
    assert (await failed(refusal(503, b"", retry_after_ms="250"))).retry_after == 0.25


@pytest.mark.parametrize("ending", ["cut", "reset", "hang"])
async def test_a_refusal_that_breaks_off_keeps_its_meaning(ending: Ending) -> None:
    script = structs.replace(refusal(429, b'{"error', Retry_After="7"), ending=ending)
    error = await failed(script, limits=Limits(first_byte_s=30, idle_s=0.05))
    assert type(error) is errors.Overloaded
    assert error.retry_after == 7


async def test_a_code_of_thousands_of_digits_is_no_status() -> None:
    error = await failed(stream({"error": {"code": "4" * 5000, "message": "odd"}}))
    assert "odd" in str(error)


async def test_an_error_inside_a_stream_is_typed() -> None:
    begun = chunk({"content": "a"})
    error = await failed(stream(begun, {"error": {"message": f"GPU on fire {KEY}"}}))
    assert isinstance(error, errors.Unavailable)
    assert "GPU on fire [key]" in str(error)
    limited = {"error": {"code": 429, "message": "rate limit"}}
    assert type(await failed(stream(begun, limited))) is errors.RateLimited


@pytest.mark.parametrize(
    "script",
    [
        stream(b"{not json"),
        stream(b"[" * 100_000),
        stream(b"12"),
        stream({"choices": "none"}),
        stream(done=True),
        stream(done=False),
        stream(chunk({"content": "half an ans"}), done=False),
        stream(chunk(call_piece(0, '{"a": ', id="c", name="f")), chunk({}, "tool_calls")),
        stream(chunk(call_piece(0, "[1]", id="c", name="f")), chunk({}, "tool_calls")),
        stream(chunk(call_piece(0, "{}", id="c")), chunk({}, "tool_calls")),
        stream(*(chunk(call_piece(index, "{}", id=f"c{index}", name="f")) for index in range(200))),
        Script((b"data: " + b"x" * 300_000,)),
        Script(tuple(b"data: x\n" * 1000 for _ in range(40))),
        Script((b"\xff\x00" * 100,), headers=(("Content-Type", "application/json"),)),
        Script((b"HTTP",), headers=(("Content-Length", "-4"),)),
    ],
)
async def test_nonsense_is_an_unavailable_endpoint(script: Script) -> None:
    assert type(await failed(script, limits=Limits(max_event=200_000))) is errors.Unavailable


async def test_what_the_caller_can_mend_is_told() -> None:
    half = chunk(call_piece(0, '{"a": ', id="c", name="f"))
    assert type(await failed(stream(half, chunk({}, "length")))) is errors.InvalidArgument
    assert type(await failed(stream(chunk({"content": "a"}, "content_filter")))) is errors.InvalidArgument


async def test_an_answer_beyond_its_tokens_is_cut() -> None:
    job = Generation(JOB.messages, sampling=Sampling(max_tokens=2))
    error = await failed(stream(*(chunk({"content": "x" * 100}) for _ in range(20))), job=job)
    assert "2 tokens" in str(error)


async def test_a_stream_without_end_is_cut_by_its_bytes() -> None:
    script = Script(tuple(b": still here\n" * 1000 for _ in range(100)), ending="hang")
    error = await failed(script, limits=Limits(max_stream=100_000))
    assert "100000 bytes" in str(error)


# ---- an endpoint that is away, or slow


async def test_a_dead_endpoint_is_unavailable() -> None:
    async with Upstream(Script()) as upstream:
        base_url = upstream.base_url
    driver = OpenAIDriver(base_url, "big")
    await driver.start()
    with pytest.raises(errors.Unavailable, match="can't be reached"):
        await run(driver)
    await driver.close()


async def test_a_reset_is_unavailable() -> None:
    assert "can't be reached" in str(await failed(Script(status=0, ending="reset")))
    begun = stream(chunk({"content": "a"}), done=False, ending="reset")
    assert isinstance(await failed(begun), errors.Unavailable)


async def test_silence_before_the_first_byte_has_a_limit() -> None:
    error = await failed(Script(status=0, ending="hang"), limits=SOON)
    assert type(error) is errors.Unavailable
    assert "did not answer within 0.05 s" in str(error)
    error = await failed(Script(ending="hang"), limits=SOON)
    assert "did not answer within 0.05 s" in str(error)


async def test_silence_in_the_middle_has_a_limit() -> None:
    script = stream(chunk({"content": "a"}), done=False, ending="hang")
    error = await failed(script, limits=Limits(first_byte_s=30, idle_s=0.05))
    assert "sent nothing more within 0.05 s" in str(error)


async def test_the_whole_has_a_limit() -> None:
    script = stream(chunk({"content": "a"}), done=False, ending="hang")
    error = await failed(script, limits=Limits(total_s=0.05))
    assert "did not finish within 0.05 s" in str(error)


@pytest.mark.parametrize("done", [True, False])
async def test_an_endpoint_that_lingers_after_its_answer_is_not_waited_for(done: bool) -> None:
    script = stream(chunk({"content": "a"}, "stop"), done=done, ending="hang")
    limits = Limits(idle_s=30 if done else 0.05, linger_s=0.05)
    assert (await answered(script, limits=limits)).text == "a"


async def test_the_end_of_a_whole_answer_is_not_waited_for_long() -> None:
    script = stream(chunk({"content": "a"}, "stop"), usage(5, 4), done=False, ending="hang")
    limits = Limits(first_byte_s=2000, idle_s=2000, total_s=2000, closing_s=0.05)
    answer = await asyncio.wait_for(answered(script, limits=limits), 60)
    assert (answer.text, answer.usage) == ("a", Usage(5, 4))


def test_an_endpoint_that_may_be_slow_has_time_for_the_whole() -> None:
    assert Limits().whole_s == Limits(first_byte_s=1).whole_s == 600
    assert Limits(first_byte_s=1000, idle_s=1000).whole_s > 2000


async def test_cancelling_closes_the_connection_at_once() -> None:
    async with driving(stream(chunk({"content": "a"}), done=False, ending="hang")) as (driver, upstream):
        running = asyncio.create_task(run(driver))
        await upstream.has_begun.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert running.cancelled()
        await upstream.was_left.wait()


async def test_closing_ends_what_runs_as_cancelled() -> None:
    async with driving(Script(status=0, ending="hang")) as (driver, upstream):
        running = asyncio.create_task(run(driver))
        await upstream.has_begun.wait()
        await driver.close()
        with pytest.raises(errors.Cancelled):
            await running
        await upstream.was_left.wait()
        with pytest.raises(errors.Unavailable, match="not running"):
            await run(driver)


async def test_no_more_connections_than_slots() -> None:
    async with driving(text_stream(["ok"]), slots=2) as (driver, upstream):
        answers = await asyncio.gather(*(run(driver) for _ in range(10)))
        assert len(answers) == 10
        assert upstream.num_connections <= 2


async def test_it_is_never_interrupted_and_keeps_no_snapshot() -> None:
    async with driving(text_stream(["ok"]), window=4096) as (driver, _):
        assert (driver.snapshot_kind, driver.window, driver.model) == ("none", 4096, "big")
        assert await driver.num_prompt_tokens(JOB.messages, ()) is None
        with pytest.raises(errors.InvalidArgument):
            await driver.run(JOB, Snapshot("text", "x", 1, 1), lambda delta: None, lambda num_tokens: True)


@pytest.mark.parametrize(
    "base_url",
    ["", "ftp://a/v1", "file:///etc/passwd", "http://", "http://a:99999/", "http://u:p@a/v1", "http://a/#k"],
)
def test_an_unusable_address_is_refused(base_url: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        OpenAIDriver(base_url, "big")


def test_a_key_with_a_line_break_is_refused_and_not_shown() -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        OpenAIDriver("http://a/v1", "big", f"{KEY}\r\nX-Evil: 1")
    assert KEY not in str(caught.value)


async def test_a_query_in_the_address_is_kept() -> None:
    async with Upstream(text_stream(["ok"])) as upstream:
        driver = OpenAIDriver(upstream.base_url + "/?api-version=1", "big")
        await driver.start()
        await run(driver)
        await driver.close()
        assert upstream.asked[0].path == "/v1/chat/completions?api-version=1"
        assert "authorization" not in upstream.asked[0].headers


def test_the_request_is_json_that_others_can_read() -> None:
    from aios.drivers.chat_request import request_body

    body = request_body(Generation((Message("user", "é\u2028\x00"),)), "big")
    assert json.loads(body)["messages"][0]["content"] == "é\u2028\x00"
