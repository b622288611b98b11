"""THE TABLE: every system call and its reply, one frozen struct each.

Stubs of the SDK, schemas, access rules and documentation are made from `TABLE`. A system call that is not
built is not here. Everything a caller may set has a bound, checked when bytes become a struct.
"""

from msgspec import Struct

from aios.abi.calls.access import *
from aios.abi.calls.base import *
from aios.abi.calls.context import *
from aios.abi.calls.core import *
from aios.abi.calls.history import *
from aios.abi.calls.llm import *
from aios.abi.calls.notes import *
from aios.abi.calls.process import *
from aios.abi.calls.scheduling import *
from aios.abi.calls.storage import *
from aios.abi.calls.tool import *


class Row(Struct, frozen=True):
    """One line of the table."""

    name: str
    request: type[SystemCall]
    reply: type[Reply]
    streams: bool = False
    """Whether deltas may come before the reply."""

    @property
    def group(self) -> str:
        return self.name.partition(".")[0]


TABLE: dict[str, Row] = {
    row.name: row
    for row in (
        Row("llm.generate", LlmGenerate, LlmAnswer, streams=True),
        Row("llm.embed", LlmEmbed, Embeddings),
        Row("context.snapshot", ContextSnapshot, ContextEntry),
        Row("context.restore", ContextRestore, Context),
        Row("context.list", ContextList, ContextEntries),
        Row("context.drop", ContextDrop, Done),
        Row("core.list", CoreList, CoreEntries),
        Row("core.explain", CoreExplain, Explanation),
        Row("core.drain", CoreDrain, Done),
        Row("core.undrain", CoreUndrain, Done),
        Row("memory.append", MemoryAppend, History),
        Row("memory.read", MemoryRead, History),
        Row("memory.clear", MemoryClear, Done),
        Row("memory.fork", MemoryFork, History),
        Row("memory.histories", MemoryHistories, HistoryEntries),
        Row("memory.pin", MemoryPin, Done),
        Row("memory.add", MemoryAdd, Note),
        Row("memory.get", MemoryGet, Note),
        Row("memory.update", MemoryUpdate, Note),
        Row("memory.remove", MemoryRemove, Done),
        Row("memory.history", MemoryHistory, NoteVersions),
        Row("memory.search", MemorySearch, NoteHits),
        Row("memory.export", MemoryExport, NotePage),
        Row("memory.load", MemoryLoad, NoteIds),
        Row("memory.purge", MemoryPurge, Purged),
        Row("storage.create", StorageCreate, FileEntry),
        Row("storage.write", StorageWrite, FileEntry),
        Row("storage.append", StorageAppend, FileEntry),
        Row("storage.read", StorageRead, FileContent),
        Row("storage.list", StorageList, FileEntries),
        Row("storage.stat", StorageStat, FileEntry),
        Row("storage.mkdir", StorageMkdir, Done),
        Row("storage.move", StorageMove, FileEntry),
        Row("storage.delete", StorageDelete, Done),
        Row("storage.history", StorageHistory, FileVersions),
        Row("storage.diff", StorageDiff, FileDiff),
        Row("storage.rollback", StorageRollback, FileEntry),
        Row("storage.prune", StoragePrune, Pruned),
        Row("storage.search", StorageSearch, FileHits),
        Row("storage.group", StorageGroup, FileGroups),
        Row("storage.join", StorageJoin, FileJoin),
        Row("storage.quota", StorageQuota, FileQuota),
        Row("storage.lock", StorageLock, FileLock),
        Row("storage.unlock", StorageUnlock, Done),
        Row("storage.share", StorageShare, ShareLink),
        Row("storage.unshare", StorageUnshare, Done),
        Row("storage.shares", StorageShares, ShareLinks),
        Row("storage.open", StorageOpen, FileContent),
        Row("storage.upload", StorageUpload, Upload),
        Row("storage.part", StoragePart, Upload),
        Row("storage.commit", StorageCommit, FileEntry),
        Row("storage.abort", StorageAbort, Done),
        Row("storage.mount", StorageMount, MountEntry),
        Row("storage.unmount", StorageUnmount, Done),
        Row("storage.mounts", StorageMounts, MountEntries),
        Row("tool.list", ToolList, ToolEntries),
        Row("tool.call", ToolRun, ToolOutput),
        Row("tool.register", ToolRegister, ToolEntries),
        Row("tool.unregister", ToolUnregister, Done),
        Row("access.check", AccessCheck, Decision),
        Row("access.grant", AccessGrant, Grant),
        Row("access.revoke", AccessRevoke, Done),
        Row("access.groups", AccessGroups, Groups),
        Row("access.set_group", AccessSetGroup, Group),
        Row("access.drop_group", AccessDropGroup, Done),
        Row("access.pending", AccessPending, Approvals),
        Row("access.approve", AccessApprove, Done),
        Row("access.deny", AccessDeny, Done),
        Row("process.spawn", ProcessSpawn, Spawned),
        Row("process.list", ProcessList, ProcessEntries),
        Row("process.usage", ProcessUsage, ResourceUsage),
        Row("process.suspend", ProcessSuspend, Done),
        Row("process.resume", ProcessResume, Done),
        Row("process.kill", ProcessKill, Done),
        Row("process.exit", ProcessExit, Done),
        Row("process.wait", ProcessWait, ExitStatus),
        Row("process.send", ProcessSend, Done),
        Row("process.receive", ProcessReceive, Mail),
    )
}

ROW_OF: dict[type[SystemCall], Row] = {row.request: row for row in TABLE.values()}
"""The row of a request's type."""
