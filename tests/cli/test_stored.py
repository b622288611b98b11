"""`aios fsck` and `aios backup`, as people and programs see them."""

import json
from contextlib import closing

import apsw
import pytest

from aios.abi import syscalls as sc

NOTES = ("first", "second")


@pytest.fixture
async def stored(kernel):
    for text in NOTES:
        await kernel.trap(kernel.operator_token, sc.MemoryAdd(text=text))


def damage(data):
    with closing(apsw.Connection(str(data / "aios.db"))) as connection:
        connection.execute("UPDATE notes SET body = CAST('{}' AS BLOB) WHERE number = 1")
        connection.execute("UPDATE note_owners SET num_notes = 7")


async def test_what_is_whole_is_said_to_be(aios, stored):
    done = await aios("fsck")
    assert (done.exit_code, done.stdout) == (0, "aios: every page, row and blob is what was written\n")
    assert json.loads((await aios("fsck", "--json")).stdout) == {"problems": []}


async def test_what_is_damaged_is_named_and_fails_the_command(aios, data, stored):
    damage(data)
    done = await aios("fsck")
    assert done.exit_code == 1
    assert "note n1 of operator" in done.stdout
    named = json.loads((await aios("fsck", "--json")).stdout)["problems"]
    assert {(one["kind"], one["table"], one["name"]) for one in named} == {
        ("row", "notes", "note n1 of operator"),
        ("counter", "note_owners", "operator"),
    }


async def test_a_repair_waits_until_the_kernel_has_stopped(aios, data, kernel, stored):
    damage(data)
    assert (await aios("fsck", "--repair")).exit_code == 1
    await kernel.close()
    done = await aios("fsck", "--repair", "--json")
    assert done.exit_code == 1
    mended = {one["table"]: one.get("is_mended", False) for one in json.loads(done.stdout)["problems"]}
    assert mended == {"notes": False, "note_owners": True}


async def test_a_backup_is_a_data_folder(aios, data, tmp_path, stored):
    copy = tmp_path / "copies" / "monday"
    done = await aios("backup", str(copy), "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told == {"folder": str(copy), "bytes": (copy / "aios.db").stat().st_size, "problems": []}
    assert (copy / "operator.token").read_text() == (data / "operator.token").read_text()
    assert {path.stat().st_mode & 0o077 for path in (copy, *copy.iterdir())} == {0}
    again = await aios("backup", str(copy))
    assert (again.exit_code, "is not empty" in again.stderr) == (2, True)


async def test_a_backup_of_damaged_data_says_so(aios, data, tmp_path, stored):
    damage(data)
    done = await aios("backup", str(tmp_path / "copy"))
    assert done.exit_code == 1
    assert "`aios fsck` says what" in done.stdout


@pytest.mark.parametrize("words", [["fsck"], ["fsck", "--repair"], ["backup", "copy"]])
async def test_without_data_there_is_nothing_to_do(aios, data, words):
    done = await aios(*words)
    assert (done.exit_code, done.stderr) == (2, f"aios: unusable: there is no data at {data}\n")
