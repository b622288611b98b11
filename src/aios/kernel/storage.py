"""STORAGE MANAGER: versioned files in the store, found by path or by words.

Every call becomes one function that runs in one transaction: writes are on the disk when they are answered.
By the time a call comes here the kernel has checked that its caller may make it.
"""

import base64
import binascii
from collections.abc import Callable
from typing import TypeVar

import apsw

from aios.abi import syscalls as sc
from aios.abi.errors import Internal, InvalidArgument
from aios.drivers.clock import Clock
from aios.drivers.store import Store
from aios.kernel import file_search, files, versions
from aios.kernel.config import StorageConfig
from aios.kernel.indexing import Backlog
from aios.kernel.paths import check_folder, check_path
from aios.kernel.process import Caller

T = TypeVar("T")
Content = sc.StorageCreate | sc.StorageWrite | sc.StorageAppend


class StorageManager:
    def __init__(self, store: Store, config: StorageConfig, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._backlog = Backlog(store, file_search.index_pending)
        self._limits = files.Limits(config.max_file_bytes, config.max_files, config.max_owner_bytes)

    async def start(self) -> None:
        """Make the tables. Raises what `Store.migrate` raises."""
        await self._store.migrate("files", files.SCHEMA)

    async def execute(self, caller: Caller, call: sc.SystemCall) -> sc.Reply:
        """Answer one call of the group `storage`. Raises `InvalidArgument`, or as `files` does."""
        match call:
            case sc.StorageCreate() | sc.StorageWrite() | sc.StorageAppend():
                check_path(call.path)
                return await self._put(caller, call)
            case sc.StorageDelete() | sc.StorageRollback():
                check_path(call.path)
                return await self._undo(caller, call)
            case sc.StorageRead() | sc.StorageStat() | sc.StorageHistory():
                check_path(call.path)
                return await self._read(call.owner or caller.principal, call)
            case sc.StorageList() | sc.StorageSearch():
                return await self._find(call.owner or caller.principal, call)
            case _:
                raise Internal(f"the storage manager was given a {type(call).__name__}")

    async def _put(self, caller: Caller, call: Content) -> sc.Reply:
        owner, path, limits = call.owner or caller.principal, call.path, self._limits
        content = _decode(call)
        match call:
            case sc.StorageCreate():
                change = self._change("create", caller)
                return await self._write(lambda c: files.write(c, owner, path, content, change, limits))
            case sc.StorageWrite():
                change = self._change("write", caller)
                return await self._write(lambda c: files.write(c, owner, path, content, change, limits))
            case sc.StorageAppend():
                change = self._change("append", caller)
                return await self._write(lambda c: files.append(c, owner, path, content, change, limits))

    async def _undo(self, caller: Caller, call: sc.StorageDelete | sc.StorageRollback) -> sc.Reply:
        owner, path, limits = call.owner or caller.principal, call.path, self._limits
        match call:
            case sc.StorageDelete():
                change = self._change("delete", caller)
                return await self._write(lambda c: files.delete(c, owner, path, change))
            case sc.StorageRollback(version=version):
                change = self._change("rollback", caller)
                return await self._write(lambda c: files.rollback(c, owner, path, version, change, limits))

    async def _read(self, owner: str, call: sc.StorageRead | sc.StorageStat | sc.StorageHistory) -> sc.Reply:
        path = call.path
        match call:
            case sc.StorageRead(version=version):
                return await self._store.read(lambda c: files.read(c, owner, path, version))
            case sc.StorageStat():
                return await self._store.read(lambda c: files.stat(c, owner, path))
            case sc.StorageHistory(limit=limit):
                return await self._store.read(lambda c: files.history(c, owner, path, limit))

    async def _find(self, owner: str, call: sc.StorageList | sc.StorageSearch) -> sc.Reply:
        limit = call.limit
        match call:
            case sc.StorageList(folder=folder):
                check_folder(folder)
                return await self._store.read(lambda c: files.entries(c, owner, folder, limit))
            case sc.StorageSearch(text=text):
                await self._backlog.catch_up()
                return await self._store.read(lambda c: file_search.search(c, owner, text, limit))

    async def _write(self, work: Callable[[apsw.Connection], T]) -> T:
        try:
            return await self._store.write(work)
        finally:
            self._backlog.wrote()

    def _change(self, verb: versions.Verb, caller: Caller) -> versions.Change:
        return versions.Change(verb, caller.principal, self._clock.time())


def _decode(call: Content) -> bytes:
    try:
        if call.encoding == "utf-8":
            return call.content.encode()
        return base64.b64decode(call.content, validate=True)
    except UnicodeEncodeError:
        raise InvalidArgument("the content holds half a character (a lone surrogate)") from None
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(f"the content is not base64: {error}") from None
