"""`aios run`: finds the agent, runs it on the kernel that is there, and says what became of it."""

import json
import sys

import pytest

from aios.abi.messages import Message, ToolCall
from aios.abi.syscalls import LlmGenerate
from aios.cli.output import Unusable
from aios.cli.target import load

AGENTS = """
import aios

@aios.agent
async def echo(agent, task):
    await agent.storage.write("said.md", task)
    return f"{agent.name}: {task}"
"""

TOOL = """
def hello_of_the_file() -> str:
    return "hello"

async def main(agent, task):
    await agent.tools.register(hello_of_the_file)
    return (await agent.tools.call("hello_of_the_file")).text
"""


async def test_an_agent_from_a_file(aios, kernel, tmp_path):
    (tmp_path / "agents.py").write_text(AGENTS)
    result = await aios("run", str(tmp_path / "agents.py"), "hello")
    assert (result.exit_code, result.stdout) == (0, "echo: hello\n")
    result = await aios("run", f"{tmp_path}/agents.py:echo", "hello", "--json")
    assert json.loads(result.stdout) == {"result": "echo: hello"}
    entries = json.loads((await aios("ps", "--all", "--json")).stdout)["processes"]
    assert [entry["state"] for entry in entries if entry["agent"] == "echo"] == ["exited", "exited"]


async def test_react_uses_the_kernels_tools(aios, kernel, answers):
    call = ToolCall("call_1", "calculate", {"expression": "12% of 80"})
    answers += [Message("assistant", "", (call,)), "It is 9.6."]
    result = await aios("run", "react", "What is 12% of 80?")
    assert (result.exit_code, result.stdout) == (0, "It is 9.6.\n")


async def test_a_terminal_sees_the_agent_at_work(aios, kernel, answers, monkeypatch):
    monkeypatch.setattr("aios.cli.run._has_audience", lambda: True)
    call = ToolCall("call_1", "calculate", {"expression": "12% of 80"})
    answers += [Message("assistant", "Let me see.", (call,)), "It is 9.6."]
    result = await aios("run", "react", "What is 12% of 80?")
    assert result.stdout == "It is 9.6.\n"
    assert result.stderr == 'Let me see.\n→ calculate {"expression": "12% of 80"}\n  9.6\nIt is 9.6.\n'


async def test_watching_does_not_make_a_stream_of_an_answer(aios, kernel, answers, monkeypatch):
    """A generation that has streamed is not tried again."""
    monkeypatch.setattr("aios.cli.run._has_audience", lambda: True)
    emits = []
    trap = kernel.trap

    async def watched_trap(token, call, *, emit=None, timeout_s=None, key=""):
        if isinstance(call, LlmGenerate):
            emits.append(emit)
        return await trap(token, call, emit=emit, timeout_s=timeout_s, key=key)

    monkeypatch.setattr(kernel, "trap", watched_trap)
    answers.append("It is 9.6.")
    assert (await aios("run", "react", "What is 12% of 80?")).stderr == "It is 9.6.\n"
    assert emits == [None]


async def test_an_agent_from_a_module_of_this_folder(aios, kernel, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [place for place in sys.path if place not in ("", str(tmp_path))])
    (tmp_path / "of_this_folder.py").write_text(AGENTS)
    result = await aios("run", "of_this_folder:echo", "hello")
    assert (result.stdout, result.stderr) == ("echo: hello\n", "")


async def test_a_tool_of_the_agents_file_runs_on_the_running_kernel(aios, kernel, tmp_path):
    (tmp_path / "with_tool.py").write_text(TOOL)
    result = await aios("run", f"{tmp_path}/with_tool.py:main")
    assert (result.stdout, result.stderr) == ("hello\n", "")


async def test_a_kernel_of_its_own_knows_whose_token_it_is(aios, remote_core, tmp_path):
    (tmp_path / "agents.py").write_text(AGENTS)
    result = await aios("--token", "nobody's", "run", f"{tmp_path}/agents.py", "hello")
    assert (result.exit_code, "unauthenticated" in result.stderr) == (1, True)


async def test_an_agent_that_raises_is_told_by_its_line(aios, kernel, tmp_path):
    (tmp_path / "bad.py").write_text("async def bad(agent, task):\n    raise ValueError('oh no')\n")
    result = await aios("run", f"{tmp_path}/bad.py:bad", "x")
    assert result.exit_code == 1
    assert "agent_failed: ValueError: oh no" in result.stderr
    assert "bad.py, line 2" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in (await aios("run", f"{tmp_path}/bad.py:bad", "x", "--traceback")).stderr
    entries = json.loads((await aios("ps", "--all", "--json")).stdout)["processes"]
    assert {entry["state"] for entry in entries if entry["agent"] == "bad"} == {"killed"}


async def test_what_the_kernel_refuses_is_the_agents_error(aios, kernel, tmp_path):
    (tmp_path / "reader.py").write_text(
        "async def reader(agent, task):\n    return (await agent.storage.read('none.md')).content\n"
    )
    result = await aios("run", f"{tmp_path}/reader.py:reader", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("source", "target", "part"),
    [
        ("", "none.py", "there is no file"),
        ("", "no_such_module:main", "there is no module"),
        ("x = 1", "x.py:y", "has no 'y'"),
        ("x = 1", "x.py:x", "is no agent"),
        ("x = 1", "x.py", "nothing marked with @aios.agent"),
        ("1/0", "x.py", "ZeroDivisionError"),
        ("import no_such_thing", "x.py", "no_such_thing"),
        (AGENTS + AGENTS.replace("echo", "other"), "x.py", "several agents"),
    ],
)
def test_a_target_that_is_no_agent(tmp_path, monkeypatch, source, target, part):
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "x.py").write_text(source)
    with pytest.raises(Unusable, match=part):
        load(target)
