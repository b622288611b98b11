"""Text snapshots: what is cut off and asked for again is what comes without."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from aios.abi import errors
from aios.abi.messages import Delta, Message, Sampling, ToolCall, ToolSpec, Usage
from aios.drivers.continuing import NOTHING, Partial, Slice
from aios.drivers.llm import Finished, Generation, Preempted, Snapshot
from aios.drivers.llm_anthropic import AnthropicDriver
from aios.drivers.llm_gemini import GeminiDriver
from aios.drivers.llm_remote import OpenAIDriver
from aios.drivers.presets import PRESETS
from aios.drivers.remote_core import RemoteDriver
from aios.kernel.config import CoreConfig
from aios.kernel.drivers import driver_of
from fakes.continuing import ContinuingUpstream, Way, tokens_of
from fakes.upstream import call_piece, chunk, stream
from fakes.wires import JOB, SSE, WIRES, Script, driving, message_start, named

WAYS: dict[Way, tuple[type[RemoteDriver], str]] = {
    "exact": (OpenAIDriver, "exact"),
    "prefill": (OpenAIDriver, "prefill"),
    "anthropic": (AnthropicDriver, "prefill"),
}
all_ways = pytest.mark.parametrize("way", WAYS)


@asynccontextmanager
async def continuing(way: Way, seed: int = 7) -> AsyncIterator[tuple[RemoteDriver, ContinuingUpstream]]:
    make, continuation = WAYS[way]
    async with ContinuingUpstream(way, seed) as upstream:
        driver = make(
            upstream.base_url, "claude-haiku-4-5" if way == "anthropic" else "big", continuation=continuation
        )
        await driver.start()
        try:
            yield driver, upstream
        finally:
            await driver.close()


def job(number: int = 0, **sampling: Any) -> Generation:
    asked = Sampling(**{"seed": 3, "max_tokens": 400, **sampling})
    return Generation((Message("system", "Be brief."), Message("user", f"question {number}")), sampling=asked)


async def in_slices(
    driver: RemoteDriver, job: Generation, quanta: Sequence[int]
) -> tuple[Finished, list[str], list[Snapshot]]:
    """The answer, what was emitted, and the snapshots between; slices are as long as `quanta`, in turn."""
    emitted: list[str] = []
    snapshots: list[Snapshot] = []
    resume = None
    for quantum in cycle(quanta):
        outcome = await driver.run(
            job, resume, lambda delta: emitted.append(delta.text), lambda n, most=quantum: n >= most
        )
        if isinstance(outcome, Finished):
            return outcome, emitted, snapshots
        resume = outcome.snapshot
        snapshots.append(resume)
    raise AssertionError


async def whole(driver: RemoteDriver, job: Generation) -> Finished:
    outcome = await driver.run(job, None, lambda delta: None, lambda num_tokens: False)
    assert isinstance(outcome, Finished)
    return outcome


stops = st.lists(st.sampled_from(["END", "t b", "re,", "t\n\n", "日本", " I", "ed\n  s"]), max_size=3)


@all_ways
@given(
    seed=st.integers(0, 999),
    quanta=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    stop=stops,
)
@settings(max_examples=15, deadline=None)
def test_any_interruptions_give_the_same_answer(
    way: Way, seed: int, quanta: list[int], stop: list[str]
) -> None:
    async def check() -> None:
        asked = job(seed, stop=tuple(stop))
        async with continuing(way, seed) as (driver, _):
            expected = await whole(driver, asked)
            answer, emitted, snapshots = await in_slices(driver, asked, quanta)
        assert (answer.text, answer.finish_reason) == (expected.text, expected.finish_reason)
        assert "".join(emitted) == expected.text
        assert answer.usage.completion_tokens == expected.usage.completion_tokens
        for snapshot in snapshots:
            text = msgspec.json.decode(snapshot.handle)["text"]
            assert expected.text.startswith(text)
            assert text == text.strip(), "some endpoints refuse it, and templates strip it"
            assert snapshot.num_bytes == len(text.encode())

    asyncio.run(check())


@pytest.mark.parametrize("way", ["exact", "prefill"])
@given(seed=st.integers(0, 99), quantum=st.integers(1, 9), max_tokens=st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_the_limit_is_of_the_whole_answer(way: Way, seed: int, quantum: int, max_tokens: int) -> None:
    async def check() -> None:
        asked = job(seed, max_tokens=max_tokens)
        async with continuing(way, seed) as (driver, upstream):
            expected = await whole(driver, asked)
            answer, _, snapshots = await in_slices(driver, asked, [quantum])
        assert (answer.text, answer.finish_reason) == (expected.text, expected.finish_reason)
        limits = [asked.body["max_tokens"] for asked in upstream.asked[1:]]
        assert limits == [max_tokens, *(max_tokens - one.num_tokens for one in snapshots)]

    asyncio.run(check())


@all_ways
async def test_each_way_is_asked_in_its_own_words(way: Way) -> None:
    async with continuing(way) as (driver, upstream):
        _, _, snapshots = await in_slices(driver, job(), [10])
        first, second = (asked.body for asked in upstream.asked[:2])
    text = msgspec.json.decode(snapshots[0].handle)["text"]
    assert second["messages"][:-1] == first["messages"]
    last = second["messages"][-1]
    marks = {name: second.get(name) for name in ("continue_final_message", "add_generation_prompt")}
    if way == "anthropic":
        assert last == {"role": "assistant", "content": [{"type": "text", "text": text}]}
    else:
        assert last == {"role": "assistant", "content": text}
    is_exact = way == "exact"
    assert marks == dict.fromkeys(marks) | (
        {"continue_final_message": True, "add_generation_prompt": False} if is_exact else {}
    )
    assert {one.exactness for one in snapshots} == {"exact" if is_exact else "prefix-exact"}
    assert {one.kind for one in snapshots} == {driver.snapshot_kind} == {"text"}


@all_ways
async def test_usage_is_what_all_requests_took(way: Way) -> None:
    async with continuing(way) as (driver, upstream):
        alone = (await whole(driver, job())).usage
        answer, _, snapshots = await in_slices(driver, job(), [10])
        assert len(upstream.asked) == 2 + len(snapshots)
    again = sum(alone.prompt_tokens + len(tokens_of(partial(one).text)) for one in snapshots)
    assert answer.usage == Usage(alone.prompt_tokens + again, alone.completion_tokens)


def partial(snapshot: Snapshot) -> Partial:
    return msgspec.json.decode(snapshot.handle, type=Partial)


async def test_a_partial_answer_is_marked_where_the_endpoint_wants_it() -> None:
    fields = PRESETS["deepseek"].fields
    async with ContinuingUpstream("prefill") as upstream:
        driver = OpenAIDriver(upstream.base_url, "big", continuation="prefill", fields=fields)
        await driver.start()
        await in_slices(driver, job(), [10])
        await driver.close()
    assert upstream.asked[1].body["messages"][-1]["prefix"] is True
    assert "prefix" not in upstream.asked[0].body["messages"][-1]


# ---- what is not interrupted

TOOL = ToolSpec("add")
never_cut = {
    "a tool has to be called": structs.replace(JOB, tools=(TOOL,), tool_choice="required"),
    "a tool is named": structs.replace(JOB, tools=(TOOL,), tool_choice="add"),
    "the answer has a form": structs.replace(JOB, response_schema={"type": "object"}),
    "likelihoods are told": structs.replace(JOB, sampling=Sampling(max_tokens=100, seed=1, logprobs=0)),
    "the caller began the answer": structs.replace(
        JOB, messages=(*JOB.messages, Message("assistant", "Well"))
    ),
}


def asked_never(num_tokens: int) -> bool:
    raise AssertionError("it can't be interrupted")


@pytest.mark.parametrize("case", never_cut.values(), ids=never_cut)
async def test_what_is_more_than_text_runs_on(case: Generation) -> None:
    script = stream(*(chunk({"content": word}) for word in ("{ }", " b", " c")), chunk({}, "stop"))
    async with driving(OpenAIDriver, script, continuation="exact") as (driver, _):
        outcome = await driver.run(case, None, lambda delta: None, asked_never)
    assert isinstance(outcome, Finished)


async def told(*deltas: dict[str, Any], emit: Any = lambda delta: None) -> Finished | Preempted:
    """What comes of these deltas when the slot is wanted back from the first token on."""
    script = stream(*map(chunk, deltas), chunk({}, "stop"))
    offered = structs.replace(JOB, tools=(TOOL,))
    async with driving(OpenAIDriver, script, continuation="exact") as (driver, _):
        return await driver.run(offered, None, emit, lambda num_tokens: True)


async def test_a_call_that_has_begun_runs_on() -> None:
    seen: list[Delta] = []
    words = {"content": "Adding"}, call_piece(0, '{"a": ', id="c", name="add"), call_piece(0, "1}")
    answer = await told(*words, {"content": " up"}, emit=seen.append)
    assert isinstance(answer, Finished)
    assert (answer.text, answer.tool_calls) == ("Adding up", (ToolCall("c", "add", {"a": 1}),))
    assert [delta.text for delta in seen] == ["Adding", " up", ""]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
async def test_an_answer_with_thoughts_runs_on(name: str) -> None:
    answer = await told({name: "Hm."}, {"content": "Well"}, {"content": " then"})
    assert isinstance(answer, Finished)
    assert answer.text == "Well then"


async def test_thoughts_of_anthropics_wire_run_on() -> None:
    thought = named("content_block_start", index=0, content_block={"type": "thinking", "thinking": "Hm."})
    begun = named("content_block_start", index=1, content_block={"type": "text", "text": "Well"})
    more = named("content_block_delta", index=1, delta={"type": "text_delta", "text": " then"})
    script = Script((message_start(input_tokens=4), thought, begun, more, named("message_stop")), headers=SSE)
    async with driving(
        AnthropicDriver, script, continuation="prefill", model="claude-3-7-sonnet-20250219"
    ) as (driver, _):
        assert driver.snapshot_kind == "text"
        outcome = await driver.run(JOB, None, lambda delta: None, asked_never)
    assert isinstance(outcome, Finished)


async def test_white_space_at_the_begin_is_not_given_back() -> None:
    assert isinstance(await told({"content": "\n\nWell"}, {"content": " then"}), Finished)


async def test_a_text_without_spaces_is_cut_at_last() -> None:
    outcome = await told(*({"content": "語"} for _ in range(60)))
    assert isinstance(outcome, Preempted)
    assert outcome.snapshot.num_tokens == 34


# ---- who can, and who says so


def test_presets_that_go_on_with_partial_answers() -> None:
    known = {name: one.continuation for name, one in PRESETS.items() if one.continuation != "none"}
    assert known == {"vllm": "exact", "sglang": "exact", "llama.cpp": "prefill", "anthropic": "prefill"}


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"preset": "vllm", "model": "m"}, "text"),
        ({"preset": "vllm", "model": "m", "continuation": "none"}, "none"),
        ({"kind": "openai", "base_url": "http://h/v1", "model": "m"}, "none"),
        ({"kind": "openai", "base_url": "http://h/v1", "model": "m", "continuation": "prefill"}, "text"),
        ({"preset": "anthropic", "model": "claude-haiku-4-5"}, "text"),
        ({"preset": "anthropic", "model": "claude-opus-4-6"}, "none"),
        ({"preset": "openai", "model": "m"}, "none"),
    ],
)
def test_a_configuration_goes_before_its_preset(config: dict[str, Any], kind: str) -> None:
    environ = {"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k"}
    assert driver_of(CoreConfig(name="c", **config), environ=environ).snapshot_kind == kind


@pytest.mark.parametrize(("make", "way"), [(GeminiDriver, "prefill"), (AnthropicDriver, "exact")])
def test_a_wire_refuses_what_it_cannot_say(make: Any, way: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=way):
        make("http://host", "m", continuation=way)


@pytest.mark.parametrize("wire", WIRES, ids=[wire.name for wire in WIRES])
async def test_without_a_continuation_nobody_is_asked(wire: Any) -> None:
    async with driving(wire.make, wire.script(wire.text)) as (driver, _):
        assert driver.snapshot_kind == "none"
        assert isinstance(await driver.run(JOB, None, lambda delta: None, asked_never), Finished)
        with pytest.raises(errors.InvalidArgument):
            await driver.run(JOB, NOTHING.to_snapshot("exact"), lambda delta: None, asked_never)


async def test_a_state_is_no_text() -> None:
    async with continuing("exact") as (driver, _):
        with pytest.raises(errors.InvalidArgument, match="text"):
            await driver.run(JOB, Snapshot("state", "x", 1, 1), lambda delta: None, asked_never)


# ---- the stream


@all_ways
async def test_an_interruption_ends_the_stream_at_once(way: Way) -> None:
    """The endpoint, which would say more, sees its connection closed."""
    async with continuing(way) as (driver, upstream):
        pieces = upstream._told({"max_tokens": 99, "stream_options": {}}, "", "a")
        upstream.scripts_first.append(Script(pieces.pieces[:30], headers=SSE, ending="hang"))
        outcome = await driver.run(job(), None, lambda delta: None, lambda num_tokens: num_tokens >= 4)
        assert isinstance(outcome, Preempted)
        await asyncio.wait_for(upstream.was_left.wait(), 30)


# ---- by hand


def said(*texts: str, stop: tuple[str, ...] = (), wanted_after: int = 99) -> tuple[list[str], Slice]:
    seen: list[str] = []
    one = Slice(NOTHING, stop, lambda delta: seen.append(delta.text), lambda num: num >= wanted_after)
    for text in texts:
        one.say(text, 1)
    return seen, one


def test_white_space_waits_for_what_follows() -> None:
    seen, one = said("a", " ", "\n", "b", " ")
    assert seen == ["a", " \nb"]
    one.end()
    assert seen[-1] == " "


def test_what_may_be_a_stop_string_waits() -> None:
    seen, one = said("a x", "y", "w", stop=("xyz",))
    assert seen == ["a", " xyw"]
    assert one.num_tokens == 3


def test_a_cut_is_between_words() -> None:
    seen, one = said("on", "e", " two", " three", wanted_after=1)
    assert (seen, one.is_cut, one.text, one.num_tokens) == (["on", "e"], True, "one", 2)


def test_a_cut_inside_a_piece_keeps_its_word() -> None:
    seen, one = said("on", "e two", wanted_after=1)
    assert (seen, one.is_cut, one.text) == (["on", "e"], True, "one")
