"""A look-up that found nothing: whether there is nothing, or a damaged index hid it.

A row carries its own checksum, an index of SQLite's does not. A search through a tree that one wrong key
leads astray ends beside that key: from there on every comparison is right, and each narrows the rest down to
it. So where both neighbours of what was not found are what their rows say, no one wrong key was met.
"""

from collections.abc import Sequence
from functools import lru_cache

import apsw

from aios.abi.errors import Corrupt


def check_absent(connection: apsw.Connection, table: str, columns: str, key: Sequence[object]) -> None:
    """Raise `Corrupt` where the index of a table over `columns` is damaged beside `key`.

    For tables with row ids; `columns` are two names with a comma between, and no row of the table has `key`.
    """
    for (is_right,) in connection.execute(_neighbours(table, columns), tuple(key)):
        if not is_right:
            raise Corrupt(
                f"an index of {table} is damaged where '{key[-1]}' was looked for; aios fsck can make it anew"
            )


@lru_cache
def _neighbours(table: str, columns: str) -> str:
    """Whether what the index says of the next row on either side is what that row says."""
    first, second = columns.split(", ")
    sides = [
        f"SELECT i.a IS t.{first} AND i.b IS t.{second} FROM ("
        f"SELECT rowid AS id, {first} AS a, {second} AS b FROM {table} WHERE ({columns}) {sign} (?1, ?2) "
        f"ORDER BY {first} {order}, {second} {order} LIMIT 1"
        f") i LEFT JOIN {table} t ON t.rowid = i.id"
        for sign, order in ((">", "ASC"), ("<", "DESC"))
    ]
    return " UNION ALL ".join(sides)
