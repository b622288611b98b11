"""Groups of principals, made by the operator: kept in the store, answered from memory.

A group's number is never given to another, so that what was shared with one that is gone stays unshared when
a new one takes its name.
"""

import asyncio
from collections.abc import Callable, Iterable

import apsw
from msgspec import Struct

from aios.abi.errors import NotFound, QuotaExceeded
from aios.abi.syscalls import Done, Group
from aios.drivers.sealing import Sealed
from aios.drivers.store import Store
from aios.kernel.audit import AuditLog
from aios.kernel.process import Caller

_TABLES = """
CREATE TABLE access_groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created REAL NOT NULL
);
CREATE TABLE group_members (
    id INTEGER NOT NULL REFERENCES access_groups (id), principal TEXT NOT NULL, PRIMARY KEY (id, principal)
) WITHOUT ROWID;
"""


ROWS = Sealed("access_groups", "id name created")
MEMBERS = Sealed("group_members", "id principal", num_keys=2)


class _Kept(Struct):
    """A group as it counts now."""

    id: int
    name: str
    created: float
    members: frozenset[str]


class Groups:
    """`max_groups` bounds how many there are."""

    def __init__(self, store: Store, audit: AuditLog, max_groups: int) -> None:
        self._store = store
        self._audit = audit
        self._max_groups = max_groups
        self._changing = asyncio.Lock()
        self._by_name: dict[str, _Kept] = {}
        self._by_id: dict[int, _Kept] = {}
        self._of: dict[str, dict[str, int]] = {}
        """By principal, the names and numbers of its groups."""

    async def start(self) -> None:
        """Read those that were kept."""
        await self._store.migrate("groups", [_TABLES, *ROWS.steps, *MEMBERS.steps])
        for kept in await self._store.read(_read):
            self._keep(kept)

    def of(self, principal: str) -> dict[str, int]:
        """The names and numbers of the groups that a principal is in."""
        return self._of.get(principal, {})

    def number(self, name: str) -> int | None:
        """A group's number; None where there is no such group."""
        kept = self._by_name.get(name)
        return None if kept is None else kept.id

    def name(self, number: int) -> str | None:
        """The name of the group of a number; None where it is gone."""
        kept = self._by_id.get(number)
        return None if kept is None else kept.name

    def entries(self, member: str | None) -> tuple[Group, ...]:
        """All groups, or those of one member."""
        kept = sorted(self._by_name.values(), key=lambda one: one.name)
        return tuple(_shown(one) for one in kept if member is None or member in one.members)

    async def put(self, caller: Caller, name: str, members: Iterable[str], now: float) -> Group:
        """Make a group, or give one other members. `QuotaExceeded` when there are too many.

        Who is no longer in it has lost what it had by it before this is answered.
        """
        wanted = frozenset(members)
        async with self._changing:
            old = self._by_name.get(name)
            if old is None and len(self._by_name) >= self._max_groups:
                raise QuotaExceeded(f"there are {self._max_groups} groups; drop one first")
            if old is not None:
                self._keep(_Kept(old.id, name, old.created, old.members & wanted))
            try:
                kept = await self._store.write(
                    lambda c: self._write(c, caller, name, wanted, now), reply=_shown
                )
            except BaseException:
                if old is not None:
                    self._keep(old)  # It would be so after a restart.
                raise
            self._keep(kept)
        return _shown(kept)

    async def drop(self, caller: Caller, name: str, also: Callable[[apsw.Connection], None]) -> None:
        """End a group, and do what goes with it: it counts no more, at once. `NotFound` without one."""
        async with self._changing:
            kept = self._by_name.get(name)
            if kept is None:
                raise absent(name)
            self._forget(kept)
            try:
                await self._store.write(lambda c: self._delete(c, caller, kept, also), reply=lambda _: Done())
            except BaseException:
                self._keep(kept)
                raise

    def _write(
        self, connection: apsw.Connection, caller: Caller, name: str, members: frozenset[str], now: float
    ) -> _Kept:
        sql = "SELECT id, created FROM access_groups WHERE name = ?"
        row = connection.execute(sql, (name,)).fetchone() or (ROWS.insert(connection, name, now), now)
        ROWS.put(connection, row[0], name, row[1])
        connection.execute("DELETE FROM group_members WHERE id = ?", (row[0],))
        for member in sorted(members):
            MEMBERS.put(connection, row[0], member)
        subject = f"{name}: {' '.join(sorted(members))}"
        self._audit.write(connection, caller.pid, caller.principal, "group", subject)
        return _Kept(row[0], name, row[1], members)

    def _delete(
        self,
        connection: apsw.Connection,
        caller: Caller,
        kept: _Kept,
        also: Callable[[apsw.Connection], None],
    ) -> None:
        connection.execute("DELETE FROM group_members WHERE id = ?", (kept.id,))
        connection.execute("DELETE FROM access_groups WHERE id = ?", (kept.id,))
        also(connection)
        self._audit.write(connection, caller.pid, caller.principal, "drop_group", kept.name)

    def _keep(self, kept: _Kept) -> None:
        old = self._by_name.get(kept.name)
        if old is not None:
            self._forget(old)
        self._by_name[kept.name] = self._by_id[kept.id] = kept
        for member in kept.members:
            self._of.setdefault(member, {})[kept.name] = kept.id

    def _forget(self, kept: _Kept) -> None:
        current = self._by_id.pop(kept.id)
        del self._by_name[kept.name]
        for member in current.members:
            groups = self._of[member]
            del groups[kept.name]
            if not groups:
                del self._of[member]


def is_group(connection: apsw.Connection, name: str) -> bool:
    """Whether there is such a group on disk."""
    return connection.execute("SELECT 1 FROM access_groups WHERE name = ?", (name,)).get is not None


def absent(name: str) -> NotFound:
    """For a group that is not there, or not for the caller."""
    return NotFound(f"there is no group '{name}'")


def _shown(kept: _Kept) -> Group:
    return Group(kept.name, tuple(sorted(kept.members)), kept.created)


def _read(connection: apsw.Connection) -> list[_Kept]:
    members: dict[int, set[str]] = {}
    for id, principal in MEMBERS.rows(connection):
        members.setdefault(id, set()).add(principal)
    groups = ROWS.rows(connection)
    return [_Kept(id, name, created, frozenset(members.get(id, ()))) for id, name, created in groups]
