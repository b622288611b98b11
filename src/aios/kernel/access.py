"""ACCESS MANAGER: one `authorize` before every call, from the one rule that each row of the table has.

The default is a process's own things only, and what it may not see looks the same as what is not there.
Rules are plain functions that take `now`. The operator, the person who runs the kernel, may do everything.
"""

from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct, structs

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError, Internal, InvalidArgument, NotFound, PermissionDenied
from aios.drivers.clock import Clock
from aios.kernel.approvals import Approvals
from aios.kernel.audit import AuditLog
from aios.kernel.config import AccessConfig
from aios.kernel.grants import GROUP, Grants
from aios.kernel.groups import Groups, absent
from aios.kernel.process import Process, ProcessTable


class Verdict(Struct, frozen=True):
    """What `authorize` says: an error to refuse with, a question for a person, or neither: it may run."""

    error: AiosError | None = None
    must_ask: bool = False
    owner: str | None = None
    """Whose things it touches, where they are not the caller's."""

    @property
    def decision(self) -> Literal["allow", "deny", "ask"]:
        return "deny" if self.error else "ask" if self.must_ask else "allow"


ALLOW = Verdict()


class AccessManager:
    """Decides, and executes the calls `access.*`."""

    def __init__(
        self,
        clock: Clock,
        audit: AuditLog,
        grants: Grants,
        groups: Groups,
        approvals: Approvals,
        processes: ProcessTable,
        config: AccessConfig,
    ) -> None:
        self._clock = clock
        self._audit = audit
        self._grants = grants
        self._groups = groups
        self._approvals = approvals
        self._config = config
        self.processes = processes

    def authorize(self, process: Process, call: sc.SystemCall, now: float) -> Verdict:
        """May this process make this call? `now` is seconds since the epoch."""
        rule = RULES.get(type(call))
        if rule is None:
            return Verdict(PermissionDenied("this call has no access rule, so nobody may make it"))
        return rule(self, process, call, now)

    def reach(
        self, process: Process, resource: sc.Resource, verb: sc.GrantVerb, owner: str, path: str, now: float
    ) -> Verdict:
        """May it do `verb` to the thing at `path` of `owner`? Deleting another's file takes a person, too."""
        if owner == process.principal:
            return ALLOW
        if process.is_operator:
            return Verdict(owner=owner)
        groups = self._groups.of(process.principal)
        if not self._grants.covers(owner, process.principal, groups, resource, verb, path, now):
            return Verdict(_absent(resource, path), owner=owner)
        return Verdict(must_ask=resource == "storage" and verb == "delete", owner=owner)

    def may_register(self, process: Process) -> Verdict:
        """A tool's code runs on the host, in a process with limits: more than an agent can do by itself."""
        return _as_set(process, self._config.tool_register, "only the operator may register tools here")

    def may_share(self, process: Process) -> Verdict:
        """A link is read by anybody who has it, of no process and by no grant."""
        return _as_set(process, self._config.share, "only the operator may make links here")

    def may_mount(self, process: Process, owner: str | None, folder: str, now: float) -> Verdict:
        """May it mount a directory that is lent, into its own files or where a grant lets it write?"""
        verdict = ALLOW if owner is None else self.reach(process, "storage", "write", owner, folder, now)
        if verdict.error or process.is_operator:
            return verdict
        asked = _as_set(process, self._config.mount, "only the operator may mount directories here")
        return structs.replace(asked, owner=verdict.owner)

    def may_overwrite(
        self, process: Process, owner: str, path: str, if_version: int | None, now: float
    ) -> Verdict:
        """May it write a file? Over another's that is there only once a person agrees, where so set."""
        verdict = self.reach(process, "storage", "write", owner, path, now)
        if verdict.owner is None or verdict.error or process.is_operator:
            return verdict
        return structs.replace(verdict, must_ask=self._config.overwrite == "ask" and if_version != 0)

    async def execute(self, process: Process, call: sc.SystemCall) -> sc.Reply:
        """Answer one call of the group `access`."""
        now = self._clock.time()
        match call:
            case sc.AccessCheck(resource=resource, verb=verb, owner=owner, path=path):
                verdict = self.reach(process, resource, verb, owner, path, now)
                return sc.Decision(verdict.decision, verdict.error.message if verdict.error else "")
            case sc.AccessGrant(to=to):
                self._check_grantee(process, to)
                return await self._grants.add(process.caller, call, now)
            case sc.AccessRevoke(grant_id=grant_id):
                await self._grants.revoke(process.caller, grant_id, anyones=process.is_operator)
                return sc.Done()
            case sc.AccessGroups():
                return sc.Groups(self._groups.entries(None if process.is_operator else process.principal))
            case sc.AccessSetGroup(name=name, members=members):
                return await self._groups.put(process.caller, name, members, now)
            case sc.AccessDropGroup(name=name):
                return await self._drop_group(process, name)
            case sc.AccessPending():
                return sc.Approvals(self._approvals.pending())
            case sc.AccessApprove(approval_id=approval_id):
                return await self._decide(process, approval_id, is_given=True)
            case sc.AccessDeny(approval_id=approval_id):
                return await self._decide(process, approval_id, is_given=False)
        raise Internal(f"the access manager was given a {type(call).__name__}")

    def _check_grantee(self, process: Process, to: str) -> None:
        if to == process.principal:
            raise InvalidArgument("one's own things need no grant")
        if to.startswith(GROUP):
            name = to.removeprefix(GROUP)
            groups = self._groups.of(process.principal)
            if self._groups.number(name) is None or not (process.is_operator or name in groups):
                raise absent(name)

    async def _drop_group(self, process: Process, name: str) -> sc.Done:
        to = GROUP + name
        await self._groups.drop(process.caller, name, lambda c: self._grants.delete_to(c, to))
        self._grants.drop_to(to)
        return sc.Done()

    async def _decide(self, process: Process, approval_id: str, *, is_given: bool) -> sc.Done:
        subject = f"{approval_id}: {self._approvals.get(approval_id).text}"
        await self._audit.append(process.pid, process.principal, "approve" if is_given else "refuse", subject)
        self._approvals.decide(approval_id, is_given)
        return sc.Done()


