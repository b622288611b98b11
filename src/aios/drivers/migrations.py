"""How tables get from the version that a database holds to the one that this AIOS knows.

Owns the tables `schemas` (how far each group of tables has come) and `migrating` (how far a step that is run
in pieces has come). A piece, with where it came to, is one transaction: whatever ends it, the next start goes
on from the last that was committed.
"""

from collections.abc import Callable, Sequence

import apsw
import msgspec

from aios.abi.errors import Conflict

Cursor = tuple[int | float | str | bytes | None, ...]
"""How far a step has come, such as the key of the last row that it moved."""

Pieces = Callable[[apsw.Connection, Cursor | None], Cursor | None]
"""A step run in pieces. It is given where it has come to (None at first), moves some rows beyond that, and
answers where it is now, or None when there are no more. A piece should take well under a second."""

Step = str | Pieces
"""One change: SQL, or a function that moves data in pieces."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS schemas (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS migrating (name TEXT PRIMARY KEY, cursor BLOB NOT NULL) WITHOUT ROWID;
"""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


def version_of(connection: apsw.Connection, name: str) -> int:
    """How many steps the tables called `name` have seen whole."""
    version: int = connection.execute("SELECT version FROM schemas WHERE name = ?", (name,)).get or 0
    return version


def advance(connection: apsw.Connection, name: str, steps: Sequence[Step]) -> bool:
    """Do one step, or one piece of one, of what is missing; whether there is more to do.

    Raises `Conflict` where the database has seen more steps than there are.
    """
    version = version_of(connection, name)
    if version > len(steps):
        raise Conflict(
            f"the data was written by a newer AIOS: its {name!r} tables are at version {version}, "
            f"this AIOS knows {len(steps)}"
        )
    if version == len(steps):
        return False
    step = steps[version]
    if isinstance(step, str):
        connection.execute(step)
    elif cursor := step(connection, _cursor(connection, name)):
        connection.execute("REPLACE INTO migrating VALUES (?, ?)", (name, _encoder.encode(cursor)))
        return True
    connection.execute("DELETE FROM migrating WHERE name = ?", (name,))
    connection.execute("REPLACE INTO schemas VALUES (?, ?)", (name, version + 1))
    return version + 1 < len(steps)


def _cursor(connection: apsw.Connection, name: str) -> Cursor | None:
    data = connection.execute("SELECT cursor FROM migrating WHERE name = ?", (name,)).get
    return None if data is None else tuple(_decoder.decode(data))
