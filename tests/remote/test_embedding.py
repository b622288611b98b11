"""Texts as vectors: each wire's, the kernel's call, and the door of the OpenAI API."""

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from aios.abi import errors
from aios.abi import syscalls as sc
from aios.abi.messages import Message
from aios.drivers.llm_gemini import GeminiDriver
from aios.drivers.llm_remote import OpenAIDriver
from aios.drivers.llm_scripted import ScriptedDriver
from aios.kernel.config import Config, CoreConfig
from aios.kernel.kernel import Kernel
from aios.server.app import serving
from fakes.served import official_client
from fakes.upstream import Script, refusal
from fakes.wires import driving, whole


def openai_piece(*vectors: list[float], **more: Any) -> Script:
    data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)]
    return whole({"object": "list", "data": data[::-1], "model": "big-1", **more})


def gemini_piece(*vectors: list[float]) -> Script:
    return whole({"embeddings": [{"values": one} for one in vectors]})


WIRES = pytest.mark.parametrize(
    ("make", "piece"), [(OpenAIDriver, openai_piece), (GeminiDriver, gemini_piece)], ids=["openai", "gemini"]
)


def lists(found: Any) -> list[list[float]]:
    return sc.Embeddings(found.vectors).lists()


# ---- the wires


@WIRES
async def test_vectors_come_in_the_order_of_their_texts_and_of_length_1(make, piece) -> None:
    async with driving(make, piece([3.0, 4.0], [0.0, -2.0])) as (driver, _):
        found = await driver.embed(("a", "b"), None)
    assert lists(found) == [pytest.approx([0.6, 0.8]), [0.0, -1.0]]


async def test_what_openais_wire_asks_and_tells() -> None:
    script = openai_piece([1.0, 0.0], usage={"prompt_tokens": 5, "total_tokens": 5})
    async with driving(OpenAIDriver, script, fields={"dimensions": "output_dimension"}) as (driver, upstream):
        found = await driver.embed(("a",), 2)
    (asked,) = upstream.asked
    assert asked.path == "/v1/embeddings"
    assert asked.body == {"model": "big", "input": ["a"], "output_dimension": 2}
    assert (found.usage.prompt_tokens, found.model) == (5, "big-1")


async def test_what_geminis_wire_asks() -> None:
    async with driving(GeminiDriver, gemini_piece([1.0, 0.0])) as (driver, upstream):
        found = await driver.embed(("some words",), 2)
    (asked,) = upstream.asked
    assert asked.path.endswith("/v1beta/models/big:batchEmbedContents") or asked.path.endswith(
        "/v1/models/big:batchEmbedContents"
    )
    content = {"parts": [{"text": "some words"}]}
    assert asked.body == {
        "requests": [{"model": "models/big", "outputDimensionality": 2, "content": content}]
    }
    assert found.usage.prompt_tokens == 2  # By the text's length: Gemini does not tell.


async def test_many_texts_are_asked_for_in_pieces() -> None:
    scripts = gemini_piece(*[[1.0]] * 100), gemini_piece([-1.0])
    async with driving(GeminiDriver, *scripts) as (driver, upstream):
        found = await driver.embed(("x",) * 101, None)
    assert [len(one.body["requests"]) for one in upstream.asked] == [100, 1]
    assert lists(found) == [[1.0]] * 100 + [[-1.0]]


@WIRES
@pytest.mark.parametrize(
    ("vectors", "told"),
    [
        ([[1.0]], "1 vectors for 2 texts"),
        ([[1.0], [1.0, 2.0]], "different lengths"),
        ([[0.0, 0.0], [1.0, 0.0]], "zero"),
        ([[], []], "empty"),
        ([[1e308, 1e308], [1.0, 0.0]], "not finite"),
    ],
)
async def test_vectors_that_are_none_are_refused(make, piece, vectors, told) -> None:
    async with driving(make, piece(*vectors)) as (driver, _):
        with pytest.raises(errors.Unavailable, match=told):
            await driver.embed(("a", "b"), None)


@WIRES
async def test_a_length_that_the_model_does_not_give_is_told(make, piece) -> None:
    async with driving(make, piece([1.0, 0.0])) as (driver, _):
        with pytest.raises(errors.InvalidArgument, match="2 numbers, not 3"):
            await driver.embed(("a",), 3)


@WIRES
async def test_failures_are_those_of_generations(make, piece) -> None:
    scripts = (
        refusal(401, {"error": {"message": "no"}}),
        refusal(503, {"error": {"message": "busy"}}),
        whole({"error": {"code": 429, "message": "Rate limit reached", "type": "rate_limit_exceeded"}}),
        Script((b"{",), headers=(("Content-Type", "application/json"),)),
        Script((b"{",), ending="cut", headers=(("Content-Type", "application/json"),)),
    )
    expected = (
        errors.Misconfigured,
        errors.Overloaded,
        errors.Overloaded,
        errors.Unavailable,
        errors.Unavailable,
    )
    async with driving(make, *scripts) as (driver, _):
        for kind in expected:
            with pytest.raises(kind):
                await driver.embed(("a",), None)


# ---- the kernel


def core(name: str, **fields: Any) -> CoreConfig:
    return CoreConfig(name=name, slots=2, **fields)


@asynccontextmanager
async def kernel_of(folder, *cores: CoreConfig, **drivers: ScriptedDriver) -> AsyncIterator[Kernel]:
    config = Config(data=folder, port=0, socket=folder / "s", cores=cores)
    made = {one.name: drivers.get(one.name) or ScriptedDriver(model=one.model or one.name) for one in cores}
    async with Kernel(config, drivers=made) as kernel:
        yield kernel
        kernel.check()


