"""Who may do what to whose memory and files: every call of the table, by everybody who could try.

A call gets its row by one line in `EXAMPLES`. Nobody but its owner, and who was granted it, reaches a thing:
for all others it looks as if its owner had never been.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import pytest
import pytest_asyncio

from aios.abi import syscalls as sc
from aios.abi import wire
from aios.abi.errors import AiosError, NotFound, Unauthenticated
from aios.abi.messages import Message
from aios.drivers.clock import ManualClock
from aios.drivers.llm_scripted import ScriptedDriver
from aios.kernel.access import RULES, WRITES, Verdict
from aios.kernel.config import AccessConfig, Config, CoreConfig, MountConfig
from aios.kernel.grants import Grants
from aios.kernel.kernel import Kernel

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTE = sc.NoteRecord(text="loaded")
SAID = (Message("user", "said"),)

EXAMPLES: dict[type[sc.SystemCall], Callable[[str | None], sc.SystemCall]] = {
    sc.MemoryAppend: lambda owner: sc.MemoryAppend(messages=SAID, owner=owner),
    sc.MemoryRead: lambda owner: sc.MemoryRead(owner=owner),
    sc.MemoryClear: lambda owner: sc.MemoryClear(owner=owner),
    sc.MemoryFork: lambda owner: sc.MemoryFork(to="copy", owner=owner),
    sc.MemoryHistories: lambda owner: sc.MemoryHistories(owner=owner),
    sc.MemoryPin: lambda owner: sc.MemoryPin(owner=owner),
    sc.MemoryAdd: lambda owner: sc.MemoryAdd(text="added"),
    sc.MemoryGet: lambda owner: sc.MemoryGet(note_id="n1", owner=owner),
    sc.MemoryUpdate: lambda owner: sc.MemoryUpdate(note_id="n1", text="changed", owner=owner),
    sc.MemoryRemove: lambda owner: sc.MemoryRemove(note_id="n1", owner=owner),
    sc.MemoryHistory: lambda owner: sc.MemoryHistory(note_id="n1", owner=owner),
    sc.MemorySearch: lambda owner: sc.MemorySearch(text="secret", owner=owner),
    sc.MemoryExport: lambda owner: sc.MemoryExport(owner=owner),
    sc.MemoryLoad: lambda owner: sc.MemoryLoad(notes=(NOTE,), owner=owner),
    sc.MemoryPurge: lambda owner: sc.MemoryPurge(source="file:plan", owner=owner),
    sc.StorageCreate: lambda owner: sc.StorageCreate(path="new.txt", content="new", owner=owner),
    sc.StorageWrite: lambda owner: sc.StorageWrite(path="a/plan.txt", content="written", owner=owner),
    sc.StorageAppend: lambda owner: sc.StorageAppend(path="a/plan.txt", content="added", owner=owner),
    sc.StorageRead: lambda owner: sc.StorageRead(path="a/plan.txt", owner=owner),
    sc.StorageList: lambda owner: sc.StorageList(owner=owner),
    sc.StorageStat: lambda owner: sc.StorageStat(path="a/plan.txt", owner=owner),
    sc.StorageDelete: lambda owner: sc.StorageDelete(path="a/plan.txt", owner=owner),
    sc.StorageHistory: lambda owner: sc.StorageHistory(path="a/plan.txt", owner=owner),
    sc.StorageRollback: lambda owner: sc.StorageRollback(path="a/plan.txt", version=1, owner=owner),
    sc.StorageSearch: lambda owner: sc.StorageSearch(text="secret", owner=owner),
    sc.StorageGroup: lambda owner: sc.StorageGroup(by="meaning", text="secret", owner=owner),
    sc.StorageJoin: lambda owner: sc.StorageJoin(
        files=(sc.FileAt("a/plan.txt"),), to="joined.txt", owner=owner
    ),
    sc.StorageMkdir: lambda owner: sc.StorageMkdir(path="made", owner=owner),
    sc.StorageMove: lambda owner: sc.StorageMove(path="a/plan.txt", to="moved.txt", owner=owner),
    sc.StorageDiff: lambda owner: sc.StorageDiff(path="a/plan.txt", owner=owner),
    sc.StoragePrune: lambda owner: sc.StoragePrune(path="a/plan.txt", owner=owner),
    sc.StorageQuota: lambda owner: sc.StorageQuota(owner=owner),
    sc.StorageLock: lambda owner: sc.StorageLock(path="a/plan.txt", owner=owner),
    sc.StorageShare: lambda owner: sc.StorageShare(path="a/plan.txt"),
    sc.StorageShares: lambda owner: sc.StorageShares(),
    sc.StorageUpload: lambda owner: sc.StorageUpload(path="large", owner=owner),
    sc.StorageMount: lambda owner: sc.StorageMount(name="lent", folder="mounted", owner=owner),
    sc.StorageUnmount: lambda owner: sc.StorageUnmount(folder="lent", owner=owner),
    sc.StorageMounts: lambda owner: sc.StorageMounts(owner=owner),
}
"""A call that its owner can make on what `furnish` made for it; None for one's own."""

