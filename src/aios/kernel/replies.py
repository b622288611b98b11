"""What calls with an idempotency key were answered: one table, each row written with the effect it tells of.

Of each owner the newest `max_keys` are kept, none for longer than `key_s` seconds. Owns the table and its
bounds; each function gets a connection and runs inside one transaction.
"""

from typing import Any

import apsw
import msgspec

from aios.abi import syscalls as sc
from aios.abi import wire
from aios.abi.errors import Conflict, Corrupt, OutcomeUnknown
from aios.drivers.sqlite import checksum

SCHEMA = (
    """
    CREATE TABLE replies (
        owner TEXT NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL, expires REAL NOT NULL,
        call BLOB NOT NULL, reply BLOB, checksum BLOB NOT NULL, PRIMARY KEY (owner, key)
    ) WITHOUT ROWID;
    """,
)

ECHO_CHARACTERS = 64
"""A longer text of the call that its reply repeats is not kept: who asks again brings it along."""
SWEEP_EVERY = 64
SWEEP_ROWS = 256
"""So many rows are looked through after so many were kept, so that those that have expired go in the end."""
MAX_PLACES = 10_000
"""Owners whose numbers are known without looking."""


class Replies:
    def __init__(self, max_keys: int, key_s: float) -> None:
        self._max_keys = max_keys
        self._key_s = key_s
        self._places: dict[str, list[int]] = {}
        """By owner, the last number given, and how many rows there are at most."""
        self._num_kept = 0
        self._swept = ("", "")

    def find(
        self, connection: apsw.Connection, owner: str, key: str, call: sc.SystemCall, now: float
    ) -> sc.Reply | None:
        """What the call with this key was answered; None where there was none.

        Raises `Conflict` where it was another call, `OutcomeUnknown` where it was begun and did not end, and
        `Corrupt` where it took effect but the reply does not match its checksum.
        """
        row = connection.execute(
            "SELECT number, expires, call, reply, checksum FROM replies WHERE owner = ? AND key = ?",
            (owner, key),
        ).fetchone()
        if row is None or row[1] <= now:
            return None
        if not is_whole(owner, key, *row):
            raise Corrupt(f"the call with the key {key!r} took effect, but its reply is damaged")
        _, _, made, reply, _ = row
        if made != fingerprint(call):
            raise Conflict(f"the key {key!r} was given to another call; give each call a key of its own")
        if reply is None:
            raise OutcomeUnknown(f"the call with the key {key!r} was begun, and how it ended is not known")
        return unpack(call, reply)

    def keep(
        self,
        connection: apsw.Connection,
        owner: str,
        key: str,
        call: sc.SystemCall,
        reply: sc.Reply | None,
        now: float,
    ) -> None:
        """Keep what a call is answered; None for a call that is only begun."""
        place = self._place(connection, owner)
        place[0] += 1
        place[1] += 1
        fields = (
            place[0],
            now + self._key_s,
            fingerprint(call),
            None if reply is None else pack(call, reply),
        )
        connection.execute(
            "REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)",
            (owner, key, *fields, _check(owner, key, *fields)),
        )
        if place[1] >= 2 * self._max_keys:
            oldest = place[0] - self._max_keys
            connection.execute("DELETE FROM replies WHERE owner = ? AND number <= ?", (owner, oldest))
            place[1] = self._max_keys
        self._num_kept += 1
        if self._num_kept % SWEEP_EVERY == 0:
            self._sweep(connection, now)

    def forget(self, connection: apsw.Connection, owner: str, key: str) -> None:
        """A call that was begun came to nothing."""
        connection.execute("DELETE FROM replies WHERE owner = ? AND key = ?", (owner, key))

    def _place(self, connection: apsw.Connection, owner: str) -> list[int]:
        place = self._places.get(owner)
        if place is None:
            row = connection.execute(
                "SELECT coalesce(max(number), 0), count(*) FROM replies WHERE owner = ?", (owner,)
            ).fetchone()
            assert row is not None
            if len(self._places) >= MAX_PLACES:
                self._places.clear()
            place = self._places[owner] = list(row)
        return place

    def _sweep(self, connection: apsw.Connection, now: float) -> None:
        """Remove what has expired among the next rows, whoever's they are."""
        rows: Any = connection.execute(
            "SELECT owner, key, expires FROM replies WHERE (owner, key) > (?, ?) ORDER BY owner, key LIMIT ?",
            (*self._swept, SWEEP_ROWS),
        ).fetchall()
        for owner, key, expires in rows:
            if expires <= now:
                self.forget(connection, owner, key)
        self._swept = rows[-1][:2] if len(rows) == SWEEP_ROWS else ("", "")


def fingerprint(call: sc.SystemCall) -> bytes:
    """16 bytes that tell whether a call is the same."""
    return checksum(sc.ROW_OF[type(call)].name.encode(), wire.encode(call))


def pack(call: sc.SystemCall, reply: sc.Reply) -> bytes:
    """A reply as it is kept: without what it repeats of its call."""
    fields = msgspec.to_builtins(reply)
    echoed = [name for name, value in fields.items() if _is_echo(getattr(call, name, None), value)]
    for name in echoed:
        del fields[name]
    return wire.encode((fields, echoed))


def unpack(call: sc.SystemCall, data: bytes) -> sc.Reply:
    """The reply that `pack` made small."""
    fields, echoed = msgspec.json.decode(data)
    fields.update((name, getattr(call, name)) for name in echoed)
    return msgspec.convert(fields, sc.ROW_OF[type(call)].reply)


def _is_echo(asked: object, answered: object) -> bool:
    return isinstance(answered, str) and len(answered) > ECHO_CHARACTERS and asked == answered


def is_whole(
    owner: str, key: str, number: int, expires: float, call: bytes, reply: bytes | None, check: bytes
) -> bool:
    """Whether a row is what was written."""
    return check == _check(owner, key, number, expires, call, reply)


def _check(owner: str, key: str, number: int, expires: float, call: bytes, reply: bytes | None) -> bytes:
    parts = (owner.encode(), key.encode(), repr((number, expires)).encode(), call)
    return checksum(*parts) if reply is None else checksum(*parts, reply)
