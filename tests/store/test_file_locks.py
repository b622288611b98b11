"""Locks: who may change what is locked, and when a lock ends."""

import asyncio

import pytest
from inline import InlineFiles

from aios.abi import syscalls as sc
from aios.abi.errors import Conflict, QuotaExceeded
from aios.kernel.config import StorageConfig


@pytest.fixture
def files():
    return InlineFiles()


@pytest.fixture
def agent(files):
    return files.agent()


CHANGES = [
    sc.StorageWrite(path="f/x", content="new"),
    sc.StorageAppend(path="f/x", content="new"),
    sc.StorageCreate(path="f/new"),
    sc.StorageMkdir(path="f/made"),
    sc.StorageDelete(path="f/x"),
    sc.StorageDelete(path="f", deep=True),
    sc.StorageMove(path="f/x", to="g"),
    sc.StorageMove(path="f", to="g"),
    sc.StorageMove(path="other", to="f/g"),
    sc.StorageRollback(path="f/x", version=1),
    sc.StorageRollback(path="f", time=1e9),
    sc.StorageRollback(path="", time=1e9),
    sc.StorageLock(path="f/x"),
    sc.StorageLock(path="f"),
]


@pytest.mark.parametrize("call", CHANGES, ids=repr)
async def test_what_is_locked_nobody_else_changes(files, agent, call):
    for path in ("f/x", "other"):
        await agent(sc.StorageWrite(path=path, content="old"))
    lock = await agent(sc.StorageLock(path="f", lease_s=30.0))
    with pytest.raises(Conflict, match="'f' is locked for another 30 s") as refused:
        await agent(call)
    assert refused.value.retry_after == 30.0
    files.clock.advance(30.0)
    assert lock.expires == files.clock.time()
    await agent(call)


@pytest.mark.parametrize("call", [call for call in CHANGES if hasattr(call, "lock")], ids=repr)
async def test_its_holder_may_change_it_as_long_as_it_lasts(files, agent, call):
    from msgspec import structs

    for path in ("f/x", "other"):
        await agent(sc.StorageWrite(path=path, content="old"))
    if call.path in ("", "other"):
        return
    lock = await agent(sc.StorageLock(path="f", lease_s=30.0))
    call = structs.replace(call, lock=lock.token)
    files.clock.advance(30.0)
    with pytest.raises(Conflict, match=f"lock {lock.token} on .* has ended"):
        await agent(call)  # Although nobody has locked it since: somebody may have changed it.
    lock = await agent(sc.StorageLock(path="f"))
    await agent(structs.replace(call, lock=lock.token))


async def test_a_later_lock_has_a_higher_token_whatever_is_locked(files, agent):
    tokens = []
    for path in ("a", "b", "a"):
        tokens.append((await agent(sc.StorageLock(path=path, lease_s=1.0))).token)
        files.clock.advance(1.0)
    assert tokens == sorted(set(tokens))
    with pytest.raises(Conflict):
        await agent(sc.StorageWrite(path="a", content="", lock=tokens[0]))


async def test_a_lock_of_something_else_opens_nothing(agent):
    lock = await agent(sc.StorageLock(path="f/x"))
    for path in ("f", "f/y", "g"):
        with pytest.raises(Conflict):
            await agent(sc.StorageWrite(path=path, content="", lock=lock.token))
    with pytest.raises(Conflict, match="'f/x' is locked"):
        await agent(sc.StorageLock(path="f"))


async def test_a_lock_lasts_longer_when_it_is_asked_for_again(files, agent):
    lock = await agent(sc.StorageLock(path="x", lease_s=10.0))
    files.clock.advance(9.0)
    longer = await agent(sc.StorageLock(path="x", lease_s=10.0, token=lock.token))
    assert (longer.token, longer.expires) == (lock.token, lock.expires + 9.0)
    files.clock.advance(9.0)
    await agent(sc.StorageWrite(path="x", content="", lock=lock.token))


async def test_unlocking_ends_it(agent):
    lock = await agent(sc.StorageLock(path="x"))
    for path, token in (("y", lock.token), ("x", lock.token + 1)):
        with pytest.raises(Conflict, match="has ended, or was never there"):
            await agent(sc.StorageUnlock(path=path, token=token))
    await agent(sc.StorageUnlock(path="x", token=lock.token))
    with pytest.raises(Conflict):
        await agent(sc.StorageUnlock(path="x", token=lock.token))
    await agent(sc.StorageWrite(path="x", content=""))


async def test_the_locks_of_a_process_end_with_it(files):
    dying, other = files.agent(pid=5), files.agent(pid=6)
    await dying(sc.StorageLock(path="x"))
    await other(sc.StorageLock(path="y"))
    files.storage.process_ended(5)
    await asyncio.sleep(0)
    await other(sc.StorageWrite(path="x", content=""))
    with pytest.raises(Conflict):
        await dying(sc.StorageWrite(path="y", content=""))


async def test_a_process_that_ends_while_it_locks_holds_nothing(files, monkeypatch):
    write = files.store.write

    async def slow(work, *, reply=None):
        result = await write(work, reply=reply)
        if isinstance(result, sc.FileLock):
            files.storage.process_ended(1)
        return result

    monkeypatch.setattr(files.store, "write", slow)
    await files.agent()(sc.StorageLock(path="x"))
    for _ in range(3):
        await asyncio.sleep(0)
    await files.agent(pid=2)(sc.StorageWrite(path="x", content=""))


async def test_a_kernel_begins_without_locks(tmp_path, at):
    async with at(tmp_path) as managers:
        lock = await managers.agent()(sc.StorageLock(path="x"))
    async with at(tmp_path) as managers:
        with pytest.raises(Conflict):
            await managers.agent()(sc.StorageWrite(path="x", content="", lock=lock.token))
        await managers.agent()(sc.StorageWrite(path="x", content=""))
        later = await managers.agent()(sc.StorageLock(path="x"))
        assert later.token > lock.token


async def test_locks_have_a_limit():
    files = InlineFiles(StorageConfig(max_locks=1))
    agent = files.agent()
    await agent(sc.StorageLock(path="x", lease_s=1.0))
    with pytest.raises(QuotaExceeded, match="1 locks"):
        await agent(sc.StorageLock(path="y"))
    await files.agent("bob")(sc.StorageLock(path="y"))
    files.clock.advance(1.0)
    await agent(sc.StorageLock(path="y"))
