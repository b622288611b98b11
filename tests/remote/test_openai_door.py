"""The OpenAI-compatible door, driven by the official client and by our own driver."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from aios.abi import errors
from aios.abi.messages import Choice, Delta, Message, Sampling, TokenLogprob, ToolCall, ToolSpec, Usage
from aios.abi.syscalls import LlmAnswer, LlmGenerate
from aios.abi.wire import MAX_FRAME
from aios.drivers.llm import Generation
from aios.drivers.llm_remote import OpenAIDriver
from aios.server.openai_request import BadField, read_request
from fakes.served import Answering, Core, Emit, ScriptedKernel, official_client, served

HELLO: Any = [{"role": "user", "content": "hello"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}},
    },
    {"type": "function", "function": {"name": "now"}},
]
CALLS = (ToolCall("c1", "add", {"a": 1, "b": [2.5]}), ToolCall("c2", "now"))
ANSWER = LlmAnswer("Hello you", usage=Usage(7, 3, 2), model="nano", core="a")
CALLING = LlmAnswer("", CALLS, "tool_calls", Usage(9, 5), "nano", "a")


async def in_pieces(call: LlmGenerate, emit: Emit) -> LlmAnswer:
    for word in ("Hello", " ", "you"):
        emit(Delta(word, num_tokens=1))
        await asyncio.sleep(0)
    return ANSWER


async def calling(call: LlmGenerate, emit: Emit) -> LlmAnswer:
    for tool_call in CALLS:
        emit(Delta(tool_call=tool_call))
    return CALLING


@asynccontextmanager
async def door(
    answer: Answering, key: str = "key-1"
) -> AsyncIterator[tuple[openai.AsyncOpenAI, ScriptedKernel]]:
    kernel = ScriptedKernel(answer)
    async with served(kernel) as url, official_client(url, key) as client:
        yield client, kernel


async def call_of(**fields: Any) -> LlmGenerate:
    """The system call that a request of the official client becomes."""
    async with door(ANSWER) as (client, kernel):
        await client.chat.completions.create(**({"model": "nano", "messages": HELLO} | fields))
        (call,) = kernel.asked
        assert isinstance(call, LlmGenerate)
        return call


async def refused(answer: Answering = ANSWER, key: str = "key-1", **fields: Any) -> Any:
    """The error that the official client raises."""
    async with door(answer, key) as (client, _):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(**({"model": "nano", "messages": HELLO} | fields))
        return caught.value


# ---- answers


async def test_a_plain_answer() -> None:
    async with door(ANSWER) as (client, _):
        got = await client.chat.completions.create(model="nano", messages=HELLO)
    assert got.choices[0].message.content == "Hello you"
    assert (got.choices[0].finish_reason, got.model, got.object) == ("stop", "nano", "chat.completion")
    assert got.id.startswith("chatcmpl-")
    assert got.created > 0
    assert got.system_fingerprint
    assert got.usage is not None
    assert got.usage.total_tokens == 10
    assert got.usage.prompt_tokens_details.cached_tokens == 2


async def test_several_tool_calls_in_one_answer() -> None:
    async with door(calling) as (client, _):
        got = await client.chat.completions.create(model="nano", messages=HELLO, tools=TOOLS)
    message = got.choices[0].message
    assert (message.content, got.choices[0].finish_reason) == (None, "tool_calls")
    assert [(call.id, call.function.name) for call in message.tool_calls] == [("c1", "add"), ("c2", "now")]
    assert json.loads(message.tool_calls[0].function.arguments) == {"a": 1, "b": [2.5]}


@pytest.mark.parametrize("with_usage", [False, True])
async def test_a_streamed_answer(with_usage: bool) -> None:
    more: Any = {"stream_options": {"include_usage": True}} if with_usage else {}
    async with door(in_pieces) as (client, _):
        stream = await client.chat.completions.create(model="nano", messages=HELLO, stream=True, **more)
        chunks = [chunk async for chunk in stream]
    said = [choice.delta.content for chunk in chunks for choice in chunk.choices]
    assert said == ["Hello", " ", "you", None]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices] == [None, None, None, "stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert [c.usage.completion_tokens for c in chunks if c.usage] == ([3] if with_usage else [])
    assert bool(chunks[-1].choices) is not with_usage


async def several(call: LlmGenerate, emit: Emit) -> LlmAnswer:
    emit(Delta("one", index=0))
    emit(Delta("an", index=1))
    emit(Delta("other", index=1))
    others = (Choice("another"), Choice("", CALLS, "tool_calls"))
    return LlmAnswer("one", usage=Usage(7, 6), model="nano", core="a", others=others)


async def test_several_answers_to_one_prompt() -> None:
    async with door(several) as (client, kernel):
        answer = await client.chat.completions.create(model="auto", messages=HELLO, n=3)
        (asked,) = kernel.asked
        assert isinstance(asked, LlmGenerate)
        assert asked.sampling.n == 3
        found = [(one.index, one.message.content, one.finish_reason) for one in answer.choices]
        assert found == [(0, "one", "stop"), (1, "another", "stop"), (2, None, "tool_calls")]
        texts = ["", "", ""]
        ends = {}
        stream = await client.chat.completions.create(model="auto", messages=HELLO, n=3, stream=True)
        async for chunk in stream:
            for one in chunk.choices:
                texts[one.index] += one.delta.content or ""
                if one.finish_reason is not None:
                    ends[one.index] = one.finish_reason
        assert texts == ["one", "another", ""]
        assert ends == {0: "stop", 1: "stop", 2: "tool_calls"}


async def test_streamed_tool_calls() -> None:
    async with door(calling) as (client, _):
        stream = await client.chat.completions.create(model="nano", messages=HELLO, tools=TOOLS, stream=True)
        chunks = [chunk async for chunk in stream]
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.id, call.function.name) for call in calls] == [
        (0, "c1", "add"),
        (1, "c2", "now"),
    ]
    assert json.loads(calls[0].function.arguments) == CALLS[0].arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("answer", [CALLING, calling])
@pytest.mark.parametrize("stream", [False, True])
async def test_without_parallel_calls_an_answer_holds_one(answer: Any, stream: bool) -> None:
    fields: Any = {"model": "nano", "messages": HELLO, "tools": TOOLS, "parallel_tool_calls": False}
    async with door(answer) as (client, _):
        if not stream:
            calls = (await client.chat.completions.create(**fields)).choices[0].message.tool_calls
        else:
            chunks = [c async for c in await client.chat.completions.create(**fields, stream=True)]
            calls = [call for c in chunks for call in c.choices[0].delta.tool_calls or ()]
    assert [call.id for call in calls] == ["c1"]


async def test_what_no_delta_brought_comes_at_the_end_of_the_stream() -> None:
    async def half(call: LlmGenerate, emit: Emit) -> LlmAnswer:
        emit(Delta("Hel"))
        return LlmAnswer("Hello", CALLS, "tool_calls")

    async with door(half) as (client, _):
        chunks = [
            c async for c in await client.chat.completions.create(model="n", messages=HELLO, stream=True)
        ]
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello"
    assert sum(len(c.choices[0].delta.tool_calls or ()) for c in chunks) == 2


async def test_the_sync_client_works_too() -> None:
    def ask(url: str) -> str | None:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="key-1", max_retries=0) as client:
            return client.chat.completions.create(model="nano", messages=HELLO).choices[0].message.content

    async with served(ScriptedKernel(ANSWER)) as url:
        assert await asyncio.to_thread(ask, url) == "Hello you"


# ---- requests


async def test_what_is_left_open_stays_as_the_kernel_has_it() -> None:
    assert await call_of() == LlmGenerate(messages=(Message("user", "hello"),), model="nano")
    assert (await call_of(model="auto")).model is None


async def test_all_that_determines_an_answer_arrives() -> None:
    call = await call_of(
        temperature=0.5,
        top_p=0.9,
        max_completion_tokens=9,
        stop="END",
        seed=-1,
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "add"}},
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}},
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"7": 3},
        logprobs=True,
        top_logprobs=2,
        extra_body={"top_k": 4, "min_p": 0.1, "repetition_penalty": 1.1},
    )
    assert call.sampling == Sampling(
        0.5, 0.9, 4, 2**63 - 1, 9, ("END",), 0.1, 1.1, 0.5, -0.5, {7: 3.0}, 2
    )  # fmt: skip
    assert call.tools == (ToolSpec("add", "Adds.", {"type": "object"}), ToolSpec("now"))
    assert (call.tool_choice, call.response_schema) == ("add", {"type": "array"})


async def test_a_conversation_keeps_its_form() -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    sent = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"deep": true}'}}
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": parts, "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [sent]},
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
    ]
    assert (await call_of(messages=messages)).messages == (
        Message("system", "be brief"),
        Message("user", parts, name="ann"),
        Message("assistant", "", (ToolCall("c1", "look", {"deep": True}),)),
        Message("tool", "a cat", tool_call_id="c1"),
    )


@pytest.mark.parametrize(
    ("wanted", "schema"),
    [({"type": "text"}, None), ({"type": "json_object"}, {"type": "object"})],
)
async def test_formats_of_the_answer(wanted: Any, schema: Any) -> None:
    assert (await call_of(response_format=wanted)).response_schema == schema


async def test_fields_that_change_nothing_are_passed_over() -> None:
    call = await call_of(
        user="ann", metadata={"a": "b"}, store=True, parallel_tool_calls=True, logprobs=False, n=1,
        frequency_penalty=0.0, presence_penalty=0, logit_bias={}, reasoning_effort="low", service_tier="auto",
        extra_body={"logit_bias": None, "web_search_options": None},
    )  # fmt: skip
    assert call == LlmGenerate(messages=(Message("user", "hello"),), model="nano")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 33}, "n"),
        ({"logprobs": True, "top_logprobs": 21}, "logprobs"),
        ({"frequency_penalty": 2.5}, "frequency_penalty"),
        ({"logit_bias": {"one": 5}}, "logit_bias"),
        ({"min_p": 1.1}, "min_p"),
        ({"x" * 1000: 1}, "x" * 64),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [""]}, "stop[0]"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"model": "no such thing"}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "oracle", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "no"}}}, "tool_choice"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
    ],
)
def test_what_can_not_be_answered_as_meant_is_refused(fields: dict[str, Any], param: str) -> None:
    request = {"model": "nano", "messages": HELLO} | fields
    with pytest.raises(BadField) as caught:
        read_request(json.dumps(request).encode())
    assert caught.value.param == param


async def test_a_refusal_names_the_field() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{oops"}}
    error = await refused(messages=[{"role": "assistant", "tool_calls": [call]}])
    assert isinstance(error, openai.BadRequestError)
    assert (error.param, error.type) == ("messages[0].tool_calls", "invalid_request_error")


# ---- errors


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (errors.NotFound("no model"), 404, "invalid_request_error", "not_found"),
        (errors.ContextOverflow("too long"), 400, "invalid_request_error", "context_length_exceeded"),
        (errors.PermissionDenied("no"), 403, "permission_error", "permission_denied"),
        (errors.RateLimited("slow", retry_after=1.2), 429, "rate_limit_error", "rate_limited"),
        (errors.Overloaded("full", retry_after=0.25), 503, "server_error", "overloaded"),
        (errors.DeadlineExceeded("late"), 504, "server_error", "deadline_exceeded"),
        (errors.Cancelled("killed"), 499, "server_error", "cancelled"),
        (errors.Internal("a defect"), 500, "server_error", "internal"),
    ],
)
async def test_errors_have_the_shape_of_the_api(
    error: errors.AiosError, status: int, kind: str, code: str
) -> None:
    got = await refused(error, stream=status % 2 == 0)
    assert (got.status_code, got.type, got.code) == (status, kind, code)
    assert error.message in got.message
    if error.retry_after is not None:
        assert float(got.response.headers["retry-after"]) >= error.retry_after
        assert float(got.response.headers["retry-after-ms"]) == error.retry_after * 1000


async def test_a_wrong_key_is_refused() -> None:
    error = await refused(key="key-2")
    assert isinstance(error, openai.AuthenticationError)
    assert error.code == "invalid_api_key"


async def test_an_error_in_the_middle_of_a_stream_is_raised_there() -> None:
    async def breaking(call: LlmGenerate, emit: Emit) -> LlmAnswer:
        emit(Delta("Hel"))
        raise errors.Unavailable("the core died")

    async with door(breaking) as (client, _):
        stream = await client.chat.completions.create(model="nano", messages=HELLO, stream=True)
        assert (await anext(stream)).choices[0].delta.content == "Hel"
        with pytest.raises(openai.APIError, match="the core died"):
            await anext(stream)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"model": "a"}', b"\xff", b"[" * 200_000, b'{"a":' * 200_000]
)
async def test_malformed_bodies_are_refused(body: bytes) -> None:
    async with served(ScriptedKernel(ANSWER)) as url, aiohttp.ClientSession() as client:
        headers = {"Authorization": "Bearer key-1"}
        async with client.post(f"{url}/v1/chat/completions", data=body, headers=headers) as got:
            assert got.status == 400
            assert (await got.json())["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer  ", "Basic key-1", "key-1"])
async def test_no_key_is_refused(authorization: str | None) -> None:
    async with served(ScriptedKernel(ANSWER)) as url, aiohttp.ClientSession() as client:
        headers = {} if authorization is None else {"Authorization": authorization}
        for path in ("/v1/models", "/v1/models/nano"):
            async with client.get(url + path, headers=headers) as got:
                assert got.status == 401
                assert (await got.json())["error"]["code"] == "invalid_api_key"


async def test_a_body_over_the_limit_is_refused() -> None:
    long: Any = [{"role": "user", "content": "x" * (MAX_FRAME + 1)}]
    error = await refused(messages=long)
    assert (error.status_code, error.code) == (413, "too_large")


NAMES = ["model", "messages", "role", "content", "tools", "stop", "n", "stream", "type", "seed"]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


@given(
    st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner)
    )
)
@settings(max_examples=20)
def test_whatever_json_comes_is_a_call_or_a_refusal(body: Any) -> None:
    with suppress(BadField):
        assert isinstance(read_request(json.dumps(body).encode()).call, LlmGenerate)


# ---- a client that goes away


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away_cancels_its_call(stream: bool) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def endless(call: LlmGenerate, emit: Emit) -> LlmAnswer:
        emit(Delta("Hel"))
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ANSWER

    async with door(endless) as (client, _):
        asking = asyncio.create_task(_read_all(client, stream))
        await began.wait()
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await ended.wait()


async def test_a_stream_that_nobody_reads_is_given_up() -> None:
    ended = asyncio.Event()

    async def flood(call: LlmGenerate, emit: Emit) -> LlmAnswer:
        for _ in range(20):
            emit(Delta("x" * 1024 * 1024))
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ANSWER

    async with door(flood) as (client, _):
        stream = await client.chat.completions.create(model="nano", messages=HELLO, stream=True)
        await ended.wait()
        with pytest.raises(openai.APIError, match="not read"):
            async for _ in stream:
                pass


async def _read_all(client: openai.AsyncOpenAI, stream: bool) -> None:
    got: Any = await client.chat.completions.create(model="nano", messages=HELLO, stream=stream)
    async for _ in got:
        pass


# ---- models


async def test_models_are_those_of_the_cores() -> None:
    async with door(ANSWER) as (client, _):
        assert [model.id async for model in client.models.list()] == ["nano", "org/big:7b"]
        assert (await client.models.retrieve("org/big:7b")).owned_by == "aios"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("huge")


async def test_models_need_a_key() -> None:
    async with door(ANSWER, "key-2") as (client, _):
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


async def models_of_chunks(answer: Answering, cores: list[Core] | None = None) -> set[str]:
    """Where the client lets the kernel choose."""
    async with door(answer) as (client, kernel):
        if cores is not None:
            kernel.cores = lambda: cores
        stream = await client.chat.completions.create(model="auto", messages=HELLO, stream=True)
        return {chunk.model async for chunk in stream}


async def test_chunks_name_the_model_where_it_is_known() -> None:
    assert await models_of_chunks(in_pieces, [Core("a", "nano"), Core("b", "nano")]) == {"nano"}
    assert await models_of_chunks(ANSWER) == {"nano"}
    assert await models_of_chunks(in_pieces) == {"auto"}


async def test_a_wrong_method_is_told_as_one() -> None:
    async with (
        served(ScriptedKernel(ANSWER)) as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url}/v1/chat/completions") as response,
    ):
        assert response.status == 405
        assert (await response.json())["error"]["message"]


# ---- our driver at our own door


@asynccontextmanager
async def looped(answer: Answering) -> AsyncIterator[tuple[OpenAIDriver, ScriptedKernel]]:
    kernel = ScriptedKernel(answer)
    async with served(kernel) as url:
        driver = OpenAIDriver(f"{url}/v1", "nano", "key-1")
        await driver.start()
        try:
            yield driver, kernel
        finally:
            await driver.close()


async def test_a_generation_survives_the_way_out_and_in() -> None:
    messages = (
        Message("system", "be"),
        Message("user", "hi"),
        CALLING.to_message(),
        Message("tool", "3", (), "c1"),
    )
    tools = (
        ToolSpec("add", "Adds.", {"type": "object"}),
        ToolSpec("now", "", {"type": "object", "properties": {}}),
    )
    sampling = Sampling(0.5, 0.9, 4, 3, 9, ("END",), 0.1, 1.1, 0.5, -0.5, {7: 3.0}, 2)
    job = Generation(messages, tools, sampling, "add", {"type": "array"})
    seen: list[Delta] = []
    async with looped(calling) as (driver, kernel):
        answer = await driver.run(job, None, seen.append, lambda num_tokens: False)
    (call,) = kernel.asked
    assert call == LlmGenerate(
        messages=messages, tools=tools, model="nano", sampling=sampling, tool_choice="add",
        response_schema={"type": "array"},
    )  # fmt: skip
    assert (answer.tool_calls, answer.usage) == (CALLS, CALLING.usage)
    assert tuple(delta.tool_call for delta in seen) == CALLS


LIKELY = (
    TokenLogprob("Hel", -0.5, (72, 101, 108), (TokenLogprob("Hel", -0.5, (72, 101, 108)),)),
    TokenLogprob("\ufffd", -1.5, (195,)),
)


async def spoken(call: LlmGenerate, emit: Emit) -> LlmAnswer:
    emit(Delta("Hel", num_tokens=1, logprobs=LIKELY[:1]))
    emit(Delta("lo", num_tokens=1, logprobs=LIKELY[1:]))
    return structs.replace(ANSWER, text="Hello", logprobs=LIKELY)


async def test_likelihoods_survive_the_way_out_and_in() -> None:
    job = Generation((Message("user", "hi"),), sampling=Sampling(logprobs=1, max_tokens=9))
    seen: list[Delta] = []
    async with looped(spoken) as (driver, _):
        answer = await driver.run(job, None, seen.append, lambda num_tokens: False)
    assert answer.logprobs == LIKELY
    assert sum((delta.logprobs for delta in seen), ()) == LIKELY


async def test_likelihoods_have_the_form_of_the_api() -> None:
    async with door(spoken) as (client, _):
        got = await client.chat.completions.create(
            model="nano", messages=HELLO, logprobs=True, top_logprobs=1
        )
    (first, second) = got.choices[0].logprobs.content
    assert (first.token, first.logprob, first.bytes) == ("Hel", -0.5, [72, 101, 108])
    assert (first.top_logprobs[0].token, second.bytes, second.top_logprobs) == ("Hel", [195], [])


async def test_errors_survive_the_way_back() -> None:
    kinds = (
        errors.ContextOverflow("long"),
        errors.RateLimited("slow", retry_after=1.5),
        errors.Overloaded("full"),
    )
    for error in kinds:
        async with looped(error) as (driver, _):
            with pytest.raises(type(error)) as caught:
                await driver.run(Generation((Message("user", "x"),)), None, lambda _: None, lambda _: False)
            assert caught.value.retry_after == error.retry_after
