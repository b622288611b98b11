"""Notes as rows: kept, changed and removed, each with what it was before, inside one transaction.

A note's key begins with its owner, so whoever asks reaches that owner's notes only. Owns ids and limits;
knows neither callers nor threads: each function gets a connection.
"""

from collections.abc import Sequence
from typing import Any

import apsw
from msgspec import Struct, structs

from aios.abi.errors import Corrupt, QuotaExceeded
from aios.drivers.lookups import check_absent
from aios.kernel.notes.body import Body, absent, check_of, decode, encode, number_of
from aios.kernel.notes.shelving import own_shelf, shelf_of
from aios.kernel.shelves import tables

SWEEP = 64
"""Owners whose expired notes are removed in one transaction."""

_KEY = "owner, number"

Scopes = frozenset[str] | None
"""The scopes of another's notes that a caller may see, as they are kept; None for all."""
Touched = list[tuple[str, int]]
"""Shelves on which something has changed, and the stamp or place of the change."""


class Limits(Struct, frozen=True):
    """Of one owner."""

    max_notes: int
    max_bytes: int
    """Of its notes and what they were before."""
    max_versions: int
    """Of one note, the one that it is included."""


class Kept(Struct, frozen=True):
    """A note under its number."""

    number: int
    body: Body
    touched: Touched = []


class Page(Struct, frozen=True):
    """Some notes, the numbers of those among them that are damaged, and the number to go on from or 0."""

    notes: list[Kept]
    damaged: list[int]
    next: int


class _Counts(Struct, frozen=True):
    last: int
    stamp: int
    num_notes: int
    num_bytes: int


def add(connection: apsw.Connection, owner: str, body: Body, limits: Limits, now: float) -> Kept:
    """Raises `QuotaExceeded`. An id is never given twice, not even after its note is gone."""
    data = encode(body)
    counts = _count(connection, owner, limits, now, num_ids=1, num_notes=1, num_bytes=len(data))
    number = counts.last
    connection.execute(
        "INSERT INTO notes (owner, number, stamp, body, checksum, source, expires) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            *(owner, number, counts.stamp, data, check_of(owner, number, data)),
            *(body.source or None, body.expires),
        ),
    )
    touched = [(own_shelf(owner), counts.stamp)]
    if body.scope != "private":
        touched.append(_share(connection, connection.last_insert_rowid(), body.scope))
    return Kept(number, body, touched)


def get(connection: apsw.Connection, owner: str, note_id: str, scopes: Scopes, now: float) -> Kept:
    """Raises `NotFound`, or `Corrupt` where it is not what was kept."""
    number = number_of(note_id)
    try:
        body = _find(connection, owner, number, now)[2]
    except Corrupt:
        if scopes is not None:  # Whether it is there is not this caller's to know.
            raise absent(note_id) from None
        raise
    if scopes is not None and body.scope not in scopes:
        raise absent(note_id)
    return Kept(number, body)


def history(
    connection: apsw.Connection, owner: str, note_id: str, scopes: Scopes, limit: int, now: float
) -> list[Kept]:
    """What it has been and is, oldest first: the newest `limit` of that. Raises what `get` raises.

    Of another's note there is only what was shared with the caller then as well.
    """
    kept = get(connection, owner, note_id, scopes, now)
    rows = connection.execute(
        "SELECT version, body, checksum FROM note_versions WHERE owner = ? AND number = ? "
        "ORDER BY version DESC LIMIT ?",
        (owner, kept.number, limit - 1),
    )
    before = []
    for version, data, check in rows:
        body = decode(owner, kept.number, data, check)
        if body.version != version:
            raise Corrupt(f"version {version} of note '{note_id}' is not what was kept")
        if scopes is None or body.scope in scopes:
            before.append(Kept(kept.number, body))
    return [*reversed(before), kept]


