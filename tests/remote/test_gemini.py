"""Gemini's own wire: what is asked, and what only its answers hold."""

import json
from typing import Any

import pytest

from aios.abi import errors
from aios.abi.messages import Message, Sampling, ToolCall, ToolSpec, Usage
from aios.drivers.gemini_request import request_body
from aios.drivers.llm import Finished, Generation
from aios.drivers.llm_gemini import GeminiDriver
from aios.drivers.remembered import Remembered
from fakes.upstream import Script, event, refusal
from fakes.wires import JOB, candidate, driving, function_call, run, whole

USER = Message("user", "hello")
ADD = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "number"}}})
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
SKIP = "skip_thought_signature_validator"


def body(job: Generation, model: str = "gemini-3-pro", **fields: str) -> dict[str, Any]:
    return json.loads(request_body(job, model, Remembered(), fields))


async def answered(*pieces: bytes, job: Generation = JOB) -> Finished:
    async with driving(GeminiDriver, Script(pieces)) as (driver, _):
        return await run(driver, job)


# ---- what is asked


def test_a_plain_request_holds_only_what_is_asked() -> None:
    assert body(JOB) == {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "generationConfig": {"temperature": 0.0, "maxOutputTokens": 100},
    }


def test_all_that_determines_an_answer_is_asked() -> None:
    sampling = Sampling(temperature=0.7, top_p=0.9, top_k=40, seed=2**63 - 1, max_tokens=9, stop=("END",))
    messages = (Message("system", "Be brief."), Message("system", ""), USER)
    asked = body(Generation(messages, (ADD, ToolSpec("now")), sampling, "required", SCHEMA))
    assert asked["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert asked["generationConfig"] == {
        "temperature": 0.7,
        "topP": 0.9,
        "topK": 40,
        "seed": 2**31 - 1,
        "maxOutputTokens": 9,
        "stopSequences": ["END"],
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }
    add = {"name": "add", "description": "Adds.", "parametersJsonSchema": ADD.parameters}
    assert asked["tools"] == [{"functionDeclarations": [add, {"name": "now"}]}]
    assert asked["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}


@pytest.mark.parametrize(
    ("choice", "theirs"),
    [("none", {"mode": "NONE"}), ("add", {"mode": "ANY", "allowedFunctionNames": ["add"]})],
)
def test_choices_of_tools_are_mapped(choice: str, theirs: dict) -> None:
    asked = body(Generation((USER,), (ADD,), tool_choice=choice))
    assert asked["toolConfig"] == {"functionCallingConfig": theirs}
    assert "toolConfig" not in body(Generation((USER,), (ADD,)))


def test_any_object_is_asked_for_by_its_type_alone() -> None:
    config = body(Generation((USER,), response_schema={"type": "object"}))["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert "responseJsonSchema" not in config


def test_fields_are_renamed_or_left_out_wherever_they_are() -> None:
    job = Generation((USER,), response_schema=SCHEMA)
    asked = body(job, responseJsonSchema="responseSchema", temperature="", contents="turns")
    assert asked["generationConfig"]["responseSchema"] == SCHEMA
    assert "temperature" not in asked["generationConfig"]
    assert "turns" in asked


def conversation() -> tuple[Message, ...]:
    calls = (ToolCall("c1", "add", {"a": 1}), ToolCall("c2", "now"))
    return (
        USER,
        Message("assistant", "I look.", calls),
        Message("tool", "2", tool_call_id="c1"),
        Message("tool", "noon", tool_call_id="c2", name="clock"),
        Message("user", "thanks"),
        Message("user", ""),
    )


def test_results_of_calls_at_once_are_one_turn() -> None:
    _, model, results, thanks = body(Generation(conversation()))["contents"]
    assert model == {
        "role": "model",
        "parts": [
            {"text": "I look."},
            {"functionCall": {"id": "c1", "name": "add", "args": {"a": 1}}, "thoughtSignature": SKIP},
            {"functionCall": {"id": "c2", "name": "now", "args": {}}},
        ],
    }
    assert results == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "c1", "name": "add", "response": {"output": "2"}}},
            {"functionResponse": {"id": "c2", "name": "now", "response": {"output": "noon"}}},
        ],
    }
    assert thanks == {"role": "user", "parts": [{"text": "thanks"}]}


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-1.5-pro", "gemma-3-27b-it"])
def test_models_that_sign_nothing_are_sent_no_signature(model: str) -> None:
    assert SKIP not in json.dumps(body(Generation(conversation()), model))


