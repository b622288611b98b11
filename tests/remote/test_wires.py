"""What the driver of every wire must do: one contract, asked of each of them."""

import asyncio
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from aios.abi import errors
from aios.abi.messages import Delta, Sampling, ToolCall, Usage
from aios.drivers.exchange import Limits
from aios.drivers.limits import RateLimits
from aios.drivers.llm import Finished, Generation
from fakes.upstream import Script, refusal
from fakes.wires import ANTHROPIC, GEMINI, JOB, KEY, OPENAI, SSE, WIRES, Wire, driving, run

pytestmark = pytest.mark.parametrize("wire", WIRES, ids=[wire.name for wire in WIRES])

CALLS = (ToolCall("c1", "add", {"a": 1}), ToolCall("c2", "now"))


async def answered(wire: Wire, *scripts: Script, **more) -> Finished:
    async with driving(wire.make, *scripts, **more) as (driver, _):
        return await run(driver)


async def failed(wire: Wire, *scripts: Script, **more) -> errors.AiosError:
    with pytest.raises(errors.AiosError) as caught:
        await answered(wire, *scripts, **more)
    assert KEY not in str(caught.value)
    return caught.value


async def test_text_is_emitted_as_it_comes_and_returned_whole(wire: Wire) -> None:
    seen: list[Delta] = []
    async with driving(wire.make, wire.script(wire.text)) as (driver, _):
        answer = await run(driver, emit=seen.append)
    assert answer == Finished("Hello you", (), "stop", Usage(7, 3, 2), "big-1")
    assert [delta.text for delta in seen] == ["Hello ", "you"]
    assert all(delta.num_tokens >= 1 for delta in seen)


async def test_calls_at_once_are_emitted_whole(wire: Wire) -> None:
    seen: list[Delta] = []
    async with driving(wire.make, wire.script(wire.calls)) as (driver, _):
        answer = await run(driver, emit=seen.append)
    assert (answer.text, answer.tool_calls, answer.finish_reason) == ("naïve 日本", CALLS, "tool_calls")
    assert tuple(delta.tool_call for delta in seen if delta.tool_call) == CALLS


async def test_the_key_is_in_its_header_alone_and_the_connection_is_used_again(wire: Wire) -> None:
    async with driving(wire.make, wire.script(wire.text)) as (driver, upstream):
        for _ in range(3):
            await run(driver)
        assert upstream.num_connections == 1
        asked = upstream.asked[0]
    name, value = wire.key_header
    assert asked.path == wire.path
    assert asked.headers[name] == value
    assert KEY not in str(asked.body)
    assert [header for header, held in asked.headers.items() if KEY in held] == [name]


@given(data=st.data())
@settings(max_examples=20)
def test_any_pieces_give_the_same_answer(wire: Wire, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(wire.calls)), max_size=40))
    places = [0, *sorted(cuts), len(wire.calls)]
    pieces = tuple(wire.calls[start:end] for start, end in pairwise(places))
    answer = asyncio.run(answered(wire, Script(pieces)))
    assert (answer.text, answer.tool_calls) == ("naïve 日本", CALLS)


async def test_a_stream_byte_by_byte_gives_the_same_answer(wire: Wire) -> None:
    answer = await answered(wire, Script(tuple(bytes([byte]) for byte in wire.calls)))
    assert (answer.text, answer.tool_calls) == ("naïve 日本", CALLS)


async def test_a_stream_cut_at_any_byte_is_an_error_or_whole(wire: Wire) -> None:
    ends = [*range(0, len(wire.calls), 31), *range(len(wire.calls) - 30, len(wire.calls) + 1)]
    scripts = [wire.script(wire.calls[:end], ending) for end in ends for ending in ("cut", "finish")]
    outcomes = []
    async with driving(wire.make, *scripts) as (driver, _):
        for _ in scripts:
            try:
                answer = await run(driver)
                outcomes.append((answer.text, answer.tool_calls))
            except errors.Unavailable:
                outcomes.append(None)
    assert {repr(outcome) for outcome in outcomes} == {"None", repr(("naïve 日本", CALLS))}
    assert outcomes[-1] is not None


