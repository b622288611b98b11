"""Stubs of the table, one method for each row: memory, storage, access, cores and processes.

A method's arguments are the fields of its system call, and its meaning, its units and its errors are the
call's own (`aios.abi.syscalls`, `aios.abi.errors`). A test holds the two together.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from aios.abi import syscalls as sc
from aios.abi.messages import Message, ToolSpec
from aios.sdk.sending import Emit

R = TypeVar("R", bound=sc.Reply)


class Caller(Protocol):
    """Makes a call and knows what its reply must be."""

    async def __call__(
        self,
        call: sc.SystemCall,
        reply: type[R],
        *,
        on_delta: Emit | None = None,
        timeout_s: float | None = None,
        key: str = "",
    ) -> R: ...


class Stubs:
    """One group of the table."""

    def __init__(self, call: Caller) -> None:
        self._call = call


class Context(Stubs):
    """Conversations that this process's principal keeps to go on from, in more than one way."""

    async def snapshot(
        self, name: str, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()
    ) -> sc.ContextEntry:
        call = sc.ContextSnapshot(name=name, messages=tuple(messages), tools=tuple(tools))
        return await self._call(call, sc.ContextEntry)

    async def restore(self, name: str) -> sc.Context:
        return await self._call(sc.ContextRestore(name=name), sc.Context)

    async def list(self, after: str = "", limit: int = 1000) -> sc.ContextEntries:
        return await self._call(sc.ContextList(after=after, limit=limit), sc.ContextEntries)

    async def drop(self, name: str) -> sc.Done:
        return await self._call(sc.ContextDrop(name=name), sc.Done)


class Memory(Stubs):
    """The histories of this process's principal, and its notes."""

    async def append(
        self, messages: Sequence[Message], history: str = "main", *, owner: str | None = None
    ) -> sc.History:
        call = sc.MemoryAppend(messages=tuple(messages), history=history, owner=owner)
        return await self._call(call, sc.History)

    async def read(
        self, start: int = 0, limit: int = 1000, *, history: str = "main", owner: str | None = None
    ) -> sc.History:
        call = sc.MemoryRead(start=start, limit=limit, history=history, owner=owner)
        return await self._call(call, sc.History)

    async def clear(self, history: str = "main", start: int = 0, *, owner: str | None = None) -> sc.Done:
        return await self._call(sc.MemoryClear(history=history, start=start, owner=owner), sc.Done)

    async def fork(
        self, to: str, history: str = "main", at: int | None = None, *, owner: str | None = None
    ) -> sc.History:
        return await self._call(sc.MemoryFork(to=to, history=history, at=at, owner=owner), sc.History)

    async def histories(
        self, after: str = "", limit: int = 1000, *, owner: str | None = None
    ) -> sc.HistoryEntries:
        call = sc.MemoryHistories(after=after, limit=limit, owner=owner)
        return await self._call(call, sc.HistoryEntries)

    async def pin(self, history: str = "main", pinned: bool = True, *, owner: str | None = None) -> sc.Done:
        return await self._call(sc.MemoryPin(history=history, pinned=pinned, owner=owner), sc.Done)

    async def add(
        self,
        text: str,
        tags: Iterable[str] = (),
        *,
        scope: str = "private",
        source: str = "",
        label: sc.Label = "trusted",
        ttl_s: float = 0.0,
    ) -> sc.Note:
        call = sc.MemoryAdd(text=text, tags=tuple(tags), scope=scope, source=source, label=label, ttl_s=ttl_s)
        return await self._call(call, sc.Note)

    async def get(self, note_id: str, *, owner: str | None = None) -> sc.Note:
        return await self._call(sc.MemoryGet(note_id=note_id, owner=owner), sc.Note)

    async def update(
        self,
        note_id: str,
        text: str | None = None,
        tags: Iterable[str] | None = None,
        *,
        scope: str | None = None,
        source: str | None = None,
        label: sc.Label | None = None,
        ttl_s: float | None = None,
        owner: str | None = None,
    ) -> sc.Note:
        call = sc.MemoryUpdate(
            note_id=note_id,
            text=text,
            tags=None if tags is None else tuple(tags),
            scope=scope,
            source=source,
            label=label,
            ttl_s=ttl_s,
            owner=owner,
        )
        return await self._call(call, sc.Note)

    async def remove(self, note_id: str, *, owner: str | None = None) -> sc.Done:
        return await self._call(sc.MemoryRemove(note_id=note_id, owner=owner), sc.Done)

    async def history(self, note_id: str, limit: int = 1000, *, owner: str | None = None) -> sc.NoteVersions:
        call = sc.MemoryHistory(note_id=note_id, limit=limit, owner=owner)
        return await self._call(call, sc.NoteVersions)

    async def search(
        self,
        text: str = "",
        limit: int = 10,
        tags: Iterable[str] = (),
        *,
        mode: sc.SearchMode = "both",
        scope: str = "own",
        since: float | None = None,
        until: float | None = None,
        source: str | None = None,
        label: sc.Label | None = None,
        owner: str | None = None,
    ) -> sc.NoteHits:
        call = sc.MemorySearch(
            text=text,
            limit=limit,
            tags=tuple(tags),
            mode=mode,
            scope=scope,
            since=since,
            until=until,
            source=source,
            label=label,
            owner=owner,
        )
        return await self._call(call, sc.NoteHits)

    async def export(
        self, after: str = "", limit: int = sc.MAX_PAGE, *, owner: str | None = None
    ) -> sc.NotePage:
        return await self._call(sc.MemoryExport(after=after, limit=limit, owner=owner), sc.NotePage)

    async def load(
        self, notes: Iterable[sc.NoteRecord], *, scope: str | None = None, owner: str | None = None
    ) -> sc.NoteIds:
        return await self._call(sc.MemoryLoad(notes=tuple(notes), scope=scope, owner=owner), sc.NoteIds)

    async def purge(self, source: str, *, owner: str | None = None) -> sc.Purged:
        return await self._call(sc.MemoryPurge(source=source, owner=owner), sc.Purged)


