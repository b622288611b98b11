"""`aios ingest`: a folder goes in, again only what has changed, and nothing by way of a link."""

import json
import os

import pytest

from aios.abi import syscalls as sc
from aios.connection import connect
from aios.sdk import ingesting


@pytest.fixture
def folder(tmp_path):
    """A folder with texts, bytes and a large file, and things that stay out."""
    top = tmp_path / "kb"
    (top / "deep" / "er").mkdir(parents=True)
    (top / "plan.md").write_text("The lighthouse plan")
    (top / "deep" / "er" / "lamp.txt").write_text("A lamp")
    (top / "deep" / "bytes.bin").write_bytes(bytes(range(256)))
    (top / "large.txt").write_bytes(b"large " * 300_000)
    (top / "empty").write_bytes(b"")
    (top / ".hidden").write_text("x")
    return top


async def read(kernel, path):
    return await kernel.trap(kernel.operator_token, sc.StorageRead(path=path, as_bytes=True))


async def test_a_folder_goes_in_and_is_found_and_again_only_what_changed(aios, kernel, folder):
    result = await aios("ingest", "kb")
    assert (result.exit_code, result.stdout.partition(",")[0]) == (0, "kb: 5 written (1")
    listed = await kernel.trap(kernel.operator_token, sc.StorageList())
    assert [file.path for file in listed.files] == [
        *("kb/deep/bytes.bin", "kb/deep/er/lamp.txt", "kb/empty", "kb/large.txt", "kb/plan.md")
    ]
    assert (await read(kernel, "kb/deep/bytes.bin")).data == bytes(range(256))
    assert (await read(kernel, "kb/large.txt")).data == b"large " * 300_000
    found = await kernel.trap(kernel.operator_token, sc.StorageSearch(text="lighthouse", folder="kb"))
    assert [hit.file.path for hit in found.hits] == ["kb/plan.md"]
    (folder / "plan.md").write_text("Another plan")
    again = json.loads((await aios("ingest", "kb", "--untrusted", "--json")).stdout)
    assert (again["written"], again["unchanged"], again["bytes"], again["problems"]) == (1, 4, 12, [])
    entry = await read(kernel, "kb/plan.md")
    assert (entry.version, entry.data, entry.label) == (2, b"Another plan", "untrusted")
    await kernel.trap(kernel.operator_token, sc.StorageDelete(path="kb/plan.md"))
    await kernel.trap(kernel.operator_token, sc.StorageAppend(path="kb/empty", content="more"))
    third = json.loads((await aios("ingest", "kb", "--json")).stdout)
    assert (third["written"], third["unchanged"]) == (2, 3)
    assert (await read(kernel, "kb/empty")).data == b""


async def test_links_and_what_is_no_plain_file_stay_out_and_are_told(aios, kernel, folder, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (folder / "out").symlink_to(tmp_path / "outside")
    (folder / "deep" / "file").symlink_to(tmp_path / "outside" / "secret")
    os.mkfifo(folder / "pipe")
    (folder / "two\nlines").write_text("x")
    result = await aios("ingest", "kb", "--into", "a/b", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert {one["path"] for one in found["problems"]} == {"out", "deep/file", "pipe", "two\nlines"}
    assert [one["why"] for one in found["problems"][:2]] == ["it is a link", "it is a link"]
    assert found["written"] == 5
    listed = await kernel.trap(kernel.operator_token, sc.StorageList())
    assert not [file.path for file in listed.files if "secret" in file.path or "out" in file.path]
    shown = await aios("ingest", "kb", "--into", "a/b")
    assert shown.exit_code == 1
    assert "4 problems" in shown.stdout
    assert "deep/file: it is a link" in shown.stderr


async def test_a_folder_swapped_for_a_link_while_it_is_walked_leads_nowhere(kernel, data, folder, tmp_path):
    """Each folder is entered before the swap, or refused after it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "lamp.txt").write_text("secret")
    swapped = []

    def swap(at):
        if not swapped:
            swapped.append(at)
            (folder / "deep" / "er").rename(folder / "deep" / "was")
            (folder / "deep" / "er").symlink_to(tmp_path / "outside")

    async with connect(f"unix:{data / 'aios.sock'}", token=kernel.operator_token) as agent:
        await ingesting.ingest(agent.storage, folder, "kb", on_progress=swap)
        files = (await agent.storage.list("kb")).files
        for file in files:
            assert b"secret" not in (await agent.storage.read(file.path, as_bytes=True)).data
    assert swapped


async def test_progress_counts_files_and_bytes(kernel, data, folder):
    seen = []
    async with connect(f"unix:{data / 'aios.sock'}", token=kernel.operator_token) as agent:
        found = await ingesting.ingest(agent.storage, folder, on_progress=seen.append)
    assert found.into == ""
    assert (seen[-1].files, seen[-1].all_files) == (5, 5)
    assert seen[-1].bytes == seen[-1].all_bytes == found.bytes == 19 + 6 + 256 + 1_800_000


async def test_what_cannot_be_tried_is_told_in_one_line(aios, kernel, folder):
    for name in ("missing", "kb/plan.md"):
        result = await aios("ingest", name)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert name in result.stderr