async def test_cancelling_closes_the_connection_at_once(wire: Wire) -> None:
    async with driving(wire.make, wire.script(wire.begun, "hang"), slots=1) as (driver, upstream):
        running = asyncio.create_task(run(driver))
        await upstream.has_begun.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert running.cancelled()
        await asyncio.wait_for(upstream.was_left.wait(), 30)
        # Its place in the pool is free again.
        upstream.scripts.append(wire.script(wire.text))
        upstream.scripts.popleft()
        assert (await run(driver)).text == "Hello you"


async def test_cancelling_before_the_first_byte_closes_it_too(wire: Wire) -> None:
    async with driving(wire.make, Script(status=0, ending="hang"), slots=1) as (driver, upstream):
        running = asyncio.create_task(run(driver))
        await upstream.has_begun.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await asyncio.wait_for(upstream.was_left.wait(), 30)


async def test_closing_ends_what_runs_as_cancelled(wire: Wire) -> None:
    async with driving(wire.make, wire.script(wire.begun, "hang")) as (driver, upstream):
        running = asyncio.create_task(run(driver))
        await upstream.has_begun.wait()
        await driver.close()
        with pytest.raises(errors.Cancelled):
            await running
        await asyncio.wait_for(upstream.was_left.wait(), 30)


async def test_an_error_inside_a_stream_is_typed(wire: Wire) -> None:
    error = await failed(wire, wire.script(wire.begun + wire.failing))
    assert type(error) is errors.Overloaded
    assert "no room for [key]" in str(error)


@pytest.mark.parametrize(
    "data", [b"data: {not json\n\n", b"data: 12\n\n", b"data: " + b"[" * 100_000 + b"\n\n"]
)
async def test_nonsense_is_an_unavailable_endpoint(wire: Wire, data: bytes) -> None:
    assert type(await failed(wire, wire.script(wire.begun + data))) is errors.Unavailable


async def test_an_answer_that_only_began_is_none(wire: Wire) -> None:
    for ending in ("finish", "cut", "reset"):
        error = await failed(wire, wire.script(wire.begun, ending))
        assert type(error) is errors.Unavailable
    error = await failed(wire, wire.script(wire.begun, "hang"), limits=Limits(idle_s=0.05))
    assert "sent nothing more" in str(error)


async def test_an_answer_beyond_its_tokens_is_cut(wire: Wire) -> None:
    job = Generation(JOB.messages, sampling=Sampling(max_tokens=2))
    async with driving(wire.make, wire.script(wire.begun + wire.endless * 10)) as (driver, _):
        with pytest.raises(errors.Unavailable, match="2 tokens"):
            await run(driver, job)


TOLD = {
    "openai": {"x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "9"},
    "anthropic": {"anthropic-ratelimit-requests-limit": "10", "anthropic-ratelimit-requests-remaining": "9"},
    "gemini": {"ratelimit-limit": "10", "ratelimit-remaining": "9"},
}


@pytest.mark.parametrize("status", [200, 429])
async def test_limits_are_told_of_a_success_and_of_a_refusal(wire: Wire, status: int) -> None:
    told: list[RateLimits] = []
    script = wire.script(wire.text) if status == 200 else refusal(429, {"error": {"message": "no"}})
    script = structs.replace(script, headers=(*script.headers, *TOLD[wire.name].items()))
    async with driving(wire.make, script) as (driver, _):
        driver.on_limits = told.append
        with suppress(errors.RateLimited):
            await run(driver)
    assert [limits.buckets["requests"].remaining for limits in told] == [9]


async def test_limits_are_told_as_soon_as_the_headers_are_there(wire: Wire) -> None:
    headers = (*SSE, *TOLD[wire.name].items())
    script = Script((wire.begun,), headers=headers, ending="hang")
    async with driving(wire.make, script) as (driver, _):
        told = asyncio.Event()
        driver.on_limits = lambda limits: told.set()
        running = asyncio.create_task(run(driver))
        await asyncio.wait_for(told.wait(), 30)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def test_there_are_as_many_wires_as_drivers(wire: Wire) -> None:
    assert {wire.name for wire in (OPENAI, ANTHROPIC, GEMINI)} == TOLD.keys()
