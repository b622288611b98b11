"""The upstream behind HTTP: what goes over the wire, what its rig can ask, and that it ends with its rig."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from msgspec import structs

from aios.abi.errors import Overloaded, RateLimited, Unavailable
from aios.abi.messages import Delta, Message, Sampling, Usage
from aios.bench.upstream.direct import Direct, Lost, OverHttp, Retries
from aios.bench.upstream.http import Connection
from aios.bench.upstream.model import Broken, Refused, UpstreamConfig, Work
from aios.bench.upstream.remote import Address, RemoteUpstream, upstream_process
from aios.bench.upstream.server import Server
from aios.bench.upstream.strain import PAUSE_S, STEP_S, Watch
from aios.bench.upstream.work import prompt_of
from aios.drivers.llm import Finished, Generation
from aios.drivers.llm_remote import OpenAIDriver

QUICK = UpstreamConfig(slots=2, prefill_s_per_token=0.0, decode_s_per_token=0.001, tick_s=0.01)
BRIEF = Work(1, 10, 20)
LONG = Work(2, 10, 10_000_000)
"""Longer than any test: it runs until it is ended."""


class Rig:
    """A server on loopback, in this process, with what its clients need."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session
        self.remote = RemoteUpstream(Address(url, 0, None), session)
        self.endpoint = OverHttp(url, session)

    async def ask(self, work: Work, **fields: Any) -> aiohttp.ClientResponse:
        body = {"messages": [{"role": "user", "content": prompt_of(work)}], "model": "upstream", **fields}
        return await self.session.post(self.url + "/chat/completions", json=body)

    async def running(self, num_running: int) -> None:
        """Return once so many calls run."""
        while (await self.remote.standing()).report.curve[-1].num_running != num_running:
            pass  # asking gives the server its turns


