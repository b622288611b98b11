"""All checks, one after the other, over one state of the database."""

from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
from msgspec import structs

from aios.abi.errors import Unavailable
from aios.drivers.sqlite import open_reader, typed
from aios.drivers.store import Store
from aios.kernel.checking import access, contexts, files, histories, notes
from aios.kernel.checking.found import Check, Problem

CHECKS: tuple[Check, ...] = (
    *files.CHECKS,
    *histories.CHECKS,
    *notes.CHECKS,
    *access.CHECKS,
    *contexts.CHECKS,
)

OF_STORE = ("schemas", "migrating", "barrier")
"""Tables of the store itself: numbers that every start looks at."""
MAX_PAGES = 100
"""Of damaged pages and index entries, so many are named."""

Told = Callable[[str], None]


def check(path: Path, told: Told = lambda table: None) -> list[Problem]:
    """All that is wrong with the database at `path`; `told` hears what is looked at next.

    A kernel may be running on it. Raises `Unavailable` where it cannot be opened.
    """
    if not path.is_file():
        raise Unavailable(f"there is no database at {path}")
    try:
        connection = open_reader(path)
        try:
            connection.execute("BEGIN")
            return list(_find(connection, told))
        finally:
            connection.close()
    except (apsw.NotADBError, apsw.CorruptError):
        return [Problem("page", "", "the whole database: the page that says what is in it is damaged")]
    except apsw.Error as error:
        raise typed(error) from error


async def repair(path: Path, told: Told = lambda table: None) -> list[Problem]:
    """Make anew what can be: indexes and counters. What was wrong, and which of it is mended.

    Raises `Conflict` while a kernel is running on it.
    """
    store = Store(path)
    await store.start()
    try:
        before = await store.read(lambda connection: list(_find(connection, told)))
        if not before:
            return []
        await store.write(lambda connection: _mend(connection, before))
        after = await store.read(lambda connection: list(_find(connection, told)))
    finally:
        await store.close()
    return [structs.replace(one, is_mended=one not in after) for one in before]


def _find(connection: apsw.Connection, told: Told) -> Iterator[Problem]:
    told("pages")
    yield from _guarded("", _pages(connection))
    sql = "SELECT name FROM sqlite_master WHERE type = 'table'"
    there = {name for (name,) in connection.execute(sql)}
    for one in CHECKS:
        if there.issuperset(one.tables):  # A kernel that never started has not made them.
            told(one.tables[0])
            yield from _guarded(one.tables[0], one.find(connection))


def _pages(connection: apsw.Connection) -> Iterator[Problem]:
    for (what,) in connection.execute(f"PRAGMA integrity_check({MAX_PAGES})"):
        if what != "ok":
            yield Problem("page", "", str(what))
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield Problem("reference", str(table), f"row {row} needs one of {parent}")


def _guarded(table: str, found: Iterator[Problem]) -> Iterator[Problem]:
    try:
        yield from found
    except (apsw.CorruptError, apsw.SQLError, UnicodeDecodeError) as error:
        yield Problem("page", table, f"cannot be read whole: {error}")


def _mend(connection: apsw.Connection, found: list[Problem]) -> None:
    tables = {problem.table for problem in found}
    if "" in tables:
        connection.execute("REINDEX")
    for one in CHECKS:
        if one.mend is not None and tables.intersection(one.tables):
            one.mend(connection)
