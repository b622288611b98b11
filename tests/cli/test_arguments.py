"""`k=v` words become typed calls."""

import io

import pytest

from aios.abi import syscalls as sc
from aios.abi.errors import InvalidArgument, UnknownCall
from aios.abi.messages import Message
from aios.cli.arguments import describe_calls, parse_call


def test_text_stays_text_and_the_rest_is_json():
    call = parse_call("memory.add", ["text=123", 'tags=["a", "b"]'])
    assert call == sc.MemoryAdd(text="123", tags=("a", "b"))
    assert parse_call("storage.read", ["path=true", "version=2"]) == sc.StorageRead(path="true", version=2)
    assert parse_call("process.spawn", ["agent=me", "durable=true"]) == sc.ProcessSpawn(
        agent="me", durable=True
    )


def test_a_value_may_hold_an_equals_sign():
    assert parse_call("memory.add", ["text=a=b"]) == sc.MemoryAdd(text="a=b")


def test_a_text_is_a_list_of_one_and_a_conversation_of_one_message():
    assert parse_call("memory.add", ["text=x", "tags=home"]) == sc.MemoryAdd(text="x", tags=("home",))
    call = parse_call("llm.generate", ["messages=What is a kernel?"])
    assert call == sc.LlmGenerate(messages=(Message("user", "What is a kernel?"),))


def test_an_object_is_json():
    call = parse_call("tool.call", ["name=calculate", 'arguments={"expression": "6*7"}'])
    assert call == sc.ToolRun(name="calculate", arguments={"expression": "6*7"})


def test_a_value_comes_from_a_file(tmp_path):
    (tmp_path / "text").write_text("läuft\n")
    assert parse_call("memory.add", [f"text=@{tmp_path}/text"]) == sc.MemoryAdd(text="läuft\n")
    assert parse_call("memory.add", ["text=@@home"]) == sc.MemoryAdd(text="@home")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["text"], "`text=…`"),
        (["txt=a"], "no argument 'txt'; it has: text, tags"),
        (["text=a", "text=b"], "twice"),
        (["text=@/no/such/file"], "can't read /no/such/file"),
        (["text="], "length >= 1"),
        ([], "missing required field"),
    ],
)
def test_what_is_wrong_is_named(words, part):
    with pytest.raises(InvalidArgument, match=part.replace("`", ".").replace("…", ".")):
        parse_call("memory.add", words)


@pytest.mark.parametrize(
    "word", ["text=\udcff", "tags=" + "[" * 100_000, "tags=[123456789012345678901234567890]"]
)
def test_what_cannot_be_sent_is_told(word):
    with pytest.raises(InvalidArgument):
        parse_call("memory.add", [word])


def test_bytes_on_stdin_are_told(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding="utf-8"))
    with pytest.raises(InvalidArgument, match="UTF-8"):
        parse_call("memory.add", ["text=@-"])


def test_an_unknown_call_is_named():
    with pytest.raises(UnknownCall, match="aios call --list"):
        parse_call("memory.burn", [])


def test_every_call_of_the_table_is_described():
    described = list(describe_calls())
    assert [name for name, _, _ in described] == list(sc.TABLE)
    assert all(doc for _, _, doc in described)
    assert ("storage.stat", "path=TEXT [owner=TEXT]") in [row[:2] for row in described]