def ask(kernel: Kernel, *texts: str, **fields: Any) -> Any:
    return kernel.trap(kernel.operator_token, sc.LlmEmbed(texts=texts, **fields))


async def test_texts_that_share_words_are_close(tmp_path) -> None:
    async with kernel_of(tmp_path, core("talks"), core("vectors", generates=False, embeds=True)) as kernel:
        found = await ask(kernel, "the red house", "a red house", "tea at noon", dimensions=512)
        assert (found.core, found.model, found.usage.prompt_tokens) == ("vectors", "vectors", 9)
        first, second, third = found.lists()
        assert len(first) == 512
        assert math.hypot(*first) == pytest.approx(1.0)
        assert sum(map(float.__mul__, first, second)) > 0.5 > sum(map(float.__mul__, first, third))
        usage = await kernel.trap(kernel.operator_token, sc.ProcessUsage())
        assert usage.prompt_tokens == 9


async def test_each_call_goes_to_a_core_that_does_it(tmp_path) -> None:
    cores = core("vectors", generates=False, embeds=True), core("talks"), core("both", embeds=True)
    async with kernel_of(tmp_path, *cores) as kernel:
        hello = sc.LlmGenerate(messages=(Message("user", "hello"),))
        for _ in range(4):
            answer = await kernel.trap(kernel.operator_token, hello)
            assert answer.core != "vectors"
            assert (await ask(kernel, "x")).core == "vectors"  # The first that embeds, and no other.
        assert (await ask(kernel, "x", model="both")).core == "both"
        with pytest.raises(errors.NotFound, match="no model that embeds 'talks'; there are: both, vectors"):
            await ask(kernel, "x", model="talks")
        with pytest.raises(errors.NotFound, match="no model 'vectors'"):
            await kernel.trap(
                kernel.operator_token, sc.LlmGenerate(messages=(Message("user", "x"),), model="vectors")
            )


async def test_without_a_core_that_embeds_it_is_told_how_there_is_one(tmp_path) -> None:
    async with kernel_of(tmp_path, core("talks")) as kernel:
        with pytest.raises(errors.NotFound, match="embeds = true"):
            await ask(kernel, "x")


async def test_a_core_that_cannot_is_refused_at_once(tmp_path) -> None:
    with pytest.raises(errors.InvalidArgument, match="'nano' cannot embed"):
        Kernel(Config(data=tmp_path, cores=(CoreConfig(embeds=True),)))
    with pytest.raises(ValueError, match="neither generates nor embeds"):
        Config(cores=(CoreConfig(generates=False),))


class Failing(ScriptedDriver):
    """Fails as often as it is told to, then embeds."""

    num_failures = 0

    async def embed(self, texts, dimensions):
        if self.num_failures:
            self.num_failures -= 1
            raise errors.Unavailable("not now")
        return await super().embed(texts, dimensions)


async def test_a_failure_is_tried_again_on_cores_of_the_same_model_only(tmp_path) -> None:
    cores = core("a", embeds=True, fallback=("other",)), core("other", embeds=True)
    driver = Failing(model="a")
    driver.num_failures = 1
    async with kernel_of(tmp_path, *cores, a=driver) as kernel:
        assert (await ask(kernel, "x")).core == "a"
        driver.num_failures = 1_000
        with pytest.raises(errors.Unavailable, match="not now"):
            await ask(kernel, "x")


async def test_a_budget_pays_for_the_texts(tmp_path) -> None:
    async with kernel_of(tmp_path, core("vectors", embeds=True)) as kernel:
        budget = sc.Budget(tokens=5)
        spawned = await kernel.trap(kernel.operator_token, sc.ProcessSpawn(agent="a", budget=budget))
        call = sc.LlmEmbed(texts=("one two three",))
        await kernel.trap(spawned.token, call)
        with pytest.raises(errors.QuotaExceeded):
            await kernel.trap(spawned.token, call)


# ---- the door


@asynccontextmanager
async def door(folder) -> AsyncIterator[tuple[openai.AsyncOpenAI, Kernel]]:
    async with (
        kernel_of(folder, core("vectors", embeds=True)) as kernel,
        serving(kernel, kernel.config) as address,
        official_client(address.url, kernel.operator_token) as client,
    ):
        yield client, kernel


async def test_the_official_client_gets_the_same_vectors(tmp_path) -> None:
    async with door(tmp_path) as (client, kernel):
        wanted = (await ask(kernel, "red", "tea")).lists()
        for more in ({}, {"encoding_format": "float"}):  # Without it the client asks for base64.
            found = await client.embeddings.create(model="auto", input=["red", "tea"], **more)
            assert [one.embedding for one in found.data] == [pytest.approx(one) for one in wanted]
            assert [one.index for one in found.data] == [0, 1]
            assert (found.model, found.usage.prompt_tokens, found.usage.total_tokens) == ("vectors", 2, 2)
        one = await client.embeddings.create(model="vectors", input="red", dimensions=8, user="u")
        assert len(one.data[0].embedding) == 8


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": [1, 2]}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input[0]"),
        ({"dimensions": 0}, "dimensions"),
        ({"extra_body": {"truncate": "END"}}, "truncate"),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(tmp_path, fields, param) -> None:
    async with door(tmp_path) as (client, _):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.embeddings.create(**{"model": "auto", "input": "x", **fields})
    assert json.loads(caught.value.response.content)["error"]["param"] == param
