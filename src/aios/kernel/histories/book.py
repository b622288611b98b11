"""Which histories there are: whose, in which node of a trie each ends, and after how much text.

Owns the tables `histories` and `history_totals`; knows no text. Each function runs inside one transaction.
"""

from typing import Any, NamedTuple

import apsw
from msgspec import Struct
from msgspec.structs import astuple, replace

from aios.abi.errors import Corrupt
from aios.drivers.sealing import seal

PINNED_BYTES = 2048
"""What a pinned history counts besides its text: about what keeping a short one takes."""


class Key(NamedTuple):
    """What a history is found by."""

    owner: str
    name: str


class Row(Struct, frozen=True):
    """A history. It ends in node `node`, `num_bytes` from the root. Times are seconds since the epoch."""

    owner: str
    name: str
    node: int
    num_messages: int
    num_bytes: int
    is_pinned: bool
    created: float
    updated: float

    @property
    def pinned_bytes(self) -> int:
        """What it counts of what may be pinned."""
        return self.num_bytes + PINNED_BYTES if self.is_pinned else 0


class Totals(Struct, frozen=True):
    """Of one owner. Bytes are those of whole histories: what shares them with whom does not show."""

    num_histories: int
    num_bytes: int
    pinned_bytes: int


_COLUMNS = "owner, name, node, num_messages, num_bytes, is_pinned, created, updated, checksum"


def find(connection: apsw.Connection, key: Key) -> Row | None:
    """Raises `Corrupt` where the row is not what was kept, or may be one beside it whose key is damaged."""
    row = _find(connection, key)
    if row is not None:
        return _checked(row)
    _check_absent(connection, key)
    return None


def listed(connection: apsw.Connection, owner: str, after: str, limit: int) -> list[Row | str]:
    """Those of an owner by name, from the one after `after` on. Of one that is damaged only the name."""
    query = f"SELECT {_COLUMNS} FROM histories WHERE owner = ? AND name > ? ORDER BY name LIMIT ?"
    rows = connection.execute(query, (owner, after, limit))
    return [_row(row) if row[-1] == _check(_row(row)) else str(row[1]) for row in rows]


def save(connection: apsw.Connection, old: Row | None, new: Row) -> Totals:
    """Put `new` where `old` was, and count on. What the owner then has."""
    values = (*astuple(new), _check(new))
    connection.execute("REPLACE INTO histories VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    if old is None:
        return _count(connection, new.owner, 1, new.num_bytes, new.pinned_bytes)
    more, pinned = new.num_bytes - old.num_bytes, new.pinned_bytes - old.pinned_bytes
    return _count(connection, new.owner, 0, more, pinned)


def delete(connection: apsw.Connection, key: Key) -> int | None:
    """Forget a history, damaged or not. The node it ended in; None where there is no such history."""
    row = _find(connection, key)
    if row is None:
        return None
    connection.execute("DELETE FROM histories WHERE owner = ? AND name = ?", key)
    old = _row(row)
    _count(connection, key.owner, -1, -old.num_bytes, -old.pinned_bytes)
    return old.node


def move_ends(connection: apsw.Connection, from_node: int, to_node: int, up_to: int) -> None:
    """The histories that end in a node, at the position `up_to` or before, now end in another."""
    query = f"SELECT {_COLUMNS} FROM histories WHERE node = ? AND num_bytes <= ?"
    for row in connection.execute(query, (from_node, up_to)).fetchall():
        moved = replace(_row(row), node=to_node)
        # A row that was damaged stays so.
        check = _check(moved) if row[-1] == _check(_row(row)) else row[-1]
        sql = "UPDATE histories SET node = ?, checksum = ? WHERE owner = ? AND name = ?"
        connection.execute(sql, (to_node, check, moved.owner, moved.name))


def last_end(connection: apsw.Connection, node: int) -> int:
    """The last position of a node where a history ends; 0 where none does."""
    found = connection.execute("SELECT max(num_bytes) FROM histories WHERE node = ?", (node,)).get
    return int(found or 0)


def pinned_bytes(connection: apsw.Connection) -> int:
    """Of all owners together."""
    query = "SELECT total(pinned_bytes) FROM history_totals WHERE pinned_bytes > 0"
    return int(connection.execute(query).get)


def _count(
    connection: apsw.Connection, owner: str, num_histories: int, num_bytes: int, pinned: int
) -> Totals:
    row = connection.execute(
        "INSERT INTO history_totals VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET "
        "num_histories = num_histories + ?2, num_bytes = num_bytes + ?3, pinned_bytes = pinned_bytes + ?4 "
        "RETURNING num_histories, num_bytes, pinned_bytes",
        (owner, num_histories, num_bytes, pinned),
    ).fetchone()
    assert row is not None
    if row[0] == 0:
        connection.execute("DELETE FROM history_totals WHERE owner = ?", (owner,))
    return Totals(*row)


def _find(connection: apsw.Connection, key: Key) -> tuple[Any, ...] | None:
    query = f"SELECT {_COLUMNS} FROM histories WHERE owner = ? AND name = ?"
    return connection.execute(query, key).fetchone()


def _check_absent(connection: apsw.Connection, key: Key) -> None:
    """The same as `aios.drivers.lookups`, in a table that is an index itself: another tells the keys, too."""
    for sign, order in ((">", "ASC"), ("<", "DESC")):
        query = f"SELECT {_COLUMNS} FROM histories WHERE (owner, name) {sign} (?, ?) "
        query += f"ORDER BY owner {order}, name {order} LIMIT 1"
        row = connection.execute(query, key).fetchone()
        if row is None or row[-1] == _check(_row(row)):
            continue
        known = (
            "SELECT 1 FROM histories INDEXED BY histories_by_node WHERE node = ? AND owner = ? AND name = ?"
        )
        if connection.execute(known, (row[2], *row[:2])).fetchone() is None:
            raise Corrupt(f"the histories are damaged where '{key.name}' was looked for")


def _checked(row: tuple[Any, ...]) -> Row:
    found = _row(row)
    if row[-1] != _check(found):
        raise Corrupt(f"the history '{found.name}' does not match its checksum")
    return found


def _row(row: tuple[Any, ...]) -> Row:
    owner, name, node, num_messages, num_bytes, is_pinned, created, updated, _ = row
    return Row(owner, name, node, num_messages, num_bytes, bool(is_pinned), created, updated)


def _check(row: Row) -> bytes:
    return seal("history", astuple(row))
