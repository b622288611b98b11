"""`aios shell`: what is done of what a model asks for, what is asked about first, and what is printed."""

import json

import pytest

from aios.abi import syscalls as sc
from aios.abi.errors import NotFound, Unavailable
from aios.abi.messages import Message, ToolCall
from aios.cli import shell
from aios.drivers.toolbox import BUILTIN


def calling(name, **arguments):
    return Message("assistant", "", (ToolCall("c", name, arguments),))


@pytest.fixture
async def file(kernel):
    """The operator's file, as it is now."""
    await kernel.trap(kernel.operator_token, sc.StorageWrite(path="a.txt", content="tea"))

    async def read():
        found = await kernel.trap(kernel.operator_token, sc.StorageRead(path="a.txt"))
        return found.content

    return read


def test_every_tool_there_is_for_files_and_notes_is_known():
    names = {tool.spec.name for tool in BUILTIN}
    assert names - set(shell.TOOLS) == {"calculate", "convert_units"}
    assert set(shell.TOOLS) <= names
    assert set(shell.ASKED) <= set(shell.TOOLS)


async def test_a_request_is_done_and_answered(kernel, aios, answers):
    answers += [calling("write_file", path="list.txt", content="milk"), "Written."]
    result = await aios("shell", "write milk", "to list.txt")
    assert (result.exit_code, result.stdout) == (0, "Written.\n")
    found = await kernel.trap(kernel.operator_token, sc.StorageRead(path="list.txt"))
    assert found.content == "milk"


async def test_files_that_are_found_are_put_into_one(kernel, aios, answers):
    for path, content in (
        ("notes/mon.md", "Pricing goes up."),
        ("notes/tue.md", "The pricing page."),
        ("b", "tea"),
    ):
        await kernel.trap(kernel.operator_token, sc.StorageWrite(path=path, content=content))
    asked = {"text": "pricing", "to": "pricing.md", "days": 7}
    answers += [calling("join_files", **asked), "Done.", calling("join_files", **asked), "Again."]
    for version in (1, 2):
        result = await aios("shell", "--json", "put last week's notes on pricing into pricing.md")
        told = json.loads(result.stdout)["calls"][0]["result"]
        assert told.startswith(f"put into pricing.md (version {version}): ")
        found = await kernel.trap(kernel.operator_token, sc.StorageRead(path="pricing.md"))
        assert "## notes/mon.md (version 1, " in found.content
        assert "The pricing page." in found.content
        assert "tea" not in found.content
    answers += [calling("join_files", text="zebra", to="none"), "No."]
    result = await aios("shell", "--json", "join all on zebras")
    assert json.loads(result.stdout)["calls"][0]["result"] == "nothing found"


async def test_json_tells_what_was_called(file, aios, answers):
    answers += [calling("read_file", path="a.txt"), "It says tea."]
    result = await aios("shell", "--json", "what is in a.txt?")
    assert json.loads(result.stdout) == {
        "answer": "It says tea.",
        "calls": [{"name": "read_file", "arguments": {"path": "a.txt"}, "result": "tea"}],
    }


async def test_what_cannot_be_undone_is_refused_where_nobody_can_be_asked(file, aios, answers):
    answers += [calling("delete_file", path="a.txt"), "I could not."]
    result = await aios("shell", "--json", "delete a.txt")
    assert "said no" in json.loads(result.stdout)["calls"][0]["result"]
    assert "delete the file a.txt with all its versions" in result.stderr
    assert await file() == "tea"


async def test_yes_agrees_to_all(file, aios, answers):
    answers += [calling("delete_file", path="a.txt"), "Gone."]
    result = await aios("shell", "--yes", "delete a.txt")
    assert result.stdout == "Gone.\n"
    with pytest.raises(NotFound):
        await file()


@pytest.mark.parametrize(("answer", "is_kept"), [("y", False), ("n", True), ("", True)])
async def test_a_person_is_asked_in_the_shells_own_words(file, aios, answers, monkeypatch, answer, is_kept):
    monkeypatch.setattr(shell, "_has_person", lambda: True)
    answers += [calling("delete_file", path="a.txt\x1b[2J"), calling("delete_file", path="a.txt"), "Done."]
    result = await aios("shell", "delete a.txt", stdin=f"n\n{answer}\n")
    assert "delete the file a.txt\ufffd[2J with all" in result.stderr
    assert "delete the file a.txt with all its versions? [y/N]" in result.stderr
    assert result.stdout.endswith("Done.\n")
    if is_kept:
        assert await file() == "tea"
    else:
        with pytest.raises(NotFound):
            await file()


async def test_a_session_keeps_its_conversation_and_outlives_failures(file, aios, answers, kernel):
    answers += ["Hello.", Unavailable("the model is ill")] + [Unavailable("the model is ill")] * 7 + ["Well."]
    result = await aios("shell", stdin="hi\n\nhow are you?\nand now?\nexit\nnever\n")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["Hello.", "Well."]
    assert "the model is ill" in result.stderr


async def test_a_session_for_programs_is_a_line_of_json_for_each(aios, kernel, answers):
    answers += ["one", "two"]
    result = await aios("shell", "--json", stdin="a\nb\n")
    assert [json.loads(line)["answer"] for line in result.stdout.splitlines()] == ["one", "two"]


async def test_a_request_that_fails_says_so(aios, kernel, answers):
    answers += [Unavailable("the model is ill")] * 8
    result = await aios("shell", "hello")
    assert result.exit_code == 1
    assert "the model is ill" in result.stderr