_THINGS = {"memory": "note", "history": "history", "storage": "file"}


def _absent(resource: sc.Resource, path: str) -> NotFound:
    """In the very words in which the managers say that a thing is not there."""
    return NotFound(f"there is no {_THINGS[resource]} '{path}'")


def _as_set(process: Process, who: Literal["operator", "ask", "allow"], refusal: str) -> Verdict:
    if process.is_operator or who == "allow":
        return ALLOW
    return Verdict(must_ask=True) if who == "ask" else Verdict(PermissionDenied(refusal))


# ---- the rules

Rule = Callable[[AccessManager, Process, Any, float], Verdict]


def _anyone(access: AccessManager, process: Process, call: sc.SystemCall, now: float) -> Verdict:
    return ALLOW


def _operator(access: AccessManager, process: Process, call: sc.SystemCall, now: float) -> Verdict:
    return ALLOW if process.is_operator else Verdict(PermissionDenied("only the operator may do this"))


def _thing(resource: sc.Resource, verb: sc.GrantVerb, field: str = "") -> Rule:
    """For a call that touches a thing of `owner`: its own, or what a grant covers. `field` holds the path."""

    def rule(access: AccessManager, process: Process, call: Any, now: float) -> Verdict:
        if call.owner is None:
            return ALLOW
        path = getattr(call, field) if field else ""
        return access.reach(process, resource, verb, call.owner, path, now)

    return rule


def _shared(field: str = "") -> Rule:
    """For reading memory of `owner`: where no grant covers it, the manager gives what is shared with it."""

    def rule(access: AccessManager, process: Process, call: Any, now: float) -> Verdict:
        if call.owner is None:
            return ALLOW
        path = getattr(call, field) if field else ""
        verdict = access.reach(process, "memory", "read", call.owner, path, now)
        return ALLOW if verdict.error is not None else verdict

    return rule


