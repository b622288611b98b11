"""The tables' making, and from those of the first AIOS to them: files as they were, in pieces.

There a version had one blob, with its whole content or with what it appended to the `depth` versions before
it. Blobs become chunks where they are. What was damaged stays so: a version that does not match its checksum
is given none that it would match.
"""

from typing import Any

import apsw
from msgspec import Struct

from aios.drivers.migrations import Cursor, Step
from aios.drivers.sqlite import checksum
from aios.kernel.files import documents, entries, holdings, mounting, pieces, states, texts
from aios.kernel.files.cutting import MIN_CHUNK
from aios.kernel.files.entries import File
from aios.kernel.files.holdings import ROW_BYTES, Holdings
from aios.kernel.files.pieces import Piece
from aios.kernel.files.states import State
from aios.kernel.files.tables import CHUNKS, TABLES, moment_of

PIECE_VERSIONS = 500
"""Versions moved in one transaction."""

_ASIDE = """
    DROP TABLE file_words;
    DROP TABLE files_pending;
    ALTER TABLE files RENAME TO old_files;
    ALTER TABLE file_versions RENAME TO old_file_versions;
    ALTER TABLE file_owners RENAME TO old_file_owners;
    ALTER TABLE blobs RENAME TO file_chunks;
"""

_OLD = """
    SELECT v.id, docid, owner, path, v.version, verb, v.size, v.depth, blob, author, v.modified, checksum,
        f.created, hash, length(content)
    FROM old_file_versions v JOIN old_files f USING (docid) LEFT JOIN file_chunks c ON c.id = blob
    WHERE v.id > ? ORDER BY v.id LIMIT ?
"""

_LOST = """
    SELECT o.docid, o.owner, o.path, o.version, o.size, o.depth, o.created, o.modified, o.deleted
    FROM old_files o LEFT JOIN files n USING (docid) WHERE n.version IS NOT o.version
"""
"""Files whose newest version was not there to be moved."""

_DROP = """
    DROP TABLE old_file_versions;
    DROP TABLE old_files;
    DROP TABLE old_file_owners;
"""


class OldVersion(Struct, frozen=True):
    """A row that `_OLD` finds."""

    id: int
    docid: int
    owner: str
    path: str
    version: int
    verb: Any
    size: int
    depth: int
    blob: int | None
    author: str
    modified: float
    checksum: Any
    created: float
    hash: bytes | None
    length: int | None

    @property
    def is_sound(self) -> bool:
        fields = (self.version, self.verb, self.size, self.depth, self.blob, self.author, self.modified)
        return bool(self.checksum == checksum(repr((self.docid, *fields)).encode()))


def move(connection: apsw.Connection, cursor: Cursor | None) -> Cursor | None:
    """The step, in pieces: the old tables are set aside, then their versions are moved, then they go."""
    if cursor is None:
        is_old = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('files') WHERE name = 'depth')"
        if not connection.execute(is_old).get:
            return None
        connection.execute(_ASIDE + TABLES)
        return (0,)
    rows: list[tuple[Any, ...]] = connection.execute(_OLD, (cursor[0], PIECE_VERSIONS)).fetchall()
    held: dict[str, Holdings] = {}
    for row in rows:
        old = OldVersion(*row)
        if old.owner not in held:
            held[old.owner] = holdings.load(connection, old.owner)
        _move(connection, old, held[old.owner])
    for one in held.values():
        holdings.save(connection, one)
    if rows:
        return (rows[-1][0],)
    _keep_lost(connection)
    connection.execute(_DROP)
    return None


def _move(connection: apsw.Connection, old: OldVersion, held: Holdings) -> None:
    before = entries.find(connection, old.owner, old.path)
    size = 0 if old.length is None else old.length
    is_deletion = old.verb == "delete"
    tail = 0 if is_deletion or size >= MIN_CHUNK else 1 + (before.tail if old.depth else 0)
    file = File(
        old.docid,
        old.owner,
        old.path,
        old.version,
        size=old.size,
        base=old.version if is_deletion else old.version - old.depth,
        tail=tail if size else before.tail * bool(old.depth),
        created=moment_of(old.created),
        moment=held.next_moment(old.modified),
        deleted=int(is_deletion),
    )
    if before.version:
        entries.save(connection, file)
    else:
        entries.insert(connection, file)
    state = State(old.docid, old.version, old.verb, old.size, file.base, file.moment, old.author)
    states.add(connection, state, is_sound=old.is_sound)
    if old.hash is not None and old.blob is not None and size:
        piece = Piece(old.size - size, size, old.blob, old.hash)
        pieces.add(connection, old.docid, old.version, [piece])
    held.count(before.deleted - file.deleted, size + ROW_BYTES)


def _keep_lost(connection: apsw.Connection) -> None:
    """Have what was lost be missed: reading such a file says that its newest version is not there."""
    lost: list[tuple[Any, ...]] = connection.execute(_LOST).fetchall()
    for docid, owner, path, version, size, depth, created, modified, deleted in lost:
        before = entries.find(connection, owner, path)
        file = File(
            docid,
            owner,
            path,
            version,
            size=size,
            base=version - depth,
            created=moment_of(created),
            moment=moment_of(modified),
            deleted=deleted,
        )
        held = holdings.load(connection, owner)
        held.count(before.deleted - deleted, 0)
        holdings.save(connection, held)
        if before.version:
            entries.save(connection, file)
        else:
            entries.insert(connection, file)


SCHEMA: tuple[Step, ...] = (
    CHUNKS + TABLES,
    move,
    documents.take_over,
    texts.TABLE,
    texts.take_over,
    mounting.TABLES,
)
"""Every change ever made to the tables. Where older ones are the first is done; the second moves them."""