def test_a_result_may_end_the_conversation_and_hold_an_image() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = [{"type": "text", "text": "a cat"}, image]
    asked = body(Generation((*conversation()[:2], Message("tool", parts, tool_call_id="c1"))))
    assert asked["contents"][-1]["parts"] == [
        {"functionResponse": {"id": "c1", "name": "add", "response": {"output": "a cat"}}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    ]


def test_a_result_of_no_call_is_refused() -> None:
    for message in (Message("tool", "2"), Message("tool", "2", tool_call_id="unknown")):
        with pytest.raises(errors.InvalidArgument, match="tool_call_id"):
            body(Generation((USER, message)))


def test_parts_keep_their_kinds() -> None:
    parts = [
        {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.jpg?big=1"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat"}},
    ]
    assert body(Generation((Message("user", parts),)))["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        {"fileData": {"fileUri": "https://example.org/cat.jpg?big=1", "mimeType": "image/jpeg"}},
        {"fileData": {"fileUri": "https://example.org/cat"}},
    ]


@pytest.mark.parametrize(
    ("base", "model", "path"),
    [
        ("http://a", "gemini-3-pro", "/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse"),
        ("http://a/v1beta/", "gemini-3-pro", "/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse"),
        (
            "http://a/g?k=1",
            "tunedModels/x y",
            "/g/v1beta/tunedModels/x%20y:streamGenerateContent?alt=sse&k=1",
        ),
    ],
)
def test_the_model_is_part_of_the_address(base: str, model: str, path: str) -> None:
    assert GeminiDriver(base, model)._url == "http://a" + path


# ---- signatures


async def test_a_signature_goes_back_with_its_call() -> None:
    signed = function_call("add", {"a": 1}, id="c1", signature="c2lnbmVk")
    pieces = candidate(signed, function_call("now", {}, id="c2"), finish="STOP")
    async with driving(GeminiDriver, Script((pieces,)), model="gemini-3-pro") as (driver, upstream):
        answer = await run(driver, Generation((USER,), (ADD,)))
        said = Message("assistant", answer.text, answer.tool_calls)
        await run(driver, Generation((USER, said, Message("tool", "2", tool_call_id="c1"))))
        first, second = upstream.asked[1].body["contents"][1]["parts"]
    assert first["thoughtSignature"] == "c2lnbmVk"
    assert "thoughtSignature" not in second


def test_what_is_remembered_is_forgotten_when_there_is_no_room() -> None:
    signatures = Remembered(max_bytes=100)
    for number in range(10):
        signatures.keep(f"c{number}", "x" * 20)
        signatures.keep(f"c{number}", "y" * 20)
    assert signatures.find("c9") == "y" * 20
    assert [number for number in range(10) if signatures.find(f"c{number}")] == [6, 7, 8, 9]
    signatures.keep("big", "x" * 200)
    assert signatures.find("big") is None


# ---- what is read


