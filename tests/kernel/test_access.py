"""Access: one rule for every row; grants, approvals, the audit log."""

import asyncio

import msgspec
import pytest
from driving import boot, failing_audit, settle_down

from aios.abi import syscalls as sc
from aios.abi.errors import (
    ApprovalDenied,
    Cancelled,
    Corrupt,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
)
from aios.drivers.clock import ManualClock
from aios.kernel.access import RULES, WRITES
from aios.kernel.approvals import Approvals
from aios.kernel.config import AccessConfig, StorageConfig
from aios.kernel.grants import is_below
from aios.kernel.process import Caller


def test_every_row_has_a_rule():
    assert set(RULES) == {row.request for row in sc.TABLE.values()}
    assert set(RULES) >= WRITES


@pytest.mark.parametrize(
    "call",
    [
        sc.AccessPending(),
        sc.AccessApprove(approval_id="a1"),
        sc.AccessDeny(approval_id="a1"),
        sc.ProcessSpawn(agent="x", durable=True),
        sc.ProcessSpawn(agent="x", principal="y"),
    ],
)
async def test_what_only_the_operator_may(run, call):
    agent = await run.spawn()
    with pytest.raises(PermissionDenied):
        await run.call(agent.pid, call)


OTHERS_THINGS = [
    sc.StorageRead(path="a/x"),
    sc.StorageWrite(path="a/x", content=""),
    sc.StorageCreate(path="a/x"),
    sc.StorageAppend(path="a/x", content=""),
    sc.StorageStat(path="a/x"),
    sc.StorageDelete(path="a/x"),
    sc.StorageHistory(path="a/x"),
    sc.StorageRollback(path="a/x", version=1),
    sc.StorageList(folder="a"),
    sc.StorageSearch(text="x"),
    sc.MemoryGet(note_id="n1"),
    sc.MemoryUpdate(note_id="n1", text="x"),
    sc.MemoryRemove(note_id="n1"),
    sc.MemoryHistory(note_id="n1"),
    sc.MemoryExport(),
    sc.MemoryLoad(notes=(sc.NoteRecord("x"),)),
    sc.MemoryPurge(source="x"),
]


@pytest.mark.parametrize("call", OTHERS_THINGS, ids=lambda call: type(call).__name__)
async def test_others_things_look_as_if_they_were_not_there(run, call):
    owner, agent = await run.spawn(), await run.spawn()
    await run.call(owner.pid, sc.StorageWrite(path="a/x", content="secret"))
    await run.call(owner.pid, sc.MemoryAdd(text="secret"))
    answers = []
    for whose in (owner.principal, "nobody"):
        with pytest.raises(NotFound) as refusal:
            await run.call(agent.pid, msgspec.structs.replace(call, owner=whose))
        answers.append(refusal.value.message)
    assert answers[0] == answers[1]
    await run.call(1, msgspec.structs.replace(sc.StorageRead(path="a/x"), owner=owner.principal))


async def test_absent_and_forbidden_are_said_in_the_same_words(run):
    owner, agent = await run.spawn(), await run.spawn()
    await run.call(owner.pid, sc.StorageWrite(path="x", content=""))
    for call in (sc.StorageRead(path="x"), sc.MemoryGet(note_id="n1")):
        with pytest.raises(NotFound) as absent:
            await run.call(agent.pid, call)
        with pytest.raises(NotFound) as forbidden:
            await run.call(agent.pid, type(call)(**_fields(call), owner=owner.principal))
        assert absent.value.message == forbidden.value.message


def _fields(call):
    return {name: getattr(call, name) for name in call.__struct_fields__ if getattr(call, name) is not None}


# ---- grants


@pytest.mark.parametrize(
    ("path", "prefix", "covered"),
    [
        ("docs/a", "docs", True),
        ("docs", "docs", True),
        ("docs2/a", "docs", False),
        ("a/docs", "docs", False),
        ("anything", "", True),
        ("", "docs", False),
    ],
)
def test_a_prefix_is_of_whole_segments(path, prefix, covered):
    assert is_below(path, prefix) is covered