def update(
    connection: apsw.Connection, owner: str, kept: Kept, body: Body, limits: Limits, now: float
) -> Kept:
    """Replace a note that was just got. Raises `QuotaExceeded`."""
    number = kept.number
    docid, stamp, _ = _find(connection, owner, number, now)
    body = structs.replace(body, version=kept.body.version + 1)
    data = encode(body)
    connection.execute(
        "INSERT INTO note_versions SELECT owner, number, ?, body, checksum FROM notes WHERE docid = ?",
        (kept.body.version, docid),
    )
    dropped: list[Any] = connection.execute(
        "DELETE FROM note_versions WHERE owner = ? AND number = ? AND version <= ? RETURNING length(body)",
        (owner, number, body.version - limits.max_versions),
    ).fetchall()
    num_bytes = len(data) - sum(size for (size,) in dropped)
    counts = _count(connection, owner, limits, now, num_bytes=num_bytes)
    connection.execute(
        "UPDATE notes SET stamp = ?, body = ?, checksum = ?, source = ?, expires = ? WHERE docid = ?",
        (
            *(counts.stamp, data, check_of(owner, number, data)),
            *(body.source or None, body.expires, docid),
        ),
    )
    tables.gone(connection, own_shelf(owner), stamp)
    touched = [(own_shelf(owner), counts.stamp)]
    if kept.body.scope != "private":
        _unshare(connection, docid)
    if body.scope != "private":
        touched.append(_share(connection, docid, body.scope))
    return Kept(number, body, touched)


def remove(connection: apsw.Connection, owner: str, note_id: str, now: float) -> Touched:
    """Raises `NotFound`. A corrupt note can be removed."""
    number = number_of(note_id)
    condition = "number = ? AND (expires IS NULL OR expires > ?)"
    num_notes, touched = _discard(connection, owner, condition, (number, now))
    if not num_notes:
        check_absent(connection, "notes", _KEY, (owner, number))
        raise absent(note_id)
    return touched


def purge(connection: apsw.Connection, owner: str, source: str, now: float) -> tuple[int, Touched]:
    """Remove all notes from a source; how many there were."""
    condition = "source = ? AND (expires IS NULL OR expires > ?)"
    return _discard(connection, owner, condition, (source, now))


def sweep(connection: apsw.Connection, now: float) -> bool:
    """Remove expired notes of some owners; whether there are more."""
    sql = "SELECT DISTINCT owner FROM notes WHERE expires <= ? LIMIT ?"
    owners: list[Any] = connection.execute(sql, (now, SWEEP)).fetchall()
    for (owner,) in owners:
        _discard(connection, owner, "expires <= ?", (now,))
    return len(owners) == SWEEP


def first_to_expire(connection: apsw.Connection) -> float | None:
    """When the next note expires, or the first of those that have."""
    moment: float | None = connection.execute("SELECT min(expires) FROM notes WHERE expires IS NOT NULL").get
    return moment


def page(connection: apsw.Connection, owner: str, after: int, limit: int, max_bytes: int, now: float) -> Page:
    """Notes with higher numbers than `after`."""
    rows = connection.execute(
        "SELECT number, body, checksum FROM notes WHERE owner = ? AND number > ? "
        "AND (expires IS NULL OR expires > ?) ORDER BY number",
        (owner, after, now),
    )
    found: list[Kept] = []
    damaged: list[int] = []
    num_bytes = 0
    for number, data, check in rows:
        num_found = len(found) + len(damaged)
        if num_found and (num_found == limit or num_bytes + len(data) > max_bytes):
            return Page(found, damaged, max([one.number for one in found[-1:]] + damaged[-1:]))
        try:
            found.append(Kept(number, decode(owner, number, data, check)))
        except Corrupt:
            damaged.append(number)
        num_bytes += len(data)
    return Page(found, damaged, 0)


def _find(connection: apsw.Connection, owner: str, number: int, now: float) -> tuple[int, int, Body]:
    row = connection.execute(
        "SELECT docid, stamp, body, checksum FROM notes WHERE owner = ? AND number = ? "
        "AND (expires IS NULL OR expires > ?)",
        (owner, number, now),
    ).fetchone()
    if row is None:
        check_absent(connection, "notes", _KEY, (owner, number))
        raise absent(f"n{number}")
    return row[0], row[1], decode(owner, number, row[2], row[3])


