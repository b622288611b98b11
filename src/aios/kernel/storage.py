"""STORAGE MANAGER: versioned files in the store, found by path, by words or by what is like them.

Every call becomes one function that runs in one transaction: writes are on the disk when they are answered.
By the time a call comes here the kernel has checked that its caller may make it.
"""

import asyncio
import base64
import binascii
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw
from msgspec import structs

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError, Internal, InvalidArgument
from aios.drivers.clock import Clock
from aios.drivers.store import Manner, Store
from aios.kernel.config import MountConfig, StorageConfig
from aios.kernel.files import (
    comparing,
    documents,
    entries,
    listing,
    locks,
    migrating,
    pruning,
    reading,
    reverting,
    sharing,
    texts,
    uploads,
    writing,
)
from aios.kernel.files.asking import Asking
from aios.kernel.files.chunks import Chunk, chunks_of
from aios.kernel.files.holdings import Limits
from aios.kernel.files.tables import moment_of
from aios.kernel.finding import grouping, joining, searching, shelving
from aios.kernel.finding.extracting import Extracting
from aios.kernel.mounts.manager import Mounts, Opened
from aios.kernel.paths import check_folder, check_path
from aios.kernel.process import OPERATOR, Caller
from aios.kernel.shelves.shelf import Hit
from aios.kernel.shelves.tender import Tender
from aios.kernel.shelves.tending import FLUSH

log = logging.getLogger(__name__)

T = TypeVar("T")
Verb = Callable[[apsw.Connection, Asking, Any], sc.Reply]

READS: dict[type[sc.SystemCall], Verb] = {
    sc.StorageRead: reading.read,
    sc.StorageList: listing.page,
    sc.StorageStat: reading.stat,
    sc.StorageHistory: reading.history,
    sc.StorageDiff: comparing.diff,
    sc.StorageQuota: reading.quota,
    sc.StorageShares: sharing.shares,
    sc.StorageOpen: sharing.open_link,
}
"""What only looks, and what answers it, on one of the store's readers."""

CHANGES: dict[type[sc.SystemCall], Verb] = {
    sc.StorageCreate: writing.write,
    sc.StorageWrite: writing.write,
    sc.StorageAppend: writing.write,
    sc.StorageMkdir: writing.mkdir,
    sc.StorageMove: writing.move,
    sc.StorageDelete: writing.delete,
    sc.StorageRollback: reverting.rollback,
    sc.StorageUnlock: locks.unlock,
    sc.StorageShare: sharing.share,
    sc.StorageUnshare: sharing.unshare,
    sc.StorageUpload: uploads.begin,
    sc.StoragePart: uploads.part,
    sc.StorageCommit: uploads.commit,
}
"""What changes something, and what does it, in one transaction on the store's writer."""

INLINE_BYTES = 64 * 1024
"""Content up to this is cut and hashed at once; more on a thread, so that the loop does not wait for it."""


