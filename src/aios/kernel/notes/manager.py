"""Executes the calls about notes, each as one function that runs in one transaction."""

from collections.abc import Callable
from typing import TypeVar

import apsw

from aios.abi import syscalls as sc
from aios.abi.errors import InvalidArgument
from aios.drivers.clock import Clock
from aios.drivers.store import Store
from aios.drivers.vectors import VectorCache
from aios.kernel.config import MemoryConfig
from aios.kernel.indexing import Backlog
from aios.kernel.notes import rows
from aios.kernel.process import Caller

T = TypeVar("T")

NoteCall = sc.MemoryAdd | sc.MemoryGet | sc.MemoryUpdate | sc.MemoryRemove | sc.MemorySearch


class NoteManager:
    def __init__(self, store: Store, config: MemoryConfig, clock: Clock) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._vectors = VectorCache(config.max_vector_bytes)
        self._backlog = Backlog(store, rows.index_pending)

    async def start(self) -> None:
        """Make the tables. Raises what `Store.migrate` raises."""
        await self._store.migrate("notes", rows.SCHEMA)

    async def execute(self, caller: Caller, call: NoteCall) -> sc.Reply:
        """Raises what the functions of `rows` raise."""
        if isinstance(call, sc.MemoryAdd):
            return await self._add(caller.principal, call)
        return await self._note(call.owner or caller.principal, call)

    async def _add(self, owner: str, call: sc.MemoryAdd) -> sc.Reply:
        now = self._clock.time()
        body = rows.Body(call.text, _distinct(call.tags), now, now)
        return await self._write(lambda c: rows.add(c, owner, body, self._config.max_notes))

    async def _note(
        self, owner: str, call: sc.MemoryGet | sc.MemoryUpdate | sc.MemoryRemove | sc.MemorySearch
    ) -> sc.Reply:
        match call:
            case sc.MemoryGet(note_id=note_id):
                return await self._store.read(lambda c: rows.get(c, owner, note_id))
            case sc.MemoryUpdate(note_id=note_id, text=text):
                tags = None if call.tags is None else _distinct(call.tags)
                now = self._clock.time()
                return await self._write(lambda c: rows.update(c, owner, note_id, text, tags, now))
            case sc.MemoryRemove(note_id=note_id):
                return await self._write(lambda c: rows.remove(c, owner, note_id))
            case sc.MemorySearch(text=text, tags=tags, limit=limit):
                if not text.strip():
                    return await self._store.read(lambda c: rows.newest(c, owner, tags, limit))
                await self._backlog.catch_up()
                return await self._store.read(
                    lambda c: rows.search(c, self._vectors, owner, text, tags, limit)
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
