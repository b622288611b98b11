"""Idempotency keys: a call made again takes effect once, and is answered the same, whatever came between."""

import asyncio
from itertools import count
from pathlib import Path

import pytest
from driving import Run, boot, settle_down
from msgspec import structs

from aios.abi import syscalls as sc
from aios.abi import wire
from aios.abi.errors import (
    Conflict,
    Corrupt,
    InvalidArgument,
    NotFound,
    OutcomeUnknown,
    Unauthenticated,
)
from aios.abi.messages import Message
from aios.kernel.access import WRITES
from aios.kernel.config import MountConfig, StoreConfig
from aios.kernel.replies import pack, unpack
from fakes.disk import Disk, broken, no_fault

HELLO = Message("user", "hello")
LONG = "a long text " * 30


async def durable(run: Run) -> int:
    return (await run.spawn(principal="alice", durable=True)).pid


LASTING: dict[str, tuple[int, sc.SystemCall]] = {
    "context.snapshot": (2, sc.ContextSnapshot(name="here", messages=(HELLO,))),
    "context.drop": (2, sc.ContextDrop(name="there")),
    "memory.append": (2, sc.MemoryAppend(messages=(HELLO,))),
    "memory.fork": (2, sc.MemoryFork(to="copy")),
    "memory.pin": (2, sc.MemoryPin(history="copy")),
    "memory.clear": (2, sc.MemoryClear()),
    "memory.add": (2, sc.MemoryAdd(text=LONG, tags=("a",))),
    "memory.update": (2, sc.MemoryUpdate(note_id="n1", text=LONG)),
    "memory.remove": (2, sc.MemoryRemove(note_id="n1")),
    "memory.load": (2, sc.MemoryLoad(notes=(sc.NoteRecord(text="loaded"),))),
    "memory.purge": (2, sc.MemoryPurge(source="web")),
    "storage.create": (2, sc.StorageCreate(path="new", content="x")),
    "storage.write": (2, sc.StorageWrite(path="file", content=LONG)),
    "storage.append": (2, sc.StorageAppend(path="file", content="more")),
    "storage.rollback": (2, sc.StorageRollback(path="file", version=1)),
    "storage.join": (2, sc.StorageJoin(files=(sc.FileAt("old"),), to="joined")),
    "storage.delete": (2, sc.StorageDelete(path="file")),
    "storage.mkdir": (2, sc.StorageMkdir(path="folder")),
    "storage.move": (2, sc.StorageMove(path="old", to="new place")),
    "storage.prune": (1, sc.StoragePrune(path="pruned")),
    "storage.share": (1, sc.StorageShare(path="mine")),
    "storage.upload": (2, sc.StorageUpload(path="large")),
    "storage.mount": (1, sc.StorageMount(name="lent", folder="new mount")),
    "storage.unmount": (1, sc.StorageUnmount(folder="mounted")),
    "access.grant": (2, sc.AccessGrant(to="bob", resource="memory", verbs=("read",))),
    "access.revoke": (2, sc.AccessRevoke(grant_id="g1")),
    "process.spawn": (1, sc.ProcessSpawn(agent="child", principal="child", durable=True)),
    "process.kill": (1, sc.ProcessKill(pid=3)),
    "access.set_group": (1, sc.AccessSetGroup(name="team", members=("bob",))),
    "access.drop_group": (1, sc.AccessDropGroup(name="old")),
}
"""Calls whose effects outlive the kernel, each with its caller; `prepare` makes what they need."""

PASSING = {
    "process.send": sc.ProcessSend(pid=2, text="mail"),
    "process.suspend": sc.ProcessSuspend(pid=3),
    "process.resume": sc.ProcessResume(pid=3),
    "process.spawn": sc.ProcessSpawn(agent="child"),
    "storage.lock": sc.StorageLock(path="locked"),
    "storage.unlock": sc.StorageUnlock(path="locked", token=1),
}
"""Calls whose effects end with the kernel."""

NOT_MADE_AGAIN = {"process.exit", "access.approve", "access.deny", "tool.unregister"}
"""After the first its process is no more; the others end what a person or a tool's owner has begun."""


def lent_beside(folder: Path) -> tuple[MountConfig, ...]:
    """A directory that may be mounted, with nothing in it."""
    lent = folder.with_name(f"{folder.name}-lent")
    lent.mkdir(exist_ok=True)
    return (MountConfig(name="lent", path=lent),)


