"""What the calls about histories do on disk, each within one transaction.

Knows neither callers nor threads nor what is in memory: a change answers what memory has to hear of it.
"""

from collections.abc import Sequence

import apsw
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from aios.abi.errors import Conflict, InvalidArgument, NotFound, QuotaExceeded
from aios.abi.messages import Message
from aios.kernel.config import MemoryConfig
from aios.kernel.histories import book, nodes
from aios.kernel.histories.book import Key, Row, Totals
from aios.kernel.histories.nodes import Node, Text
from aios.kernel.histories.reading import Step, Trail
from aios.kernel.histories.trie import Change, End, Trie

MAIN = "main"
"""The history that a call means which names none."""

_encoder = msgspec.json.Encoder()


class Written(Struct, frozen=True):
    """What a change came to."""

    row: Row | None
    """The history as it now is; None where it is no more."""
    path: list[Node]
    """The nodes through which it grew, the one first that it had ended in; empty where it did not grow."""
    changes: list[Change]


class Found(Struct, frozen=True):
    """A history, the way to its end, and what of its text a reading needs."""

    row: Row
    trail: Trail
    steps: list[Step]
    texts: list[Text]


def lines_of(messages: Sequence[Message]) -> bytes:
    """Each message as one line of JSON. Raises `InvalidArgument`."""
    try:
        return b"".join([_encoder.encode(message) + b"\n" for message in messages])
    except (UnicodeEncodeError, TypeError, RecursionError) as error:
        raise InvalidArgument(f"a message cannot be written as JSON: {error}") from None


def append(
    connection: apsw.Connection,
    key: Key,
    tenant: str,
    messages: Sequence[Message],
    now: float,
    config: MemoryConfig,
) -> Written:
    """All of the messages, or none and `QuotaExceeded`."""
    writing = Writing(connection, key, tenant, now)
    writing.put(lines_of(messages))
    written, totals = writing.save()
    assert written.row is not None
    _check_limits(connection, written.row, totals, config)
    return written


def fork(
    connection: apsw.Connection,
    source: Key,
    at: int | None,
    to: Key,
    tenant: str,
    now: float,
    config: MemoryConfig,
) -> Written:
    """A new history that begins as another does, up to message `at`. It takes no more room than its row.

    Raises `NotFound`, `InvalidArgument`, `Conflict` where `to` is there already, `QuotaExceeded`.
    """
    row = _existing(connection, source)
    if book.find(connection, to) is not None:
        raise Conflict(f"there is a history '{to.name}' already; clear it first")
    at = row.num_messages if at is None else at
    if at > row.num_messages:
        raise InvalidArgument(f"the history '{source.name}' has {row.num_messages} messages, not {at}")
    trie = Trie(connection)
    end = _end(connection, row)
    if at < row.num_messages:
        end = trie.back_to(end, at)
    if source.owner != to.owner and nodes.lineage(connection, row.node)[0] != trie.root(tenant):
        raise InvalidArgument("another tenant's history cannot be forked; read it, and append what it holds")
    new = Row(to.owner, to.name, end.node.id, at, end.num_bytes, False, now, now)
    _check_limits(connection, new, book.save(connection, None, new), config)
    return Written(new, [], trie.changes)


def clear(connection: apsw.Connection, key: Key, start: int, now: float) -> Written:
    """Forget the messages from `start` on; the history itself where that is all of it."""
    if start == 0:
        return _forget(connection, key)
    row = book.find(connection, key)
    if row is None or start >= row.num_messages:
        return Written(row, [], [])
    trie = Trie(connection)
    old = nodes.get(connection, row.node)
    end = trie.back_to(End(old, row.num_messages, row.num_bytes), start)
    shorter = replace(row, node=end.node.id, num_messages=start, num_bytes=end.num_bytes, updated=now)
    book.save(connection, row, shorter)
    trie.release(old.id)
    return Written(book.find(connection, key), [], trie.changes)


