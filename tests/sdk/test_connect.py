"""`aios.connect()`: where the kernel is, whose token is used, and what is never given away."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import aios
from aios.abi.errors import InvalidArgument, PermissionDenied, Unauthenticated, Unavailable
from aios.connection import operator_token
from aios.server.app import serving

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch, tmp_path):
    for name in ("AIOS_URL", "AIOS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AIOS_DATA", str(tmp_path))


async def test_the_environment_says_where(kernel, monkeypatch):
    async with serving(kernel, kernel.config) as address:
        for where, token in (
            (f"unix:{address.socket}", ""),
            (str(address.socket), ""),
            (address.url, kernel.operator_token),
        ):
            monkeypatch.setenv("AIOS_URL", where)
            monkeypatch.setenv("AIOS_TOKEN", token)
            async with aios.connect() as connection:
                assert (await connection.process.list()).processes


async def test_a_token_given_comes_before_the_environments_and_that_before_the_operators(kernel, monkeypatch):
    async with serving(kernel, kernel.config) as address, aios.connect(kernel) as operator:
        mine, others = await operator.process.spawn("mine"), await operator.process.spawn("others")
        monkeypatch.setenv("AIOS_TOKEN", others.token)
        async with aios.connect(address.socket, token=mine.token) as connection:
            assert (await connection.process.usage()).pid == mine.pid
        async with aios.connect(address.socket) as connection:
            assert (await connection.process.usage()).pid == others.pid
        monkeypatch.delenv("AIOS_TOKEN")
        async with aios.connect(address.socket) as connection:
            assert (await connection.access.pending()).approvals == ()


def test_a_secret_that_others_can_read_is_not_used(tmp_path):
    secret = tmp_path / "operator.token"
    secret.write_text("secret\n")
    secret.chmod(0o644)
    with pytest.raises(PermissionDenied, match="chmod 600"):
        operator_token(tmp_path)
    secret.chmod(0o600)
    assert operator_token(tmp_path) == "secret"
    secret.rename(tmp_path / "elsewhere")
    secret.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unauthenticated):
        operator_token(tmp_path)


@pytest.mark.parametrize("where", ["http://aios.example:8000", "http://127.0.0.1:8000", "https://localhost"])
async def test_the_operators_secret_goes_over_the_socket_only(tmp_path, where):
    """Who listens on a port of this machine may be anybody."""
    (tmp_path / "operator.token").touch(0o600)
    with pytest.raises(Unauthenticated, match="AIOS_TOKEN"):
        async with aios.connect(where):
            pass


async def test_a_kernel_of_its_own_is_the_one_that_the_environment_describes(tmp_path, monkeypatch):
    configuration = tmp_path / "elsewhere.toml"
    core = 'kind = "openai"\nmodel = "m"\nbase_url = "http://127.0.0.1:9/v1"'
    configuration.write_text(f'[[cores]]\nname = "far"\n{core}\n')
    monkeypatch.setenv("AIOS_CONFIG", str(configuration))
    async with aios.connect() as connection:
        durable = await connection.process.spawn("mine", durable=True)
    monkeypatch.setenv("AIOS_TOKEN", durable.token)
    async with aios.connect() as connection:
        assert (await connection.process.usage()).pid == durable.pid


@pytest.mark.parametrize("where", ["ftp://here", "tcp://localhost:1"])
async def test_another_kind_of_address_is_refused(where):
    with pytest.raises(InvalidArgument, match="no kernel's address"):
        async with aios.connect(where, token="t"):
            pass


@pytest.mark.parametrize("token", ["", "a\nb", "ü"])
async def test_a_token_is_plain_text(kernel, token, monkeypatch):
    monkeypatch.setenv("AIOS_TOKEN", "")
    with pytest.raises((InvalidArgument, Unauthenticated)):
        async with aios.connect("http://aios.example:8000", token=token):
            pass


async def test_nothing_there_is_unavailable(tmp_path):
    for where in (tmp_path / "nothing", "http://127.0.0.1:9"):
        async with aios.connect(where, token="t") as connection:
            with pytest.raises(Unavailable, match="no kernel"):
                await connection.process.list()


async def test_the_example_of_many_agents_runs_on_any_kernel(kernel, monkeypatch, capsys):
    example = runpy.run_path(str(EXAMPLES / "notes.py"))
    async with serving(kernel, kernel.config) as address:
        monkeypatch.setenv("AIOS_URL", f"unix:{address.socket}")
        await example["main"]()
    assert "All there is to know about glaciers." in capsys.readouterr().out


async def test_the_example_of_a_stream_prints_what_comes(kernel, monkeypatch, capsys):
    example = runpy.run_path(str(EXAMPLES / "stream.py"))
    async with serving(kernel, kernel.config) as address:
        monkeypatch.setenv("AIOS_URL", str(address.socket))
        await example["main"]("echo this")
    assert capsys.readouterr().out.startswith("echo this\n[2 tokens")


def test_import_aios_is_light():
    heavy = ("numpy", "aiohttp", "starlette", "msgspec", "apsw")
    code = f"import aios, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