async def prepare(run: Run) -> dict[str, tuple[int, sc.SystemCall]]:
    """Answers the calls of `LASTING`, and those of things that are named when they are made."""
    await run.spawn("alice", principal="alice", durable=True)
    await run.spawn("victim", principal="victim", durable=True)
    await run.call(2, sc.ContextSnapshot(name="there", messages=(HELLO,)))
    await run.call(2, sc.MemoryAdd(text="kept"))
    await run.call(2, sc.MemoryAdd(text="found", source="web"))
    await run.call(2, sc.MemoryAppend(messages=(HELLO,)))
    await run.call(2, sc.StorageWrite(path="file", content="x"))
    await run.call(2, sc.AccessGrant(to="carol", resource="memory", verbs=("read",)))
    await run.call(1, sc.AccessSetGroup(name="old", members=("bob",)))
    await run.call(2, sc.StorageWrite(path="old", content="x"))
    for path in ("mine", "pruned", "pruned"):
        await run.call(1, sc.StorageWrite(path=path, content="x"))
    await run.call(1, sc.StorageMount(name="lent", folder="mounted"))
    link = await run.call(1, sc.StorageShare(path="mine"))
    part, commit, abort = [(await run.call(2, sc.StorageUpload(path="large"))).id for _ in range(3)]
    return LASTING | {
        "storage.unshare": (1, sc.StorageUnshare(share_id=link.id)),
        "storage.part": (2, sc.StoragePart(upload_id=part, start=0, data=b"part")),
        "storage.commit": (2, sc.StorageCommit(upload_id=commit, path="committed", size=0)),
        "storage.abort": (2, sc.StorageAbort(upload_id=abort)),
    }


async def seen(run: Run) -> list[object]:
    """All that the calls under test change, but for times."""
    found = [
        await run.call(2, sc.ContextList()),
        await run.call(2, sc.MemoryRead()),
        [(one.name, one.pinned) for one in (await run.call(2, sc.MemoryHistories())).histories],
        await run.call(2, sc.MemorySearch()),
        await run.call(2, sc.StorageList()),
        *[await run.call(caller, sc.StorageQuota()) for caller in (1, 2)],
        [one.folder for one in (await run.call(1, sc.StorageMounts())).mounts],
        await run.call(1, sc.StorageShares()),
        await run.call(1, sc.AccessGroups()),
        [(one.agent, one.pid, one.state) for one in (await run.call(1, sc.ProcessList())).processes],
        [entry.event for entry in await run.kernel.audit.entries()],
    ]
    try:
        found.append(await run.call(2, sc.StorageHistory(path="file")))
    except NotFound:
        found.append(None)
    return found


async def test_a_call_made_again_after_a_restart_changes_nothing_and_is_answered_the_same(tmp_path):
    replies = {}
    async with boot(tmp_path, mounts=lent_beside(tmp_path)) as run:
        calls = await prepare(run)
        for name, (caller, call) in calls.items():
            before = await seen(run)
            replies[name] = await run.call(caller, call, key=name)
            after = await seen(run)
            assert after != before, name
            assert await run.call(caller, call, key=name) == replies[name], name
            assert await seen(run) == after, name
        tokens = run.tokens
    async with boot(tmp_path, mounts=lent_beside(tmp_path)) as run:
        run.tokens |= tokens
        before = await seen(run)
        for name, (caller, call) in calls.items():
            assert await run.call(caller, call, key=name) == replies[name], name
            with pytest.raises(Conflict, match="another call"):
                await run.call(caller, sc.MemoryAdd(text="other"), key=name)
            assert await seen(run) == before, name
        assert await run.kernel.trap(replies["process.spawn"].token, sc.ProcessUsage())


@pytest.mark.parametrize("name", PASSING)
async def test_a_call_whose_effect_ends_with_the_kernel_is_remembered_as_long(tmp_path, name):
    call = PASSING[name]
    async with boot(tmp_path, mounts=lent_beside(tmp_path)) as run:
        await prepare(run)
        if isinstance(call, sc.ProcessResume):
            await run.call(1, sc.ProcessSuspend(pid=3))
        if isinstance(call, sc.StorageUnlock):
            lock = await run.call(1, sc.StorageLock(path=call.path))
            call = structs.replace(call, token=lock.token)
        reply = await run.call(1, call, key="once")
        after = await seen(run)
        assert await run.call(1, call, key="once") == reply
        assert await seen(run) == after
        if isinstance(call, sc.ProcessSend):
            assert (await run.call(2, sc.ProcessReceive())).text == "mail"
            assert not run.kernel._processes.get(2).mail
        with pytest.raises(Conflict, match="another call"):
            await run.call(1, sc.ProcessSend(pid=2, text="other"), key="once")


async def test_every_call_that_writes_is_tried_here(tmp_path):
    names = {sc.ROW_OF[request].name for request in WRITES}
    async with boot(tmp_path, mounts=lent_beside(tmp_path)) as run:
        calls = await prepare(run)
    assert names == set(calls) | NOT_MADE_AGAIN | (names & set(PASSING))
    assert all(wire.may_have_effect(name) for name in names)


