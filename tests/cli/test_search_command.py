"""`aios search` against a running kernel."""

import json
from typing import get_args

from aios.abi import syscalls as sc
from aios.cli.search import By, Mode


async def filled(kernel):
    for path, content in (("trips/oslo.md", "travel costs of Oslo"), ("plan.txt", "the roof")):
        await kernel.trap(kernel.operator_token, sc.StorageWrite(path=path, content=content))
    await kernel.trap(kernel.operator_token, sc.MemoryAdd(text="travel is paid by Ada"))


async def test_files_and_notes_are_found_and_narrowed(aios, kernel):
    assert (await aios("search", "travel")).stdout == "nothing found\n"
    await filled(kernel)
    shown = (await aios("search", "travel", "costs")).stdout
    assert shown.index("trips/oslo.md") < shown.index("note n1")
    assert "paid by Ada" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    both = json.loads((await aios("search", "travel", "--json")).stdout)
    assert [hit["file"]["path"] for hit in both["files"]] == ["trips/oslo.md"]
    assert [hit["note"]["id"] for hit in both["notes"]] == ["n1"]
    for narrow in (["--folder", "trips"], ["--kind", "md"]):
        found = json.loads((await aios("search", "--since", "1d", *narrow, "--json")).stdout)
        assert [hit["file"]["path"] for hit in found.pop("files")] == ["trips/oslo.md"]
        assert not found
    assert (await aios("search", "--since", "2100-01-01")).stdout == "nothing found\n"
    assert (await aios("search", "travl", "--mode", "keyword")).stdout == "nothing found\n"
    assert "oslo" in (await aios("search", "travl", "--mode", "meaning")).stdout


async def test_what_is_found_is_grouped(aios, kernel):
    await filled(kernel)
    shown = (await aios("search", "--group-by", "kind")).stdout
    assert "md" in shown
    assert "plan.txt" in shown
    found = json.loads((await aios("search", "roof", "--group-by", "folder", "--json")).stdout)
    assert [(group["name"], group["num_files"]) for group in found["groups"]] == [("", 1)]


async def test_a_wrong_moment_is_told_in_one_line(aios, kernel):
    wrong = await aios("search", "--since", "yesterday")
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (2, 1)
    assert "7d" in wrong.stderr


def test_the_choices_are_those_of_the_calls():
    assert (get_args(sc.SearchMode), get_args(sc.GroupBy)) == (tuple(Mode), tuple(By))
