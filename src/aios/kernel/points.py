"""Conversations that agents keep to go on from: one table, each row with a checksum over all of it.

Each belongs to the principal that kept it. Owns the calls `context.*`; what cores hold of a conversation is
theirs, and needs nothing of this.
"""

from typing import Any

import apsw
import msgspec

from aios.abi import syscalls as sc
from aios.abi.errors import Corrupt, Internal, NotFound, QuotaExceeded, TooLarge
from aios.drivers.clock import Clock
from aios.drivers.packing import pack, unpack
from aios.drivers.sqlite import checksum
from aios.drivers.store import Store
from aios.kernel.config import ContextConfig
from aios.kernel.process import Caller

SCHEMA = (
    """
    CREATE TABLE points (
        owner TEXT NOT NULL, name TEXT NOT NULL, created REAL NOT NULL, num_messages INTEGER NOT NULL,
        size INTEGER NOT NULL, body BLOB NOT NULL, checksum BLOB NOT NULL, PRIMARY KEY (owner, name)
    ) WITHOUT ROWID;
    """,
)
_COLUMNS = "owner, name, created, num_messages, size, body, checksum"

Row = tuple[str, str, float, int, int, bytes, bytes]


class Points:
    """The points of all principals, within the bounds of the configuration."""

    def __init__(self, store: Store, config: ContextConfig, clock: Clock) -> None:
        self._store, self._config, self._clock = store, config, clock

    async def start(self) -> None:
        """Make the table."""
        await self._store.migrate("points", SCHEMA)

    async def execute(self, caller: Caller, call: sc.SystemCall) -> sc.Reply:
        """Answer one call of the group `context`."""
        owner = caller.principal
        match call:
            case sc.ContextSnapshot():
                return await self._keep(owner, call)
            case sc.ContextRestore(name=name):
                return await self._store.read(lambda connection: _restore(connection, owner, name))
            case sc.ContextList(after=after, limit=limit):
                return await self._store.read(lambda connection: _list(connection, owner, after, limit))
            case sc.ContextDrop(name=name):
                return await self._store.write(lambda connection: _drop(connection, owner, name))
            case _:
                raise Internal(f"{type(call).__name__} is no call about contexts")

    async def _keep(self, owner: str, call: sc.ContextSnapshot) -> sc.ContextEntry:
        body = msgspec.json.encode(sc.KeptContext(call.messages, call.tools))
        if len(body) > self._config.max_point_bytes:
            most = self._config.max_point_bytes
            raise TooLarge(f"a conversation that is kept may have {most} bytes, this one has {len(body)}")
        entry = sc.ContextEntry(call.name, len(call.messages), len(body), self._clock.time())
        packed = pack(body)
        return await self._store.write(lambda connection: self._write(connection, owner, entry, packed))

    def _write(
        self, connection: apsw.Connection, owner: str, entry: sc.ContextEntry, packed: bytes
    ) -> sc.ContextEntry:
        sql = "SELECT count(*) FROM points WHERE owner = ? AND name != ?"
        if connection.execute(sql, (owner, entry.name)).get >= self._config.max_points:
            raise QuotaExceeded(f"{self._config.max_points} conversations are kept already; drop one first")
        fields = (owner, entry.name, entry.created, entry.num_messages, entry.num_bytes, packed)
        connection.execute(
            f"INSERT OR REPLACE INTO points ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*fields, seal(*fields)),
        )
        return entry


def seal(owner: str, name: str, created: float, num_messages: int, size: int, body: bytes) -> bytes:
    """The checksum of a row."""
    return checksum(repr((owner, name, created, num_messages, size)).encode(), body)


def rows(connection: apsw.Connection) -> Any:
    """All rows, with whether each is what was written."""
    found: Any = connection.execute(f"SELECT {_COLUMNS} FROM points")
    return ((row, row[-1] == seal(*row[:-1])) for row in found)


def _restore(connection: apsw.Connection, owner: str, name: str) -> sc.Context:
    sql = f"SELECT {_COLUMNS} FROM points WHERE owner = ? AND name = ?"
    row: Any = connection.execute(sql, (owner, name)).fetchone()
    if row is None:
        raise _absent(name)
    if row[-1] != seal(*row[:-1]):
        raise Corrupt(f"what was kept as {name!r} does not match its checksum")
    kept = msgspec.json.decode(unpack(row[5], row[4]), type=sc.KeptContext)
    return sc.Context(name, row[2], kept.messages, kept.tools)


def _list(connection: apsw.Connection, owner: str, after: str, limit: int) -> sc.ContextEntries:
    sql = (
        "SELECT name, num_messages, size, created FROM points WHERE owner = ? AND name > ? ORDER BY name "
        "LIMIT ?"
    )
    found: Any = connection.execute(sql, (owner, after, limit))
    return sc.ContextEntries(tuple(sc.ContextEntry(*row) for row in found))


def _drop(connection: apsw.Connection, owner: str, name: str) -> sc.Done:
    connection.execute("DELETE FROM points WHERE owner = ? AND name = ?", (owner, name))
    if not connection.changes():
        raise _absent(name)
    return sc.Done()


def _absent(name: str) -> NotFound:
    return NotFound(f"nothing is kept as {name!r}; context.list says what there is")