async def test_the_same_call_twice_at_once_takes_effect_once(run):
    pid = await durable(run)
    call = sc.StorageAppend(path="log", content="line\n")
    replies = await asyncio.gather(*(run.call(pid, call, key="k") for _ in range(20)))
    assert len({reply.version for reply in replies}) == 1
    assert (await run.call(pid, sc.StorageRead(path="log"))).content == "line\n"


async def test_each_principal_has_keys_of_its_own(run):
    alice, bob = await durable(run), (await run.spawn()).pid
    for pid in (alice, bob):
        await run.call(pid, sc.MemoryAdd(text=f"of {pid}"), key="k")
    note = (await run.call(bob, sc.MemorySearch())).hits[0].note
    assert note.text == f"of {bob}"


async def test_an_error_keeps_nothing_so_that_the_call_may_succeed_later(run):
    pid = await durable(run)
    call = sc.StorageRollback(path="file", version=1)
    with pytest.raises(NotFound):
        await run.call(pid, call, key="k")
    await run.call(pid, sc.StorageWrite(path="file", content="x"))
    assert (await run.call(pid, call, key="k")).version == 2
    assert (await run.call(pid, call, key="k")).version == 2


async def test_a_repeat_is_answered_although_it_could_not_be_done_any_more(run):
    pid = await durable(run)
    revoked = sc.AccessRevoke(grant_id="g1")
    await run.call(pid, sc.AccessGrant(to="bob", resource="memory", verbs=("read",)))
    await run.call(pid, revoked, key="k")
    assert await run.call(pid, revoked, key="k") == sc.Done()
    with pytest.raises(NotFound):
        await run.call(pid, revoked)


async def test_a_person_is_not_asked_twice_for_what_was_done(run):
    owner, other = (await run.spawn("a", principal="alice")).pid, (await run.spawn("b", principal="bob")).pid
    await run.call(owner, sc.StorageWrite(path="f", content="x"))
    await run.call(owner, sc.AccessGrant(to="bob", resource="storage", verbs=("delete",)))
    delete = sc.StorageDelete(path="f", owner="alice")
    asking = run.begin(other, delete, key="k")
    while not (waiting := (await run.call(1, sc.AccessPending())).approvals):
        await settle_down()
    await run.call(1, sc.AccessApprove(approval_id=waiting[0].id))
    await asking
    assert await run.call(other, delete, key="k") == sc.Done()
    assert not (await run.call(1, sc.AccessPending())).approvals


async def test_a_call_that_was_bound_to_a_version_for_a_person_is_known_again(run):
    owner, other = (await run.spawn("a", principal="alice")).pid, (await run.spawn("b", principal="bob")).pid
    await run.call(owner, sc.StorageWrite(path="f", content="x"))
    await run.call(owner, sc.AccessGrant(to="bob", resource="storage", verbs=("write",)))
    write = sc.StorageWrite(path="f", content="y", owner="alice")
    asking = run.begin(other, write, key="k")
    while not (waiting := (await run.call(1, sc.AccessPending())).approvals):
        await settle_down()
    await run.call(1, sc.AccessApprove(approval_id=waiting[0].id))
    reply = await asking
    assert await run.call(other, write, key="k") == reply
    assert (await run.call(owner, sc.StorageStat(path="f"))).version == 2


async def test_reads_and_generations_take_no_notice_of_a_key(run):
    pid = await durable(run)
    await run.call(pid, sc.MemoryAdd(text="one"))
    assert len((await run.call(pid, sc.MemorySearch(), key="k")).hits) == 1
    await run.call(pid, sc.MemoryAdd(text="two"))
    assert len((await run.call(pid, sc.MemorySearch(), key="k")).hits) == 2


@pytest.mark.parametrize("key", ["a b", "é", "\n", "x" * 129, "\x7f"])
async def test_a_key_is_short_and_printable(run, key):
    with pytest.raises(InvalidArgument, match="idempotency key"):
        await run.call(1, sc.MemoryAdd(text="t"), key=key)


async def test_a_dead_process_is_answered_nothing(run):
    spawned = await run.spawn()
    await run.call(spawned.pid, sc.MemoryAdd(text="t"), key="k")
    await run.call(1, sc.ProcessKill(pid=spawned.pid))
    with pytest.raises(Unauthenticated):
        await run.call(spawned.pid, sc.MemoryAdd(text="t"), key="k")


# ---- what is not known