def _count(
    connection: apsw.Connection,
    owner: str,
    limits: Limits,
    now: float,
    *,
    num_ids: int = 0,
    num_notes: int = 0,
    num_bytes: int = 0,
) -> _Counts:
    """Count on, the stamp always. What has expired makes room first; then raises `QuotaExceeded`."""
    row = connection.execute(
        "INSERT INTO note_owners (owner, last, num_notes, stamp, num_bytes) VALUES (?1, ?2, ?3, 1, ?4) "
        "ON CONFLICT DO UPDATE SET last = last + ?2, num_notes = num_notes + ?3, stamp = stamp + 1, "
        "num_bytes = num_bytes + ?4 RETURNING last, stamp, num_notes, num_bytes",
        (owner, num_ids, num_notes, num_bytes),
    ).fetchone()
    assert row is not None
    counts = _Counts(*row)
    if _is_over(counts, limits, num_notes, num_bytes):
        _discard(connection, owner, "expires <= ?", (now,))
        sql = "SELECT last, stamp, num_notes, num_bytes FROM note_owners WHERE owner = ?"
        row = connection.execute(sql, (owner,)).fetchone()
        assert row is not None
        counts = _Counts(*row)
    if num_notes > 0 and counts.num_notes > limits.max_notes:
        raise QuotaExceeded(f"{owner} has {limits.max_notes} notes, which is all it may have")
    if num_bytes > 0 and counts.num_bytes > limits.max_bytes:
        raise QuotaExceeded(
            f"{owner}'s notes may take {limits.max_bytes} bytes with what they were before; remove some first"
        )
    return counts


def _is_over(counts: _Counts, limits: Limits, num_notes: int, num_bytes: int) -> bool:
    too_many = num_notes > 0 and counts.num_notes > limits.max_notes
    return too_many or (num_bytes > 0 and counts.num_bytes > limits.max_bytes)


def _share(connection: apsw.Connection, docid: int, scope: str) -> tuple[str, int]:
    """Put a note on the shelf of those it is shared with; that, and its stamp there."""
    shelf = shelf_of(scope)
    stamp = connection.execute(
        "INSERT INTO note_shelves VALUES (?, 1) ON CONFLICT DO UPDATE SET stamp = stamp + 1 RETURNING stamp",
        (shelf,),
    ).get
    connection.execute("INSERT INTO note_shares VALUES (?, ?, ?)", (shelf, stamp, docid))
    return shelf, stamp


def _unshare(connection: apsw.Connection, docid: int) -> None:
    sql = "DELETE FROM note_shares WHERE docid = ? RETURNING shelf, stamp"
    unshared: list[Any] = connection.execute(sql, (docid,)).fetchall()
    for shelf, stamp in unshared:
        tables.gone(connection, shelf, stamp)


def _discard(
    connection: apsw.Connection, owner: str, condition: str, values: Sequence[object]
) -> tuple[int, Touched]:
    """Remove an owner's notes that fit `condition`, with all that belongs to them; how many there were."""
    chosen = f"FROM notes WHERE owner = ? AND {condition}"
    given = (owner, *values)
    row = connection.execute(f"SELECT count(*), ifnull(sum(length(body)), 0) {chosen}", given).fetchone()
    assert row is not None
    num_notes, num_bytes = row
    if not num_notes:
        return 0, []
    versions = f"FROM note_versions WHERE owner = ? AND number IN (SELECT number {chosen})"
    sql = f"SELECT ifnull(sum(length(body)), 0) {versions}"
    num_bytes += connection.execute(sql, (owner, *given)).get
    connection.execute(f"DELETE {versions}", (owner, *given))
    shelf = own_shelf(owner)
    place = tables.gone_all(connection, f"SELECT ?, stamp {chosen}", (shelf, *given))
    shares = f"FROM note_shares WHERE docid IN (SELECT docid {chosen})"
    tables.gone_all(connection, f"SELECT shelf, stamp {shares}", given)
    connection.execute(f"DELETE {shares}", given)
    connection.execute(f"DELETE {chosen}", given)
    connection.execute(
        "UPDATE note_owners SET num_notes = num_notes - ?, num_bytes = num_bytes - ? WHERE owner = ?",
        (num_notes, num_bytes, owner),
    )
    return num_notes, [(shelf, place if num_notes == 1 else 0)]
