"""The tables of the histories, and how they came to be what they are.

A trie's nodes are the runs of text between the places where its histories part (`nodes.py`). A node's text is
one packed piece, then what came after as plain rows. `histories` says in which node each history ends, and
after how many bytes from the root.
"""

import apsw

from aios.drivers.migrations import Cursor, Step
from aios.drivers.sqlite import checksum
from aios.kernel.histories import rows
from aios.kernel.histories.book import Key
from aios.kernel.process import DEFAULT_TENANT

_FIRST = """
CREATE TABLE history_owners (
    owner TEXT PRIMARY KEY, num_messages INTEGER NOT NULL, num_bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE history (
    owner TEXT NOT NULL, position INTEGER NOT NULL, body BLOB NOT NULL, checksum BLOB NOT NULL,
    PRIMARY KEY (owner, position)
);
"""

_TRIES = """
CREATE TABLE history_nodes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER REFERENCES history_nodes (id), key INTEGER NOT NULL,
    start INTEGER NOT NULL, place INTEGER NOT NULL, packed INTEGER NOT NULL, end INTEGER NOT NULL,
    checksum BLOB NOT NULL
);
CREATE INDEX history_nodes_by_parent ON history_nodes (parent, key);
CREATE TABLE history_bodies (
    node INTEGER PRIMARY KEY REFERENCES history_nodes (id) ON DELETE CASCADE,
    body BLOB NOT NULL, checksum BLOB NOT NULL
);
CREATE TABLE history_tails (
    node INTEGER NOT NULL REFERENCES history_nodes (id) ON DELETE CASCADE,
    start INTEGER NOT NULL, body BLOB NOT NULL, checksum BLOB NOT NULL, PRIMARY KEY (node, start)
) WITHOUT ROWID;
CREATE TABLE history_tries (
    tenant TEXT PRIMARY KEY, root INTEGER NOT NULL REFERENCES history_nodes (id)
) WITHOUT ROWID;
CREATE TABLE histories (
    owner TEXT NOT NULL, name TEXT NOT NULL, node INTEGER NOT NULL REFERENCES history_nodes (id),
    num_messages INTEGER NOT NULL, num_bytes INTEGER NOT NULL, is_pinned INTEGER NOT NULL,
    created REAL NOT NULL, updated REAL NOT NULL, checksum BLOB NOT NULL, PRIMARY KEY (owner, name)
) WITHOUT ROWID;
CREATE INDEX histories_by_node ON histories (node);
CREATE TABLE history_totals (
    owner TEXT PRIMARY KEY, num_histories INTEGER NOT NULL, num_bytes INTEGER NOT NULL,
    pinned_bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX history_totals_pinned ON history_totals (pinned_bytes) WHERE pinned_bytes > 0;
"""

PIECE_MESSAGES = 256
PIECE_BYTES = 1024 * 1024
"""Of the old table, moved in one transaction."""


def _move(connection: apsw.Connection, cursor: Cursor | None) -> Cursor | None:
    """Move the first messages that are left in the old table into the trie: each principal's are its `main`.

    A message that is damaged comes along as it is, in a node of its own, and is still found out when read.
    """
    owner, lines = _next_piece(connection)
    if not lines:
        return None
    writing = rows.Writing(connection, Key(owner, rows.MAIN), DEFAULT_TENANT, 0.0)
    for position, line, is_whole in lines:
        (writing.put if is_whole else writing.put_damaged)(line)
        connection.execute("DELETE FROM history WHERE owner = ? AND position = ?", (owner, position))
    writing.save()
    return (owner,)


def _next_piece(connection: apsw.Connection) -> tuple[str, list[tuple[int, bytes, bool]]]:
    """Whose messages are next, and some of them: position, line, and whether it is what was kept."""
    query = "SELECT owner, position, body, checksum FROM history ORDER BY owner, position LIMIT ?"
    owner, room = "", PIECE_BYTES
    lines: list[tuple[int, bytes, bool]] = []
    for at, position, body, check in connection.execute(query, (PIECE_MESSAGES,)):
        if lines and (at != owner or room < 0):
            break
        owner, body = at, body if isinstance(body, bytes) else str(body).encode()
        is_whole = check == checksum(owner.encode(), str(position).encode(), body)
        lines.append((position, body.replace(b"\n", b" ") + b"\n", is_whole))
        room -= len(body)
    return owner, lines


STEPS: tuple[Step, ...] = (
    _FIRST,
    _TRIES,
    _move,
    "DROP TABLE history; DROP TABLE history_owners;",
)
