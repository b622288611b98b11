"""Each command against a running kernel: what it prints, as text and as JSON, and its exit code."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from aios.abi import syscalls as sc
from aios.cli.main import app

COMMANDS = ["demo", "serve", "run", "ps", "top", "kill", "suspend", "resume", "call", "approve", "bench"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches(command):
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert "--json" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_the_command_lists_its_commands():
    result = CliRunner().invoke(app, ["--help"])
    assert [
        line.split()[0] for line in result.stdout.split("Commands:\n")[1].splitlines()[: len(COMMANDS)]
    ] == COMMANDS
    assert "Exit codes" in result.stdout


def test_help_imports_nothing_heavy():
    heavy = ("asyncio", "rich", "aiohttp", "numpy", "starlette", "aios.kernel", "aios.sdk")
    code = f"import sys, aios.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


async def test_without_a_kernel_it_says_how_to_start_one(aios):
    result = await aios("ps")
    assert result.exit_code == 2
    assert "aios serve" in result.stderr
    assert result.stderr.count("\n") == 1
    result = await aios("ps", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == "unusable"


async def test_a_wrong_configuration_is_named(aios, tmp_path):
    (tmp_path / "aios.toml").write_text("prt = 9\n")
    result = await aios("ps")
    assert result.exit_code == 2
    assert "'port'" in result.stderr


async def test_ps_lists_processes_and_kill_ends_them(aios, kernel):
    spawned = json.loads((await aios("call", "process.spawn", "agent=me", "durable=true")).stdout)
    assert spawned["token"]
    listed = json.loads((await aios("ps", "--json")).stdout)["processes"]
    assert "me" in [entry["agent"] for entry in listed]
    assert "me" in (await aios("ps")).stdout
    killed = await aios("kill", str(spawned["pid"]))
    assert (killed.exit_code, killed.stdout) == (0, f"killed {spawned['pid']}\n")
    listed = json.loads((await aios("ps", "--json")).stdout)["processes"]
    assert "me" not in [entry["agent"] for entry in listed]
    listed = json.loads((await aios("ps", "--all", "--json")).stdout)["processes"]
    assert "me" in [entry["agent"] for entry in listed]


async def test_suspend_and_resume(aios, kernel):
    pid = str(json.loads((await aios("call", "process.spawn", "agent=me", "durable=true")).stdout)["pid"])
    assert json.loads((await aios("suspend", pid, "--json")).stdout) == {"suspended": [int(pid)]}
    assert "suspended" in (await aios("top")).stdout
    assert (await aios("resume", pid)).stdout == f"resumed {pid}\n"
    seen = json.loads((await aios("top", "--json")).stdout)["processes"]
    assert [one["process"]["state"] for one in seen if one["process"]["pid"] == int(pid)] == ["running"]


async def test_an_error_is_one_line_and_exit_code_1(aios, kernel):
    result = await aios("kill", "999")
    assert result.exit_code == 1
    assert result.stderr.startswith("aios: not_found: ")
    assert result.stderr.count("\n") == 1
    result = await aios("kill", "999", "--json")
    assert json.loads(result.stdout)["error"]["code"] == "not_found"


async def test_call_writes_and_reads(aios, kernel):
    written = await aios("call", "storage.write", "path=a.md", "content=@-", stdin="hello")
    assert json.loads(written.stdout)["size"] == 5
    read = json.loads((await aios("call", "storage.read", "path=a.md")).stdout)
    assert read["content"] == "hello"


async def test_call_as_somebody_else(aios, kernel):
    token = json.loads((await aios("call", "process.spawn", "agent=me", "durable=true")).stdout)["token"]
    result = await aios("--token", token, "call", "access.pending", "--json")
    assert json.loads(result.stdout)["error"]["code"] == "permission_denied"
    result = await aios("--token", "wrong", "call", "storage.list")
    assert result.stderr.startswith("aios: unauthenticated")


async def test_call_streams(aios, kernel, answers):
    answers += ["to be or", "not to be"]
    result = await aios("call", "llm.generate", "messages=hi", "--stream")
    assert result.stdout.startswith("to be or\n{")
    result = await aios("call", "llm.generate", "messages=hi", "--stream", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert "".join(line["delta"]["text"] for line in lines[:-1]) == "not to be"
    assert lines[-1]["reply"]["text"] == "not to be"


async def test_call_without_a_name_is_wrong_usage(aios):
    assert (await aios("call")).exit_code == 2


async def test_call_lists_the_table(aios):
    described = json.loads((await aios("call", "--list", "--json")).stdout)
    assert [row["call"] for row in described] == list(sc.TABLE)
    assert "memory.add text=TEXT [tags=[TEXT,…]]" in (await aios("call", "--list")).stdout


async def test_a_bench_that_is_not_there(aios):
    result = await aios("bench", "nothing")
    assert result.exit_code == 2
    assert "overhead" in result.stderr
    assert "overhead" in json.loads((await aios("bench", "--list", "--json")).stdout)


async def test_text_of_agents_cannot_steer_the_terminal(aios, kernel, answers):
    answers.append("\x1b[2J gone")
    result = await aios("call", "llm.generate", "messages=hi", "--stream")
    assert "\x1b" not in result.stdout