def _kin(*, relatives: bool = False) -> Rule:
    """For a call about a process: itself and its ancestors may; `relatives` are its program and siblings."""

    def rule(access: AccessManager, process: Process, call: Any, now: float) -> Verdict:
        pid = process.pid if call.pid is None else call.pid
        if process.is_operator or pid == process.pid:
            return ALLOW
        try:
            other = access.processes.get(pid)
        except NotFound as error:
            return Verdict(error)
        if access.processes.is_ancestor(process.pid, other):
            return ALLOW
        if relatives and (other.program == process.program or other.parent == process.parent):
            return ALLOW
        return Verdict(NotFound(f"there is no process {pid}"))

    return rule


_KIN = _kin()


def _resume(access: AccessManager, process: Process, call: sc.ProcessResume, now: float) -> Verdict:
    if call.pid == process.pid and process.state == "suspended":
        return Verdict(PermissionDenied("a process that was suspended does not resume itself"))
    return _KIN(access, process, call, now)


def _spawn(access: AccessManager, process: Process, call: sc.ProcessSpawn, now: float) -> Verdict:
    if process.is_operator or (call.principal is None and call.tenant is None and not call.durable):
        return ALLOW
    return Verdict(
        PermissionDenied("only the operator may choose a principal or a tenant, or spawn a durable process")
    )


def _register(access: AccessManager, process: Process, call: sc.ToolRegister, now: float) -> Verdict:
    return access.may_register(process)


def _share(access: AccessManager, process: Process, call: sc.StorageShare, now: float) -> Verdict:
    return access.may_share(process)


def _mount(access: AccessManager, process: Process, call: sc.StorageMount, now: float) -> Verdict:
    """It brings what is on this machine into an owner's files."""
    return access.may_mount(process, call.owner, call.folder, now)


def _overwrite(access: AccessManager, process: Process, call: Any, now: float) -> Verdict:
    if call.owner is None:
        return ALLOW
    return access.may_overwrite(process, call.owner, call.path, call.if_version, now)


def _move(access: AccessManager, process: Process, call: sc.StorageMove, now: float) -> Verdict:
    """It deletes in one place and writes in another."""
    if call.owner is None:
        return ALLOW
    verdict = access.reach(process, "storage", "write", call.owner, call.to, now)
    return (
        verdict if verdict.error else access.reach(process, "storage", "delete", call.owner, call.path, now)
    )


def _join(access: AccessManager, process: Process, call: sc.StorageJoin, now: float) -> Verdict:
    """It reads what is anybody's, and writes what is its own."""
    verdict = ALLOW
    if call.owner is not None:
        for file in call.files:
            verdict = access.reach(process, "storage", "read", call.owner, file.path, now)
            if verdict.error:
                break
    return verdict


def _prune(access: AccessManager, process: Process, call: sc.StoragePrune, now: float) -> Verdict:
    """What is pruned is lost: of one's own things, too."""
    if call.owner is None or call.owner == process.principal:
        return Verdict(must_ask=not process.is_operator)
    return access.reach(process, "storage", "delete", call.owner, call.path, now)


