"""Bad input is refused by name; whatever else goes wrong is a defect, of which the log says where it lies."""

import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.abi.errors import Internal, InvalidArgument
from aios.abi.messages import JsonSchema, Message, Sampling, ToolCall, ToolSpec
from aios.drivers.engine import Engine
from aios.drivers.engine_answer import Answer
from aios.drivers.engine_frames import Event, Failed, Load, Progress, Submit
from aios.drivers.engine_prompts import Prompts
from aios.drivers.llm import Generation
from aios.drivers.llm_local import EmbeddedDriver
from aios.drivers.models.chat import ChatFormat
from aios.drivers.models.schema_form import MAX_DEPTH, check_depth, check_schema

HELLO = Message("user", "hello")
KEYWORDS = (
    *("type", "properties", "required", "enum", "const", "anyOf", "items", "minItems", "maxItems"),
    *("minLength", "maxLength", "pattern", "minimum", "exclusiveMaximum", "additionalProperties", "$ref"),
    *("oneOf", "allOf", "format", "description", "$defs", "not"),
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "string", "object", "array", "integer", "[", "x|y", "#/$defs/a"]),
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects that often look like schemas."""
    return st.dictionaries(st.sampled_from((*KEYWORDS, "x")), inner, max_size=4)


JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | objects(inner), max_leaves=8)


def nested(depth: int) -> JsonSchema:
    schema: JsonSchema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Engine:
    return Engine.load(Load(str(model_folder), "tiny", 2, 0, 0))


def run(engine: Engine, job: Generation) -> Event:
    """The last event of a job."""
    events = engine.turn([Submit(1, job)])
    while engine.is_busy:
        events += engine.turn([])
    engine.check()
    return [event for event in events if isinstance(event, Failed | Progress)][-1]


@settings(max_examples=150, deadline=None)
@given(parameters=objects(JSON), schema=st.none() | objects(JSON), seed=st.integers(0, 9))
def test_whatever_stands_where_a_schema_should_is_answered_or_refused(
    engine: Engine, parameters: JsonSchema, schema: JsonSchema | None, seed: int
) -> None:
    sampling = Sampling(temperature=1.5, seed=seed, max_tokens=25)
    choice = "auto" if schema is not None else "required"
    tools = (ToolSpec("f", "", parameters),)
    last = run(engine, Generation((HELLO,), tools, sampling, choice, schema))
    if isinstance(last, Failed):
        assert last.error.code in ("invalid_argument", "context_overflow"), last.trace


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("type", 5),
        ("type", [["string"]]),
        ("properties", 7),
        ("properties", ["x"]),
        ("required", True),
        ("required", "name"),
        ("required", [["x"]]),
        ("enum", {"red": 1}),
        ("enum", 3),
        ("anyOf", {"type": "string"}),
        ("pattern", 3),
        ("minItems", "one"),
        ("maxItems", -1),
        ("minLength", True),
        ("maxLength", None),
    ],
)
def test_a_keyword_that_is_none_is_refused_by_name(chat: ChatFormat, keyword: str, value: object) -> None:
    prompts = Prompts(chat, "tiny", 300)
    whole = {"type": "object", "properties": {"x": {"properties": {}, keyword: value}}}
    with pytest.raises(InvalidArgument, match=f"the tool 'f': no JSON Schema has a '{keyword}'"):
        prompts.encode((HELLO,), (ToolSpec("f", "", whole),))


def test_what_is_read_nowhere_may_be_of_any_form() -> None:
    check_schema(
        {
            "title": 7,
            "properties": {
                "a": True,
                "b": {"type": "string", "required": True},
                "c": {"items": [{"type": "string"}]},
                "d": {"minimum": "low", "additionalProperties": "no"},
            },
        },
        "x",
    )


def test_an_argument_that_may_be_anything_is_written_as_text(engine: Engine) -> None:
    tool = ToolSpec("f", "", {"properties": {"x": True}, "required": ["x"]})
    sampling = Sampling(temperature=1.0, seed=2, max_tokens=30)
    last = run(engine, Generation((HELLO,), (tool,), sampling, "f"))
    assert isinstance(last, Progress)
    assert last.finished is not None
    assert [call.name for call in last.finished.tool_calls] == ["f"]


@pytest.mark.parametrize("depth", [MAX_DEPTH, 900])
def test_what_is_nested_too_deeply_is_refused(chat: ChatFormat, depth: int) -> None:
    prompts = Prompts(chat, "tiny", 300)
    schema = nested(depth)
    call = Message("assistant", "", (ToolCall("1", "f", schema),))
    for job in (
        Generation((HELLO,), (ToolSpec("f", "", schema),)),
        Generation((HELLO,), response_schema=schema),
        Generation((HELLO, call)),
    ):
        with pytest.raises(InvalidArgument, match=f"nested more than {MAX_DEPTH} levels deep"):
            prompts.run(1, job)
    check_depth(nested(MAX_DEPTH - 1), "x")
    prompts.run(1, Generation((HELLO,), (ToolSpec("f", "", {"properties": {"x": nested(55)}}),)))


def test_bounds_of_any_size_bind_or_are_left_out(engine: Engine) -> None:
    for most in (10**4299, 1e308, -(10**400)):
        last = run(
            engine,
            Generation(
                (HELLO,),
                sampling=Sampling(seed=1, max_tokens=30),
                response_schema={"type": "number", "maximum": most},
            ),
        )
        assert isinstance(last, Progress) or last.error.code == "invalid_argument"  # type: ignore[union-attr]


def broken(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    def fail(*args: object, **kwargs: object) -> object:
        raise KeyError("a defect")

    monkeypatch.setattr(owner, name, fail)


@pytest.mark.parametrize(
    ("owner", "name"), [(ChatFormat, "encode"), (Answer, "choose"), (Answer, "add"), (Prompts, "run")]
)
async def test_a_defect_is_internal_and_its_trace_is_in_the_log(
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: type,
    name: str,
) -> None:
    driver = EmbeddedDriver(model_folder, slots=2, inline=True)
    await driver.start()
    job = Generation((HELLO,), sampling=Sampling(max_tokens=4))
    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        broken(patched, owner, name)
        with pytest.raises(Internal, match="KeyError"):
            await driver.run(job, None, lambda delta: None, lambda num_tokens: False)
    assert "a defect" in caplog.text
    assert "Traceback" in caplog.text
    await driver.run(job, None, lambda delta: None, lambda num_tokens: False)
    assert driver.statistics().running == 0
    await driver.close()


def test_one_defect_leaves_the_others_be(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.load(Load(str(model_folder), "tiny", 2, 0, 0))
    choose = Answer.choose

    def failing(answer: Answer, logits: Any) -> Any:
        if answer.max_tokens == 7 and answer.num_tokens == 2:
            raise IndexError("a defect")
        return choose(answer, logits)

    monkeypatch.setattr(Answer, "choose", failing)
    jobs = {n: Generation((HELLO,), sampling=Sampling(max_tokens=n)) for n in (7, 9)}
    events = engine.turn([Submit(n, job) for n, job in jobs.items()])
    while engine.is_busy:
        events += engine.turn([])
        engine.check()
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert (failed.run, failed.error.code) == (7, "internal")
    assert "IndexError: a defect" in failed.trace
    ended = [event for event in events if isinstance(event, Progress) and event.finished]
    assert [event.run for event in ended] == [9]
