"""Each command against a running kernel: what it prints, as text and as JSON, and its exit code."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from aios.abi import syscalls as sc
from aios.abi.errors import Misconfigured
from aios.cli.main import app
from aios.cli.output import visible
from aios.kernel.config import Config
from aios.server.app import serving
from aios.server.socket import SocketServer

COMMANDS = [
    *("demo", "serve", "run", "shell", "ps", "top", "cores", "explain"),
    *("kill", "suspend", "resume", "ls", "put", "get", "search", "ingest", "mount", "unmount"),
    *("call", "approve", "fsck", "backup", "bench"),
]


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


async def test_cores_as_they_stand(aios, kernel, answers):
    answers.append("hello to you")
    await aios("call", "llm.generate", 'messages=[{"role":"user","content":"hi"}]')
    (core,) = json.loads((await aios("cores", "--json")).stdout)["cores"]
    assert (core["name"], core["health"], core["tokens"]) == ("scripted", "ready", 3)
    shown = (await aios("cores")).stdout
    assert "scripted" in shown
    assert "ready" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


async def test_a_core_is_drained_and_takes_calls_again(aios, kernel, answers):
    answers.append("hello")
    shown = (await aios("cores", "--drain", "scripted")).stdout
    assert "drained" in shown
    (core,) = json.loads((await aios("cores", "--undrain", "scripted", "--json")).stdout)["cores"]
    assert not core["draining"]
    asked = await aios("call", "llm.generate", 'messages=[{"role":"user","content":"hi"}]')
    assert "hello" in asked.stdout
    assert "there is no core 'other'" in (await aios("cores", "--drain", "other")).stderr


async def test_cores_say_what_is_wrong_with_them(aios, kernel, answers):
    answers.append(Misconfigured("the endpoint refused this core's key (401)"))
    asked = await aios("call", "llm.generate", 'messages=[{"role":"user","content":"hi"}]')
    assert "misconfigured: core scripted: the endpoint refused this core's key (401)" in asked.stderr
    shown = (await aios("cores")).stdout
    assert "misconfigured" in shown
    assert "scripted: the endpoint refused this core's key (401)" in shown


async def test_presets_are_listed_without_a_kernel(aios):
    presets = json.loads((await aios("cores", "--presets", "--json")).stdout)["presets"]
    assert presets["anthropic"]["kind"] == "anthropic"
    shown = (await aios("cores", "--presets")).stdout
    assert "OPENAI_API_KEY" in shown


async def test_explain_tells_why_it_ran(aios, kernel, answers):
    answers.append("hello to you")
    await aios("call", "llm.generate", 'messages=[{"role":"user","content":"hi"}]')
    shown = (await aios("explain", "1")).stdout
    assert "process 1: tenant default, band normal, ordered by plas" in shown
    assert "got core scripted after" in shown
    found = json.loads((await aios("explain", "1", "--json")).stdout)
    assert found["decisions"][0]["core"] == "scripted"
    missing = await aios("explain", "99")
    assert missing.exit_code == 1
    assert "no process 99" in missing.stderr


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


async def test_one_that_fails_neither_stops_nor_hides_the_others(aios, kernel):
    spawned = [await aios("call", "process.spawn", f"agent=a{n}", "durable=true") for n in range(2)]
    first, last = (str(json.loads(result.stdout)["pid"]) for result in spawned)
    result = await aios("kill", first, "999", last)
    assert (result.exit_code, result.stdout) == (1, f"killed {first} {last}\n")
    assert result.stderr.startswith("aios: not_found: ")
    assert "999" in result.stderr
    result = await aios("suspend", "998", "999", "--json")
    assert json.loads(result.stdout)["suspended"] == []
    assert [failed["id"] for failed in json.loads(result.stdout)["failed"]] == [998, 999]


@pytest.mark.parametrize(
    "words",
    [
        ("call", "nosuch.x"),
        ("call", "memory.add"),
        ("call", "memory.add", "txt=x"),
        ("--url", "http://127.0.0.1:9", "--token", "t", "ps"),
        ("--url", "http://127.0.0.1:port", "--token", "t", "ps"),
        ("--url", "unix:/no/such/socket", "--token", "t", "ps"),
        ("--url", "ftp://here", "--token", "t", "ps"),
    ],
)
async def test_what_could_not_be_tried_is_exit_code_2(aios, words):
    result = await aios(*words)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


async def test_a_timeout_without_end_is_refused(aios, kernel):
    result = await aios("call", "tool.list", "--timeout", "inf")
    assert (result.exit_code, "timeout" in result.stderr) == (2, True)


async def test_the_data_folder_counts_beside_a_socket_elsewhere(aios, kernel, tmp_path):
    elsewhere = SocketServer(kernel, tmp_path / "elsewhere")
    await elsewhere.start()
    assert (await aios("--url", f"unix:{tmp_path}/elsewhere", "approve")).exit_code == 0
    await elsewhere.close()


async def test_http_wants_a_token_of_its_own(aios, kernel):
    data = kernel.config.data
    async with serving(kernel, Config(data=data, port=0, socket=data / "other")) as address:
        result = await aios("--url", address.url, "ps")
        assert (result.exit_code, "AIOS_TOKEN" in result.stderr) == (2, True)
        result = await aios("--url", address.url, "ps", env={"AIOS_TOKEN": kernel.operator_token})
        assert result.exit_code == 0


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


async def test_an_error_of_a_stream_is_one_line_too(aios, kernel):
    result = await aios("call", "llm.generate", "messages=hi", "model=none", "--stream", "--json")
    (line,) = result.stdout.splitlines()
    assert json.loads(line)["error"]["code"] == "not_found"


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
    result = await aios("call", "storage.read", "path=\x1b[2J")
    assert result.exit_code == 1
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("text", ["1\u00a0000", "5\u202fkg", "東\u3000京", "👩\u200d🚀", "a\tb\nc"])
def test_text_that_steers_nothing_stays(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    "mark",
    ["\x00", "\r", "\x7f", "\x9b", "\u2028", "\u2029", "\u202e", "\u2066", "\u200f", "\u061c", "\ud800"],
)
def test_marks_that_steer_are_replaced(mark):
    assert visible(f"a{mark}b") == "a\ufffdb"