class Storage(Stubs):
    """Versioned files in folders: each principal has a tree of its own."""

    async def create(
        self,
        path: str,
        content: str = "",
        *,
        encoding: sc.Encoding = "utf-8",
        label: sc.Label = "trusted",
        source: str = "",
        lock: int | None = None,
        owner: str | None = None,
    ) -> sc.FileEntry:
        call = sc.StorageCreate(
            path=path,
            content=content,
            encoding=encoding,
            label=label,
            source=source,
            lock=lock,
            owner=owner,
        )
        return await self._call(call, sc.FileEntry)

    async def write(
        self,
        path: str,
        content: str,
        *,
        encoding: sc.Encoding = "utf-8",
        label: sc.Label = "trusted",
        source: str = "",
        if_version: int | None = None,
        lock: int | None = None,
        owner: str | None = None,
    ) -> sc.FileEntry:
        call = sc.StorageWrite(
            path=path,
            content=content,
            encoding=encoding,
            label=label,
            source=source,
            if_version=if_version,
            lock=lock,
            owner=owner,
        )
        return await self._call(call, sc.FileEntry)

    async def append(
        self,
        path: str,
        content: str,
        *,
        encoding: sc.Encoding = "utf-8",
        label: sc.Label = "trusted",
        source: str = "",
        if_version: int | None = None,
        lock: int | None = None,
        owner: str | None = None,
    ) -> sc.FileEntry:
        call = sc.StorageAppend(
            path=path,
            content=content,
            encoding=encoding,
            label=label,
            source=source,
            if_version=if_version,
            lock=lock,
            owner=owner,
        )
        return await self._call(call, sc.FileEntry)

    async def read(
        self,
        path: str,
        version: int | None = None,
        *,
        start: int = 0,
        length: int | None = None,
        as_bytes: bool = False,
        owner: str | None = None,
    ) -> sc.FileContent:
        call = sc.StorageRead(
            path=path, version=version, start=start, length=length, as_bytes=as_bytes, owner=owner
        )
        return await self._call(call, sc.FileContent)

    async def list(
        self,
        folder: str = "",
        limit: int = 1000,
        *,
        after: str = "",
        deep: bool = True,
        owner: str | None = None,
    ) -> sc.FileEntries:
        call = sc.StorageList(folder=folder, limit=limit, after=after, deep=deep, owner=owner)
        return await self._call(call, sc.FileEntries)

    async def stat(self, path: str, *, owner: str | None = None) -> sc.FileEntry:
        return await self._call(sc.StorageStat(path=path, owner=owner), sc.FileEntry)

    async def mkdir(self, path: str, *, owner: str | None = None) -> sc.Done:
        return await self._call(sc.StorageMkdir(path=path, owner=owner), sc.Done)

    async def move(
        self,
        path: str,
        to: str,
        *,
        if_version: int | None = None,
        lock: int | None = None,
        owner: str | None = None,
    ) -> sc.FileEntry:
        call = sc.StorageMove(path=path, to=to, if_version=if_version, lock=lock, owner=owner)
        return await self._call(call, sc.FileEntry)

    async def delete(
        self,
        path: str,
        *,
        deep: bool = False,
        if_version: int | None = None,
        lock: int | None = None,
        owner: str | None = None,
    ) -> sc.Done:
        call = sc.StorageDelete(path=path, deep=deep, if_version=if_version, lock=lock, owner=owner)
        return await self._call(call, sc.Done)

    async def history(
        self, path: str, limit: int = 1000, *, before: int | None = None, owner: str | None = None
    ) -> sc.FileVersions:
        call = sc.StorageHistory(path=path, limit=limit, before=before, owner=owner)
        return await self._call(call, sc.FileVersions)

    async def diff(
        self,
        path: str,
        old: int | None = None,
        new: int | None = None,
        *,
        since: float | None = None,
        until: float | None = None,
        context: int = 3,
        owner: str | None = None,
    ) -> sc.FileDiff:
        call = sc.StorageDiff(
            path=path, old=old, new=new, since=since, until=until, context=context, owner=owner
        )
        return await self._call(call, sc.FileDiff)

    async def rollback(
        self,
        path: str,
        version: int | None = None,
        *,
        time: float | None = None,
        if_version: int | None = None,
        lock: int | None = None,
        owner: str | None = None,
    ) -> sc.FileEntry:
        call = sc.StorageRollback(
            path=path, version=version, time=time, if_version=if_version, lock=lock, owner=owner
        )
        return await self._call(call, sc.FileEntry)

    async def prune(
        self,
        path: str,
        *,
        keep: int = 1,
        before: float | None = None,
        if_version: int | None = None,
        owner: str | None = None,
    ) -> sc.Pruned:
        call = sc.StoragePrune(path=path, keep=keep, before=before, if_version=if_version, owner=owner)
        return await self._call(call, sc.Pruned)

    async def search(
        self,
        text: str = "",
        limit: int = 10,
        *,
        mode: sc.SearchMode = "both",
        folder: str = "",
        name: str = "",
        kind: str = "",
        min_bytes: int = 0,
        max_bytes: int | None = None,
        since: float | None = None,
        until: float | None = None,
        label: sc.Label | None = None,
        owner: str | None = None,
    ) -> sc.FileHits:
        call = sc.StorageSearch(
            text=text,
            limit=limit,
            mode=mode,
            folder=folder,
            name=name,
            kind=kind,
            min_bytes=min_bytes,
            max_bytes=max_bytes,
            since=since,
            until=until,
            label=label,
            owner=owner,
        )
        return await self._call(call, sc.FileHits)

    async def group(
        self,
        by: sc.GroupBy,
        text: str = "",
        limit: int = 20,
        *,
        num_best: int = 3,
        mode: sc.SearchMode = "both",
        folder: str = "",
        name: str = "",
        kind: str = "",
        min_bytes: int = 0,
        max_bytes: int | None = None,
        since: float | None = None,
        until: float | None = None,
        label: sc.Label | None = None,
        owner: str | None = None,
    ) -> sc.FileGroups:
        call = sc.StorageGroup(
            by=by,
            text=text,
            limit=limit,
            num_best=num_best,
            mode=mode,
            folder=folder,
            name=name,
            kind=kind,
            min_bytes=min_bytes,
            max_bytes=max_bytes,
            since=since,
            until=until,
            label=label,
            owner=owner,
        )
        return await self._call(call, sc.FileGroups)

    async def join(
        self,
        files: Iterable[sc.FileAt | str],
        to: str,
        *,
        title: str = "",
        if_version: int | None = None,
        lock: int | None = None,
        dry_run: bool = False,
        owner: str | None = None,
    ) -> sc.FileJoin:
        """`files` are paths, of their newest versions, or `FileAt`."""
        call = sc.StorageJoin(
            files=tuple(sc.FileAt(file) if isinstance(file, str) else file for file in files),
            to=to,
            title=title,
            if_version=if_version,
            lock=lock,
            dry_run=dry_run,
            owner=owner,
        )
        return await self._call(call, sc.FileJoin)

    async def quota(self, *, owner: str | None = None) -> sc.FileQuota:
        return await self._call(sc.StorageQuota(owner=owner), sc.FileQuota)

    async def lock(
        self, path: str, lease_s: float = 60.0, *, token: int | None = None, owner: str | None = None
    ) -> sc.FileLock:
        call = sc.StorageLock(path=path, lease_s=lease_s, token=token, owner=owner)
        return await self._call(call, sc.FileLock)

    async def unlock(self, path: str, token: int, *, owner: str | None = None) -> sc.Done:
        return await self._call(sc.StorageUnlock(path=path, token=token, owner=owner), sc.Done)

    async def share(
        self, path: str, version: int | None = None, *, expires_s: float = 86_400.0
    ) -> sc.ShareLink:
        return await self._call(
            sc.StorageShare(path=path, version=version, expires_s=expires_s), sc.ShareLink
        )

    async def unshare(self, share_id: str) -> sc.Done:
        return await self._call(sc.StorageUnshare(share_id=share_id), sc.Done)

    async def shares(self) -> sc.ShareLinks:
        return await self._call(sc.StorageShares(), sc.ShareLinks)

    async def open(self, link: str, *, start: int = 0, length: int = sc.MAX_READ_BYTES) -> sc.FileContent:
        return await self._call(sc.StorageOpen(link=link, start=start, length=length), sc.FileContent)

    async def upload(self, path: str, *, owner: str | None = None) -> sc.Upload:
        """Begin to send a file in parts; `put` does it all."""
        return await self._call(sc.StorageUpload(path=path, owner=owner), sc.Upload)

    async def part(self, upload_id: str, start: int, data: bytes) -> sc.Upload:
        return await self._call(sc.StoragePart(upload_id=upload_id, start=start, data=data), sc.Upload)

    async def commit(
        self,
        upload_id: str,
        path: str,
        size: int,
        *,
        label: sc.Label = "trusted",
        source: str = "",
        if_version: int | None = None,
        lock: int | None = None,
        owner: str | None = None,
    ) -> sc.FileEntry:
        call = sc.StorageCommit(
            upload_id=upload_id,
            path=path,
            size=size,
            label=label,
            source=source,
            if_version=if_version,
            lock=lock,
            owner=owner,
        )
        return await self._call(call, sc.FileEntry)

    async def abort(self, upload_id: str) -> sc.Done:
        return await self._call(sc.StorageAbort(upload_id=upload_id), sc.Done)

    async def mount(
        self, name: str, folder: str, write: bool = False, *, owner: str | None = None
    ) -> sc.MountEntry:
        """Have a folder follow the directory that the operator lends by this name."""
        call = sc.StorageMount(name=name, folder=folder, write=write, owner=owner)
        return await self._call(call, sc.MountEntry)

    async def unmount(self, folder: str, *, keep: bool = False, owner: str | None = None) -> sc.Done:
        return await self._call(sc.StorageUnmount(folder=folder, keep=keep, owner=owner), sc.Done)

    async def mounts(self, *, owner: str | None = None) -> sc.MountEntries:
        return await self._call(sc.StorageMounts(owner=owner), sc.MountEntries)


