"""Which shelves a note is on, and what it can be asked for there.

Each note is on its owner's shelf, with all others of that owner; one that is shared is also on the shelf of
those it is shared with. So every search has a shelf on which there is nothing that its caller may not see.
"""

from collections.abc import Sequence
from typing import Any

import apsw

from aios.abi.errors import Corrupt
from aios.kernel.notes.body import Body, decode
from aios.kernel.shelves.segment import Document

_OWN = "notes/"
UNTRUSTED = "untrusted"
SHARED = "shared"
"""Marks of notes that are that."""
_PRIVATE = "private"


def own_shelf(owner: str) -> str:
    return _OWN + owner


def shelf_of(scope: str) -> str:
    """The shelf of those that a note of this scope is shared with, as it is kept."""
    return f"notes:{scope}"


def tag_mark(tag: str) -> str:
    return f"tag:{tag}"


def source_mark(source: str) -> str:
    return f"source:{source}"


def owner_mark(owner: str) -> str:
    """On shelves of several owners."""
    return f"owner:{owner}"


def scope_mark(scope: str) -> str:
    """On the shelf of an owner, of notes that are shared."""
    return f"scope:{scope}"


class NoteShelves:
    """Where the documents of the notes' shelves are: see `aios.kernel.shelves.shelf.Source`."""

    def last_stamp(self, connection: apsw.Connection, shelf: str) -> int:
        if shelf.startswith(_OWN):
            row = connection.execute("SELECT stamp FROM note_owners WHERE owner = ?", (_owner_of(shelf),))
        else:
            row = connection.execute("SELECT stamp FROM note_shelves WHERE shelf = ?", (shelf,))
        return row.get or 0

    def num_waiting(self, connection: apsw.Connection, shelf: str, stamp: int) -> int:
        return self.last_stamp(connection, shelf) - stamp

    def changed_since(
        self, connection: apsw.Connection, shelf: str, stamp: int, limit: int
    ) -> Sequence[Document]:
        is_own = shelf.startswith(_OWN)
        sql = (
            "SELECT stamp, owner, number, body, checksum FROM notes WHERE owner = ? AND stamp > ? "
            "ORDER BY stamp LIMIT ?"
            if is_own
            else "SELECT note_shares.stamp, owner, number, body, checksum FROM note_shares JOIN notes "
            "USING (docid) WHERE shelf = ? AND note_shares.stamp > ? ORDER BY note_shares.stamp LIMIT ?"
        )
        rows = connection.execute(sql, (_owner_of(shelf) if is_own else shelf, stamp, limit))
        return [_document(*row, is_own=is_own) for row in rows]

    def num_after(self, connection: apsw.Connection, shelf: str, stamp: int) -> int:
        if shelf.startswith(_OWN):
            sql = "SELECT count(*) FROM notes WHERE owner = ? AND stamp > ?"
            return int(connection.execute(sql, (_owner_of(shelf), stamp)).get)
        sql = "SELECT count(*) FROM note_shares WHERE shelf = ? AND stamp > ?"
        return int(connection.execute(sql, (shelf, stamp)).get)

    def has(self, connection: apsw.Connection, shelf: str, stamp: int) -> bool:
        return hit(connection, shelf, stamp) is not None

    def shelves(self, connection: apsw.Connection) -> Sequence[str]:
        owners: Any = connection.execute("SELECT owner FROM note_owners WHERE num_notes > 0")
        shared: Any = connection.execute("SELECT shelf FROM note_shelves")
        return [*(own_shelf(owner) for (owner,) in owners), *(shelf for (shelf,) in shared)]


def hit(connection: apsw.Connection, shelf: str, stamp: int) -> tuple[str, int, bytes, bytes] | None:
    """The owner, number, bytes and checksum of the note of this stamp; None where it is gone."""
    if shelf.startswith(_OWN):
        sql = "SELECT owner, number, body, checksum FROM notes WHERE owner = ? AND stamp = ?"
        return connection.execute(sql, (_owner_of(shelf), stamp)).fetchone()
    sql = (
        "SELECT owner, number, body, checksum FROM note_shares JOIN notes USING (docid) "
        "WHERE shelf = ? AND note_shares.stamp = ?"
    )
    return connection.execute(sql, (shelf, stamp)).fetchone()


def _owner_of(shelf: str) -> str:
    return shelf.removeprefix(_OWN)


def _document(stamp: int, owner: str, number: int, data: Any, check: Any, *, is_own: bool) -> Document:
    """A damaged note is there without words: getting it tells what it is."""
    try:
        body = decode(owner, number, data, check)
    except Corrupt:
        return Document(stamp, "")
    expires = float("inf") if body.expires is None else body.expires
    return Document(stamp, body.words, tuple(_marks(owner, body, is_own=is_own)), body.updated, expires)


def _marks(owner: str, body: Body, *, is_own: bool) -> list[str]:
    marks = [tag_mark(tag) for tag in body.tags]
    if body.source:
        marks.append(source_mark(body.source))
    if body.label == UNTRUSTED:
        marks.append(UNTRUSTED)
    if not is_own:
        marks.append(owner_mark(owner))
    elif body.scope != _PRIVATE:
        marks += (SHARED, scope_mark(body.scope))
    return marks
