"""The writer on a disk that fails: what it answers is certain, and stays so when the power goes."""

import asyncio
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import apsw
import pytest

from aios.abi.errors import OutcomeUnknown, StorageFull, Unavailable
from aios.drivers import sqlite
from aios.drivers.reserve import Reserve
from aios.drivers.store import Manner, Store
from fakes.disk import Disk, broken, full, no_fault
from fakes.power import MODES, PowerLoss

TABLE = ("CREATE TABLE t (a INTEGER PRIMARY KEY, b)",)


@pytest.fixture
def disk():
    disk, quick = Disk(is_recording=True), Disk("quick")
    yield disk
    disk.unregister()
    quick.unregister()


@asynccontextmanager
async def opened(folder, **options):
    store = Store(folder / "aios.db", vfs="faulty", **options)
    await store.start()
    await store.migrate("t", TABLE)
    try:
        yield store
    finally:
        await store.close()


def insert(value):
    return lambda connection: connection.execute("INSERT INTO t (b) VALUES (?)", (value,)).get


def values(connection):
    return [b for (b,) in connection.execute("SELECT b FROM t ORDER BY a")]


def once(kind, error, file="aios.db-wal"):
    """A fault of the next operation of this kind on this file."""
    pending = [error]
    return lambda operation: (
        pending.pop() if pending and operation.kind == kind and operation.file == file else None
    )


class Dying:
    """From the first flush on, nothing works."""

    def __init__(self):
        self._is_dead = False

    def __call__(self, operation):
        self._is_dead = self._is_dead or operation.kind == "sync"
        return broken() if self._is_dead else None


def found_after(folder, disk, mode, seed):
    """What stands in the table after the power went."""
    power = PowerLoss(disk.changes, {"aios.db": b""}, seed)
    power.advance(len(disk.changes))
    return found_in(folder, power.files(mode, Random(seed)))


