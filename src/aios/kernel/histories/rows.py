"""Histories: the messages that a principal's conversation is made of, in order, on disk.

Owns the tables and the limits; each function gets a connection and runs inside one transaction.
"""

from collections.abc import Sequence

import apsw
import msgspec

from aios.abi.errors import Corrupt, QuotaExceeded
from aios.abi.messages import Message
from aios.abi.syscalls import Done, History
from aios.drivers.sqlite import checksum

SCHEMA = (
    """
    CREATE TABLE history_owners (
        owner TEXT PRIMARY KEY, num_messages INTEGER NOT NULL, num_bytes INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE history (
        owner TEXT NOT NULL, position INTEGER NOT NULL, body BLOB NOT NULL, checksum BLOB NOT NULL,
        PRIMARY KEY (owner, position)
    );
    """,
)

MAX_READ_BYTES = 4 * 1024 * 1024
"""Of messages in one reply, which has to fit a frame of the wire; a single larger one comes alone."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Message)


def append(
    connection: apsw.Connection, owner: str, messages: Sequence[Message], max_messages: int, max_bytes: int
) -> History:
    """All of the messages, or none and `QuotaExceeded`."""
    bodies = [_encoder.encode(message) for message in messages]
    row = connection.execute(
        "INSERT INTO history_owners VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET "
        "num_messages = num_messages + ?2, num_bytes = num_bytes + ?3 RETURNING num_messages, num_bytes",
        (owner, len(bodies), sum(map(len, bodies))),
    ).fetchone()
    assert row is not None
    num_messages, num_bytes = row
    if num_messages > max_messages:
        raise QuotaExceeded(f"a history may have {max_messages} messages; clear it first")
    if num_bytes > max_bytes:
        raise QuotaExceeded(f"a history may have {max_bytes} bytes; clear it first")
    start = num_messages - len(bodies)
    connection.executemany(
        "INSERT INTO history VALUES (?, ?, ?, ?)",
        [(owner, at, body, _check(owner, at, body)) for at, body in enumerate(bodies, start)],
    )
    return History(num_messages)


def read(connection: apsw.Connection, owner: str, start: int, limit: int) -> History:
    """Messages from `start` on, at most `limit`, and fewer where they are large. Raises `Corrupt`."""
    num_messages = connection.execute("SELECT num_messages FROM history_owners WHERE owner = ?", (owner,)).get
    rows = connection.execute(
        "SELECT position, body, checksum FROM history WHERE owner = ? AND position >= ? "
        "ORDER BY position LIMIT ?",
        (owner, min(start, num_messages or 0), limit),
    )
    messages: list[Message] = []
    room = MAX_READ_BYTES
    for position, body, check in rows:
        if not isinstance(body, bytes) or check != _check(owner, position, body):
            raise Corrupt(f"message {position} of the history does not match its checksum")
        room -= len(body)
        if room < 0 and messages:
            break
        messages.append(_decoder.decode(body))
    return History(num_messages or 0, tuple(messages))


def clear(connection: apsw.Connection, owner: str) -> Done:
    connection.execute("DELETE FROM history WHERE owner = ?", (owner,))
    connection.execute("DELETE FROM history_owners WHERE owner = ?", (owner,))
    return Done()


def _check(owner: str, position: int, body: bytes) -> bytes:
    return checksum(owner.encode(), str(position).encode(), body)
