"""What holds the code of a tool: limits, files, network, environment; and what is left when a kernel dies."""

import asyncio
import errno
import os
import socket
import sys

import psutil
import pytest
from tools_under_test import ALICE, SAMPLES, until

from aios.abi import syscalls as sc
from aios.abi.errors import ToolFailed, Unavailable
from aios.abi.wire import FrameReader
from aios.drivers import confine
from aios.drivers.confine import isolation_level
from aios.kernel.config import ToolConfig

needs_files = pytest.mark.skipif(isolation_level() == "process", reason="this machine has no Landlock")
needs_network = pytest.mark.skipif(
    "seccomp" not in isolation_level(), reason="this machine has no seccomp filter of ours"
)

_KERNEL = """
import asyncio, sys
from aios.drivers.clock import SystemClock
from aios.drivers.hosted import HostedTool, HostPool, HostSettings

async def main(source):
    pool = HostPool(HostSettings(), SystemClock())
    tool = HostedTool(source, None)
    await pool.load(tool)
    await pool.call(tool, {"with_child": True}, 600)

asyncio.run(main(sys.argv[1]))
"""


async def test_the_environment_holds_no_secret(tools, monkeypatch):
    monkeypatch.setenv("AIOS_TOKEN", "canary")
    await tools.register("environment")
    text = await tools.call("environment")
    assert "canary" not in text
    for key in ("HOME", "PATH", "LANG", "PYTHONPATH", "TMPDIR"):
        assert f'"{key}"' in text
    assert f'"HOME":"{os.environ["HOME"]}"' not in text


async def test_memory_is_limited(make_tools):
    tools = make_tools(ToolConfig(max_memory_bytes=400 * 1024**2))
    await tools.register("eat")
    with pytest.raises(ToolFailed, match="MemoryError"):
        await tools.call("eat", megabytes=450)
    assert await tools.call("eat", megabytes=1) == str(1024**2)


async def test_its_folder_is_its_own_and_goes_with_it(tools):
    await tools.register("write")
    file = await tools.call("write", path="mine.txt")
    assert _exists(file)
    await tools.manager.close()
    assert not _exists(os.path.dirname(file))


def _exists(path: str) -> bool:
    return os.path.exists(path)


@needs_files
async def test_other_files_are_out_of_reach(make_tools, tmp_path):
    secret, shown = tmp_path / "secret.txt", tmp_path / "shown.txt"
    secret.write_text("canary")
    shown.write_text("for all")
    tools = make_tools(ToolConfig(readable=(shown,)))
    for name in ("read", "write"):
        await tools.register(name)
    assert await tools.call("read", path=str(shown)) == "for all"
    assert "Functions that" in await tools.call("read", path=str(SAMPLES))
    for path in (str(secret), "/proc/self/environ", "/etc/shadow"):
        with pytest.raises(ToolFailed, match=r"^(PermissionError|FileNotFoundError): "):
            await tools.call("read", path=path)
    for path in (str(shown), str(tmp_path / "new.txt"), str(SAMPLES)):
        with pytest.raises(ToolFailed, match="PermissionError"):
            await tools.call("write", path=path)
    assert shown.read_text() == "for all"


@needs_files
async def test_a_module_beside_what_is_protected_is_read_alone(make_tools, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "operator.token").write_text("canary")
    (tmp_path / "reader.py").write_text("def read(path: str) -> str:\n    return open(path).read()\n")
    tools = make_tools(protected=(tmp_path / "data",))
    source = f"{tmp_path / 'reader.py'}:read"
    await tools.manager.execute(ALICE, sc.ToolRegister(source=source))
    assert "def read" in await tools.call("read", path=str(tmp_path / "reader.py"))
    with pytest.raises(ToolFailed, match="PermissionError"):
        await tools.call("read", path=str(tmp_path / "data" / "operator.token"))


