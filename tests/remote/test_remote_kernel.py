"""The whole way: official client → our door → kernel → remote core → an endpoint, and back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import openai
import pytest

from aios.abi.syscalls import ProcessSpawn, Spawned
from aios.kernel.config import Config, CoreConfig, RetryConfig
from aios.kernel.kernel import Kernel
from aios.server.app import serving
from fakes.served import official_client
from fakes.upstream import Script, Upstream, call_piece, chunk, refusal, stream, text_stream
from fakes.wires import WIRES, Wire

HELLO: Any = [{"role": "user", "content": "hello"}]
KEY = "sk-canary-9876543210"


@pytest.fixture(autouse=True)
def _far_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_KEY", KEY)


@asynccontextmanager
async def whole_way(
    folder: Path, *scripts: Script, kind: str = "openai", tries: int = 8
) -> AsyncIterator[tuple[openai.AsyncOpenAI, Upstream, Kernel]]:
    async with Upstream(*scripts) as upstream:
        core = CoreConfig(
            name="far", kind=kind, model="big", base_url=upstream.base_url, api_key_env="FAR_KEY", slots=2
        )
        retry = RetryConfig(max_attempts=tries)
        config = Config(data=folder, port=0, socket=folder / "s", cores=(core,), retry=retry)
        async with Kernel(config) as kernel, serving(kernel, config) as address:
            agent = await kernel.trap(kernel.operator_token, ProcessSpawn(agent="client"))
            assert isinstance(agent, Spawned)
            async with official_client(address.url, agent.token) as client:
                yield client, upstream, kernel
            kernel.check()


async def test_an_answer_streams_through(tmp_path: Path) -> None:
    async with whole_way(tmp_path, text_stream(["Hel", "lo"])) as (client, upstream, _):
        chunks = [
            c async for c in await client.chat.completions.create(model="big", messages=HELLO, stream=True)
        ]
        assert [c.choices[0].delta.content for c in chunks] == ["Hel", "lo", None]
        assert upstream.asked[0].headers["authorization"] == f"Bearer {KEY}"
        assert [model.id async for model in client.models.list()] == ["big"]


@pytest.mark.parametrize("wire", WIRES, ids=[wire.name for wire in WIRES])
async def test_every_wire_goes_the_whole_way(tmp_path: Path, wire: Wire) -> None:
    tools: Any = [{"type": "function", "function": {"name": name}} for name in ("add", "now")]
    async with whole_way(tmp_path, wire.script(wire.calls), kind=wire.name) as (client, upstream, _):
        got = await client.chat.completions.create(model="big", messages=HELLO, tools=tools)
        calls = got.choices[0].message.tool_calls
        assert [(call.id, call.function.name) for call in calls] == [("c1", "add"), ("c2", "now")]
        assert upstream.asked[0].path == wire.path
        history = [*HELLO, got.choices[0].message.model_dump(exclude_none=True)]
        history += [{"role": "tool", "tool_call_id": call.id, "content": "2"} for call in calls]
        again = await client.chat.completions.create(model="big", messages=history, tools=tools)
        assert again.choices[0].message.content == "naïve 日本"


async def test_tool_calls_come_through(tmp_path: Path) -> None:
    calls = [chunk(call_piece(i, '{"n": 1}', id=f"c{i}", name="f")) for i in range(2)]
    tools: Any = [{"type": "function", "function": {"name": "f"}}]
    async with whole_way(tmp_path, stream(*calls, chunk({}, "tool_calls"))) as (client, _, _):
        got = await client.chat.completions.create(model="auto", messages=HELLO, tools=tools)
        assert [call.id for call in got.choices[0].message.tool_calls] == ["c0", "c1"]


async def test_the_kernel_tries_again_and_the_client_never_sees_it(tmp_path: Path) -> None:
    busy = refusal(429, {"error": {"message": "slow"}}, retry_after_ms="1")
    broken = Script(status=0, ending="reset")
    async with whole_way(tmp_path, busy, broken, busy, text_stream(["ok"])) as (client, upstream, _):
        got = await client.chat.completions.create(model="big", messages=HELLO)
        assert got.choices[0].message.content == "ok"
        assert len(upstream.asked) == 4


async def test_what_the_client_can_mend_it_is_told(tmp_path: Path) -> None:
    script = refusal(
        400, {"error": {"message": "maximum context length is 8", "code": "context_length_exceeded"}}
    )
    async with whole_way(tmp_path, script) as (client, upstream, _):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="big", messages=HELLO)
        assert caught.value.code == "context_length_exceeded"
        assert len(upstream.asked) == 1
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="small", messages=HELLO)


async def test_a_refused_key_is_tried_once_and_told_without_it(tmp_path: Path) -> None:
    refused = refusal(401, {"error": {"message": f"wrong key {KEY}"}})
    async with whole_way(tmp_path, refused) as (client, upstream, kernel):
        for _ in range(2):
            with pytest.raises(openai.InternalServerError) as caught:
                await client.chat.completions.create(model="big", messages=HELLO)
            assert caught.value.code == "misconfigured"
            assert "core far: the endpoint refused this core's key (401)" in str(caught.value)
            assert KEY not in str(caught.value) + str(kernel.statistics()) + str(kernel.cores())
        assert len(upstream.asked) == 1, "the second was not even sent"


async def test_a_client_that_goes_away_ends_the_work_upstream(tmp_path: Path) -> None:
    script = stream(chunk({"content": "a"}), done=False, ending="hang")
    async with whole_way(tmp_path, script) as (client, upstream, _):
        asking = asyncio.create_task(client.chat.completions.create(model="big", messages=HELLO))
        await upstream.has_begun.wait()
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await upstream.was_left.wait()
