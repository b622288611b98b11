"""Checks of who is who and may do what: groups, grants, processes, what was spent, and the audit log."""

from collections.abc import Iterator
from typing import Any

import apsw

from aios.abi.errors import Corrupt
from aios.drivers.sealing import Sealed
from aios.kernel import audit, grants, groups, lifecycle, payers, replies
from aios.kernel.checking.found import Check, Problem
from aios.kernel.scheduling import learning


def _sealed(rows: Sealed) -> Check:
    def find(connection: apsw.Connection) -> Iterator[Problem]:
        return (Problem("row", rows.table, name) for name in rows.damaged(connection))

    return Check((rows.table,), find)


def _chain(connection: apsw.Connection) -> Iterator[Problem]:
    try:
        audit.verify(connection)
    except Corrupt as error:
        yield Problem("chain", "audit", error.message)


def _pids(connection: apsw.Connection) -> Iterator[Problem]:
    highest = connection.execute("SELECT ifnull(max(pid), 1) FROM processes").get
    last = connection.execute("SELECT count(*), min(pid) FROM last_pid").fetchone()
    if last is None or last[0] != 1 or not isinstance(last[1], int) or last[1] < highest:
        yield Problem("counter", "last_pid", "the last pid")


def _mend_pids(connection: apsw.Connection) -> None:
    """Beyond all that are known."""
    if not any(_pids(connection)):
        return
    connection.execute("DELETE FROM last_pid")
    connection.execute("INSERT INTO last_pid SELECT ifnull(max(pid), 1) FROM processes")


def _replies(connection: apsw.Connection) -> Iterator[Problem]:
    sql = "SELECT owner, key, number, expires, call, reply, checksum FROM replies"
    rows: Any = connection.execute(sql)
    return (Problem("row", "replies", f"{row[0]} {row[1]}") for row in rows if not replies.is_whole(*row))


CHECKS = (
    *map(_sealed, (groups.ROWS, groups.MEMBERS, grants.ROWS, lifecycle.ROWS, payers.ROWS, learning.ROWS)),
    Check(("audit",), _chain),
    Check(("last_pid",), _pids, _mend_pids),
    Check(("replies",), _replies),
)