class StorageManager:
    """`lent` are directories of this machine that may be mounted, `protected` what is never part of one.

    `opened` opens such a directory; None for the usual way.
    """

    def __init__(
        self,
        store: Store,
        config: StorageConfig,
        clock: Clock,
        tender: Tender,
        extracting: Extracting,
        *,
        lent: Iterable[MountConfig] = (),
        protected: Iterable[Path] = (),
        opened: Opened | None = None,
    ) -> None:
        self._store = store
        self._extracting = extracting
        self._clock = clock
        self._tender = tender
        self._untended: Counter[str] = Counter()
        """By owner, how much was written since its shelf was seen to, in documents of a few lines."""
        self._limits = Limits(
            config.max_file_bytes,
            config.max_files,
            config.max_owner_bytes,
            config.max_tree_files,
            config.max_locks,
            config.max_shares,
            config.max_uploads,
        )
        self._mounts = Mounts(
            store,
            clock,
            self._limits,
            {one.name: one for one in lent},
            rescan_s=config.rescan_s,
            max_mounts=config.max_mounts,
            on_taken=self._taken,
            protected=protected,
            opened=opened,
        )
        self._lockers: set[int] = set()
        """The processes that have locked something."""
        self._releases: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Make the tables, give up the locks of an earlier kernel, and go on with the mounts.

        Raises what `Store.migrate` raises.
        """
        await self._store.migrate("files", migrating.SCHEMA)
        for shelf in await self._store.read(shelving.owners_due):
            self._tender.wake(shelf)
        if await self._store.read(locks.is_any):
            with self._store.writing(Manner(frees=True)):
                await self._store.write(locks.end_all)
        await self._mounts.start()

    async def close(self) -> None:
        """Leave off following the mounted directories."""
        await self._mounts.close()

    async def idle(self) -> None:
        """Wait until what has changed in mounted directories has been taken in."""
        await self._mounts.idle()

    async def execute(self, caller: Caller, call: sc.SystemCall) -> sc.Reply:
        """Answer one call of the group `storage`. Raises `InvalidArgument`, or as the modules of `files`."""
        call = _checked(call)
        asking = await self._asking(caller, call)
        changed = caller.principal if isinstance(call, sc.StorageJoin) else asking.owner
        if not (self._mounts.is_any(asking.owner) or self._mounts.is_any(changed)):
            return await self._execute(caller, asking, call)
        paths = _paths(call)
        await self._mounts.fresh(asking.owner, paths)
        reply = await self._execute(caller, asking, call)
        if type(call) in CHANGES or isinstance(call, sc.StorageJoin):
            await self._mounts.push(changed, paths)
        return await self._mounts.told(reply) if isinstance(reply, sc.FileEntry) else reply

    async def _execute(self, caller: Caller, asking: Asking, call: sc.SystemCall) -> sc.Reply:
        if verb := READS.get(type(call)):
            return await self._store.read(partial(_answered, verb, asking, call))
        match call:
            case sc.StorageMount():
                return await self._mounts.mount(asking, call)
            case sc.StorageUnmount():
                return await self._mounts.unmount(asking, call)
            case sc.StorageMounts(owner=owner):
                everybodys = owner is None and caller.principal == OPERATOR
                return await self._mounts.entries(None if everybodys else asking.owner)
            case sc.StorageSearch(limit=limit):
                return await self._search(
                    asking, call, limit, partial(searching.found, call=call, limit=limit)
                )
            case sc.StorageGroup():
                limit = grouping.limit_of(call)
                return await self._search(asking, call, limit, partial(grouping.grouped, call=call))
            case sc.StorageJoin():
                return await self._join(asking, call)
            case sc.StorageLock():
                return await self._lock(asking, call)
            case sc.StorageUpload():
                await self._sweep()
            case sc.StorageAbort():
                await self._store.write(partial(uploads.abort, asking=asking, call=call))
                await self._sweep()
                return sc.Done()
            case sc.StoragePrune():
                await self._sweep()
                return await self._prune(asking, call)
        if verb := CHANGES.get(type(call)):
            reply = await self._store.write(partial(_answered, verb, asking, call))
            self._wrote(asking.owner, _weight(asking, call))
            if _may_bring_documents(call):
                self._extracting.wake()
            return reply
        raise Internal(f"the storage manager was given a {type(call).__name__}")

    async def bind(self, caller: Caller, call: sc.SystemCall) -> sc.SystemCall:
        """The same call, bound to the version that its object has now: what a person is asked about.

        Raises `NotFound` where there is nothing to delete, to move or to share, or `InvalidArgument`.
        """
        call = _checked(call)
        owner = getattr(call, "owner", None) or caller.principal
        await self._mounts.fresh(owner, _paths(call))
        match call:
            case sc.StorageShare(version=None):
                entry = await self._store.read(lambda c: entries.existing(c, owner, call.path))
                return structs.replace(call, version=entry.version)
            case (sc.StorageWrite() | sc.StorageCommit() | sc.StorageRollback() | sc.StoragePrune()) | (
                sc.StorageDelete() | sc.StorageMove()
            ) if call.if_version is None:
                found = await self._store.read(lambda c: writing.version_of(c, owner, call.path))
                if not found and isinstance(call, sc.StorageDelete | sc.StorageMove):
                    raise entries.absent(call.path)
                return structs.replace(call, if_version=found)
        return call

    def process_ended(self, pid: int) -> None:
        """Give up what a process has locked."""
        if pid in self._lockers:
            self._lockers.discard(pid)
            self._release(pid)

    async def _lock(self, asking: Asking, call: sc.StorageLock) -> sc.Reply:
        self._lockers.add(asking.pid)
        try:
            return await self._store.write(partial(locks.lock, asking=asking, call=call))
        finally:
            if asking.pid not in self._lockers:  # It ended meanwhile.
                self._release(asking.pid)

    def _release(self, pid: int) -> None:
        release = asyncio.get_running_loop().create_task(self._end_locks(pid))
        self._releases.add(release)
        release.add_done_callback(self._releases.discard)

    async def _end_locks(self, pid: int) -> None:
        try:
            with self._store.writing(Manner(frees=True)):
                await self._store.write(partial(locks.end_of_process, pid=pid))
        except AiosError as error:  # They end by themselves, or with the kernel.
            log.error("the locks of process %d could not be given up: %s", pid, error)

    async def _prune(self, asking: Asking, call: sc.StoragePrune) -> sc.Reply:
        done = await self._store.read(partial(pruning.begin, asking=asking, call=call))
        while done.reply is None:
            work = partial(pruning.prune, asking=asking, call=call, done=done)
            done = await self._store.write(work, reply=lambda done: done.reply)
        return done.reply

    async def _sweep(self) -> None:
        """Drop what was uploaded and given up."""
        moment = moment_of(self._clock.time())
        while await self._store.write(partial(uploads.sweep, moment=moment)):
            pass

    async def _search(
        self,
        asking: Asking,
        call: sc.FileConditions,
        limit: int,
        read: Callable[[apsw.Connection, list[Hit]], T],
    ) -> T:
        query = searching.query_of(call, asking.owner, asking.now, limit)
        if searching.is_narrow(call):
            chosen = await self._store.read(lambda c: searching.chosen(c, call, asking.owner))
            query = structs.replace(query, chosen=chosen)
        return await self._tender.search(query, read)

    async def _join(self, asking: Asking, call: sc.StorageJoin) -> sc.FileJoin:
        """Read, then write: versions do not change, so what was read is what they are."""
        joined = await self._store.read(partial(joining.read, asking=asking, call=call))
        if call.dry_run:
            return joined.reply
        asking = structs.replace(asking, owner=asking.author, content=await _chunks(joined.content))
        reply = await self._store.write(partial(joining.write, asking=asking, call=call, joined=joined))
        self._wrote(asking.owner, _weight(asking, call))
        return reply

    def _wrote(self, owner: str, weight: int) -> None:
        """Have the index follow in the background, now and then."""
        self._tender.changed(documents.shelf_of(owner))
        self._untended[owner] += weight
        if self._untended[owner] >= FLUSH:
            del self._untended[owner]
            self._tender.wake(documents.shelf_of(owner))

    def _taken(self, owner: str, num_bytes: int, has_documents: bool) -> None:
        """What a mounted directory brought is indexed, too."""
        self._wrote(owner, 1 + num_bytes * FLUSH // shelving.DUE_BYTES)
        if has_documents:
            self._extracting.wake()

    async def _asking(self, caller: Caller, call: sc.SystemCall) -> Asking:
        return Asking(
            getattr(call, "owner", None) or caller.principal,
            caller.principal,
            caller.pid,
            self._clock.time(),
            self._limits,
            await _chunks(_content(call)),
        )


def _answered(verb: Verb, asking: Asking, call: sc.SystemCall, connection: apsw.Connection) -> sc.Reply:
    return verb(connection, asking, call)


def _paths(call: sc.SystemCall) -> list[str]:
    """The files and folders that a call is about."""
    if isinstance(call, sc.StorageJoin):
        return [call.to, *(file.path for file in call.files)]
    if isinstance(call, sc.StorageMount | sc.StorageUnmount | sc.StorageMounts):
        return []
    found = (getattr(call, field, None) for field in ("path", "to", "folder"))
    return [path.removesuffix("/") for path in found if path is not None]


def _may_bring_documents(call: sc.SystemCall) -> bool:
    match call:
        case sc.StorageMove() | sc.StorageRollback():
            return True
        case sc.StorageCreate() | sc.StorageWrite() | sc.StorageAppend() | sc.StorageCommit():
            return texts.is_document(call.path)
        case _:
            return False


def _weight(asking: Asking, call: sc.SystemCall) -> int:
    """What a change gives the index to do, in documents of a few lines; of folders it is not known."""
    match call:
        case sc.StorageCreate() | sc.StorageWrite() | sc.StorageAppend() | sc.StorageJoin():
            return 1 + sum(chunk.size for chunk in asking.content) * FLUSH // shelving.DUE_BYTES
        case sc.StorageMove() | sc.StorageRollback() | sc.StorageDelete(deep=True):
            return FLUSH
        case sc.StorageCommit(size=size):
            return 1 + min(size, shelving.INDEXED_BYTES) * FLUSH // shelving.DUE_BYTES
        case _:
            return 1


async def _chunks(content: bytes) -> tuple[Chunk, ...]:
    if len(content) <= INLINE_BYTES:
        return chunks_of(content)
    return await asyncio.to_thread(chunks_of, content)


def _content(call: sc.SystemCall) -> bytes:
    """What a call brings. Raises `InvalidArgument`."""
    match call:
        case sc.StoragePart(data=data):
            return data
        case sc.StorageCreate() | sc.StorageWrite() | sc.StorageAppend():
            return _decoded(call.content, call.encoding)
        case _:
            return b""


def _decoded(content: str, encoding: sc.Encoding) -> bytes:
    try:
        return content.encode() if encoding == "utf-8" else base64.b64decode(content, validate=True)
    except UnicodeEncodeError:
        raise InvalidArgument("the content holds half a character (a lone surrogate)") from None
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(f"the content is not base64: {error}") from None


def _checked(call: sc.SystemCall) -> sc.SystemCall:
    """The call with good paths: a folder's without a slash at the end. Raises `InvalidArgument`."""
    match call:
        case sc.StorageList(folder=folder, after=after):
            check_folder(folder)
            check_folder(after)
        case sc.StorageMount(folder=folder) | sc.StorageUnmount(folder=folder):
            check_path(folder.removesuffix("/"))
        case sc.FileConditions():
            check_folder(call.folder)
            searching.check(call)
        case sc.StorageJoin():
            for path in (call.to, *(file.path for file in call.files)):
                check_path(path)
        case sc.StorageHistory() | sc.StorageDiff() | sc.StorageRollback() | sc.StoragePrune():
            check_folder(call.path)
            return structs.replace(call, path=call.path.removesuffix("/"))
        case sc.StorageMove(path=path, to=to):
            check_path(path)
            check_path(to)
        case _ if hasattr(call, "path"):
            check_path(call.path)
    if not getattr(call, "source", "").isprintable():
        raise InvalidArgument("the source holds a character that cannot be seen")
    return call
