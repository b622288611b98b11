"""When what was written is put into a full-text index: many entries at once, not one with each commit.

SQLite's FTS5 begins a new segment with every commit that changes it, which costs more than all the rest of a
write. So a write only notes down what changed, in a table of its own, and the index catches up before the
next search, or when `MAX_PENDING` changes wait. Knows neither notes nor files.
"""

import logging
from collections.abc import Callable
from typing import Any

import apsw

from aios.abi.errors import Corrupt, OutcomeUnknown, StorageFull, Unavailable
from aios.drivers.store import Store

log = logging.getLogger(__name__)

MAX_PENDING = 1024

Index = Callable[[apsw.Connection], None]
IndexRows = Callable[[apsw.Connection, list[tuple[Any, ...]]], None]
"""Puts all that waits into the index."""


class Backlog:
    """Brings an index up to date before it is searched."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store = store
        self._index = index
        self._num_written = 1  # What an earlier kernel left is not known, so the first search looks.
        self._num_indexed = 0

    def wrote(self) -> None:
        """Something was written, or may have been."""
        self._num_written += 1

    async def catch_up(self) -> None:
        """Index what was written before this call. Searching goes on with a disk that takes no writes."""
        num_written = self._num_written
        if num_written == self._num_indexed:
            return
        try:
            await self._store.write(self._index)
        except (StorageFull, Unavailable, OutcomeUnknown, Corrupt):
            return
        self._num_indexed = max(self._num_indexed, num_written)


def index_in_pieces(connection: apsw.Connection, pending: str, query: str, index: IndexRows) -> None:
    """Index what waits in the table `pending`, up to `MAX_PENDING` at a time, and take it off.

    `query` gives the rows to index for what waits before a place.
    """
    while end := connection.execute(f"SELECT min(place) + ? FROM {pending}", (MAX_PENDING,)).get:
        index(connection, connection.execute(query, (end,)).fetchall())
        connection.execute(f"DELETE FROM {pending} WHERE place < ?", (end,))


def index_or_mend(connection: apsw.Connection, index: Index, start_over: str) -> None:
    """Index what waits. Where the index is damaged, `start_over` empties it and has all wait again."""
    try:
        with connection:
            index(connection)
    except apsw.CorruptError as error:
        log.error("an index for searching is damaged, and is made anew: %s", error)
        with connection:
            connection.execute(start_over)
            index(connection)