@asynccontextmanager
async def rigged(config: UpstreamConfig) -> AsyncIterator[Rig]:
    loop = asyncio.get_running_loop()
    server = Server(config)
    listener = await loop.create_server(lambda: Connection(server.handle), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as session:
        yield Rig(f"http://127.0.0.1:{port}/v1", session)
    listener.close()
    await listener.wait_closed()


async def test_an_answer_streams_in_pieces_and_says_what_it_took() -> None:
    async with rigged(QUICK) as rig, await rig.ask(BRIEF, stream=True) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        events = (await response.read()).decode().strip().split("\n\n")
    assert events.pop() == "data: [DONE]"
    chunks = [msgspec.json.decode(event.removeprefix("data: ")) for event in events]
    assert chunks.pop()["usage"] == {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
    assert chunks.pop()["choices"][0]["finish_reason"] == "stop"
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == 20 * "word"


async def test_an_answer_may_come_whole_and_be_cut_short() -> None:
    async with rigged(QUICK) as rig, await rig.ask(BRIEF, max_tokens=5) as response:
        answer = await response.json()
    assert answer["choices"][0]["message"]["content"] == 5 * "word"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5


async def test_what_is_no_request_is_refused() -> None:
    async with rigged(QUICK) as rig:
        for body in (b"", b"{}", b'{"messages":[]}', b'{"messages":[{"content":"hello"}]}'):
            async with rig.session.post(rig.url + "/chat/completions", data=body) as response:
                assert response.status == 400
        async with rig.session.get(rig.url + "/models") as response:
            assert response.status == 404
        assert (await rig.remote.standing()).report.num_tries == 0


async def test_rate_headers_come_with_every_answer() -> None:
    async with rigged(structs.replace(QUICK, mode="rate", slots=0, rpm=60, burst_s=1.0)) as rig:
        async with await rig.ask(BRIEF, stream=True) as response:
            assert response.headers["x-ratelimit-remaining-requests"] == "0"
            await response.read()
        async with await rig.ask(BRIEF) as response:
            assert response.status == 429
            assert "retry-after" in response.headers


async def test_an_endpoint_over_http_fails_as_one_in_process_does() -> None:
    async with rigged(structs.replace(QUICK, slots=1)) as rig:
        long = asyncio.create_task(rig.endpoint.answer(LONG))
        await rig.running(1)
        with pytest.raises(Refused) as refused:
            await rig.endpoint.answer(BRIEF)
        assert refused.value.status == 429
        await rig.remote.configure(structs.replace(QUICK, cut_share=1.0))
        with pytest.raises(Broken):
            await long
        with pytest.raises(Broken):
            await rig.endpoint.answer(BRIEF)
        await rig.remote.configure(structs.replace(QUICK, mode="memory", memory_tokens=15))
        with pytest.raises(Refused) as refused:
            await rig.endpoint.answer(BRIEF)
        assert refused.value.status == 503


async def test_agents_without_a_kernel_work_over_http_too() -> None:
    retries = Retries("soon", 500, 0.001, 0.004, 0.5)
    async with rigged(structs.replace(QUICK, slots=4)) as rig:
        direct = Direct(rig.endpoint, retries)
        tries = await asyncio.gather(*(direct.call(structs.replace(BRIEF, id=id)) for id in range(40)))
        report = (await rig.remote.reset()).report
        assert report.num_done == 40
        assert report.num_tries == sum(tries)
        assert report.useful_s + report.idle_s == pytest.approx(report.capacity_s)
        with pytest.raises(Lost):
            await Direct(
                OverHttp("http://127.0.0.1:1/v1", rig.session), structs.replace(retries, num_retries=1)
            ).call(BRIEF)
        assert (await rig.remote.standing()).report.num_tries == 0


async def test_a_client_that_goes_away_gives_its_slot_back() -> None:
    async with rigged(QUICK) as rig:
        for is_streamed in (True, False):
            asking = asyncio.create_task(rig.ask(LONG, stream=is_streamed))
            await rig.running(1)
            if is_streamed:
                (await asking).close()
            else:
                asking.cancel()
            await rig.running(0)
        report = (await rig.remote.standing()).report
        assert [call.outcome for call in report.calls] == ["abandoned", "abandoned"]
        assert report.wasted_s > 0


async def test_a_configuration_that_makes_no_sense_changes_nothing() -> None:
    async with rigged(QUICK) as rig:
        await rig.endpoint.answer(BRIEF)
        for wrong in (b'{"slots":0}', b"slots"):
            async with rig.session.post(rig.url.replace("v1", "configure"), data=wrong) as response:
                assert response.status == 400
        assert (await rig.remote.standing()).report.num_done == 1


# ---- the driver of the kernel's remote cores


@asynccontextmanager
async def core_of(rig: Rig) -> AsyncIterator[Callable[[Work], Any]]:
    driver = OpenAIDriver(rig.url, "upstream", slots=8)

    async def generate(work: Work, emit: Callable[[Delta], None] = lambda delta: None) -> Finished:
        job = Generation((Message("user", prompt_of(work)),), sampling=Sampling(max_tokens=1_000, seed=1))
        answer = await driver.run(job, None, emit, lambda num_tokens: False)
        assert isinstance(answer, Finished)
        return answer

    await driver.start()
    yield generate
    await driver.close()


async def test_a_remote_core_understands_all_of_it() -> None:
    async with rigged(QUICK) as rig, core_of(rig) as generate:
        answer = await generate(BRIEF)
        assert (answer.text, answer.usage) == (20 * "word", Usage(10, 20))
        for config, kind in (
            (structs.replace(QUICK, mode="rate", slots=0, tpm=1, burst_s=1.0), RateLimited),
            (structs.replace(QUICK, mode="memory", memory_tokens=15), Overloaded),
            (structs.replace(QUICK, error_share=1.0), Unavailable),
            (structs.replace(QUICK, cut_share=1.0), Unavailable),
        ):
            await rig.remote.configure(config)
            if kind is RateLimited:
                await generate(BRIEF)
            with pytest.raises(kind) as caught:
                await generate(BRIEF)
            assert type(caught.value) is kind


# ---- the process


async def test_the_process_prints_its_address_and_ends_with_its_rig() -> None:
    async with upstream_process(QUICK) as remote, aiohttp.ClientSession() as session:
        await OverHttp(remote.url, session).answer(BRIEF)
        standing = await remote.standing()
        assert standing.report.num_done == 1
        assert remote.address.core is None or remote.address.core >= 0
        before = await remote.configure(structs.replace(QUICK, mode="engine"))
        assert before.report.num_done == 1
        assert (await remote.standing()).report.num_tries == 0


async def test_the_process_ends_well_when_its_stdin_does() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aios.bench.upstream.server", "--config", "{}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert (await process.stdout.readline()).startswith(b'{"url":"http://127.0.0.1:')
    process.stdin.close()
    assert await process.wait() == 0


# ---- its strain


def test_a_gap_without_work_is_a_pause_and_one_with_work_is_lateness() -> None:
    watch = Watch()
    for _ in range(20):
        watch.woke(STEP_S, 0.01)
    watch.woke(2.0, 0.001)
    strain = watch.strain()
    assert (strain.num_pauses, strain.paused_s) == (1, pytest.approx(2.0 - STEP_S))
    assert strain.cpu_share == strain.cpu_peak == pytest.approx(0.2)
    assert strain.lag_max_s == 0
    assert not strain.is_short
    watch.woke(2 * PAUSE_S, 2 * PAUSE_S)
    assert watch.strain().num_pauses == 1
    assert watch.strain().lag_max_s == pytest.approx(2 * PAUSE_S - STEP_S)


def test_a_process_that_is_always_busy_or_late_is_short_of_time() -> None:
    for wall_s, cpu_s in ((STEP_S, 0.9 * STEP_S), (STEP_S + 0.03, 0.0)):
        watch = Watch()
        for _ in range(40):
            watch.woke(wall_s, cpu_s)
        assert watch.strain().is_short
    assert not Watch().strain().is_short
