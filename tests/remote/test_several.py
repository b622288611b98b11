"""Several answers to one prompt from an endpoint: each whole, in pieces that say whose they are."""

from typing import Any

import pytest
from msgspec import structs

from aios.abi.errors import InvalidArgument, Unavailable
from aios.abi.messages import Beams, Choice, Delta, Sampling, ToolCall, Usage
from aios.drivers.llm import Finished, Generation
from aios.drivers.llm_remote import OpenAIDriver
from aios.drivers.presets import PRESETS, preset
from fakes.upstream import Script, call_piece, chunk, event, usage
from fakes.wires import GEMINI, JOB, OPENAI, WIRES, Wire, candidate, driving, function_call, run, whole

TAKING = {"openai", "azure", "together", "fireworks", "mistral", "vllm", "sglang"}
DONE = event(b"[DONE]")
CALL = ToolCall("c1", "add", {"a": 1})


def asking(n: int, **more: Any) -> Generation:
    return structs.replace(JOB, sampling=structs.replace(JOB.sampling, n=n, **more))


def at(index: int, piece: dict[str, Any], finish: str | None = None) -> bytes:
    told = chunk(piece, finish)
    told["choices"][0]["index"] = index
    return event(told)


def placed(index: int, told: bytes) -> bytes:
    return told.replace(b'"index": 0', b'"index": %d' % index).replace(b'"index":0', b'"index":%d' % index)


OF_OPENAI = (
    at(1, {"content": "Good "})
    + at(0, {"content": "Hello "})
    + at(1, call_piece(0, '{"a": 1}', id="c1", name="add"))
    + at(0, {"content": "you"}, "stop")
    + at(1, {}, "tool_calls")
    + event(usage(7, 6))
    + DONE
)
_COUNTS = {"promptTokenCount": 7}
OF_GEMINI = (
    placed(1, candidate({"text": "Good "}))
    + candidate({"text": "Hello "}, **_COUNTS, candidatesTokenCount=3)
    + placed(1, candidate(function_call("add", {"a": 1}, id="c1"), finish="STOP"))
    + candidate({"text": "you"}, finish="STOP", **_COUNTS, candidatesTokenCount=6)
)
SAID = {"openai": OF_OPENAI, "gemini": OF_GEMINI}
TWO = pytest.mark.parametrize("wire", [OPENAI, GEMINI], ids=["openai", "gemini"])


@TWO
async def test_each_is_whole_and_streams_by_its_number(wire: Wire) -> None:
    seen: list[Delta] = []
    async with driving(wire.make, wire.script(SAID[wire.name])) as (driver, upstream):
        answer = await run(driver, asking(2), seen.append)
    assert answer == Finished(
        "Hello you", (), "stop", Usage(7, 6), "big-1", others=(Choice("Good ", (CALL,), "tool_calls"),)
    )
    assert "".join(delta.text for delta in seen if delta.index == 0) == "Hello you"
    assert [(d.text, d.tool_call) for d in seen if d.index == 1] == [("Good ", None), ("", CALL)]
    body = upstream.asked[0].body
    asked = body["n"] if wire is OPENAI else body["generationConfig"]["candidateCount"]
    assert asked == 2


async def test_an_endpoint_that_does_not_stream_gives_all_of_them() -> None:
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for index, text in enumerate(("one", "two", "three"))
    ]
    counts = {"prompt_tokens": 7, "completion_tokens": 3}
    reply = whole({"model": "big-1", "choices": choices, "usage": counts})
    async with driving(OpenAIDriver, reply) as (driver, _):
        answer = await run(driver, asking(3))
    assert (answer.text, [other.text for other in answer.others]) == ("one", ["two", "three"])
    assert answer.usage == Usage(7, 3)


async def test_an_endpoint_that_gives_fewer_has_failed() -> None:
    told = at(0, {"content": "Hello"}, "stop") + DONE
    async with driving(OpenAIDriver, Script((told,))) as (driver, _):
        with pytest.raises(Unavailable, match="of 3 answers the endpoint gave 1"):
            await run(driver, asking(3))


@TWO
async def test_a_stream_that_is_cut_before_the_last_has_ended_has_failed(wire: Wire) -> None:
    told = SAID[wire.name]
    whole_end = at(1, {}, "tool_calls") + event(usage(7, 6)) + DONE if wire is OPENAI else told[-40:]
    async with driving(wire.make, wire.script(told.removesuffix(whole_end), "cut")) as (driver, _):
        with pytest.raises(Unavailable, match="broke off"):
            await run(driver, asking(2))


async def test_answers_that_nobody_asked_for_are_left_out() -> None:
    async with driving(OpenAIDriver, Script((OF_OPENAI,))) as (driver, _):
        answer = await run(driver, JOB)
    assert (answer.text, answer.others) == ("Hello you", ())


async def test_several_answers_are_not_interrupted() -> None:
    async with driving(OpenAIDriver, Script((OF_OPENAI,)), continuation="exact") as (driver, _):
        outcome = await driver.run(asking(2), None, lambda delta: None, lambda num_tokens: True)
    assert isinstance(outcome, Finished)
    assert len(outcome.others) == 1


def test_the_presets_that_take_it_are_those_whose_documentation_says_so() -> None:
    assert {name for name, known in PRESETS.items() if known.n} == TAKING


@pytest.mark.parametrize("name", sorted(PRESETS))
async def test_where_there_is_no_word_for_it_the_call_is_refused(name: str) -> None:
    known = preset(name)
    wire = next(wire for wire in WIRES if wire.name == known.kind)
    async with driving(wire.make, wire.script(SAID.get(known.kind, b"")), fields=known.fields) as (
        driver,
        up,
    ):
        if name in TAKING or known.kind == "gemini":
            assert len((await run(driver, asking(2))).others) == 1
        else:
            with pytest.raises(InvalidArgument, match="takes no n"):
                await run(driver, asking(2))
            assert not up.asked


@pytest.mark.parametrize("wire", WIRES, ids=[wire.name for wire in WIRES])
async def test_beams_are_refused(wire: Wire) -> None:
    async with driving(wire.make, wire.script(wire.text)) as (driver, upstream):
        with pytest.raises(InvalidArgument, match="takes no beams"):
            await run(driver, Generation(JOB.messages, sampling=Sampling(beams=Beams(2))))
    assert not upstream.asked