def pin(connection: apsw.Connection, key: Key, is_pinned: bool, config: MemoryConfig) -> Written:
    """Raises `NotFound` and `QuotaExceeded`."""
    row = _existing(connection, key)
    new = replace(row, is_pinned=is_pinned)
    _check_limits(connection, new, book.save(connection, row, new), config)
    return Written(new, [], [])


def compress(connection: apsw.Connection, node_ids: Sequence[int]) -> None:
    """Pack what of these nodes is still plain, as far as they are still there."""
    for node_id in node_ids:
        if (node := nodes.find(connection, node_id)) is not None:
            nodes.compress(connection, node)


# ---- reading


def find(connection: apsw.Connection, key: Key, start: int, limit: int) -> Found | None:
    """A history, for reading it from message `start` on. Raises `Corrupt`."""
    row = book.find(connection, key)
    if row is None:
        return None
    way = nodes.lineage(connection, row.node)
    trail = Trail(way)
    steps = trail.span(start, limit, row.num_bytes) if start < row.num_messages else []
    by_id = {node.id: node for node in way}
    found = [nodes.text_of(connection, by_id[step.node_id]) for step in steps]
    return Found(row, trail, steps, found)


def texts(connection: apsw.Connection, node_ids: Sequence[int]) -> list[Text | None]:
    """What is in these nodes, None for one that is no more. Raises `Corrupt`."""
    found = [nodes.find(connection, node_id) for node_id in node_ids]
    return [None if node is None else nodes.text_of(connection, node) for node in found]


# ---- writing


class Writing:
    """Appends lines to a history, then keeps where it ends."""

    def __init__(self, connection: apsw.Connection, key: Key, tenant: str, now: float) -> None:
        self._connection = connection
        self._key = key
        self._now = now
        self._trie = Trie(connection)
        self._old = book.find(connection, key)
        if self._old is None:
            self._end = End(self._trie.root(tenant), 0, 0)
        else:
            self._end = _end(connection, self._old)
        self._path: list[Node] = []

    def put(self, lines: bytes) -> None:
        self._end, path = self._trie.put(self._end, lines)
        self._path = [*self._path[:-1], *path]

    def put_damaged(self, line: bytes) -> None:
        """A line that is not what it was: it takes its place, and reading it says so."""
        self._end, node = self._trie.put_apart(self._end, line)
        self._path.append(node)

    def save(self) -> tuple[Written, Totals]:
        old, end = self._old, self._end
        is_pinned, created = (old.is_pinned, old.created) if old else (False, self._now)
        node_id, count, size = end.node.id, end.num_messages, end.num_bytes
        row = Row(*self._key, node_id, count, size, is_pinned, created, self._now)
        totals = book.save(self._connection, old, row)
        return Written(row, self._path, self._trie.changes), totals


def _forget(connection: apsw.Connection, key: Key) -> Written:
    node_id = book.delete(connection, key)
    trie = Trie(connection)
    if node_id is not None:
        trie.release(node_id)
    return Written(None, [], trie.changes)


def _existing(connection: apsw.Connection, key: Key) -> Row:
    row = book.find(connection, key)
    if row is None:
        raise NotFound(f"there is no history '{key.name}'")
    return row


def _end(connection: apsw.Connection, row: Row) -> End:
    return End(nodes.get(connection, row.node), row.num_messages, row.num_bytes)


def _check_limits(connection: apsw.Connection, row: Row, totals: Totals, config: MemoryConfig) -> None:
    if row.num_messages > config.max_history_messages:
        raise QuotaExceeded(f"a history may have {config.max_history_messages} messages; clear it first")
    if totals.num_histories > config.max_histories:
        raise QuotaExceeded(f"{row.owner} has {config.max_histories} histories; clear one first")
    if totals.num_bytes > config.max_history_bytes:
        raise QuotaExceeded(f"histories may have {config.max_history_bytes} bytes together; clear one first")
    if not row.is_pinned:
        return
    if totals.pinned_bytes > config.history_block_bytes // 2:
        raise QuotaExceeded("what is pinned may take half of the block; unpin or clear a history first")
    if book.pinned_bytes(connection) > config.history_memory_bytes // 2:
        raise QuotaExceeded("what is pinned takes half of the memory; unpin or clear a history first")