async def test_a_commit_that_could_not_be_settled_is_settled_by_asking_again(tmp_path):
    disk = Disk("unsure", is_default=True)
    try:
        async with boot(tmp_path, mounts=lent_beside(tmp_path)) as run:
            pid = await durable(run)
            call = sc.StorageAppend(path="log", content="line\n")
            disk.fault = lambda operation: broken("IOERR_FSYNC") if operation.kind == "sync" else None
            for _ in range(3):
                with pytest.raises(OutcomeUnknown):
                    await run.call(pid, call, key="k")
            disk.fault = no_fault
            assert (await run.call(pid, call, key="k")).version == 1
            assert (await run.call(pid, call, key="k")).version == 1
            assert (await run.call(pid, sc.StorageRead(path="log"))).content == "line\n"
    finally:
        disk.unregister()


async def test_a_tool_with_a_key_runs_once(tmp_path):
    async with boot(tmp_path, mounts=lent_beside(tmp_path)) as run:
        pid = await durable(run)
        call = sc.ToolRun(name="calculate", arguments={"expression": "6*7"})
        reply = await run.call(pid, call, key="k")
        assert await run.call(pid, call, key="k") == reply
        with pytest.raises(NotFound):
            await run.call(pid, sc.ToolRun(name="nothing", arguments={}), key="other")
        assert await run.call(pid, call, key="other") == reply


async def test_a_tool_that_was_begun_and_cut_off_is_not_begun_again(tmp_path, monkeypatch):
    runs = count()
    async with boot(tmp_path, mounts=lent_beside(tmp_path)) as run:
        pid = await durable(run)
        tools = run.kernel._dispatcher._managers.tool
        execute, began = tools.execute, asyncio.Event()

        async def hang(caller, call):
            next(runs)
            began.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(tools, "execute", hang)
        call = sc.ToolRun(name="calculate", arguments={"expression": "1"})
        running = run.begin(pid, call, key="k")
        await began.wait()
        running.cancel()
        await asyncio.wait([running])
        monkeypatch.setattr(tools, "execute", execute)
        with pytest.raises(OutcomeUnknown, match="begun"):
            await run.call(pid, call, key="k")
        assert next(runs) == 1


async def test_a_damaged_reply_is_told_from_none(tmp_path):
    async with boot(tmp_path, mounts=lent_beside(tmp_path)) as run:
        pid = await durable(run)
        await run.call(pid, sc.MemoryAdd(text="t"), key="k")
        await run.kernel._store.write(lambda c: c.execute("UPDATE replies SET reply = x'7b7d'").get)
        with pytest.raises(Corrupt, match="took effect"):
            await run.call(pid, sc.MemoryAdd(text="t"), key="k")
        assert len((await run.call(pid, sc.MemorySearch())).hits) == 1


async def test_a_secret_is_not_kept_with_a_reply(tmp_path):
    async with boot(tmp_path, mounts=lent_beside(tmp_path)) as run:
        call = sc.ProcessSpawn(agent="a", principal="a", durable=True)
        spawned = await run.call(1, call, key="k")
        other = await run.call(1, call, key="k2")
        assert other.token != spawned.token
    for file in tmp_path.iterdir():
        if file.is_file():
            assert spawned.token.encode() not in file.read_bytes(), file


# ---- bounds


async def test_the_newest_keys_of_an_owner_are_kept_and_none_too_long(tmp_path):
    async with boot(tmp_path, store=StoreConfig(max_keys=4, key_s=100.0)) as run:
        pid = await durable(run)
        for number in range(9):
            await run.call(pid, sc.StorageAppend(path="log", content=f"{number}"), key=f"k{number}")
        num_kept = await run.kernel._store.read(lambda c: c.execute("SELECT count(*) FROM replies").get)
        assert 4 <= num_kept <= 8
        assert (await run.call(pid, sc.StorageAppend(path="log", content="8"), key="k8")).version == 9
        run.clock.advance(100.0)
        assert (await run.call(pid, sc.StorageAppend(path="log", content="8"), key="k8")).version == 10


async def test_what_has_expired_goes_in_the_end_whoever_s_it_is(tmp_path):
    async with boot(tmp_path, store=StoreConfig(key_s=10.0)) as run:
        for number in range(10):
            spawned = await run.spawn()
            await run.call(spawned.pid, sc.MemoryAdd(text=f"{number}"), key="k")
        run.clock.advance(10.0)
        pid = await durable(run)
        for number in range(64):
            await run.call(pid, sc.MemoryAdd(text=f"{number}"), key=f"k{number}")
        owners = await run.kernel._store.read(
            lambda c: c.execute("SELECT DISTINCT owner FROM replies").fetchall()
        )
        assert owners == [("alice",)]


def test_a_reply_is_kept_without_what_its_call_says():
    call = sc.MemoryAdd(text=LONG, tags=("a",))
    reply = sc.Note("n1", LONG, ("a",), "alice", 1.0, 1.0)
    packed = pack(call, reply)
    assert len(packed) < len(LONG)
    assert unpack(call, packed) == reply
    assert unpack(sc.MemoryAdd(text="t"), pack(sc.MemoryAdd(text="t"), reply)) == reply
