"""What a disk can do to the store: no room, failing flushes, damage, and the death of the process."""

import subprocess
import sys
from collections import Counter

import apsw
import pytest

from aios.abi import syscalls as sc
from aios.abi.errors import OutcomeUnknown, StorageFull, Unavailable
from aios.drivers import sqlite
from aios.drivers.store import Store
from aios.kernel.shelves import tending
from fakes.disk import Disk, broken, full, no_fault


@pytest.fixture
def disk():
    disk = Disk()
    yield disk
    disk.unregister()


def failing(kind, error):
    """A disk on which one kind of operation fails."""
    return lambda operation: error if operation.kind == kind else None


@pytest.fixture
async def store(tmp_path, disk):
    store = Store(tmp_path / "aios.db", vfs="faulty")
    await store.start()
    await store.migrate("t", ("CREATE TABLE t (a INTEGER PRIMARY KEY, b)",))
    await store.write(insert("before"))
    await store.read(values)
    yield store
    await store.close()


def insert(value):
    return lambda connection: connection.execute("INSERT INTO t (b) VALUES (?)", (value,)).get


def values(connection):
    return [b for (b,) in connection.execute("SELECT b FROM t ORDER BY a")]


async def test_a_commit_is_there_when_only_copying_the_log_has_no_room(store, disk, monkeypatch):
    monkeypatch.setattr(sqlite, "WAL_PAGES", 2)
    await store.close()
    await store.start()
    disk.fault = lambda operation: full() if operation[1:] == ("write", "aios.db") else None
    for number in range(5):
        await store.write(insert(number))
    assert await store.read(values) == ["before", *range(5)]
    disk.fault = no_fault


@pytest.mark.parametrize(("failure", "expected"), [(full(), StorageFull), (broken(), OutcomeUnknown)])
async def test_a_disk_that_takes_no_writes(store, disk, failure, expected):
    disk.fault = failing("write", failure)
    for _ in range(2):
        with pytest.raises(expected):
            await store.write(insert("lost"))
        assert await store.read(values) == ["before"]
    disk.fault = no_fault
    await store.write(insert("after"))
    assert await store.read(values) == ["before", "after"]


async def test_a_flush_that_fails_is_not_acknowledged(store, disk):
    disk.fault = failing("sync", broken("IOERR_FSYNC"))
    with pytest.raises(OutcomeUnknown):
        await store.write(insert("unsure"))
    disk.fault = no_fault
    await store.write(insert("after"))
    assert "after" in await store.read(values)


async def test_a_transaction_that_outgrows_the_disk_on_the_way(store, disk):
    def fill(connection):
        connection.pragma("cache_size", 10)
        disk.fault = failing("write", full())
        for _ in range(200):
            connection.execute("INSERT INTO t (b) VALUES (?)", ("x" * 4000,))

    with pytest.raises(StorageFull):
        await store.write(fill)
    disk.fault = no_fault
    await store.write(insert("after"))
    assert await store.read(values) == ["before", "after"]


async def test_a_disk_that_cannot_be_opened_again_is_unavailable_until_it_can(store, disk, tmp_path):
    disk.fault = failing("write", broken())
    with pytest.raises(OutcomeUnknown):
        await store.write(insert("lost"))
    disk.fault = no_fault
    (tmp_path / "aios.db").rename(tmp_path / "away.db")
    (tmp_path / "aios.db").mkdir()
    with pytest.raises(Unavailable):
        await store.write(insert("lost"))
    (tmp_path / "aios.db").rmdir()
    (tmp_path / "away.db").rename(tmp_path / "aios.db")
    await store.write(insert("after"))
    assert await store.read(values) == ["before", "after"]


async def test_a_damaged_index_of_files_stops_no_write_and_is_made_anew(tmp_path, at, monkeypatch):
    monkeypatch.setattr(tending, "FLUSH", 1)
    async with at(tmp_path) as managers:
        await managers.agent()(sc.StorageWrite(path="old", content="green tea"))
        managers.tender.wake("files/alice")
        await managers.tender.idle()
    other = apsw.Connection(str(tmp_path / "aios.db"))
    other.execute("UPDATE shelf_segments SET head = x'ff'")
    assert other.changes() == 1
    other.close()
    async with at(tmp_path) as managers:
        agent = managers.agent()
        await agent(sc.StorageWrite(path="new", content="black tea"))
        assert {hit.file.path for hit in (await agent(sc.StorageSearch(text="tea"))).hits} == {"old", "new"}


WRITER = """
import asyncio, sys
from pathlib import Path
from aios.abi.syscalls import MemoryAdd, StorageAppend
from aios.drivers.clock import SystemClock
from aios.drivers.documents.extracting import Extractor
from aios.drivers.store import Store
from aios.kernel.audit import AuditLog
from aios.kernel.config import MemoryConfig, StorageConfig
from aios.kernel.finding.extracting import Extracting
from aios.kernel.grants import Grants
from aios.kernel.groups import Groups
from aios.kernel.memory import MemoryManager
from aios.kernel.process import Caller
from aios.kernel.shelves.shelf import Sources
from aios.kernel.shelves.tender import Tender
from aios.kernel.storage import StorageManager

async def write(manager, caller, call):
    while True:
        await manager.execute(caller, call)
        print(caller.principal, type(call).__name__, flush=True)

async def main():
    store = Store(Path(sys.argv[1]))
    await store.start()
    audit = AuditLog(store, SystemClock())
    grants, groups = Grants(store, audit, 1), Groups(store, audit, 1)
    tender = Tender(store, Sources({}), 1)
    memory = MemoryManager(store, MemoryConfig(), SystemClock(), grants, groups, tender)
    extracting = Extracting(store, SystemClock(), Extractor(SystemClock()))
    storage = StorageManager(store, StorageConfig(), SystemClock(), tender, extracting)
    await tender.start()
    await memory.start()
    await storage.start()
    calls = [(memory, MemoryAdd(text="kept")), (storage, StorageAppend(path="log", content="x"))]
    await asyncio.gather(*(write(m, Caller(n, f"agent.{n}"), call) for n in range(10) for m, call in calls))

asyncio.run(main())
"""


def killed(path, num_lines):
    """The lines that a writing process printed until it was killed after at least `num_lines` of them."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(num_lines)]
        process.kill()
        lines += process.stdout.readlines()
    return [line for line in lines if line.endswith("\n")]


async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path, at):
    lines = [line for num_lines in (40, 90) for line in killed(tmp_path / "aios.db", num_lines)]
    assert len(lines) >= 130
    find = {
        "MemoryAdd": "SELECT num_notes FROM note_owners WHERE owner = ?",
        "StorageAppend": "SELECT size FROM files WHERE owner = ?",
    }
    async with at(tmp_path) as managers:
        for line, num_acknowledged in Counter(lines).items():
            principal, call = line.split()
            found = await managers.store.read(lambda c, p=principal, q=find[call]: c.execute(q, (p,)).get)
            assert found >= num_acknowledged, line