async def granted(run, **fields):
    owner, agent = await run.spawn("owner"), await run.spawn("agent")
    for path in ("docs/a", "secret/b"):
        await run.call(owner.pid, sc.StorageWrite(path=path, content="text"))
    grant = await run.call(owner.pid, sc.AccessGrant(to=agent.principal, resource="storage", **fields))
    return owner, agent, grant


async def test_a_grant_opens_what_it_says_and_no_more(run):
    owner, agent, _ = await granted(run, verbs=("read",), prefix="docs")
    read = await run.call(agent.pid, sc.StorageRead(path="docs/a", owner=owner.principal))
    assert read.content == "text"
    for call in (
        sc.StorageRead(path="secret/b", owner=owner.principal),
        sc.StorageWrite(path="docs/a", content="mine", owner=owner.principal),
        sc.StorageList(owner=owner.principal),
        sc.StorageSearch(text="text", owner=owner.principal),
        sc.MemoryGet(note_id="n1", owner=owner.principal),
    ):
        with pytest.raises(NotFound):
            await run.call(agent.pid, call)


async def test_a_grant_expires(run):
    owner, agent, _ = await granted(run, verbs=("read",), expires_s=10.0)
    call = sc.StorageRead(path="docs/a", owner=owner.principal)
    await run.call(agent.pid, call)
    run.clock.advance(10.0)
    with pytest.raises(NotFound):
        await run.call(agent.pid, call)


async def test_revoking_counts_for_calls_that_wait_already(tmp_path):
    async with boot(tmp_path, storage=StorageConfig(max_parallel=1)) as run:
        owner, agent, grant = await granted(run, verbs=("read",))
        await run.call(1, sc.ProcessSuspend(pid=agent.pid))
        queued = run.begin(agent.pid, sc.StorageRead(path="docs/a", owner=owner.principal))
        while "storage.read" not in str(await run.call(1, sc.ProcessList())):
            await settle_down()
        await run.call(owner.pid, sc.AccessRevoke(grant_id=grant.id))
        await run.call(1, sc.ProcessResume(pid=agent.pid))
        with pytest.raises(NotFound):
            await queued


async def test_only_its_owner_revokes_a_grant(run):
    owner, agent, grant = await granted(run, verbs=("read",))
    for pid, id in ((agent.pid, grant.id), (owner.pid, "g99")):
        with pytest.raises(NotFound):
            await run.call(pid, sc.AccessRevoke(grant_id=id))
    await run.call(1, sc.AccessRevoke(grant_id=grant.id))


async def test_grants_outlive_a_restart_and_so_does_their_end(tmp_path):
    async with boot(tmp_path) as run:
        owner = await run.spawn(durable=True)
        agent = await run.spawn(durable=True)
        call = sc.AccessGrant(to=agent.principal, resource="memory", verbs=("read",))
        kept, taken = await run.call(owner.pid, call), await run.call(owner.pid, call)
        await run.call(owner.pid, sc.AccessRevoke(grant_id=taken.id))
        await run.call(owner.pid, sc.MemoryAdd(text="note"))
    async with boot(tmp_path) as run:
        run.tokens |= {owner.pid: owner.token, agent.pid: agent.token}
        await run.call(agent.pid, sc.MemoryGet(note_id="n1", owner=owner.principal))
        await run.call(owner.pid, sc.AccessRevoke(grant_id=kept.id))
        with pytest.raises(NotFound):
            await run.call(agent.pid, sc.MemoryGet(note_id="n1", owner=owner.principal))