@pytest.mark.parametrize(
    ("theirs", "ours"), [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SOMETHING_NEW", "stop")]
)
async def test_finish_reasons_are_mapped(theirs: str, ours: str) -> None:
    assert (await answered(candidate({"text": "a"}, finish=theirs))).finish_reason == ours


@pytest.mark.parametrize(
    ("theirs", "kind"),
    [
        ("SAFETY", errors.InvalidArgument),
        ("RECITATION", errors.InvalidArgument),
        ("MALFORMED_FUNCTION_CALL", errors.Unavailable),
        ("OTHER", errors.Unavailable),
    ],
)
async def test_an_answer_that_was_ended_is_told_so(theirs: str, kind: type) -> None:
    with pytest.raises(errors.AiosError, match=theirs) as caught:
        await answered(candidate({"text": "a"}, finish=theirs))
    assert type(caught.value) is kind


async def test_a_prompt_that_is_blocked_is_told_so() -> None:
    with pytest.raises(errors.InvalidArgument, match="PROHIBITED_CONTENT"):
        await answered(event({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}))


async def test_a_reason_that_is_none_ends_nothing() -> None:
    pieces = (
        candidate({"text": "a"}, finish="FINISH_REASON_UNSPECIFIED"),
        candidate({"text": "b"}, finish="STOP"),
    )
    assert (await answered(*pieces)).text == "ab"


async def test_other_candidates_are_passed_over() -> None:
    other = {"index": 1, "content": {"parts": [{"text": "b"}]}, "finishReason": "STOP"}
    answer = await answered(event({"candidates": [other]}), candidate({"text": "a"}, finish="STOP"))
    assert answer.text == "a"


async def test_tokens_are_counted_as_they_are_told() -> None:
    seen = []
    pieces = (
        candidate({"text": "a"}, promptTokenCount=5, candidatesTokenCount=7),
        candidate({"text": "b" * 40}),
        candidate({"text": "c"}, finish="STOP", promptTokenCount=5, candidatesTokenCount=9),
    )
    async with driving(GeminiDriver, Script(pieces)) as (driver, _):
        answer = await run(driver, emit=seen.append)
    assert [delta.num_tokens for delta in seen] == [7, 10, 2]
    assert answer.usage == Usage(5, 9)


async def test_a_call_without_an_id_is_given_one() -> None:
    (call,) = (await answered(candidate(function_call("add", {"a": 1}), finish="STOP"))).tool_calls
    assert call.id.startswith("call_")
    assert call.arguments == {"a": 1}


async def test_an_answer_that_is_not_streamed_is_taken_too() -> None:
    one = {"candidates": [{"content": {"parts": [{"text": "he"}]}}]}
    two = {"candidates": [{"content": {"parts": [{"text": "llo"}]}, "finishReason": "STOP"}]}
    async with driving(GeminiDriver, whole([one, two])) as (driver, _):
        assert (await run(driver)).text == "hello"


@pytest.mark.parametrize(
    "data",
    [
        candidate({"functionCall": {"args": {}}}, finish="STOP"),
        candidate({"functionCall": {"name": "add", "args": [1]}}, finish="STOP"),
        candidate(*(function_call("add", {}) for _ in range(200)), finish="STOP"),
        event({"candidates": "none"}),
        event([]),
    ],
)
async def test_nonsense_is_an_unavailable_endpoint(data: bytes) -> None:
    with pytest.raises(errors.AiosError) as caught:
        await answered(data)
    assert type(caught.value) is errors.Unavailable


def told(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


def violation(quota: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]}


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26s"}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
PER_MINUTE = violation("GenerateContentInputTokensPerModelPerMinute-FreeTier")
PER_DAY = violation("GenerateRequestsPerDayPerProjectPerModel-FreeTier")
QUOTA = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("script", "kind", "later"),
    [
        (refusal(429, told(429, "RESOURCE_EXHAUSTED", QUOTA, PER_MINUTE, RETRY)), errors.RateLimited, 26.0),
        (refusal(429, told(429, "RESOURCE_EXHAUSTED", QUOTA, PER_DAY, RETRY)), errors.Exhausted, 26.0),
        (refusal(429, told(429, "RESOURCE_EXHAUSTED", QUOTA)), errors.RateLimited, None),
        (refusal(429, told(429, "RESOURCE_EXHAUSTED", "Please try again later.")), errors.Overloaded, None),
        (refusal(503, told(503, "UNAVAILABLE", "The model is overloaded.")), errors.Overloaded, None),
        (refusal(500, told(500, "INTERNAL", "An internal error")), errors.Unavailable, None),
        (
            refusal(400, told(400, "INVALID_ARGUMENT", "API key not valid.", BAD_KEY)),
            errors.Misconfigured,
            None,
        ),
        (refusal(403, told(403, "PERMISSION_DENIED", "no")), errors.Misconfigured, None),
        (refusal(404, told(404, "NOT_FOUND", "models/x is not found")), errors.Misconfigured, None),
        (
            refusal(
                400,
                told(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number (8)."),
            ),
            errors.ContextOverflow,
            None,
        ),
        (refusal(429, [told(429, "RESOURCE_EXHAUSTED", QUOTA, RETRY)]), errors.RateLimited, 26.0),
        (Script((event(told(429, "RESOURCE_EXHAUSTED", QUOTA, RETRY)),)), errors.RateLimited, 26.0),
    ],
)
async def test_refusals_are_typed(script: Script, kind: type, later: float | None) -> None:
    async with driving(GeminiDriver, script) as (driver, _):
        with pytest.raises(errors.AiosError) as caught:
            await run(driver)
    assert (type(caught.value), caught.value.retry_after) == (kind, later)