class Access(Stubs):
    """Who may do what: grants of one's own things, and for the operator what waits for a person."""

    async def check(
        self, resource: sc.Resource, verb: sc.GrantVerb, owner: str, path: str = ""
    ) -> sc.Decision:
        call = sc.AccessCheck(resource=resource, verb=verb, owner=owner, path=path)
        return await self._call(call, sc.Decision)

    async def grant(
        self,
        to: str,
        resource: sc.Resource,
        verbs: Iterable[sc.GrantVerb],
        prefix: str = "",
        *,
        expires_s: float | None = None,
    ) -> sc.Grant:
        call = sc.AccessGrant(
            to=to, resource=resource, verbs=tuple(verbs), prefix=prefix, expires_s=expires_s
        )
        return await self._call(call, sc.Grant)

    async def revoke(self, grant_id: str) -> sc.Done:
        return await self._call(sc.AccessRevoke(grant_id=grant_id), sc.Done)

    async def groups(self) -> sc.Groups:
        return await self._call(sc.AccessGroups(), sc.Groups)

    async def set_group(self, name: str, members: Iterable[str]) -> sc.Group:
        return await self._call(sc.AccessSetGroup(name=name, members=tuple(members)), sc.Group)

    async def drop_group(self, name: str) -> sc.Done:
        return await self._call(sc.AccessDropGroup(name=name), sc.Done)

    async def pending(self) -> sc.Approvals:
        return await self._call(sc.AccessPending(), sc.Approvals)

    async def approve(self, approval_id: str) -> sc.Done:
        return await self._call(sc.AccessApprove(approval_id=approval_id), sc.Done)

    async def deny(self, approval_id: str) -> sc.Done:
        return await self._call(sc.AccessDeny(approval_id=approval_id), sc.Done)