NAMED = {
    sc.StorageUnlock: lambda made, owner: sc.StorageUnlock(path="locked", token=made.token, owner=owner),
    sc.StorageUnshare: lambda made, owner: sc.StorageUnshare(share_id=made.share),
    sc.StoragePart: lambda made, owner: sc.StoragePart(upload_id=made.upload, start=0, data=b"x"),
    sc.StorageCommit: lambda made, owner: sc.StorageCommit(
        upload_id=made.upload, path="large", size=1, owner=owner
    ),
    sc.StorageAbort: lambda made, owner: sc.StorageAbort(upload_id=made.upload),
}
"""Calls about what the kernel gave a name that cannot be guessed, in an order in which its owner can."""

OPEN_TO_ALL = {sc.StorageOpen}
"""Whoever has the link may; `test_sharing.py` says what opens nothing."""

ASKS_A_PERSON = {
    *(sc.StorageDelete, sc.StorageWrite, sc.StorageMove, sc.StorageRollback, sc.StoragePrune),
    sc.StorageUnmount,
}
"""Even who was granted these has to wait for an approval."""
GIVES_A_NAME = {sc.StorageShare, sc.StorageUpload}
"""Calls that are never answered the same, as what they answer cannot be guessed."""
OWNER_ASKS = {sc.StoragePrune}
"""Its owner, too: what is pruned is lost."""

HISTORIES = {
    sc.MemoryAppend,
    sc.MemoryRead,
    sc.MemoryClear,
    sc.MemoryFork,
    sc.MemoryHistories,
    sc.MemoryPin,
}
"""Calls of the group `memory` about histories, which are granted apart from notes."""

CALLS = [
    row
    for row in sc.TABLE.values()
    if row.group in ("memory", "storage") and row.request not in NAMED.keys() | OPEN_TO_ALL
]
NEVER = "zed"
"""Nobody has this name."""


