"""The audit log: what was decided about others' things, and by whom.

Each row carries the hash of the one before it, and is written in the transaction of the effect it tells of:
changing or removing one breaks the chain from there on.
"""

import json
from hashlib import blake2b

import apsw
from msgspec import Struct

from aios.abi.errors import Corrupt
from aios.drivers.clock import Clock
from aios.drivers.store import Manner, Store

_TABLE = """
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    pid INTEGER NOT NULL,
    principal TEXT NOT NULL,
    event TEXT NOT NULL,
    subject TEXT NOT NULL,
    hash BLOB NOT NULL
)
"""


class AuditEntry(Struct, frozen=True):
    """One line: who (process and principal) did what (`event`) to what (`subject`), and when."""

    seq: int
    time: float
    pid: int
    principal: str
    event: str
    subject: str


class AuditLog:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def start(self) -> None:
        await self._store.migrate("audit", [_TABLE])

    async def append(
        self, pid: int, principal: str, event: str, subject: str, *, frees: bool = False
    ) -> None:
        """Write an entry; it is on the disk when this returns. What it tells of `frees` room, or does not."""
        with self._store.writing(Manner(frees=frees)):
            await self._store.write(lambda connection: self.write(connection, pid, principal, event, subject))

    def write(self, connection: apsw.Connection, pid: int, principal: str, event: str, subject: str) -> None:
        """Write an entry inside a transaction of the store; runs on its writer."""
        fields = (self._clock.time(), pid, principal, event, subject)
        previous = connection.execute("SELECT hash FROM audit ORDER BY seq DESC LIMIT 1").get or b""
        connection.execute(
            "INSERT INTO audit (time, pid, principal, event, subject, hash) VALUES (?, ?, ?, ?, ?, ?)",
            (*fields, _chain(previous, fields)),
        )

    async def entries(self, limit: int = 1000) -> list[AuditEntry]:
        """The newest entries, oldest first."""
        sql = "SELECT seq, time, pid, principal, event, subject FROM audit ORDER BY seq DESC LIMIT ?"
        rows = await self._store.read(lambda connection: connection.execute(sql, (limit,)).fetchall())
        return [AuditEntry(*row) for row in reversed(rows)]

    async def verify(self) -> int:
        """Follow the whole chain; gives its length. `Corrupt` names the first entry that does not fit."""
        return await self._store.read(verify)


def _chain(previous: bytes, fields: tuple[float, int, str, str, str]) -> bytes:
    return blake2b(previous + json.dumps(fields).encode(), digest_size=32).digest()


def verify(connection: apsw.Connection) -> int:
    """As `AuditLog.verify`, inside a transaction of the store."""
    previous, count = b"", 0
    for seq, *fields, found in connection.execute(
        "SELECT seq, time, pid, principal, event, subject, hash FROM audit ORDER BY seq"
    ):
        count += 1
        if seq != count or found != _chain(previous, tuple(fields)):
            raise Corrupt(f"the audit log was changed at entry {count}")
        previous = found
    return count