class Core(Stubs):
    """The models, and how calls are shared out among them."""

    async def list(self) -> sc.CoreEntries:
        return await self._call(sc.CoreList(), sc.CoreEntries)

    async def explain(self, pid: int | None = None) -> sc.Explanation:
        return await self._call(sc.CoreExplain(pid=pid), sc.Explanation)

    async def drain(self, core: str) -> sc.Done:
        return await self._call(sc.CoreDrain(core=core), sc.Done)

    async def undrain(self, core: str) -> sc.Done:
        return await self._call(sc.CoreUndrain(core=core), sc.Done)


class Process(Stubs):
    """Processes, and messages between them."""

    async def spawn(
        self,
        agent: str,
        *,
        principal: str | None = None,
        lease_s: float | None = None,
        durable: bool = False,
        tenant: str | None = None,
        hints: sc.Hints = sc.NO_HINTS,
        budget: sc.Budget | None = None,
    ) -> sc.Spawned:
        call = sc.ProcessSpawn(
            agent=agent,
            principal=principal,
            lease_s=lease_s,
            durable=durable,
            tenant=tenant,
            hints=hints,
            budget=budget,
        )
        return await self._call(call, sc.Spawned)

    async def list(self) -> sc.ProcessEntries:
        return await self._call(sc.ProcessList(), sc.ProcessEntries)

    async def usage(self, pid: int | None = None) -> sc.ResourceUsage:
        return await self._call(sc.ProcessUsage(pid=pid), sc.ResourceUsage)

    async def suspend(self, pid: int) -> sc.Done:
        return await self._call(sc.ProcessSuspend(pid=pid), sc.Done)

    async def resume(self, pid: int) -> sc.Done:
        return await self._call(sc.ProcessResume(pid=pid), sc.Done)

    async def kill(self, pid: int) -> sc.Done:
        return await self._call(sc.ProcessKill(pid=pid), sc.Done)

    async def exit(self, result: str = "") -> sc.Done:
        return await self._call(sc.ProcessExit(result=result), sc.Done)

    async def wait(self, pid: int, *, timeout_s: float | None = None) -> sc.ExitStatus:
        return await self._call(sc.ProcessWait(pid=pid), sc.ExitStatus, timeout_s=timeout_s)

    async def send(self, pid: int, text: str) -> sc.Done:
        return await self._call(sc.ProcessSend(pid=pid, text=text), sc.Done)

    async def receive(self, *, timeout_s: float | None = None) -> sc.Mail:
        return await self._call(sc.ProcessReceive(), sc.Mail, timeout_s=timeout_s)
