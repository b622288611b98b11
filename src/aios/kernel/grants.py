"""Grants: what principals let each other reach. Kept in the store, answered from memory."""

from collections import Counter
from collections.abc import Iterable

import apsw
import msgspec

from aios.abi.errors import NotFound, QuotaExceeded
from aios.abi.syscalls import AccessGrant, Done, Grant, GrantVerb
from aios.drivers.sealing import Sealed
from aios.drivers.store import Store
from aios.kernel.audit import AuditLog
from aios.kernel.groups import absent, is_group
from aios.kernel.process import Caller

GROUP = "group:"
"""What the name of a group is told by where a principal may stand, too."""

_TABLE = """
CREATE TABLE grants (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,
    grantee TEXT NOT NULL,
    resource TEXT NOT NULL,
    verbs TEXT NOT NULL,
    prefix TEXT NOT NULL,
    expires REAL
)
"""


ROWS = Sealed("grants", "id owner grantee resource verbs prefix expires")


class Grants:
    """`max_grants` bounds those of one owner."""

    def __init__(self, store: Store, audit: AuditLog, max_grants: int) -> None:
        self._store = store
        self._audit = audit
        self._max_grants = max_grants
        self._all: dict[str, Grant] = {}
        self._between: dict[tuple[str, str], dict[str, Grant]] = {}
        self._num_of: Counter[str] = Counter()

    async def start(self) -> None:
        """Read those that were kept."""
        await self._store.migrate("grants", [_TABLE, *ROWS.steps])
        for grant in await self._store.read(_read):
            self._keep(grant)

    def covers(
        self,
        owner: str,
        to: str,
        groups: Iterable[str],
        resource: str,
        verb: GrantVerb,
        path: str,
        now: float,
    ) -> bool:
        """Whether `owner` lets `to`, who is in `groups`, do this to the thing at `path`, `now` (epoch)."""
        names = [f"{GROUP}{group}" for group in groups]
        if not to.startswith(GROUP):  # A principal may be called so, and is not the group.
            names.append(to)
        return any(
            grant.resource == resource
            and verb in grant.verbs
            and is_below(path, grant.prefix)
            and (grant.expires is None or now < grant.expires)
            for name in names
            for grant in self._between.get((owner, name), {}).values()
        )

    async def add(self, caller: Caller, call: AccessGrant, now: float) -> Grant:
        """Make a grant. `QuotaExceeded` when the caller has given too many."""
        owner = caller.principal
        self._drop_expired(now)
        self._count(owner, 1)
        expires = None if call.expires_s is None else now + call.expires_s
        verbs = tuple(dict.fromkeys(call.verbs))
        fields = (owner, call.to, call.resource, " ".join(verbs), call.prefix.strip("/"), expires)
        try:
            grant = await self._store.write(lambda connection: self._insert(connection, caller, fields, now))
        finally:
            self._count(owner, -1)  # What is kept is counted by itself.
        self._keep(grant)
        return grant

    async def revoke(self, caller: Caller, grant_id: str, *, anyones: bool) -> None:
        """Take a grant back: it stops counting at once. `NotFound` unless it is the caller's or `anyones`."""
        grant = self._all.get(grant_id)
        if grant is None or not (anyones or grant.owner == caller.principal):
            raise NotFound(f"there is no grant {grant_id!r}")
        self._drop(grant)
        try:
            await self._store.write(
                lambda connection: self._delete(connection, caller, grant), reply=lambda _: Done()
            )
        except BaseException:
            # It would be back after a restart: so it stands, and can be revoked again.
            self._keep(grant)
            raise

    def delete_to(self, connection: apsw.Connection, to: str) -> None:
        """Remove all grants to a group that is being dropped."""
        connection.execute("DELETE FROM grants WHERE grantee = ?", (to,))

    def drop_to(self, to: str) -> None:
        """From now on they count no more."""
        for grant in [one for one in self._all.values() if one.to == to]:
            self._drop(grant)

    def _insert(
        self, connection: apsw.Connection, caller: Caller, fields: tuple[object, ...], now: float
    ) -> Grant:
        connection.execute("DELETE FROM grants WHERE expires <= ?", (now,))
        to = str(fields[1])
        if to.startswith(GROUP) and not is_group(connection, to.removeprefix(GROUP)):
            raise absent(to.removeprefix(GROUP))  # It was dropped since this was asked.
        grant = _grant(ROWS.insert(connection, *fields), *fields)
        self._audit.write(
            connection, caller.pid, caller.principal, "grant", msgspec.json.encode(grant).decode()
        )
        return grant

    def _delete(self, connection: apsw.Connection, caller: Caller, grant: Grant) -> None:
        connection.execute("DELETE FROM grants WHERE id = ?", (int(grant.id[1:]),))
        self._audit.write(connection, caller.pid, caller.principal, "revoke", grant.id)

    def _keep(self, grant: Grant) -> None:
        self._all[grant.id] = grant
        self._between.setdefault((grant.owner, grant.to), {})[grant.id] = grant
        self._num_of[grant.owner] += 1

    def _drop(self, grant: Grant) -> None:
        del self._all[grant.id]
        between = self._between[grant.owner, grant.to]
        del between[grant.id]
        if not between:
            del self._between[grant.owner, grant.to]
        self._count(grant.owner, -1)

    def _drop_expired(self, now: float) -> None:
        for grant in [one for one in self._all.values() if one.expires is not None and one.expires <= now]:
            self._drop(grant)

    def _count(self, owner: str, change: int) -> None:
        """`QuotaExceeded` when there would be too many. A grant that is being written counts already."""
        if change > 0 and self._num_of[owner] + change > self._max_grants:
            raise QuotaExceeded(f"{owner} has given {self._max_grants} grants; revoke one first")
        self._num_of[owner] += change
        if not self._num_of[owner]:
            del self._num_of[owner]


def is_below(path: str, prefix: str) -> bool:
    """Whether `path` is at or under `prefix`, by whole segments: `docs` covers `docs/a`, not `docs2`."""
    return not prefix or path == prefix or path.startswith(prefix + "/")


def _read(connection: apsw.Connection) -> list[Grant]:
    return [_grant(*row) for row in ROWS.rows(connection)]


def _grant(number: int, *fields: object) -> Grant:
    owner, to, resource, verbs, prefix, expires = fields
    assert isinstance(verbs, str)
    values = (f"g{number}", owner, to, resource, verbs.split(), prefix, expires)
    return msgspec.convert(dict(zip(Grant.__struct_fields__, values, strict=True)), Grant)
