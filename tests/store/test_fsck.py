"""What is damaged is found, named, and mended where it can be; a backup is whole."""

import sqlite3
from contextlib import closing

import apsw
import pytest

from aios.abi import syscalls as sc
from aios.abi.errors import Conflict, Corrupt, Unavailable
from aios.abi.messages import Message
from aios.drivers.backup import copy
from aios.drivers.llm_scripted import ScriptedDriver
from aios.kernel.checking.found import Problem
from aios.kernel.checking.whole import CHECKS, OF_STORE, check, repair
from aios.kernel.config import Config, CoreConfig, MountConfig
from aios.kernel.kernel import Kernel

WHOLE = "the whole database: the page that says what is in it is damaged"


def booted(folder):
    lent = folder.parent / "lent"
    lent.mkdir(exist_ok=True)
    (lent / "file.txt").write_text("lent")
    config = Config(
        data=folder,
        cores=(CoreConfig(name="core"),),
        mounts=(MountConfig(name="lent", path=lent, write=True),),
    )
    return Kernel(config, drivers={"core": ScriptedDriver()})


async def lived(folder):
    """A data folder in which something of everything is kept. The token of the agent ann."""
    async with booted(folder) as kernel:

        async def ask(token, call, **options):
            return await kernel.trap(token, call, **options)

        operator = kernel.operator_token
        ann = (await ask(operator, sc.ProcessSpawn(agent="a", principal="ann", durable=True))).token
        await ask(operator, sc.AccessSetGroup(name="team", members=("ann", "bob")))
        await ask(ann, sc.MemoryAppend(messages=(Message("user", "hello"), Message("user", "again"))))
        await ask(ann, sc.MemoryAdd(text="the plan", scope="group:team", source="file:plan", ttl_s=1e6))
        note = await ask(ann, sc.MemoryAdd(text="first", tags=("a",)), key="key")
        await ask(ann, sc.MemoryUpdate(note_id=note.id, text="second"))
        await ask(ann, sc.AccessGrant(to="bob", resource="storage", verbs=("read",), prefix="shared"))
        await ask(ann, sc.StorageWrite(path="shared/a.txt", content="a" * 5000))
        await ask(ann, sc.StorageAppend(path="shared/a.txt", content="bb"))
        await ask(ann, sc.StorageMkdir(path="made"))
        await ask(ann, sc.StorageLock(path="made"))
        upload = await ask(ann, sc.StorageUpload(path="large"))
        await ask(ann, sc.StoragePart(upload_id=upload.id, start=0, data=b"part"))
        await ask(operator, sc.StorageWrite(path="shown", content="x"))
        await ask(operator, sc.StorageShare(path="shown"))
        await ask(operator, sc.StorageMount(name="lent", folder="mounted", write=True))
        await kernel.idle()
        await ask(ann, sc.MemorySearch(text="plan"))
        await ask(ann, sc.StorageSearch(text="bb"))
    return ann


@pytest.fixture
async def folder(tmp_path):
    await lived(tmp_path / "data")
    return tmp_path / "data"


def change(folder, sql, *values):
    with closing(apsw.Connection(str(folder / "aios.db"))) as connection:
        connection.execute(sql, values)
        assert connection.total_changes()


def tables_of(folder):
    with closing(sqlite3.connect(folder / "aios.db")) as connection:
        sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        return {name for (name,) in connection.execute(sql)}


async def test_what_is_whole_is_found_whole(folder):
    assert check(folder / "aios.db") == []


async def test_every_table_is_looked_at(folder):
    looked_at = {table for one in CHECKS for table in one.tables}
    unknown = tables_of(folder) - looked_at - set(OF_STORE)
    assert not unknown, f"add a Check for {unknown} to kernel/checking, with checksums on their rows"


DAMAGES = {
    "notes": "UPDATE notes SET body = CAST(replace(body, 'plan', 'plot') AS BLOB) WHERE number = 1",
    "note_versions": "UPDATE note_versions SET body = CAST(replace(body, 'first', 'worst') AS BLOB)",
    "history_nodes": "UPDATE history_tails SET body = CAST(replace(body, 'hello', 'jello') AS BLOB)",
    "histories": "UPDATE histories SET num_messages = 3",
    "file_versions": "UPDATE file_versions SET author = 'bob' WHERE version = 1",
    "files": "UPDATE files SET label = 'untrusted'",
    "file_pieces": "DELETE FROM file_pieces WHERE version = 2",
    "file_chunks": "UPDATE file_chunks SET content = CAST('xb' AS BLOB) WHERE length(content) = 2",
    "file_folders": "UPDATE file_folders SET path = 'made elsewhere/'",
    "file_shares": "UPDATE file_shares SET expires = expires + 1",
    "file_keys": "UPDATE file_keys SET key = x'00'",
    "uploads": "UPDATE uploads SET principal = 'eve'",
    "upload_parts": "UPDATE upload_parts SET start = 7",
    "mounts": "UPDATE mounts SET writable = 0",
    "mount_files": "UPDATE mount_files SET version = 2",
    "mount_waiting": "INSERT INTO mount_waiting VALUES (1, 'file.txt', x'00')",
    "grants": "UPDATE grants SET grantee = 'eve'",
    "access_groups": "UPDATE access_groups SET name = 'dream'",
    "group_members": "UPDATE group_members SET principal = 'eve' WHERE principal = 'bob'",
    "processes": "UPDATE processes SET principal = 'eve'",
    "audit": "UPDATE audit SET subject = 'nothing' WHERE seq = 2",
    "replies": "UPDATE replies SET expires = expires + 1",
}


