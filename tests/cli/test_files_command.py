"""`aios put`, `get` and `ls` against a running kernel."""

import json


async def test_files_go_in_and_come_back(aios, kernel, tmp_path):
    (tmp_path / "plan.txt").write_text("first")
    put = await aios("put", "plan.txt", "notes/plan.txt")
    assert (put.exit_code, put.stdout) == (0, "notes/plan.txt: version 1, 5 bytes\n")
    (tmp_path / "plan.txt").write_text("second")
    entry = json.loads((await aios("put", "plan.txt", "notes/plan.txt", "--untrusted", "--json")).stdout)
    assert (entry["version"], entry["label"]) == (2, "untrusted")
    got = await aios("get", "notes/plan.txt", "back.txt", "--version", "1")
    assert got.stdout == "back.txt: version 1 of notes/plan.txt, 5 bytes\n"
    assert (tmp_path / "back.txt").read_text() == "first"
    await aios("get", "notes/plan.txt")
    assert (tmp_path / "plan.txt").read_text() == "second"


async def test_a_folder_is_listed(aios, kernel, tmp_path):
    assert "aios put" in (await aios("ls")).stdout
    (tmp_path / "plan.txt").write_text("x")
    for path in ("plan.txt", "notes/plan.txt"):
        await aios("put", "plan.txt", path)
    found = json.loads((await aios("ls", "--json")).stdout)
    assert ([file["path"] for file in found["files"]], found["folders"]) == (["plan.txt"], ["notes"])
    deep = json.loads((await aios("ls", "--deep", "--json")).stdout)
    assert [file["path"] for file in deep["files"]] == ["notes/plan.txt", "plan.txt"]
    shown = (await aios("ls")).stdout
    assert "notes/" in shown
    assert "trusted" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


async def test_what_cannot_be_done_is_told_in_one_line(aios, kernel, tmp_path):
    missing = await aios("put", "nothing.txt")
    assert (missing.exit_code, missing.stderr.count("\n")) == (2, 1)
    assert "nothing.txt" in missing.stderr
    absent = await aios("get", "nothing.txt")
    assert absent.exit_code == 1
    assert "there is no file 'nothing.txt'" in absent.stderr
    assert not list(tmp_path.glob(".nothing*"))
