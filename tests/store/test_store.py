"""The store: groups, isolation of one write from another, its door, and its tables' versions."""

import asyncio
import errno
import fcntl
import os
import threading

import pytest

from aios.abi.errors import Conflict, Corrupt, Internal, InvalidArgument, Overloaded, Unavailable
from aios.drivers import sqlite
from aios.drivers.store import MAX_BATCH, Store

TABLE = ("CREATE TABLE t (a INTEGER PRIMARY KEY, b)",)


@pytest.fixture
async def store(tmp_path):
    store = Store(tmp_path / "data" / "aios.db")
    await store.start()
    await store.migrate("t", TABLE)
    yield store
    await store.close()


def insert(value):
    return lambda connection: connection.execute("INSERT INTO t (b) VALUES (?) RETURNING a", (value,)).get


def values(connection):
    return [b for (b,) in connection.execute("SELECT b FROM t ORDER BY a")]


class Gate:
    """A write that keeps the writer busy until it is opened."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._open = threading.Event()

    def __call__(self, connection):
        self._loop.call_soon_threadsafe(self.entered.set)
        assert self._open.wait(60)

    def open(self):
        self._open.set()


async def test_a_write_is_read_after_it_was_acknowledged(store):
    assert await store.write(insert("x")) == 1
    assert await store.read(values) == ["x"]


async def test_writes_that_wait_share_one_commit(store):
    gate = Gate()
    first = asyncio.ensure_future(store.write(gate))
    await gate.entered.wait()
    others = [asyncio.ensure_future(store.write(insert(n))) for n in range(100)]
    await asyncio.sleep(0)
    before = store.num_commits
    gate.open()
    await asyncio.gather(first, *others)
    assert store.num_commits - before == 2
    assert await store.read(values) == list(range(100))


async def test_a_batch_is_bounded(store):
    gate = Gate()
    first = asyncio.ensure_future(store.write(gate))
    await gate.entered.wait()
    others = [asyncio.ensure_future(store.write(insert(n))) for n in range(MAX_BATCH + 1)]
    await asyncio.sleep(0)
    before = store.num_commits
    gate.open()
    await asyncio.gather(first, *others)
    assert store.num_commits - before == 3


async def test_a_write_that_fails_leaves_its_neighbours_alone(store):
    gate = Gate()
    first = asyncio.ensure_future(store.write(gate))
    await gate.entered.wait()

    def fails(connection):
        insert("lost")(connection)
        raise Conflict("no")

    writes = [asyncio.ensure_future(store.write(work)) for work in (insert("a"), fails, insert("b"))]
    await asyncio.sleep(0)
    gate.open()
    await first
    a, error, b = await asyncio.gather(*writes, return_exceptions=True)
    assert (a, b) == (1, 2)
    assert isinstance(error, Conflict)
    assert await store.read(values) == ["a", "b"]


async def test_a_write_cancelled_before_its_turn_changes_nothing(store):
    gate = Gate()
    first = asyncio.ensure_future(store.write(gate))
    await gate.entered.wait()
    cancelled = asyncio.ensure_future(store.write(insert("x")))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    gate.open()
    await first
    assert await store.write(values) == []  # After the cancelled one has been settled.
    assert store.statistics()["waiting"] == 0


async def test_a_reader_cannot_write(store):
    with pytest.raises(Unavailable):
        await store.read(insert("x"))
    assert await store.read(values) == []


async def test_a_mistake_in_sql_is_a_defect_and_hurts_nobody_else(store):
    with pytest.raises(Internal):
        await store.write(lambda connection: connection.execute("nonsense"))
    with pytest.raises(Internal):
        await store.write(lambda connection: next(iter(())))
    assert await store.write(insert("x")) == 1


async def test_too_many_that_wait_are_refused(tmp_path):
    store = Store(tmp_path / "aios.db", max_waiting=2)
    await store.start()
    gate = Gate()
    writes = [asyncio.ensure_future(store.write(gate)), asyncio.ensure_future(store.write(values))]
    await gate.entered.wait()
    with pytest.raises(Overloaded) as refused:
        await store.read(values)
    assert refused.value.retry_after
    gate.open()
    await asyncio.gather(*writes, return_exceptions=True)
    assert await store.read(lambda connection: 1) == 1
    await store.close()


async def test_closing_does_what_was_accepted_and_refuses_the_rest(store, tmp_path):
    gate = Gate()
    writes = [asyncio.ensure_future(store.write(work)) for work in (gate, insert("x"))]
    await gate.entered.wait()
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="closed"):
        await store.write(insert("late"))
    gate.open()
    await closing
    await asyncio.gather(*writes)
    again = Store(tmp_path / "data" / "aios.db")
    await again.start()
    assert await again.read(values) == ["x"]
    await again.close()


async def test_a_second_kernel_is_refused_and_told_who_has_the_data(store, tmp_path):
    with pytest.raises(Conflict, match=f"process {os.getpid()}"):
        await Store(tmp_path / "data" / "aios.db").start()


async def test_a_query_that_an_error_left_halfway_holds_no_old_state(tmp_path):
    store = Store(tmp_path / "aios.db", num_readers=1)
    await store.start()
    await store.migrate("t", TABLE)
    for value in ("a", "b"):
        await store.write(insert(value))

    def stops_halfway(connection):
        rows = connection.execute("SELECT b FROM t")
        next(rows)
        raise Conflict("no")

    with pytest.raises(Conflict) as kept:
        await store.read(stops_halfway)
    await store.write(insert("c"))
    assert await store.read(values) == ["a", "b", "c"]
    assert kept.value.__traceback__
    await store.close()


async def test_a_log_that_sqlite_does_not_start_anew_is_started_anew(tmp_path, monkeypatch):
    # So it is with readers that always overlap; here it never copies the log by itself.
    monkeypatch.setattr(sqlite, "WAL_PAGES", 1_000_000)
    monkeypatch.setattr(sqlite, "MAX_LOG_BYTES", 400_000)
    store = Store(tmp_path / "aios.db")
    await store.start()
    await store.migrate("t", TABLE)
    for _ in range(12):
        await store.write(insert("x" * 100_000))
    assert (tmp_path / "aios.db-wal").stat().st_size < 800_000
    await store.close()


async def test_a_file_system_without_locks_is_said_so(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Unavailable, match="No locks available"):
        await Store(tmp_path / "aios.db").start()


async def test_what_the_data_is_kept_in_is_the_owners_alone(store, tmp_path):
    await store.write(insert("x"))
    for file in (tmp_path / "data").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


async def test_a_folder_or_rubbish_in_place_of_the_database(tmp_path):
    with pytest.raises(InvalidArgument, match="folder"):
        await Store(tmp_path).start()
    rubbish = tmp_path / "aios.db"
    rubbish.write_bytes(b"this is no database" * 100)
    for _ in range(2):  # The lock of the first attempt is gone.
        with pytest.raises(Corrupt, match="damaged"):
            await Store(rubbish).start()
