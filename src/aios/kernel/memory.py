"""MEMORY MANAGER: each principal's history and notes, kept in the store.

Every call becomes one function that runs in one transaction: writes are on the disk when they are answered.
By the time a call comes here the kernel has checked that its caller may make it.
"""

from collections.abc import Callable
from typing import TypeVar

import apsw

from aios.abi import syscalls as sc
from aios.abi.errors import Internal, InvalidArgument
from aios.drivers.clock import Clock
from aios.drivers.store import Store
from aios.drivers.vectors import VectorCache
from aios.kernel import history, notes
from aios.kernel.config import MemoryConfig
from aios.kernel.indexing import Backlog
from aios.kernel.process import Caller

T = TypeVar("T")


class MemoryManager:
    def __init__(self, store: Store, config: MemoryConfig, clock: Clock) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._vectors = VectorCache(config.max_vector_bytes)
        self._backlog = Backlog(store, notes.index_pending)

    async def start(self) -> None:
        """Make the tables. Raises what `Store.migrate` raises."""
        await self._store.migrate("history", history.SCHEMA)
        await self._store.migrate("notes", notes.SCHEMA)

    async def execute(self, caller: Caller, call: sc.SystemCall) -> sc.Reply:
        """Answer one call of the group `memory`. Raises what the functions of `notes` and `history` raise."""
        match call:
            case sc.MemoryAppend() | sc.MemoryRead() | sc.MemoryClear():
                return await self._history(caller.principal, call)
            case sc.MemoryAdd():
                return await self._add(caller.principal, call)
            case sc.MemoryGet() | sc.MemoryUpdate() | sc.MemoryRemove() | sc.MemorySearch():
                return await self._note(call.owner or caller.principal, call)
            case _:
                raise Internal(f"the memory manager was given a {type(call).__name__}")

    async def _history(self, owner: str, call: sc.MemoryAppend | sc.MemoryRead | sc.MemoryClear) -> sc.Reply:
        limits = self._config
        match call:
            case sc.MemoryAppend(messages=messages):
                most = limits.max_history_messages, limits.max_history_bytes
                return await self._store.write(lambda c: history.append(c, owner, messages, *most))
            case sc.MemoryRead(start=start, limit=limit):
                return await self._store.read(lambda c: history.read(c, owner, start, limit))
            case sc.MemoryClear():
                return await self._store.write(lambda c: history.clear(c, owner))

    async def _add(self, owner: str, call: sc.MemoryAdd) -> sc.Reply:
        now = self._clock.time()
        body = notes.Body(call.text, _distinct(call.tags), now, now)
        return await self._write(lambda c: notes.add(c, owner, body, self._config.max_notes))

    async def _note(
        self, owner: str, call: sc.MemoryGet | sc.MemoryUpdate | sc.MemoryRemove | sc.MemorySearch
    ) -> sc.Reply:
        match call:
            case sc.MemoryGet(note_id=note_id):
                return await self._store.read(lambda c: notes.get(c, owner, note_id))
            case sc.MemoryUpdate(note_id=note_id, text=text):
                tags = None if call.tags is None else _distinct(call.tags)
                now = self._clock.time()
                return await self._write(lambda c: notes.update(c, owner, note_id, text, tags, now))
            case sc.MemoryRemove(note_id=note_id):
                return await self._write(lambda c: notes.remove(c, owner, note_id))
            case sc.MemorySearch(text=text, tags=tags, limit=limit):
                if not text.strip():
                    return await self._store.read(lambda c: notes.newest(c, owner, tags, limit))
                await self._backlog.catch_up()
                return await self._store.read(
                    lambda c: notes.search(c, self._vectors, owner, text, tags, limit)
                )

    async def _write(self, work: Callable[[apsw.Connection], T]) -> T:
        try:
            return await self._store.write(work)
        except UnicodeEncodeError:
            raise InvalidArgument("the text holds half a character (a lone surrogate)") from None
        finally:
            self._backlog.wrote()


def _distinct(tags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags))
