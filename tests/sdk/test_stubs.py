"""The stubs and the table say the same: a row without a stub, or a field without an argument, fails here."""

import inspect
from pathlib import Path
from typing import get_type_hints

import pytest

from aios.abi import syscalls as sc
from aios.abi.messages import Sampling
from aios.abi.schema import spec_of
from aios.sdk.client import Client, Tools, source_of
from aios.sdk.generation import Choices, Llm
from aios.sdk.stubs import Access, Context, Core, Memory, Process, Storage

GROUPS = {
    "llm": Llm,
    "context": Context,
    "memory": Memory,
    "storage": Storage,
    "tool": Tools,
    "access": Access,
    "core": Core,
    "process": Process,
}
ONLY_HERE = {"timeout_s", "on_delta", "key"}


def stub_of(row: sc.Row):
    verb = row.name.partition(".")[2]
    return getattr(GROUPS[row.group], "run" if row.name == "tool.call" else verb)


@pytest.mark.parametrize("name", sc.TABLE)
def test_each_row_has_a_stub_with_its_fields_and_its_reply(name):
    row = sc.TABLE[name]
    stub = stub_of(row)
    parameters = set(inspect.signature(stub).parameters) - {"self"}
    if row.request is sc.LlmGenerate:
        parameters = parameters - {"choices"} | set(Choices.__annotations__)
        fields = set(row.request.__struct_fields__) - {"sampling"} | set(Sampling.__struct_fields__)
        assert parameters - ONLY_HERE == fields
    else:
        assert parameters - (ONLY_HERE - set(row.request.__struct_fields__)) == set(
            row.request.__struct_fields__
        )
    assert get_type_hints(stub)["return"] is row.reply


@pytest.mark.parametrize("group", GROUPS)
def test_a_stub_has_a_row(group):
    verbs = {name.partition(".")[2] for name, row in sc.TABLE.items() if row.group == group}
    stubs = {name for name, value in vars(GROUPS[group]).items() if inspect.iscoroutinefunction(value)}
    assert stubs - verbs <= ({"run"} if group == "tool" else set())


@pytest.mark.parametrize("name", sc.TABLE)
def test_defaults_are_the_tables(name):
    row = sc.TABLE[name]
    request = row.request
    fields = reversed(request.__struct_fields__)
    defaults = dict(zip(fields, reversed(request.__struct_defaults__), strict=False))
    for parameter in inspect.signature(stub_of(row)).parameters.values():
        if (
            name != "tool.register"
            and parameter.name in row.request.__struct_fields__
            and parameter.default is not parameter.empty
        ):
            assert parameter.default == defaults[parameter.name], parameter


class Kept(Exception):
    """The call went no further."""


class Recorder:
    """A transport that keeps each call."""

    lease_s = None

    def __init__(self) -> None:
        self.calls: list[sc.SystemCall] = []

    async def call(self, token, call, emit=None, timeout_s=None, key=""):
        self.calls.append(call)
        raise Kept

    async def close(self) -> None: ...


VALUES = {
    "core": "nano",
    "messages": (),
    "text": "t",
    "texts": ("t",),
    "note_id": "n1",
    "path": "a.txt",
    "content": "c",
    "version": 2,
    "name": "x",
    "arguments": {"a": 1},
    "source": "m:f",
    "resource": "memory",
    "verb": "read",
    "owner": "o",
    "to": "p",
    "verbs": ("read",),
    "grant_id": "g",
    "approval_id": "a",
    "notes": (),
    "members": (),
    "agent": "w",
    "pid": 7,
    "upload_id": "u",
    "share_id": "s",
    "link": "l",
    "token": 3,
    "start": 4,
    "size": 5,
    "data": b"d",
    "if_version": 6,
    "lock": 8,
    "deep": True,
    "before": 9,
    "by": "kind",
    "files": (sc.FileAt("a.txt", 2),),
    "folder": "f",
    "kind": "md",
    "since": 10.0,
    "until": 11.0,
    "title": "t",
    "dry_run": True,
}


@pytest.mark.parametrize("name", [name for name in sc.TABLE if name != "llm.generate"])
async def test_every_argument_lands_in_its_field(name):
    recorder = Recorder()
    client = Client(recorder, "token")
    row = sc.TABLE[name]
    group = getattr(client, "tools" if row.group == "tool" else row.group)
    stub = getattr(group, stub_of(row).__name__)
    given = {
        field: value
        for field, value in VALUES.items()
        if field in inspect.signature(stub).parameters and field in row.request.__struct_fields__
    }
    with pytest.raises(Kept):
        await stub(**given)
    (call,) = recorder.calls
    assert type(call) is row.request
    assert {field: getattr(call, field) for field in given} == given


async def test_what_is_said_of_a_generation_lands_in_the_call():
    recorder = Recorder()
    client = Client(recorder, "token")
    with pytest.raises(Kept):
        await client.llm.generate("hi", temperature=0.5, seed=3, stop=("x",), model="m", tool_choice="none")
    (call,) = recorder.calls
    assert call.messages[0].text == "hi"
    assert call.sampling == Sampling(temperature=0.5, seed=3, stop=("x",))
    assert (call.model, call.tool_choice) == ("m", "none")


@pytest.mark.parametrize("wrong", [{"timeout_s": 0}, {"max_parallel": 0}, {"name": ""}])
async def test_what_is_said_of_a_tool_is_not_passed_over(wrong):
    recorder = Recorder()
    with pytest.raises(Kept):
        await Client(recorder, "token").tools.register("m:f", **wrong)
    (call,) = recorder.calls
    assert {field: getattr(call, field) for field in wrong} == wrong


def test_a_module_of_one_file_is_named_by_its_file():
    """A kernel in another process may not have its folder on the path."""
    assert source_of(stub_of) == f"{Path(__file__).resolve()}:stub_of"
    assert source_of(spec_of) == "aios.abi.schema:spec_of"