RULES: dict[type[sc.SystemCall], Rule] = {
    sc.LlmGenerate: _anyone,
    sc.LlmEmbed: _anyone,
    sc.ContextSnapshot: _anyone,
    sc.ContextRestore: _anyone,
    sc.ContextList: _anyone,
    sc.ContextDrop: _anyone,
    sc.CoreList: _operator,
    sc.CoreExplain: _KIN,
    sc.CoreDrain: _operator,
    sc.CoreUndrain: _operator,
    sc.MemoryAppend: _thing("history", "write", "history"),
    sc.MemoryRead: _thing("history", "read", "history"),
    sc.MemoryClear: _thing("history", "delete", "history"),
    sc.MemoryFork: _thing("history", "read", "history"),
    sc.MemoryHistories: _thing("history", "read"),
    sc.MemoryPin: _thing("history", "write", "history"),
    sc.MemoryAdd: _anyone,
    sc.MemoryGet: _shared("note_id"),
    sc.MemoryUpdate: _thing("memory", "write", "note_id"),
    sc.MemoryRemove: _thing("memory", "delete", "note_id"),
    sc.MemoryHistory: _shared("note_id"),
    sc.MemorySearch: _shared(),
    sc.MemoryExport: _thing("memory", "read"),
    sc.MemoryLoad: _thing("memory", "write"),
    sc.MemoryPurge: _thing("memory", "delete"),
    sc.StorageCreate: _thing("storage", "write", "path"),
    sc.StorageWrite: _overwrite,
    sc.StorageAppend: _thing("storage", "write", "path"),
    sc.StorageRead: _thing("storage", "read", "path"),
    sc.StorageList: _thing("storage", "read", "folder"),
    sc.StorageStat: _thing("storage", "read", "path"),
    sc.StorageDelete: _thing("storage", "delete", "path"),
    sc.StorageHistory: _thing("storage", "read", "path"),
    sc.StorageRollback: _overwrite,
    sc.StorageSearch: _thing("storage", "read", "folder"),
    sc.StorageGroup: _thing("storage", "read", "folder"),
    sc.StorageJoin: _join,
    sc.StorageMkdir: _thing("storage", "write", "path"),
    sc.StorageMove: _move,
    sc.StorageDiff: _thing("storage", "read", "path"),
    sc.StoragePrune: _prune,
    sc.StorageQuota: _thing("storage", "read"),
    sc.StorageLock: _thing("storage", "write", "path"),
    sc.StorageUnlock: _thing("storage", "write", "path"),
    sc.StorageShare: _share,
    sc.StorageUnshare: _anyone,
    sc.StorageShares: _anyone,
    sc.StorageOpen: _anyone,
    sc.StorageUpload: _thing("storage", "write", "path"),
    sc.StoragePart: _anyone,
    sc.StorageCommit: _overwrite,
    sc.StorageAbort: _anyone,
    sc.StorageMount: _mount,
    sc.StorageUnmount: _thing("storage", "delete", "folder"),
    sc.StorageMounts: _thing("storage", "read"),
    sc.ToolList: _anyone,
    sc.ToolRun: _anyone,
    sc.ToolRegister: _register,
    sc.ToolUnregister: _anyone,
    sc.AccessCheck: _anyone,
    sc.AccessGrant: _anyone,
    sc.AccessRevoke: _anyone,
    sc.AccessGroups: _anyone,
    sc.AccessSetGroup: _operator,
    sc.AccessDropGroup: _operator,
    sc.AccessPending: _operator,
    sc.AccessApprove: _operator,
    sc.AccessDeny: _operator,
    sc.ProcessSpawn: _spawn,
    sc.ProcessList: _anyone,
    sc.ProcessUsage: _KIN,
    sc.ProcessSuspend: _KIN,
    sc.ProcessResume: _resume,
    sc.ProcessKill: _KIN,
    sc.ProcessExit: _anyone,
    sc.ProcessWait: _KIN,
    sc.ProcessSend: _kin(relatives=True),
    sc.ProcessReceive: _anyone,
}
"""The rule of every system call. The group `access`, `tool` and `process` check further what they own."""

WRITES: frozenset[type[sc.SystemCall]] = frozenset(
    {
        sc.ContextSnapshot,
        sc.ContextDrop,
        sc.MemoryAppend,
        sc.MemoryClear,
        sc.MemoryFork,
        sc.MemoryPin,
        sc.MemoryAdd,
        sc.MemoryUpdate,
        sc.MemoryRemove,
        sc.MemoryLoad,
        sc.MemoryPurge,
        sc.StorageCreate,
        sc.StorageWrite,
        sc.StorageAppend,
        sc.StorageJoin,
        sc.StorageDelete,
        sc.StorageRollback,
        sc.StorageMkdir,
        sc.StorageMove,
        sc.StoragePrune,
        sc.StorageLock,
        sc.StorageUnlock,
        sc.StorageShare,
        sc.StorageUnshare,
        sc.StorageUpload,
        sc.StoragePart,
        sc.StorageCommit,
        sc.StorageAbort,
        sc.StorageMount,
        sc.StorageUnmount,
        sc.ToolUnregister,
        sc.AccessGrant,
        sc.AccessRevoke,
        sc.AccessSetGroup,
        sc.AccessDropGroup,
        sc.AccessApprove,
        sc.AccessDeny,
        sc.ProcessSpawn,
        sc.ProcessKill,
        sc.ProcessExit,
    }
)
"""Calls with an effect that, once begun, is not taken back: they are let finish rather than cut off."""
