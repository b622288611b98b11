"""Checks of histories: where each ends, the nodes that hold their text, and the counts of their owners."""

from collections.abc import Iterator
from typing import Any

import apsw

from aios.abi.errors import Corrupt
from aios.kernel.checking.found import Check, Problem
from aios.kernel.histories import book, nodes
from aios.kernel.histories.book import PINNED_BYTES, Key

_COUNTED = f"""
    SELECT o.owner, o.num_histories, o.num_bytes, o.pinned_bytes, count(h.name),
        ifnull(sum(h.num_bytes), 0),
        ifnull(sum((h.num_bytes + {PINNED_BYTES}) * h.is_pinned), 0)
    FROM (SELECT owner, num_histories, num_bytes, pinned_bytes FROM history_totals
          UNION ALL SELECT DISTINCT owner, 0, 0, 0 FROM histories
          WHERE owner NOT IN (SELECT owner FROM history_totals)) o
    LEFT JOIN histories h ON h.owner = o.owner GROUP BY o.owner
"""


def _histories(connection: apsw.Connection) -> Iterator[Problem]:
    keys: Any = connection.execute("SELECT owner, name FROM histories")
    for owner, name in keys:
        try:
            row = book.find(connection, Key(owner, name))
            if row is not None:
                nodes.lineage(connection, row.node)
        except Corrupt:
            yield Problem("row", "histories", f"history '{name}' of {owner}")


def _nodes(connection: apsw.Connection) -> Iterator[Problem]:
    ids: Any = connection.execute("SELECT id FROM history_nodes")
    for (id,) in ids:
        try:
            nodes.text_of(connection, nodes.get(connection, id)).plain()
        except Corrupt:
            yield Problem("row", "history_nodes", f"node {id}, text of {_who(connection, id)}")


def _who(connection: apsw.Connection, node: int) -> str:
    """The histories whose text goes through a node."""
    rows: Any = connection.execute(
        "WITH RECURSIVE down AS (SELECT ? AS id UNION SELECT n.id FROM history_nodes n "
        "JOIN down ON n.parent = down.id) SELECT owner, name FROM histories JOIN down ON node = down.id "
        "ORDER BY owner, name LIMIT 3",
        (node,),
    )
    return ", ".join(f"history '{name}' of {owner}" for owner, name in rows) or "no history"


def _totals(connection: apsw.Connection) -> Iterator[Problem]:
    rows: Any = connection.execute(_COUNTED)
    for owner, *counts in rows:
        if counts[:3] != counts[3:]:
            yield Problem("counter", "history_totals", owner)


def _mend_totals(connection: apsw.Connection) -> None:
    rows: list[Any] = connection.execute(_COUNTED).fetchall()
    for owner, _, _, _, *counts in rows:
        connection.execute("REPLACE INTO history_totals VALUES (?, ?, ?, ?)", (owner, *counts))


CHECKS = (
    Check(("histories",), _histories),
    Check(("history_nodes", "history_bodies", "history_tails", "history_tries"), _nodes),
    Check(("history_totals",), _totals, _mend_totals),
)
