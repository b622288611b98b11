"""A node of a trie on disk: a run of text, one JSON message a line, with its place among the others.

A history is the text from the root down to where it ends. Positions count bytes from the root, so they mean
the same in every node and at every time. **The byte at a position of a node never changes as long as the node
is there** (what cuts text off makes a new node, and ids are never used twice): so what was once read of a
node stays right, wherever it is kept, and needs no lock and no version. `start` may go up (a split) or down
(a merge), `end` up (what was appended).

Owns the rows of nodes; knows neither histories nor owners. Each function runs inside one transaction.
"""

from hashlib import blake2b
from typing import Any

import apsw
from msgspec import Struct
from msgspec.structs import replace

from aios.abi.errors import Corrupt
from aios.drivers.packing import pack, unpack
from aios.drivers.sealing import seal
from aios.drivers.sqlite import checksum

NODE_BYTES = 32 * 1024
"""Of text in a node, at most: so reading one message unpacks no more, and nothing larger is evicted."""
PACK_BYTES = 4 * 1024
"""Of plain rows after which they are packed, where that doubles what is packed: each byte a few times."""
SHARED_BYTES = 512
"""Two messages that differ are shared up to where they part if that is so many bytes; else each is whole."""

NEWLINE = b"\n"[0]

_COLUMNS = "id, parent, key, start, place, packed, end, checksum"


class Node(Struct, frozen=True):
    """Where a node is. Its text is that of the positions from `start` to `end`."""

    id: int
    parent: int | None
    """None for a root, which has no text."""
    key: int
    """Of how the text begins (`key_of`), by which siblings are told apart."""
    start: int
    place: int
    """Twice the messages that end at or before `start`, plus one where `start` is inside a message."""
    packed: int
    """Up to here the text is in one packed piece."""
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


class Text(Struct, frozen=True):
    """A node and its text, as it is kept: a packed piece up to `node.packed`, then plain."""

    node: Node
    body: bytes
    tail: bytes

    def plain(self) -> bytes:
        """Raises `Corrupt`."""
        packed_size = self.node.packed - self.node.start
        return unpack(self.body, packed_size) + self.tail if packed_size else self.tail


def head_of(text: bytes, at: int = 0) -> bytes:
    """The beginning that two texts must have in common to share a node: a whole message, or much of one."""
    end = text.find(b"\n", at, at + SHARED_BYTES) + 1
    return text[at : end or at + SHARED_BYTES]


def key_of(head: bytes) -> int:
    return int.from_bytes(blake2b(head, digest_size=8).digest(), "big", signed=True)


# ---- reading


def find(connection: apsw.Connection, node_id: int) -> Node | None:
    """Raises `Corrupt` where the row is not what was kept."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM history_nodes WHERE id = ?", (node_id,)).fetchone()
    return None if row is None else _node(row)


def get(connection: apsw.Connection, node_id: int) -> Node:
    node = find(connection, node_id)
    if node is None:
        raise Corrupt("a part of the history is missing")
    return node


def lineage(connection: apsw.Connection, node_id: int) -> list[Node]:
    """The nodes from the root down to this one."""
    rows = connection.execute(
        "WITH RECURSIVE up AS ("
        "SELECT * FROM history_nodes WHERE id = ? "
        "UNION ALL SELECT above.* FROM history_nodes above JOIN up ON above.id = up.parent"
        f") SELECT {_COLUMNS} FROM up",
        (node_id,),
    )
    found = [_node(row) for row in rows]
    if not found or found[-1].parent is not None:
        raise Corrupt("a part of the history is missing")
    return found[::-1]


def text_of(connection: apsw.Connection, node: Node) -> Text:
    """Raises `Corrupt` where it is not what was kept."""
    body = _body(connection, node) if node.packed > node.start else b""
    pieces, at = [], node.packed
    query = "SELECT start, body, checksum FROM history_tails WHERE node = ? ORDER BY start"
    for start, piece, check in connection.execute(query, (node.id,)):
        if start != at or not isinstance(piece, bytes) or check != _check_tail(node.id, start, piece):
            raise _damaged(node)
        pieces.append(piece)
        at += len(piece)
    if at != node.end:
        raise _damaged(node)
    return Text(node, body, b"".join(pieces))


def children(connection: apsw.Connection, node: Node, limit: int) -> list[int]:
    query = "SELECT id FROM history_nodes WHERE parent = ? LIMIT ?"
    return [found for (found,) in connection.execute(query, (node.id, limit))]


def children_like(connection: apsw.Connection, node: Node, head: bytes) -> list[Node]:
    """The children whose text may begin with `head`."""
    query = f"SELECT {_COLUMNS} FROM history_nodes WHERE parent = ? AND key = ?"
    return [_node(row) for row in connection.execute(query, (node.id, key_of(head)))]


# ---- writing


def add_root(connection: apsw.Connection) -> Node:
    return _insert(connection, Node(0, None, 0, 0, 0, 0, 0))


def add(connection: apsw.Connection, node: Node, text: bytes) -> Text:
    """A new node; it is given its id here."""
    return _fill(connection, _insert(connection, node), text)


def extend(connection: apsw.Connection, node: Node, text: bytes) -> Node:
    """Append to a node's text."""
    sql = "INSERT INTO history_tails VALUES (?, ?, ?, ?)"
    connection.execute(sql, (node.id, node.end, text, _check_tail(node.id, node.end, text)))
    return _update(connection, replace(node, end=node.end + len(text)))


