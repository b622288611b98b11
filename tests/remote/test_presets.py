"""Presets: each against a server that has the peculiarities it is documented to have."""

from typing import Any

import pytest

from aios.abi import errors
from aios.abi.messages import Message, Sampling
from aios.drivers.limits import RateLimits
from aios.drivers.llm import Generation
from aios.drivers.llm_anthropic import AnthropicDriver
from aios.drivers.llm_gemini import GeminiDriver
from aios.drivers.llm_remote import OpenAIDriver
from aios.drivers.presets import PRESETS, Preset, preset
from fakes.servers import SERVERS, Server
from fakes.upstream import text_stream
from fakes.wires import KEY, driving, run

MAKERS = {"openai": OpenAIDriver, "anthropic": AnthropicDriver, "gemini": GeminiDriver}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
JOB = Generation(
    (Message("user", "hello", name="ann"),),
    sampling=Sampling(temperature=0.5, top_k=40, seed=3, max_tokens=100),
    response_schema=SCHEMA,
)
NAMES = sorted(PRESETS)
OPENAI_NAMES = [name for name in NAMES if PRESETS[name].kind == "openai"]


def test_every_preset_has_its_server() -> None:
    assert SERVERS.keys() == PRESETS.keys()


@pytest.mark.parametrize("name", NAMES)
async def test_its_answer_is_read_whole(name: str) -> None:
    server: Server = SERVERS[name]
    known = preset(name)
    async with driving(MAKERS[known.kind], server.answer, fields=known.fields) as (driver, _):
        answer = await run(driver)
    assert (answer.text, answer.finish_reason, answer.usage) == ("Hello you", "stop", server.usage)


@pytest.mark.parametrize("name", NAMES)
async def test_its_failure_is_understood(name: str) -> None:
    server = SERVERS[name]
    known = preset(name)
    async with driving(MAKERS[known.kind], server.failing, fields=known.fields) as (driver, _):
        with pytest.raises(errors.AiosError) as caught:
            await run(driver)
    assert type(caught.value) is server.kind
    assert KEY not in str(caught.value)


async def asked_of(name: str) -> dict[str, Any]:
    async with driving(OpenAIDriver, text_stream(["ok"]), fields=preset(name).fields) as (driver, upstream):
        await run(driver, JOB)
        return upstream.asked[0].body


@pytest.mark.parametrize("name", OPENAI_NAMES)
async def test_it_is_asked_in_its_own_words(name: str) -> None:
    known: Preset = preset(name)
    asked = await asked_of(name)
    for ours, theirs in [("seed", known.seed), ("top_k", known.top_k), ("max_tokens", known.max_tokens)]:
        assert theirs == "" or theirs in asked
        assert ours == theirs or ours not in asked
    assert ("stream_options" in asked) is known.stream_usage
    assert any("name" in message for message in asked["messages"]) is known.message_names
    assert asked["response_format"]["type"] == known.json_schema


async def test_a_schema_that_cannot_be_asked_for_is_told_in_the_prompt() -> None:
    asked = await asked_of("deepseek")
    assert asked["response_format"] == {"type": "json_object"}
    assert asked["messages"][0]["role"] == "system"
    assert '{"type":"object"' in asked["messages"][0]["content"]
    async with driving(OpenAIDriver, text_stream(["ok"]), fields={"json_schema": ""}) as (driver, upstream):
        await run(driver, JOB)
        assert "response_format" not in upstream.asked[0].body


async def test_groq_tells_its_limits_with_every_answer() -> None:
    told: list[RateLimits] = []
    async with driving(OpenAIDriver, SERVERS["groq"].answer) as (driver, _):
        driver.on_limits = told.append
        await run(driver)
    (limits,) = told
    assert limits.buckets["tokens"].remaining == 0
    assert limits.buckets["requests"].reset_s == pytest.approx(179.56)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_documented_and_usable(name: str) -> None:
    known = preset(name)
    assert known.source
    assert known.base_url or known.form
    if known.base_url:
        MAKERS[known.kind](known.base_url, "big", fields=known.fields)


@pytest.mark.parametrize("name", NAMES)
def test_only_servers_on_this_machine_want_no_key(name: str) -> None:
    known = preset(name)
    assert bool(known.api_key_env) is not known.base_url.startswith("http://127.0.0.1:")


def test_a_preset_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(errors.InvalidArgument, match=r"'olama'.*ollama"):
        preset("olama")


@pytest.mark.parametrize("name", NAMES)
async def test_a_setting_it_has_no_word_for_is_refused_not_left_out(name: str) -> None:
    known = preset(name)
    job = Generation(JOB.messages, sampling=Sampling(repetition_penalty=1.2, max_tokens=9))
    async with driving(MAKERS[known.kind], SERVERS[name].answer, fields=known.fields) as (driver, upstream):
        if known.kind == "openai" and known.repetition_penalty:
            await run(driver, job)
            assert upstream.asked[0].body[known.repetition_penalty] == 1.2
        else:
            with pytest.raises(errors.InvalidArgument, match="repetition_penalty"):
                await run(driver, job)
            assert not upstream.asked
