"""Small tables whose rows carry a checksum over all of their columns, looked at whenever a row is read.

A row that does not match it is left out and told of: what it said cannot be known, and nobody is given a
right by it.
"""

import logging
from collections.abc import Iterator
from typing import Any

import apsw

from aios.drivers.migrations import Cursor, Step
from aios.drivers.sqlite import checksum

log = logging.getLogger(__name__)

_PIECE = 1000
"""Rows that are sealed in one transaction when a table gets its checksums."""


def seal(kind: str, fields: tuple[Any, ...]) -> bytes:
    """The checksum of a row with these fields; the same ones of another kind of row have another."""
    return checksum(kind.encode(), repr(tuple(fields)).encode())


class Sealed:
    """The table `table` with these columns, the first `num_keys` of which are its key."""

    def __init__(self, table: str, columns: str, *, num_keys: int = 1) -> None:
        self.table = table
        names = columns.split()
        self._keys = names[:num_keys]
        self._columns = ", ".join(names)
        places = ", ".join("?" * (len(names) + 1))
        self._put = f"INSERT OR REPLACE INTO {table} ({self._columns}, checksum) VALUES ({places})"
        self._where = " AND ".join(f"{name} = ?" for name in self._keys)

    @property
    def steps(self) -> tuple[Step, Step]:
        """The changes that give a table without checksums some."""
        return f"ALTER TABLE {self.table} ADD COLUMN checksum BLOB", self._fill

    def put(self, connection: apsw.Connection, *fields: Any) -> None:
        """Write a row, in the place of the one with its key."""
        connection.execute(self._put, (*fields, self._seal(fields)))

    def insert(self, connection: apsw.Connection, *fields: Any) -> int:
        """Write a row whose key the table chooses; `fields` are the other columns. The key."""
        key: int = connection.execute(self._put + f" RETURNING {self._keys[0]}", (None, *fields, b"")).get
        self.put(connection, key, *fields)
        return key

    def rows(self, connection: apsw.Connection) -> list[tuple[Any, ...]]:
        """All rows that are what was written; the log tells of the others."""
        good = []
        for fields, is_good in self._checked(connection):
            if is_good:
                good.append(fields)
            else:
                log.error("a row of %s is damaged, and counts no more: %s", self.table, self.name(fields))
        return good

    def damaged(self, connection: apsw.Connection) -> Iterator[str]:
        """The names of the rows that are not what was written."""
        return (self.name(fields) for fields, is_good in self._checked(connection) if not is_good)

    def name(self, fields: tuple[Any, ...]) -> str:
        return " ".join(str(key) for key in fields[: len(self._keys)])

    def _checked(self, connection: apsw.Connection) -> Iterator[tuple[tuple[Any, ...], bool]]:
        rows: Any = connection.execute(f"SELECT {self._columns}, checksum FROM {self.table}")
        return ((row[:-1], row[-1] == self._seal(row[:-1])) for row in rows)

    def _seal(self, fields: tuple[Any, ...]) -> bytes:
        return seal(self.table, fields)

    def _fill(self, connection: apsw.Connection, _: Cursor | None) -> Cursor | None:
        sql = f"SELECT {self._columns} FROM {self.table} WHERE checksum IS NULL LIMIT {_PIECE}"
        rows: list[Any] = connection.execute(sql).fetchall()
        for row in rows:
            connection.execute(
                f"UPDATE {self.table} SET checksum = ? WHERE {self._where}",
                (self._seal(row), *row[: len(self._keys)]),
            )
        return (_PIECE,) if len(rows) == _PIECE else None
