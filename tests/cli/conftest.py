"""A kernel with a scripted core on its socket, and the `aios` command run beside it in a thread."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from aios.cli.main import app
from aios.drivers.llm_scripted import ScriptedDriver
from aios.kernel.config import AccessConfig, Config, CoreConfig
from aios.kernel.kernel import Kernel
from aios.server.socket import SocketServer

Aios = Callable[..., Awaitable[Result]]

TOML = """
port = 0
[[cores]]
name = "far"
kind = "openai"
model = "some-model"
base_url = "http://127.0.0.1:9/v1"
"""


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch, tmp_path):
    """No setting of whoever runs the tests counts, nor a configuration file of theirs."""
    for name in ("AIOS_DATA", "AIOS_URL", "AIOS_TOKEN", "AIOS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def answers() -> list[object]:
    """What the scripted core says, one after the other; a test fills it."""
    return []


@pytest.fixture
async def kernel(data, answers) -> AsyncIterator[Kernel]:
    """A running kernel that listens where the command line looks."""
    config = Config(
        data=data, cores=(CoreConfig(name="scripted"),), access=AccessConfig(tool_register="allow")
    )
    driver = ScriptedDriver(lambda job: answers.pop(0))
    async with Kernel(config, drivers={"scripted": driver}) as running:
        server = SocketServer(running, config.socket_path)
        await server.start()
        try:
            yield running
        finally:
            await server.close()


@pytest.fixture
def aios(data) -> Aios:
    """Runs the command with these words on the test's data folder."""

    async def run(*words: str, stdin: str | None = None, env: dict[str, str] | None = None) -> Result:
        runner = CliRunner(env=env)
        return await asyncio.to_thread(runner.invoke, app, ["--data", str(data), *words], input=stdin)

    return run


@pytest.fixture
def remote_core(tmp_path) -> None:
    """A kernel that is started here needs no model."""
    (tmp_path / "aios.toml").write_text(TOML)


@pytest.fixture
def start(data, tmp_path, remote_core):
    """Starts `aios serve` with these words, on a remote core; what still runs at the end is killed."""
    started = []

    def begin(*words: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "aios", "--data", str(data), "serve", *words],
            cwd=tmp_path,
            env=os.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()
