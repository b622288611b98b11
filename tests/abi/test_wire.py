"""The contract: every row is complete, bytes come back as the same struct, bad bytes are a typed error."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.abi import errors, wire
from aios.abi.messages import Delta, Message, Sampling, ToolCall, ToolSpec
from aios.abi.syscalls import ROW_OF, TABLE, LlmGenerate, MemoryAdd, StorageWrite

ROWS = sorted(TABLE)
texts = st.text(max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
calls = st.builds(ToolCall, id=texts, name=texts, arguments=st.dictionaries(texts, json_values, max_size=3))
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=texts,
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    tool_call_id=st.none() | texts,
)
generates = st.builds(
    LlmGenerate,
    messages=st.lists(messages, min_size=1, max_size=4).map(tuple),
    tools=st.lists(st.builds(ToolSpec, name=texts, description=texts), max_size=2).map(tuple),
    sampling=st.builds(
        Sampling,
        temperature=st.floats(0, 2),
        seed=st.none() | st.integers(0, 2**63 - 1),
        stop=st.lists(st.text(min_size=1, max_size=8), max_size=2).map(tuple),
    ),
)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_complete(name: str) -> None:
    row = TABLE[name]
    assert row.name == name
    assert ROW_OF[row.request] is row
    assert row.request.__doc__, "a call says what it does"
    assert row.group == name.split(".")[0]
    schema = msgspec.json.schema(row.request)
    assert schema, "a call can be described to others"


def test_no_two_rows_share_a_request() -> None:
    assert len(ROW_OF) == len(TABLE)


@given(generates)
def test_a_call_comes_back_the_same(call: LlmGenerate) -> None:
    assert wire.decode_call("llm.generate", wire.encode(call)) == call


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.integers(1, 64))
def test_frames_are_cut_whatever_the_pieces(bodies: list[bytes], size: int) -> None:
    stream = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    reader = wire.FrameReader()
    found = [body for at in range(0, len(stream), size) for body in reader.feed(stream[at : at + size])]
    assert found == bodies


def test_a_frame_over_the_limit_is_refused_from_its_header() -> None:
    reader = wire.FrameReader(max_frame=10)
    with pytest.raises(errors.TooLarge):
        list(reader.feed((11).to_bytes(4, "big")))


def test_a_value_over_the_limit_is_not_framed() -> None:
    with pytest.raises(errors.TooLarge):
        wire.frame(StorageWrite(path="a", content="x" * (wire.MAX_FRAME + 1)))


def test_an_event_reads_as_a_response_with_a_delta() -> None:
    event = wire.Event(7, Delta("hi", None, 1))
    assert wire.decode_response(wire.encode(event)).delta == event.delta


@pytest.mark.parametrize(
    ("name", "args", "hint"),
    [
        ("llm.generate", {"messages": []}, "length >= 1"),
        ("llm.generate", {"messages": [{"role": "robot"}]}, "robot"),
        ("llm.generate", {"messages": [{"role": "user"}], "colour": 1}, "colour"),
        ("llm.generate", {"messages": [{"role": "user"}], "sampling": {"temperature": 3}}, "temperature"),
        ("llm.generate", {"messages": [{"role": "user"}], "sampling": {"stop": [""]}}, "stop"),
        ("storage.write", {"path": "", "content": "x"}, "path"),
        ("storage.write", {"path": "a" * 2000, "content": "x"}, "path"),
        ("storage.write", {"path": "a"}, "content"),
        ("storage.read", {"path": "a", "version": 0}, "version"),
        ("memory.add", {"text": "x", "tags": ["a"] * 33}, "tags"),
        ("process.kill", {"pid": "one"}, "pid"),
        ("process.spawn", {"agent": "a b"}, "agent"),
    ],
)
def test_bad_arguments_are_named(name: str, args: object, hint: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=hint):
        wire.decode_call(name, json.dumps(args).encode())


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"call": 1}', b'{"call": "x", "colour": 1}', b"\xff\xfe"]
)
def test_bad_requests_are_typed(body: bytes) -> None:
    with pytest.raises(errors.InvalidArgument):
        wire.decode_request(body)


@pytest.mark.parametrize(
    "args", [b"", b"{", b"[1]", b'{"text": "\xff"}', b'{"text": "' + b"\\u0000" * 70_000 + b'"}']
)
def test_bad_argument_bytes_are_typed(args: bytes) -> None:
    with pytest.raises(errors.InvalidArgument):
        wire.decode_call("memory.add", args)


def test_deeply_nested_arguments_are_typed() -> None:
    body = b'{"name": "t", "arguments": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    with pytest.raises(errors.InvalidArgument):
        wire.decode_call("tool.call", body)


def test_an_unknown_call_is_typed() -> None:
    with pytest.raises(errors.UnknownCall, match=r"memory\.guess"):
        wire.decode_call("memory.guess", b"{}")


@given(st.binary(max_size=80))
def test_random_bytes_never_raise_anything_else(body: bytes) -> None:
    for decode in (
        wire.decode_request,
        wire.decode_response,
        lambda data: wire.decode_call("memory.add", data),
    ):
        try:
            decode(body)
        except errors.InvalidArgument:
            continue


def test_every_error_survives_the_wire() -> None:
    for code, kind in errors.BY_CODE.items():
        reply = kind("what was wrong", retry_after=1.5).to_reply()
        back = errors.from_reply(msgspec.json.decode(wire.encode(reply), type=errors.ErrorReply))
        assert type(back) is kind
        assert (back.code, back.message, back.retry_after) == (code, "what was wrong", 1.5)


def test_error_codes_are_unique_and_have_a_status() -> None:
    tree = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.AiosError)
    ]
    assert sorted(kind.code for kind in tree) == sorted(errors.BY_CODE)
    assert all(400 <= kind.http_status <= 599 for kind in tree)


def test_an_unknown_code_becomes_the_root_error() -> None:
    assert type(errors.from_reply(errors.ErrorReply("from_the_future", "x"))) is errors.AiosError


def test_a_note_call_has_bounds() -> None:
    with pytest.raises(errors.InvalidArgument):
        wire.decode_call("memory.add", wire.encode(MemoryAdd(text="")))
