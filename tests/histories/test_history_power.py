"""The power goes, or the disk fails once, while histories grow, part, leave memory and are packed on disk."""

import os
from random import Random

import pytest
from held import Histories

from aios.abi import syscalls as sc
from aios.abi.errors import OutcomeUnknown, StorageFull, Unavailable
from aios.abi.messages import Message
from aios.drivers import sqlite
from aios.drivers.store import Store
from aios.kernel.config import MemoryConfig
from fakes.disk import Disk, broken, full, no_fault
from fakes.power import MODES, PowerLoss

NUM_LOSSES = int(os.environ.get("AIOS_CRASH_HISTORY_LOSSES", "30"))
NUM_FAULTS = int(os.environ.get("AIOS_CRASH_HISTORY_FAULTS", "12"))
NUM_STEPS = 40

OWNERS, NAMES = ("alice", "bob"), ("main", "b", "c")
SMALL = MemoryConfig(history_block_bytes=20_000, history_memory_bytes=40_000)
SHARED = "what many begin with " * 60


@pytest.fixture
def disk():
    disk = Disk(is_recording=True)
    yield disk
    disk.unregister()


@pytest.fixture(autouse=True)
def small_log(monkeypatch):
    """The log is copied into the database often."""
    monkeypatch.setattr(sqlite, "WAL_PAGES", 30)
    monkeypatch.setattr(sqlite, "MAX_LOG_BYTES", 100 * 4096)


class Life:
    """Agents at work, and what their histories should say after each step."""

    def __init__(self, seed):
        self._rng = Random(seed)
        self.lists = {}

    def next(self):
        """The next call: whose, and which."""
        owner, name = self._rng.choice(OWNERS), self._rng.choice(NAMES)
        known = self.lists.get((owner, name), [])
        kind, free = self._rng.randrange(10), [one for one in NAMES if (owner, one) not in self.lists]
        if kind <= 1 and known and free:
            return owner, sc.MemoryFork(to=free[0], history=name, at=self._rng.randint(1, len(known)))
        if kind == 2 and known:
            return owner, sc.MemoryClear(history=name, start=self._rng.randrange(len(known)))
        size = self._rng.choice((1, 400, 3000))
        text = self._rng.choice(("", SHARED)) + self._rng.choice("xyz") * size
        return owner, sc.MemoryAppend(messages=(Message("user", text),), history=name)

    def did(self, owner, call):
        lists = dict(self.lists)
        match call:
            case sc.MemoryFork():
                lists[owner, call.to] = lists[owner, call.history][: call.at]
            case sc.MemoryClear():
                kept = lists.pop((owner, call.history))[: call.start]
                lists |= {(owner, call.history): kept} if kept else {}
            case sc.MemoryAppend():
                texts = [message.text for message in call.messages]
                lists[owner, call.history] = lists.get((owner, call.history), []) + texts
        self.lists = lists


async def everything(histories):
    """What all histories say."""
    found = {}
    for owner in OWNERS:
        agent = histories.agent(owner)
        for entry in (await agent(sc.MemoryHistories())).histories:
            found[owner, entry.name] = await agent.texts(history=entry.name)
    return found


async def found_in(folder):
    """What a kernel that is started on a folder finds."""
    store = Store(folder / "aios.db")
    await store.start()
    histories = Histories(store, SMALL)
    await histories.start()
    try:
        return await everything(histories)
    finally:
        await histories.manager.close()
        await store.close()


async def test_nothing_acknowledged_is_lost_with_the_power(tmp_path, disk):
    store = Store(tmp_path / "live" / "aios.db", vfs="faulty")
    await store.start()
    histories = Histories(store, SMALL)
    await histories.start()
    life, states, acknowledged = Life(1), [{}], [len(disk.changes)]
    for _ in range(NUM_STEPS):
        histories.clock.advance(1)
        owner, call = life.next()
        await histories.agent(owner)(call)
        life.did(owner, call)
        states.append(life.lists)
        acknowledged.append(len(disk.changes))
    assert histories.manager.statistics()["evicted"]
    await histories.manager.close()
    await store.close()
    rng = Random(2)
    places = sorted(rng.randint(acknowledged[0], len(disk.changes)) for _ in range(NUM_LOSSES))
    power = PowerLoss(disk.changes, {"aios.db": b""})
    for number, at in enumerate(places):
        power.advance(at)
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in power.files(rng.choice(MODES), rng).items():
            (folder / name).write_bytes(content)
        last = max(step for step, begun in enumerate(acknowledged) if begun <= at)
        assert await found_in(folder) in states[last : last + 2]


async def lived(folder, disk, at, error):
    """A life in which the disk's operation number `at` fails; what is seen is what was acknowledged."""
    store = Store(folder / "aios.db", vfs="faulty")
    await store.start()
    histories = Histories(store, SMALL)
    await histories.start()
    disk.num_operations, disk.kinds = 0, []
    disk.fault = lambda operation: error() if operation.number == at else None
    life = Life(3)
    for _ in range(NUM_STEPS):
        histories.clock.advance(1)
        owner, call = life.next()
        before = life.lists
        try:
            await histories.agent(owner)(call)
            life.did(owner, call)
        except (Unavailable, StorageFull):
            assert await everything(histories) == before
        except OutcomeUnknown:
            life.did(owner, call)
            found = await everything(histories)
            assert found in (before, life.lists)
            life.lists = found
        histories.manager.check()
    kinds = disk.kinds
    disk.fault = no_fault
    assert await everything(histories) == life.lists
    await histories.manager.close()
    await store.close()
    assert await found_in(folder) == life.lists
    return kinds


async def test_a_disk_that_fails_once_loses_nothing_and_tells_no_lie(tmp_path, disk):
    kinds = await lived(tmp_path / "whole", disk, None, broken)
    errors = {"write": full, "sync": lambda: broken("IOERR_FSYNC")}
    points = [(at, errors[kind]) for at, kind in enumerate(kinds) if kind in errors]
    for number, (at, error) in enumerate(Random(4).sample(points, NUM_FAULTS)):
        await lived(tmp_path / str(number), disk, at, error)