@pytest.mark.parametrize("table", DAMAGES)
async def test_a_damaged_row_is_found_and_not_mended(folder, table):
    change(folder, DAMAGES[table])
    found = check(folder / "aios.db")
    assert table in {problem.table for problem in found}
    assert all(problem.kind in ("row", "blob", "chain") for problem in found if problem.table == table)
    after = await repair(folder / "aios.db")
    assert not any(problem.is_mended for problem in after if problem.table == table)


COUNTS = {
    "note_owners": "UPDATE note_owners SET num_notes = 7",
    "history_totals": "UPDATE history_totals SET num_bytes = num_bytes + 1",
    "file_owners": "UPDATE file_owners SET num_bytes = 0 WHERE owner = 'ann'",
    "last_pid": "UPDATE last_pid SET pid = 1",
}


@pytest.mark.parametrize("table", COUNTS)
async def test_a_wrong_count_is_found_and_mended(folder, table):
    change(folder, COUNTS[table])
    assert [(one.kind, one.table) for one in check(folder / "aios.db")] == [("counter", table)]
    assert [one.is_mended for one in await repair(folder / "aios.db")] == [True]
    assert check(folder / "aios.db") == []


async def test_a_damaged_right_is_no_right_and_the_rest_goes_on(folder):
    change(folder, DAMAGES["grants"])
    change(folder, DAMAGES["group_members"])
    async with booted(folder) as kernel:
        eve = sc.ProcessSpawn(agent="e", principal="eve")
        token = (await kernel.trap(kernel.operator_token, eve)).token
        with pytest.raises(Exception, match="there is no file"):
            await kernel.trap(token, sc.StorageRead(path="shared/a.txt", owner="ann"))
        assert (await kernel.trap(token, sc.AccessGroups())).groups == ()
        groups = await kernel.trap(kernel.operator_token, sc.AccessGroups())
        assert [group.members for group in groups.groups] == [("ann",)]


async def test_a_damaged_object_fails_by_name_and_others_are_served(folder):
    change(folder, DAMAGES["notes"])
    async with booted(folder) as kernel:
        operator = kernel.operator_token
        with pytest.raises(Corrupt, match="note 'n1' does not match its checksum"):
            await kernel.trap(operator, sc.MemoryGet(note_id="n1", owner="ann"))
        assert (await kernel.trap(operator, sc.MemoryGet(note_id="n2", owner="ann"))).text == "second"


async def test_an_export_names_what_it_has_to_leave_out(folder):
    change(folder, DAMAGES["notes"])
    async with booted(folder) as kernel:
        page = await kernel.trap(kernel.operator_token, sc.MemoryExport(owner="ann"))
    assert ([note.id for note in page.notes], page.damaged) == (["n2"], ("n1",))


async def test_a_repair_needs_the_data_for_itself(folder):
    async with booted(folder):
        assert check(folder / "aios.db") == []
        with pytest.raises(Conflict):
            await repair(folder / "aios.db")


async def test_a_damaged_page_is_found(folder):
    path = folder / "aios.db"
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 4] = bytes(4096)
    path.write_bytes(data)
    assert any(problem.kind == "page" for problem in check(path))
    path.write_bytes(b"no database" + bytes(data[11:]))
    assert check(path) == [Problem("page", "", WHOLE)]


async def test_a_damaged_description_of_a_table_is_found(folder):
    wanted = "UPDATE sqlite_master SET sql = replace(sql, 'body', 'bodz') WHERE name = 'note_versions'"
    change(folder, f"PRAGMA writable_schema = ON; {wanted}")
    assert ("page", "note_versions", "cannot be read whole: no such column: body") in {
        (problem.kind, problem.table, problem.name) for problem in check(folder / "aios.db")
    }
    async with booted(folder) as kernel:
        with pytest.raises(Corrupt, match="no such column"):
            await kernel.trap(kernel.operator_token, sc.MemoryHistory(note_id="n2", owner="ann"))


async def test_a_backup_made_while_serving_is_whole_and_of_one_moment(tmp_path, folder):
    async with booted(folder) as kernel:
        spawn = sc.ProcessSpawn(agent="b", principal="bob")
        token = (await kernel.trap(kernel.operator_token, spawn)).token
        seen = []
        copy(folder / "aios.db", tmp_path / "copy.db", lambda done, all: seen.append((done, all)))
        await kernel.trap(token, sc.MemoryAdd(text="after"))
        assert seen[-1][0] == seen[-1][1] > 0
        assert check(tmp_path / "copy.db") == []
        with pytest.raises(Conflict):
            copy(folder / "aios.db", tmp_path / "copy.db", lambda done, all: None)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("SELECT count(*) FROM notes WHERE owner = 'bob'").fetchone() == (0,)
    assert not (tmp_path / "copy.db.part").exists()


async def test_a_backup_goes_on_beside_writes(tmp_path, folder, monkeypatch):
    """Each look at how far it is comes after another write: the copy is of the moment it began at."""
    monkeypatch.setattr("aios.drivers.backup.PAGES", 1)
    with closing(apsw.Connection(str(folder / "aios.db"))) as writer:
        writer.execute("CREATE TABLE beside (a)")
        copy(
            folder / "aios.db",
            tmp_path / "copy.db",
            lambda done, all: writer.execute("INSERT INTO beside VALUES (randomblob(5000))"),
        )
        assert writer.execute("SELECT count(*) FROM beside").get > 10
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("SELECT count(*) FROM beside").fetchone() == (0,)
    assert check(tmp_path / "copy.db") == []


def test_without_a_database_there_is_nothing_to_look_at(tmp_path):
    with pytest.raises(Unavailable):
        check(tmp_path / "aios.db")
    with pytest.raises(Unavailable):
        copy(tmp_path / "aios.db", tmp_path / "copy.db", lambda done, all: None)
