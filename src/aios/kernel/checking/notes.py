"""Checks of notes: each note and what it was before, the counts of their owners, and the shelves."""

from collections.abc import Iterator
from typing import Any

import apsw

from aios.abi.errors import Corrupt
from aios.kernel.checking.found import Check, Problem
from aios.kernel.notes.body import decode
from aios.kernel.shelves import tables

_COUNTED = """
    SELECT o.owner, o.num_notes, o.num_bytes, o.last, o.stamp, count(n.docid),
        ifnull(sum(length(n.body)), 0) + (
            SELECT ifnull(sum(length(v.body)), 0) FROM note_versions v WHERE v.owner = o.owner),
        ifnull(max(n.number), 0), ifnull(max(n.stamp), 0)
    FROM note_owners o LEFT JOIN notes n ON n.owner = o.owner GROUP BY o.owner
"""
_ORPHANS = "SELECT DISTINCT owner FROM notes WHERE owner NOT IN (SELECT owner FROM note_owners)"


def _notes(connection: apsw.Connection) -> Iterator[Problem]:
    sql = "SELECT owner, number, body, checksum, source, expires FROM notes"
    rows: Any = connection.execute(sql)
    for owner, number, data, check, source, expires in rows:
        try:
            body = decode(owner, number, data, check)
        except Corrupt:
            yield Problem("row", "notes", f"note n{number} of {owner}")
            continue
        if (body.source or None, body.expires) != (source, expires):
            yield Problem("index", "notes", f"source or end of note n{number} of {owner}")


def _versions(connection: apsw.Connection) -> Iterator[Problem]:
    sql = "SELECT owner, number, version, body, checksum FROM note_versions"
    rows: Any = connection.execute(sql)
    for owner, number, version, data, check in rows:
        try:
            is_whole = decode(owner, number, data, check).version == version
        except Corrupt:
            is_whole = False
        if not is_whole:
            yield Problem("row", "note_versions", f"version {version} of note n{number} of {owner}")


def _owners(connection: apsw.Connection) -> Iterator[Problem]:
    rows: Any = connection.execute(_COUNTED)
    for owner, num_notes, num_bytes, last, stamp, *found in rows:
        if [num_notes, num_bytes] != found[:2] or last < found[2] or stamp < found[3]:
            yield Problem("counter", "note_owners", owner)
    for (owner,) in connection.execute(_ORPHANS):
        yield Problem("counter", "note_owners", str(owner))


def _mend_owners(connection: apsw.Connection) -> None:
    connection.execute(f"INSERT INTO note_owners SELECT owner, 0, 0, 0, 0 FROM ({_ORPHANS})")
    rows: list[Any] = connection.execute(_COUNTED).fetchall()
    for owner, _, _, last, stamp, num_notes, num_bytes, number, highest in rows:
        connection.execute(
            "UPDATE note_owners SET num_notes = ?, num_bytes = ?, last = ?, stamp = ? WHERE owner = ?",
            (num_notes, num_bytes, max(last, number), max(stamp, highest), owner),
        )


def _shares(connection: apsw.Connection) -> Iterator[Problem]:
    """A note is on the shelf of those it is shared with, and on no other."""
    shelves: dict[int, str] = {}
    shared: Any = connection.execute(
        "SELECT s.shelf, s.stamp, s.docid, f.stamp FROM note_shares s LEFT JOIN note_shelves f USING (shelf)"
    )
    for shelf, stamp, docid, last in shared:
        shelves[docid] = shelf
        if last is None or last < stamp:
            yield Problem("counter", "note_shelves", shelf)
    rows: Any = connection.execute("SELECT docid, owner, number, body, checksum FROM notes")
    for docid, owner, number, data, check in rows:
        shelf = shelves.pop(docid, None)
        try:
            scope = decode(owner, number, data, check).scope
        except Corrupt:
            continue
        if shelf != (None if scope == "private" else f"notes:{scope}"):
            yield Problem("reference", "note_shares", f"note n{number} of {owner}")
    for docid in shelves:
        yield Problem("reference", "note_shares", f"row {docid}")


def _shelves(connection: apsw.Connection) -> Iterator[Problem]:
    for shelf, what in tables.damaged(connection):
        yield Problem("index", "shelf_segments", f"{what} of {shelf}")


def _mend_shelves(connection: apsw.Connection) -> None:
    """All shelves are made anew when they are asked for something."""
    if any(_shelves(connection)):
        tables.start_over(connection)


CHECKS = (
    Check(("notes",), _notes),
    Check(("note_versions",), _versions),
    Check(("note_owners",), _owners, _mend_owners),
    Check(("note_shares", "note_shelves"), _shares),
    Check(tables.TABLES, _shelves, _mend_shelves),
)
