"""Executes the calls about notes, each as one function that runs in one transaction."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import apsw
from msgspec import structs

from aios.abi import syscalls as sc
from aios.abi.errors import InvalidArgument
from aios.drivers.clock import Clock
from aios.drivers.store import Store
from aios.kernel.config import MemoryConfig
from aios.kernel.grants import Grants
from aios.kernel.groups import Groups
from aios.kernel.notes import rows, searching
from aios.kernel.notes.body import Body, note_of
from aios.kernel.notes.rows import Kept, Limits
from aios.kernel.notes.schema import SCHEMA
from aios.kernel.notes.sight import Sight
from aios.kernel.notes.sweeping import Sweeper
from aios.kernel.process import Caller
from aios.kernel.shelves.tender import Tender

T = TypeVar("T")

NoteCall = (
    sc.MemoryAdd
    | sc.MemoryGet
    | sc.MemoryUpdate
    | sc.MemoryRemove
    | sc.MemoryHistory
    | sc.MemorySearch
    | sc.MemoryExport
    | sc.MemoryLoad
    | sc.MemoryPurge
)

PAGE_BYTES = 4 * 1024 * 1024
"""Of an exported page, so that it fits into a call."""


class NoteManager:
    def __init__(
        self,
        store: Store,
        config: MemoryConfig,
        clock: Clock,
        grants: Grants,
        groups: Groups,
        tender: Tender,
    ) -> None:
        self._store = store
        self._clock = clock
        self._grants = grants
        self._groups = groups
        self._limits = Limits(config.max_notes, config.max_note_bytes, config.max_note_versions)
        self._tender = tender
        self._sweeper = Sweeper(store)

    async def start(self) -> None:
        """Make the tables. Raises what `Store.migrate` raises."""
        await self._store.migrate("notes", SCHEMA)
        await self._sweeper.start()

    async def close(self) -> None:
        """Leave what goes on besides calls."""
        await self._sweeper.close()

    async def idle(self) -> None:
        """Wait until nothing goes on besides calls."""
        await self._sweeper.idle()

    async def execute(self, caller: Caller, call: NoteCall) -> sc.Reply:
        """Raises what the functions of `rows` and `sight` raise."""
        sight = Sight(self._groups, self._grants, caller.principal)
        now = self._clock.time()
        match call:
            case sc.MemoryAdd():
                return await self._add(sight, call, now)
            case sc.MemoryGet(note_id=note_id):
                owner = call.owner or sight.principal
                scopes = sight.scopes_of(owner, note_id, now)
                kept = await self._store.read(lambda c: rows.get(c, owner, note_id, scopes, now))
                return _note(owner, kept, sight)
            case sc.MemoryUpdate():
                return await self._update(sight, call, now)
            case sc.MemoryRemove(note_id=note_id):
                owner = call.owner or sight.principal
                touched = await self._write(
                    lambda c: rows.remove(c, owner, note_id, now), lambda _: sc.Done()
                )
                return self._wrote(sc.Done(), touched, None, now)
            case sc.MemoryHistory(note_id=note_id, limit=limit):
                owner = call.owner or sight.principal
                scopes = sight.scopes_of(owner, note_id, now)
                all = await self._store.read(lambda c: rows.history(c, owner, note_id, scopes, limit, now))
                return sc.NoteVersions(tuple(_note(owner, kept, sight) for kept in all))
            case sc.MemorySearch():
                return await self._search(sight, call, now)
            case sc.MemoryExport():
                return await self._export(sight, call, now)
            case sc.MemoryLoad():
                return await self._load(sight, call, now)
            case sc.MemoryPurge(source=source):
                owner = call.owner or sight.principal
                num_notes, touched = await self._write(
                    lambda c: rows.purge(c, owner, source, now), lambda done: sc.Purged(done[0])
                )
                return self._wrote(sc.Purged(num_notes), touched, None, now)

    async def _add(self, sight: Sight, call: sc.MemoryAdd, now: float) -> sc.Note:
        owner = sight.principal
        body = Body(
            text=call.text,
            tags=_distinct(call.tags),
            created=now,
            updated=now,
            scope=sight.kept(call.scope),
            source=call.source,
            label=call.label,
            expires=now + call.ttl_s if call.ttl_s else None,
        )
        kept = await self._write(
            lambda c: rows.add(c, owner, body, self._limits, now), lambda kept: _note(owner, kept, sight)
        )
        return self._wrote(_note(owner, kept, sight), kept.touched, body.expires, now)

    async def _update(self, sight: Sight, call: sc.MemoryUpdate, now: float) -> sc.Note:
        owner = call.owner or sight.principal
        scope = None if call.scope is None else sight.kept(call.scope)

        def work(connection: apsw.Connection) -> Kept:
            old = rows.get(connection, owner, call.note_id, None, now)
            sight.check_change(owner, old.body, scope, call.label)
            body = _changed(old.body, call, scope, now)
            body = structs.replace(body, author="" if owner == sight.principal else sight.principal)
            return rows.update(connection, owner, old, body, self._limits, now)

        kept = await self._write(work, lambda kept: _note(owner, kept, sight))
        return self._wrote(_note(owner, kept, sight), kept.touched, kept.body.expires, now)

    async def _search(self, sight: Sight, call: sc.MemorySearch, now: float) -> sc.NoteHits:
        query = searching.query_of(call, sight, now)
        found = await self._tender.search(query, lambda c, hits: searching.found(c, hits, call, now))
        return sc.NoteHits(tuple(sc.NoteHit(_note(one.owner, one.kept, sight), one.score) for one in found))

    async def _export(self, sight: Sight, call: sc.MemoryExport, now: float) -> sc.NotePage:
        owner = call.owner or sight.principal
        if not (call.after or "0").isdecimal():
            raise InvalidArgument("after is the `next` of the page before, or empty for the first page")
        after = int(call.after or "0")
        page = await self._store.read(lambda c: rows.page(c, owner, after, call.limit, PAGE_BYTES, now))
        notes = tuple(_note(owner, one, sight) for one in page.notes)
        return sc.NotePage(notes, str(page.next or ""), tuple(f"n{number}" for number in page.damaged))

    async def _load(self, sight: Sight, call: sc.MemoryLoad, now: float) -> sc.NoteIds:
        owner = call.owner or sight.principal
        bodies = [_loaded(record, call.scope, owner, sight, now) for record in call.notes]

        def work(connection: apsw.Connection) -> list[Kept | None]:
            add = partial(rows.add, connection, owner, limits=self._limits, now=now)
            return [None if body is None else add(body) for body in bodies]

        all = await self._write(work, _ids)
        for kept in all:
            if kept is not None:
                self._wrote(kept, kept.touched, kept.body.expires, now)
        return _ids(all)

    async def _write(self, work: Callable[[apsw.Connection], T], reply: Callable[[T], sc.Reply]) -> T:
        try:
            return await self._store.write(work, reply=reply)
        except UnicodeEncodeError:
            raise InvalidArgument("the text holds half a character (a lone surrogate)") from None

    def _wrote(self, reply: T, touched: rows.Touched, expires: float | None, now: float) -> T:
        for shelf, stamp in touched:
            self._tender.wrote(shelf, stamp)
        self._sweeper.wrote(expires, now)
        return reply


def _ids(all: list[Kept | None]) -> sc.NoteIds:
    return sc.NoteIds(tuple("" if kept is None else f"n{kept.number}" for kept in all))


def _note(owner: str, kept: Kept, sight: Sight) -> sc.Note:
    return note_of(owner, kept.number, kept.body, sight.shown(kept.body.scope))


def _changed(old: Body, call: sc.MemoryUpdate, scope: str | None, now: float) -> Body:
    expires = old.expires
    if call.ttl_s is not None:
        expires = now + call.ttl_s if call.ttl_s else None
    return structs.replace(
        old,
        text=old.text if call.text is None else call.text,
        tags=old.tags if call.tags is None else _distinct(call.tags),
        scope=scope or old.scope,
        source=old.source if call.source is None else call.source,
        label=call.label or old.label,
        updated=max(now, old.created),
        expires=expires,
    )


def _loaded(record: sc.NoteRecord, scope: str | None, owner: str, sight: Sight, now: float) -> Body | None:
    """None for one that has expired."""
    if record.expires is not None and record.expires <= now:
        return None
    created = now if record.created is None else min(record.created, now)
    body = Body(
        text=record.text,
        tags=_distinct(record.tags),
        created=created,
        updated=created if record.updated is None else min(max(record.updated, created), now),
        scope=sight.kept(scope or record.scope),
        source=record.source,
        label=record.label,
        author="" if owner == sight.principal else sight.principal,
        expires=record.expires,
    )
    sight.check_change(owner, body, None if body.scope == "private" else body.scope, None)
    return body


def _distinct(tags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags))