async def test_grants_are_bounded_and_to_others(tmp_path):
    async with boot(tmp_path, access=AccessConfig(max_grants=1)) as run:
        owner = await run.spawn()
        call = sc.AccessGrant(to="x", resource="memory", verbs=("read",))
        await run.call(owner.pid, call)
        with pytest.raises(QuotaExceeded):
            await run.call(owner.pid, call)
        with pytest.raises(InvalidArgument):
            await run.call(owner.pid, sc.AccessGrant(to=owner.principal, resource="memory", verbs=("read",)))


async def test_a_grant_that_is_being_written_counts(tmp_path):
    async with boot(tmp_path, access=AccessConfig(max_grants=1)) as run:
        owner = await run.spawn()
        call = sc.AccessGrant(to="x", resource="memory", verbs=("read",))
        made = await asyncio.gather(*(run.call(owner.pid, call) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in made] == [sc.Grant, QuotaExceeded, QuotaExceeded]


async def test_expired_grants_make_room_and_leave_nothing(tmp_path):
    async with boot(tmp_path, access=AccessConfig(max_grants=1)) as run:
        owner = await run.spawn()
        call = sc.AccessGrant(to="x", resource="memory", verbs=("read",), expires_s=5.0)
        await run.call(owner.pid, call)
        run.clock.advance(5.0)
        grant = await run.call(owner.pid, call)
        rows = await run.kernel._store.read(lambda db: db.execute("SELECT id FROM grants").fetchall())
        assert [f"g{id}" for (id,) in rows] == [grant.id]
        await run.call(owner.pid, sc.AccessRevoke(grant_id=grant.id))
        grants = run.kernel._grants
        assert not any((grants._all, grants._between, grants._num_of))


async def test_a_grant_stands_until_its_end_is_written(run):
    owner, agent, grant = await granted(run, verbs=("read",))
    with failing_audit(run.kernel), pytest.raises(Internal):
        await run.call(owner.pid, sc.AccessRevoke(grant_id=grant.id))
    call = sc.StorageRead(path="docs/a", owner=owner.principal)
    await run.call(agent.pid, call)
    await run.call(owner.pid, sc.AccessRevoke(grant_id=grant.id))
    with pytest.raises(NotFound):
        await run.call(agent.pid, call)


async def test_check_says_what_would_be(run):
    owner, agent, _ = await granted(run, verbs=("read", "delete"), prefix="docs")

    async def check(verb, path):
        call = sc.AccessCheck(resource="storage", verb=verb, owner=owner.principal, path=path)
        return (await run.call(agent.pid, call)).decision

    assert await check("read", "docs/a") == "allow"
    assert await check("delete", "docs/a") == "ask"
    assert await check("write", "docs/a") == "deny"
    assert await check("read", "secret/b") == "deny"


# ---- approvals


async def asked(run):
    """A deletion of another's file that waits for a person, and its approval."""
    owner, agent, grant = await granted(run, verbs=("delete",))
    call = run.begin(agent.pid, sc.StorageDelete(path="docs/a", owner=owner.principal))
    while not (pending := (await run.call(1, sc.AccessPending())).approvals):
        await settle_down()
    return owner, agent, grant, call, pending[0]


async def test_a_deletion_waits_for_a_person_and_then_runs(run):
    owner, agent, _, call, approval = await asked(run)
    assert (approval.pid, approval.principal, approval.call) == (agent.pid, agent.principal, "storage.delete")
    assert "docs/a" in approval.text
    assert run.kernel.statistics()["resources"]["storage"]["running"] == 0, "it holds no slot"
    await run.call(1, sc.AccessApprove(approval_id=approval.id))
    assert await call == sc.Done()
    with pytest.raises(NotFound):
        await run.call(owner.pid, sc.StorageRead(path="docs/a"))
    with pytest.raises(NotFound):
        await run.call(1, sc.AccessApprove(approval_id=approval.id))


async def test_a_person_says_no(run):
    owner, _, _, call, approval = await asked(run)
    await run.call(1, sc.AccessDeny(approval_id=approval.id))
    with pytest.raises(ApprovalDenied):
        await call
    await run.call(owner.pid, sc.StorageRead(path="docs/a"))


async def test_nobody_says_anything(run):
    owner, _, _, call, _ = await asked(run)
    run.clock.advance(60.0)
    with pytest.raises(ApprovalDenied, match="60 s"):
        await call
    await run.call(owner.pid, sc.StorageRead(path="docs/a"))
    assert (await run.call(1, sc.AccessPending())).approvals == ()


async def test_a_grant_revoked_while_a_person_thinks(run):
    owner, agent, grant, call, approval = await asked(run)
    await run.call(1, sc.ProcessSuspend(pid=agent.pid))
    await run.call(owner.pid, sc.AccessRevoke(grant_id=grant.id))
    await run.call(1, sc.AccessApprove(approval_id=approval.id))
    await run.call(1, sc.ProcessResume(pid=agent.pid))
    with pytest.raises(NotFound):
        await call


async def test_a_killed_process_asks_no_more(run):
    _, agent, _, call, _ = await asked(run)
    await run.call(1, sc.ProcessKill(pid=agent.pid))
    with pytest.raises(Cancelled):
        await call
    assert (await run.call(1, sc.AccessPending())).approvals == ()
    assert run.clock.num_timers == 0


def test_an_approval_is_for_that_caller_and_that_call_once():
    approvals = Approvals(ManualClock(), 60.0, 10)
    caller, call = Caller(2, "a"), sc.StorageDelete(path="x", owner="b")
    row = sc.ROW_OF[sc.StorageDelete]
    for user, used in (
        (caller, sc.StorageDelete(path="y", owner="b")),
        (Caller(3, "a"), call),
        (Caller(2, "c"), call),
    ):
        id = approvals.open(1, caller, row, call)
        approvals.decide(id, True)
        assert not approvals.use(id, user, used)
    id = approvals.open(1, caller, row, call)
    assert not approvals.use(id, caller, call), "nobody has agreed yet"
    id = approvals.open(1, caller, row, call)
    approvals.decide(id, True)
    assert approvals.use(id, caller, call)
    assert not approvals.use(id, caller, call), "once"


async def test_code_for_the_kernels_host_takes_a_person(tmp_path):
    async with boot(tmp_path, access=AccessConfig(tool_register="operator")) as run:
        agent = await run.spawn()
        with pytest.raises(PermissionDenied):
            await run.call(agent.pid, sc.ToolRegister(source="os:system"))
    async with boot(tmp_path) as run:
        agent = await run.spawn()
        call = run.begin(agent.pid, sc.ToolRegister(source="os:system"))
        while not (await run.call(1, sc.AccessPending())).approvals:
            await settle_down()
        run.clock.advance(60.0)
        with pytest.raises(ApprovalDenied):
            await call


# ---- the audit log


async def test_the_log_tells_what_was_decided(run):
    owner, agent, _, call, approval = await asked(run)
    await run.call(1, sc.AccessApprove(approval_id=approval.id))
    await call
    with pytest.raises(NotFound):
        await run.call(agent.pid, sc.StorageRead(path="docs/a", owner=owner.principal))
    await run.call(1, sc.ProcessKill(pid=agent.pid))
    events = [(one.principal, one.event) for one in await run.kernel.audit.entries()]
    assert events == [
        ("operator", "spawn"),
        ("operator", "spawn"),
        (owner.principal, "grant"),
        (agent.principal, "ask"),
        ("operator", "approve"),
        (agent.principal, "deny"),
        ("operator", "kill"),
    ]
    assert await run.kernel.audit.verify() == len(events)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit SET principal = 'nobody' WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 2",
        "UPDATE audit SET hash = x'00' WHERE seq = 3",
    ],
)
async def test_a_changed_log_is_found_out(run, tampering):
    for _ in range(3):
        await run.spawn()
    await run.kernel._store.write(lambda connection: connection.execute(tampering).fetchall())
    with pytest.raises(Corrupt):
        await run.kernel.audit.verify()