class World:
    """A kernel on a clock that stands still, and the tokens of those who have come."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._tokens: dict[str, str] = {}

    async def come(self, *names: str) -> None:
        for name in names:
            spawn = sc.ProcessSpawn(agent="agent", principal=name)
            spawned = await self.kernel.trap(self.kernel.operator_token, spawn)
            self._tokens[name] = spawned.token

    async def ask(self, name: str, call: sc.SystemCall) -> sc.Reply:
        return await self.kernel.trap(self._tokens[name], call)

    async def told(self, name: str, call: sc.SystemCall) -> bytes:
        """All that `name` learns from a call."""
        try:
            return wire.encode(await self.ask(name, call))
        except AiosError as error:
            return wire.encode(error.to_reply())

    async def ask_and_approve(self, name: str, call: sc.SystemCall) -> sc.Reply:
        """Make a call that waits for a person, who agrees."""
        asking = asyncio.ensure_future(self.ask(name, call))
        operator = self.kernel.operator_token
        while not (pending := (await self.kernel.trap(operator, sc.AccessPending())).approvals):
            continue
        await self.kernel.trap(operator, sc.AccessApprove(approval_id=pending[0].id))
        return await asking

    async def group(self, name: str, *members: str) -> None:
        await self.kernel.trap(
            self.kernel.operator_token, sc.AccessSetGroup(name=name, members=tuple(members))
        )

    async def furnish(self, name: str, secret: str = "secret") -> None:
        """Give it a history, a note and a file, all private."""
        for call in (
            sc.MemoryAppend(messages=(Message("user", secret), Message("assistant", "yes"))),
            sc.MemoryAdd(text=f"the {secret} plan", tags=("plan",), source="file:plan"),
            sc.StorageWrite(path="a/plan.txt", content=f"first {secret}"),
            sc.StorageWrite(path="a/plan.txt", content=f"then {secret}"),
        ):
            await self.ask(name, call)
        if not (await self.ask(name, sc.StorageMounts())).mounts:
            await self.ask(name, sc.StorageMount(name="lent", folder="lent"))
        await self.kernel.idle()

    async def view(self, name: str) -> list[bytes]:
        """All that it can read of its own."""
        return [
            await self.told(name, example(None)) for call, example in EXAMPLES.items() if call not in WRITES
        ]


def opened(folder) -> Kernel:
    lent = folder.parent / f"{folder.name}-lent"
    lent.mkdir(exist_ok=True)
    (lent / "file.txt").write_text("a secret that was lent")
    config = Config(
        data=folder,
        cores=(CoreConfig(name="core"),),
        access=AccessConfig(share="allow", mount="allow"),
        mounts=(MountConfig(name="lent", path=lent),),
    )
    return Kernel(config, drivers={"core": ScriptedDriver()}, clock=ManualClock())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    async with opened(tmp_path_factory.mktemp("world")) as kernel:
        world = World(kernel)
        await world.come("eve", "bob", "gil")
        await world.furnish("eve")
        yield world


def example_of(row: sc.Row) -> Callable[[str | None], sc.SystemCall]:
    if row.request not in EXAMPLES:
        pytest.fail(
            f"{row.name} has no row: add to EXAMPLES a line `sc.{row.request.__name__}: lambda owner: "
            f"sc.{row.request.__name__}(...)` that touches what `furnish` made (and more there, where needed)"
        )
    return EXAMPLES[row.request]


def takes_owner(row: sc.Row) -> bool:
    return "owner" in row.request.__struct_fields__


def rows(which=lambda row: True):
    return pytest.mark.parametrize("row", [row for row in CALLS if which(row)], ids=lambda row: row.name)


@rows()
async def test_its_owner_can(world, row):
    owner = f"owner-{row.name}"
    await world.come(owner)
    await world.furnish(owner)
    ask = world.ask_and_approve if row.request in OWNER_ASKS else world.ask
    await ask(owner, example_of(row)(None))


@rows(takes_owner)
async def test_for_all_others_it_looks_as_if_its_owner_had_never_been(world, row):
    call, owner = example_of(row), f"ann-{row.name}"
    await world.come(owner)
    await world.furnish(owner)
    await world.group("team", owner, "bob")
    view = await world.view(owner)
    for name in ("bob", "eve"):
        told = await world.told(name, call(owner))
        assert told == (await world.told(name, call(NEVER))).replace(NEVER.encode(), owner.encode()), name
    for token in ("", "not a token", "0" * 43):
        with pytest.raises(Unauthenticated):
            await world.kernel.trap(token, call(owner))
    assert await world.view(owner) == view


@rows(takes_owner)
async def test_who_was_granted_it_can_until_that_is_revoked(world, row):
    call, owner = example_of(row), f"amy-{row.name}"
    await world.come(owner)
    await world.furnish(owner)
    resource = "history" if row.request in HISTORIES else row.group
    grant = sc.AccessGrant(to="gil", resource=resource, verbs=("read", "write", "delete"))
    first = await world.ask(owner, grant)
    await world.ask(owner, sc.AccessRevoke(grant_id=first.id))
    view = await world.view(owner)
    told = await world.told("gil", call(owner))
    assert told == (await world.told("gil", call(NEVER))).replace(NEVER.encode(), owner.encode())
    assert await world.view(owner) == view
    await world.ask(owner, grant)
    if row.request in ASKS_A_PERSON:
        await world.ask_and_approve("gil", call(owner))
    else:
        await world.ask("gil", call(owner))


@rows(lambda row: not takes_owner(row))
async def test_without_an_owner_it_touches_the_callers_own_only(world, row):
    owner = f"own-{row.name}"
    await world.come(owner)
    await world.furnish(owner)
    view = await world.view(owner)
    await world.ask("eve", example_of(row)(None))
    assert await world.view(owner) == view


class Made(NamedTuple):
    token: int
    share: str
    upload: str


NOTHING = Made(1, "sharesharesharea", "0" * 32)
"""Names of nothing."""


async def test_what_the_kernel_named_is_there_for_its_owner_only(world):
    owner = "ned"
    await world.come(owner)
    await world.furnish(owner)
    made = Made(
        (await world.ask(owner, sc.StorageLock(path="locked"))).token,
        (await world.ask(owner, sc.StorageShare(path="a/plan.txt"))).id,
        (await world.ask(owner, sc.StorageUpload(path="large"))).id,
    )
    view = await world.view(owner)
    for call in NAMED.values():
        told = await world.told("eve", call(made, None))
        for name, nothing in zip(made, NOTHING, strict=True):
            told = told.replace(str(name).encode(), str(nothing).encode())
        assert told == await world.told("eve", call(NOTHING, None))
        assert await world.view(owner) == view
    for call in NAMED.values():
        with suppress(NotFound):  # What was committed is there no more to be dropped.
            await world.ask(owner, call(made, None))
    assert (await world.ask(owner, sc.StorageRead(path="large"))).content == "x"
    assert not (await world.ask(owner, sc.StorageShares())).links


@pytest.mark.parametrize("request_type", [sc.MemoryGet, sc.MemoryRead, sc.StorageRead])
async def test_a_rule_that_is_taken_out_is_seen(world, request_type, monkeypatch):
    call, owner = EXAMPLES[request_type], f"open-{request_type.__name__}"
    await world.come(owner)
    await world.furnish(owner)
    assert b"secret" not in await world.told("eve", call(owner))
    monkeypatch.setattr(Grants, "covers", lambda grants, *asked: True)
    monkeypatch.setitem(RULES, request_type, lambda access, process, call, now: Verdict(owner=call.owner))
    assert b"secret" in await world.told("eve", call(owner))


SHARED = [
    lambda owner: sc.MemoryGet(note_id="n1", owner=owner),
    lambda owner: sc.MemoryHistory(note_id="n1", owner=owner),
    lambda owner: sc.MemorySearch(text="plan", owner=owner, scope="visible"),
]


@pytest.mark.parametrize("call", SHARED)
@pytest.mark.parametrize("scope", ["group:club", "everyone"])
async def test_what_is_shared_is_seen_by_those_it_is_shared_with(world, call, scope):
    owner = f"{SHARED.index(call)}-{scope.replace(':', '-')}"
    await world.come(owner)
    await world.group("club", owner, "bob")
    await world.ask(owner, sc.MemoryAdd(text="a plan", scope=scope))
    assert b"a plan" in await world.told("bob", call(owner))
    seen = await world.told("eve", call(owner))
    assert (b"a plan" in seen) == (scope == "everyone")
    await world.group("club", owner)
    assert (b"a plan" in await world.told("bob", call(owner))) == (scope == "everyone")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lives(tmp_path_factory):
    """All that an agent learns in two lives that differ only in what another agent keeps."""
    folder = tmp_path_factory.mktemp("lives")
    first = await _life(folder / "first", lambda number: [f"secret {number}"])
    second = await _life(folder / "second", lambda number: ["said", "first said", "x" * 50_000][:number])
    assert len(first) > 100
    return first, second


async def test_a_secret_of_another_changes_nothing_for_anybody(lives):
    first, second = lives
    assert first == second


async def _life(folder, secrets: Callable[[int], list[str]]) -> list[bytes]:
    """All that ann learns, while eve keeps secrets between every two of its calls."""
    async with opened(folder) as kernel:
        world, told = World(kernel), []
        await world.come("eve", "ann")
        await world.group("team", "ann", "eve")
        await world.furnish("ann")
        examples = [example for call, example in EXAMPLES.items() if call not in OWNER_ASKS | GIVES_A_NAME]
        for number, example in enumerate(examples):
            for secret in secrets(number % 4):
                await world.furnish("eve", secret)
                await world.ask("eve", sc.MemoryAdd(text=f"plan {secret}", tags=("plan",)))
                await world.ask("eve", sc.MemorySearch(text=secret[:100]))
            told.append(await world.told("ann", example("eve")))
            told.append(await world.told("ann", example(None)))
            await kernel.idle()
            told += [
                await world.told("ann", sc.StorageSearch(text="secret plan", mode=mode))
                for mode in ("keyword", "meaning", "both")
            ]
            for scope in ("own", "visible", "group:team", "everyone"):
                told.append(await world.told("ann", sc.MemorySearch(scope=scope)))
                told.append(await world.told("ann", sc.MemorySearch(text="said plan", scope=scope)))
            if number % 4 == 3:
                told += await world.view("ann")
        return told
