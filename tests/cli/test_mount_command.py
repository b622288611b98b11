"""`aios mount` and `aios unmount` against a running kernel that lends a directory."""

import asyncio
import json

import pytest

from aios.abi import syscalls as sc
from aios.drivers.llm_scripted import ScriptedDriver
from aios.kernel.config import Config, CoreConfig
from aios.kernel.kernel import Kernel
from aios.server.socket import SocketServer


@pytest.fixture
def top(tmp_path):
    top = tmp_path / "handbook"
    (top / "deep").mkdir(parents=True)
    (top / "plan.md").write_text("The lighthouse plan")
    (top / "deep" / "lamp.txt").write_text("A lamp")
    return top


@pytest.fixture
async def kernel(data, top, tmp_path):
    """One that was told of the directory in its configuration's file."""
    (tmp_path / "aios.toml").write_text(
        f'[[mounts]]\nname = "handbook"\npath = "{top}"\nwrite = true\nlabel = "trusted"\n'
    )
    config = Config.load(environ={"AIOS_DATA": str(data)})
    driver = ScriptedDriver()
    async with Kernel(config, drivers={CoreConfig().name: driver}) as running:
        server = SocketServer(running, config.socket_path)
        await server.start()
        try:
            yield running
        finally:
            await server.close()


async def test_a_directory_is_mounted_listed_searched_and_unmounted(aios, kernel, top):
    assert "may be mounted: handbook (write)" in (await aios("mount")).stdout
    made = await aios("mount", "handbook", "kb/handbook", "--write")
    assert (made.exit_code, made.stdout) == (
        *(0, "kb/handbook: 2 files (25 bytes) of 'handbook', following\n"),
    )
    listed = json.loads((await aios("ls", "kb/handbook", "--deep", "--json")).stdout)["files"]
    assert [file["path"] for file in listed] == ["kb/handbook/deep/lamp.txt", "kb/handbook/plan.md"]
    (top / "plan.md").write_text("The harbour plan")
    found = json.loads((await aios("call", "storage.search", "text=harbour", "--json")).stdout)
    assert [hit["file"]["path"] for hit in found["hits"]] == ["kb/handbook/plan.md"]
    operator = kernel.operator_token
    await kernel.trap(operator, sc.StorageWrite(path="kb/handbook/new.md", content="new"))
    assert (top / "new.md").read_text() == "new"
    shown = (await aios("mount")).stdout
    assert "following" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    told = json.loads((await aios("mount", "--json")).stdout)
    assert [(one["folder"], one["files"]) for one in told["mounts"]] == [("kb/handbook", 3)]
    ended = await aios("unmount", "kb/handbook", "--keep")
    assert (ended.exit_code, ended.stdout) == (0, "kb/handbook: unmounted\n")
    assert "nothing is mounted" in (await aios("mount")).stdout


async def test_what_is_left_out_is_told_and_the_exit_code_says_so(aios, kernel, top):
    (top / "out").symlink_to("/etc")
    made = await aios("mount", "handbook", "m")
    assert made.exit_code == 1
    assert "aios: out: it is a link" in made.stderr
    again = await aios("mount", "handbook", "m")
    assert (again.exit_code, again.stderr) == (
        1,
        "aios: conflict: there is already a mounted directory at 'm'\n",
    )
    assert (await aios("mount", "handbook")).exit_code == 2
    assert (await aios("mount", "else", "x")).exit_code == 1
    assert (await aios("unmount", "x")).exit_code == 1


async def test_an_agent_waits_for_a_person(kernel, top):
    spawned = await kernel.trap(kernel.operator_token, sc.ProcessSpawn(agent="a", principal="ann"))
    call = sc.StorageMount(name="handbook", folder="m")
    asking = asyncio.ensure_future(kernel.trap(spawned.token, call))
    while not (pending := (await kernel.trap(kernel.operator_token, sc.AccessPending())).approvals):
        continue
    assert "storage.mount" in pending[0].text
    assert str(top) not in pending[0].text
    await kernel.trap(kernel.operator_token, sc.AccessApprove(approval_id=pending[0].id))
    assert (await asking).folder == "m"
    read = sc.StorageRead(path="m/plan.md")
    assert (await kernel.trap(spawned.token, read)).content == "The lighthouse plan"