def found_in(folder, files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    connection = apsw.Connection(str(folder / "aios.db"), vfs="quick")
    found = values(connection)
    connection.close()
    return found


@pytest.mark.parametrize("kind", ["write", "sync"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_commit_that_failed_once_is_not_there_now_and_not_after_a_power_loss(
    tmp_path, disk, kind, mode
):
    async with opened(tmp_path / "data") as store:
        await store.write(insert("before"))
        disk.fault = once(kind, broken("IOERR_FSYNC"))
        with pytest.raises(Unavailable):
            await store.write(insert("failed"))
        assert await store.read(values) == ["before"]
        for seed in range(4):
            assert found_after(tmp_path / f"{seed}", disk, mode, seed) == ["before"]
        await store.write(insert("after"))
        for seed in range(20, 24):
            assert found_after(tmp_path / f"{seed}", disk, mode, seed) == ["before", "after"]


async def test_a_commit_nobody_can_tell_of_is_unknown_and_settled_by_the_next(tmp_path, disk):
    async with opened(tmp_path / "data") as store:
        await store.write(insert("before"))
        disk.fault = Dying()
        with pytest.raises(OutcomeUnknown):
            await store.write(insert("unknown"))
        after_power = {
            tuple(found_after(tmp_path / f"{mode} {seed}", disk, mode, seed))
            for seed in range(5)
            for mode in MODES
        }
        assert after_power <= {("before",), ("before", "unknown")}
        disk.fault = no_fault
        assert await store.read(values) == ["before"]
        await store.write(insert("after"))
        for seed in range(20, 24):
            assert found_after(tmp_path / f"{seed}", disk, "sectors", seed) == ["before", "after"]


async def test_a_flush_that_failed_before_a_restart_takes_nothing_along(tmp_path, disk):
    """The killed process left a log that can be read and is not on the disk: what comes after it must be."""
    async with opened(tmp_path / "data") as store:
        await store.write(insert("before"))
        disk.fault = Dying()
        with pytest.raises(OutcomeUnknown):
            await store.write(insert("unknown"))
        killed = {name: (tmp_path / "data" / name).read_bytes() for name in ("aios.db", "aios.db-wal")}
    disk.fault = no_fault
    for name, content in killed.items():
        (tmp_path / "data" / name).write_bytes(content)
    async with opened(tmp_path / "data") as store:
        seen = await store.read(values)
        assert seen == ["before", "unknown"]
        await store.write(insert("after"))
        for seed in range(10):
            assert found_after(tmp_path / f"{seed}", disk, "none", seed) == [*seen, "after"]


async def test_a_fault_in_the_middle_of_a_batch_fails_it_and_nothing_later(tmp_path, disk):
    async with opened(tmp_path / "data") as store:
        disk.fault = once("read", broken("IOERR_READ"), "aios.db-wal")

        def look(connection):
            connection.cache_flush()
            return connection.execute("PRAGMA integrity_check").get

        with pytest.raises(Unavailable):
            await store.write(lambda connection: (connection.pragma("cache_size", 0), look(connection)))
        await store.write(insert("after"))
        assert await store.read(values) == ["after"]


# ---- a full disk


class Kept(Reserve):
    """A reserve on the faulty disk."""

    def __init__(self, disk: Disk, num_bytes: int) -> None:
        super().__init__(Path("unused"), num_bytes)
        self._disk = disk
        self._is_there = False

    def release(self) -> None:
        if self._is_there:
            self._disk.room += self.num_bytes
        self._is_there = False

    def restore(self) -> bool:
        if not self._is_there and (self._disk.room is None or self._disk.room >= 2 * self.num_bytes):
            self._is_there = True
            if self._disk.room is not None:
                self._disk.room -= self.num_bytes
        return self._is_there


@pytest.fixture
def kept(disk, monkeypatch):
    """Stores keep their reserve on the faulty disk."""
    monkeypatch.setattr("aios.drivers.store.Reserve", lambda path, num_bytes: Kept(disk, num_bytes))
    monkeypatch.setattr(sqlite, "WAL_PAGES", 40)
    monkeypatch.setattr(sqlite, "MAX_LOG_BYTES", 160 * 4096)


async def fill(store, disk):
    """Write until there is no room."""
    disk.room = 4 * 500_000
    with suppress(StorageFull):
        while True:
            await store.write(insert("x" * 3000))


def delete(*, below):
    return lambda connection: connection.execute("DELETE FROM t WHERE a < ?", (below,)).get


async def freeing(store, work):
    with store.writing(Manner(frees=True)):
        return await store.write(work)


async def test_what_frees_is_done_on_a_full_disk_and_makes_writing_possible_again(tmp_path, disk, kept):
    async with opened(tmp_path / "data", reserve_bytes=500_000) as store:
        await fill(store, disk)
        assert disk.room < 500_000
        for _ in range(3):
            with pytest.raises(StorageFull):
                await store.write(insert("refused"))
        num_rows = len(await store.read(values))
        for below in range(20, num_rows, 20):
            await freeing(store, delete(below=below))
        await store.write(insert("after"))
        assert (await store.read(values))[-1] == "after"


async def test_what_does_not_free_leaves_the_reserve_alone(tmp_path, disk, kept):
    async with opened(tmp_path / "data", reserve_bytes=500_000) as store:
        await fill(store, disk)
        room = disk.room
        for _ in range(50):
            with pytest.raises(StorageFull):
                await store.write(insert("x" * 10))
        assert disk.room == room


async def test_writing_goes_on_when_the_disk_has_room_again(tmp_path, disk, kept):
    async with opened(tmp_path / "data", reserve_bytes=500_000) as store:
        await fill(store, disk)
        disk.room += 2_000_000
        await store.write(insert("after"))
        assert (await store.read(values))[-1] == "after"
        await fill(store, disk)
        await freeing(store, delete(below=5))


async def test_a_store_that_starts_on_a_full_disk_can_delete(tmp_path, disk, kept):
    async with opened(tmp_path / "data", reserve_bytes=500_000) as store:
        await fill(store, disk)
        await store.close()
        async with opened(tmp_path / "data", reserve_bytes=500_000) as store:
            with pytest.raises(StorageFull):
                await store.write(insert("refused"))
            await freeing(store, delete(below=5))


async def test_in_one_batch_what_frees_is_done_and_the_rest_is_refused(tmp_path, disk, kept):
    async with opened(tmp_path / "data", reserve_bytes=500_000) as store:
        for _ in range(20):
            await store.write(insert("x" * 3000))
        disk.room = 0

        def big(connection):
            for _ in range(200):
                insert("x" * 3000)(connection)

        refused, done = await asyncio.gather(
            store.write(big), freeing(store, delete(below=10)), return_exceptions=True
        )
        assert isinstance(refused, StorageFull)
        assert not isinstance(done, BaseException)
        assert len(await store.read(values)) == 11


async def test_a_task_s_manner_is_its_own(tmp_path, disk):
    seen = []

    def around(work, reply, connection):
        seen.append("around")
        return work(connection)

    async with opened(tmp_path / "data") as store:
        with store.writing(Manner(around)):
            await store.write(insert("a"))
            await asyncio.create_task(store.write(insert("b")))
            with store.writing(Manner()):
                await store.write(insert("c"))
            await store.write(insert("d"))
        await store.write(insert("e"))
    assert seen == ["around"] * 2


def test_a_reserve_takes_room_and_gives_it_back(tmp_path):
    reserve = Reserve(tmp_path / "reserve", 100_000)
    reserve.release()
    assert reserve.restore()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 100_000
    assert reserve.restore()
    reserve.release()
    assert (tmp_path / "reserve").stat().st_blocks == 0


def test_a_reserve_that_finds_no_room_takes_none(tmp_path):
    assert not Reserve(tmp_path / "reserve", 1 << 60).restore()
    assert not (tmp_path / "reserve").exists() or (tmp_path / "reserve").stat().st_blocks == 0
    assert not Reserve(tmp_path / "no folder" / "reserve", 1000).restore()
    assert Reserve(tmp_path / "none", 0).restore()
    assert not (tmp_path / "none").exists()


def test_a_full_disk_is_told_from_a_broken_one():
    assert isinstance(sqlite.typed(full()), StorageFull)
    assert isinstance(sqlite.typed(broken()), Unavailable)