def wants_packing(node: Node) -> bool:
    """Whether so much of it is plain that packing all of it again is worth it."""
    return node.end - node.packed >= max(PACK_BYTES, node.packed - node.start)


def rewrite(connection: apsw.Connection, node: Node, text: bytes) -> Text:
    """Keep `node`, with all its text anew, packed where it is not short."""
    connection.execute("DELETE FROM history_tails WHERE node = ?", (node.id,))
    if len(text) < PACK_BYTES:
        connection.execute("DELETE FROM history_bodies WHERE node = ?", (node.id,))
    return _fill(connection, _update(connection, replace(node, packed=node.start)), text)


def compress(connection: apsw.Connection, node: Node) -> Text | None:
    """Pack what is still plain. None where nothing is, it is too short to matter, or it is damaged."""
    if node.packed == node.end or node.size < SHARED_BYTES:
        return None
    try:
        text = text_of(connection, node).plain()
    except Corrupt:
        return None
    connection.execute("DELETE FROM history_tails WHERE node = ?", (node.id,))
    return _pack(connection, node, text)


def delete(connection: apsw.Connection, node: Node) -> None:
    """Remove it, with its text."""
    connection.execute("DELETE FROM history_nodes WHERE id = ?", (node.id,))


def damage(connection: apsw.Connection, node: Node) -> None:
    """Have its text be found damaged: for what was so where it came from."""
    connection.execute("UPDATE history_bodies SET checksum = x'' WHERE node = ?", (node.id,))
    connection.execute("UPDATE history_tails SET checksum = x'' WHERE node = ?", (node.id,))


# ---- rows


def _fill(connection: apsw.Connection, node: Node, text: bytes) -> Text:
    if len(text) >= PACK_BYTES:
        return _pack(connection, node, text)
    if text:
        sql = "INSERT INTO history_tails VALUES (?, ?, ?, ?)"
        connection.execute(sql, (node.id, node.start, text, _check_tail(node.id, node.start, text)))
    return Text(node, b"", text)


def _pack(connection: apsw.Connection, node: Node, text: bytes) -> Text:
    body = pack(text)
    node = _update(connection, replace(node, packed=node.end))
    sql = "REPLACE INTO history_bodies VALUES (?, ?, ?)"
    connection.execute(sql, (node.id, body, _check_body(node, body)))
    return Text(node, body, b"")


def _body(connection: apsw.Connection, node: Node) -> bytes:
    query = "SELECT body, checksum FROM history_bodies WHERE node = ?"
    row = connection.execute(query, (node.id,)).fetchone()
    if row is None or not isinstance(row[0], bytes) or row[1] != _check_body(node, row[0]):
        raise _damaged(node)
    return row[0]


def _insert(connection: apsw.Connection, node: Node) -> Node:
    sql = (
        "INSERT INTO history_nodes (parent, key, start, place, packed, end, checksum) VALUES (?,?,?,?,?,?,?)"
    )
    values = (node.parent, node.key, node.start, node.place, node.packed, node.end, b"")
    connection.execute(sql, values)
    return _update(connection, replace(node, id=connection.last_insert_rowid()))


def _update(connection: apsw.Connection, node: Node) -> Node:
    sql = (
        "UPDATE history_nodes SET parent = ?2, key = ?3, start = ?4, place = ?5, packed = ?6, end = ?7, "
        "checksum = ?8 WHERE id = ?1"
    )
    connection.execute(sql, (*_values(node), _check(node)))
    return node


def _node(row: tuple[Any, ...]) -> Node:
    *values, check = row
    node = Node(*values)
    if check != _check(node):
        raise _damaged(node)
    return node


def _values(node: Node) -> tuple[int | None, ...]:
    return (node.id, node.parent, node.key, node.start, node.place, node.packed, node.end)


def _check(node: Node) -> bytes:
    return seal("node", _values(node))


def _check_body(node: Node, body: bytes) -> bytes:
    return checksum(b"body", str(node.id).encode(), str(node.start).encode(), body)


def _check_tail(node_id: int, start: int, body: bytes) -> bytes:
    return checksum(b"tail", str(node_id).encode(), str(start).encode(), body)


def _damaged(node: Node) -> Corrupt:
    return Corrupt(f"the history's text from byte {node.start} on does not match its checksum")