@needs_files
async def test_what_is_protected_is_not_read_as_a_part_of_what_is_shown(make_tools, tmp_path):
    for name in ("shown", "data/inner", "data2"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file.txt").write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "data" / "inner")
    tools = make_tools(ToolConfig(readable=(tmp_path,)), protected=(tmp_path / "data",))
    await tools.register("read")
    for name in ("shown", "data2"):
        assert await tools.call("read", path=str(tmp_path / name / "file.txt")) == name
    for name in ("data/inner", "link"):
        with pytest.raises(ToolFailed, match="PermissionError"):
            await tools.call("read", path=str(tmp_path / name / "file.txt"))


def test_the_level_says_what_an_older_system_leaves_free():
    assert confine._level(0, True) == "process"
    assert confine._level(6, True) == "landlock+seccomp"
    assert confine._level(3, True) == "landlock+seccomp without signals"
    assert confine._level(2, False) == "landlock without truncating files, signals"


def test_where_landlock_lets_files_be_truncated_the_filter_does_not():
    lengths = [len(confine._filter("x86_64", False, may_truncate=may)) for may in (True, False)]
    assert lengths[1] == lengths[0] + 2


@needs_network
@pytest.mark.parametrize(
    "what",
    ["own", "label", "memory without a file", "shared memory", "namespace", "limits", "rank", "cores"],
)
async def test_what_landlock_leaves_alone_is_refused(tools, tmp_path, what):
    (tmp_path / "file").touch()
    await tools.register("attempt")
    assert await tools.call("attempt", what=what, path=str(tmp_path / "file")) == "PermissionError"


@needs_network
async def test_modes_and_times_stay_and_what_sets_them_goes_on(tools, tmp_path):
    (tmp_path / "file").touch(mode=0o600)
    before = (tmp_path / "file").stat()
    for name in ("touch", "ordinary", "attempt"):
        await tools.register(name)
    assert await tools.call("touch", path=str(tmp_path / "file")) == "touched"
    after = (tmp_path / "file").stat()
    assert (after.st_mode, after.st_mtime) == (before.st_mode, before.st_mtime)
    assert await tools.call("ordinary", path=str(SAMPLES)) == "a thread, a child"
    for what in ("own limits", "own rank"):
        assert await tools.call("attempt", what=what, path="") == "done"


@needs_files
async def test_it_can_not_signal_its_supervisor(tools):
    await tools.register("kill_supervisor")
    with pytest.raises(ToolFailed, match="PermissionError"):
        await tools.call("kill_supervisor")


@needs_network
async def test_no_sockets_unless_the_configuration_allows(make_tools):
    tools = make_tools()
    await tools.register("connect")
    with pytest.raises(ToolFailed, match="PermissionError"):
        await tools.call("connect")
    tools = make_tools(ToolConfig(network=True))
    await tools.register("connect")
    assert await tools.call("connect") == "a socket"


@pytest.mark.parametrize(
    ("header", "sentence"), [(2**31, "too large"), (2, "nonsense|without being asked|ended its process")]
)
async def test_a_forged_answer_ends_the_host(tools, header, sentence):
    await tools.register("forge")
    with pytest.raises(ToolFailed, match=sentence):
        await tools.call("forge", header=header)
    assert tools.manager.statistics()["hosts"] == 0


async def test_an_answer_nested_without_end_ends_the_host(tools):
    await tools.register("forge")
    body = '{"x":' + "[" * 5000 + "]" * 5000 + "}"
    with pytest.raises(ToolFailed, match="nonsense"):
        await tools.call("forge", header=len(body), body=body)
    assert tools.manager.statistics()["hosts"] == 0


async def test_a_host_that_ends_is_noticed_without_a_free_descriptor(tools, monkeypatch):
    await tools.register("crash")
    monkeypatch.setattr(os, "pidfd_open", _no_descriptor, raising=False)
    with pytest.raises(ToolFailed, match="exit status 3"):
        await tools.call("crash", status=3)
    assert tools.manager.statistics()["hosts"] == 0


@pytest.mark.parametrize(("module", "name"), [(socket, "socketpair"), (os, "pipe")])
async def test_a_host_that_cannot_be_spoken_to_is_unavailable(tools, monkeypatch, module, name):
    monkeypatch.setattr(module, name, _no_descriptor)
    with pytest.raises(Unavailable, match="Too many open files"):
        await tools.register("add")
    assert tools.manager.statistics()["hosts"] == 0


def _no_descriptor(*_: object) -> int:
    raise OSError(errno.EMFILE, "Too many open files")


async def test_what_is_sent_after_too_much_is_not_kept(tools, monkeypatch):
    fed = []
    feed = FrameReader.feed
    monkeypatch.setattr(FrameReader, "feed", lambda reader, data: (fed.append(data), feed(reader, data))[1])
    await tools.register("forge")
    fed.clear()
    with pytest.raises(ToolFailed, match="too large"):
        await tools.call("forge", header=2**31, body="x" * 1024**2)
    assert sum(map(len, fed)) < 1024**2


async def test_nothing_is_left_when_the_kernel_is_killed():
    kernel = await asyncio.create_subprocess_exec(sys.executable, "-c", _KERNEL, f"{SAMPLES}:hang")
    parent = psutil.Process(kernel.pid)
    await until(lambda: len(parent.children(recursive=True)) >= 4)  # supervisor, worker, child, grandchild
    tree = parent.children(recursive=True)
    kernel.kill()
    await kernel.wait()
    gone, alive = psutil.wait_procs(tree, timeout=30)
    assert len(gone) == len(tree)
    assert alive == []
