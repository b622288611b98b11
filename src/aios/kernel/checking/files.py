"""Checks of files: every row, every chunk of content, and whether each version can be put together."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import apsw

from aios.abi.errors import Corrupt, NotFound
from aios.kernel.checking.found import Check, Problem
from aios.kernel.files import chunks, documents, entries, holdings, pieces, states, texts
from aios.kernel.files.entries import File
from aios.kernel.files.holdings import ROW_BYTES, Holdings
from aios.kernel.files.tables import SEALED, seal

_COUNTED = f"""
    WITH owners AS (
        SELECT owner FROM file_owners UNION SELECT owner FROM files UNION SELECT owner FROM file_folders
        UNION SELECT owner FROM uploads
    )
    SELECT owner,
        (SELECT count(*) FROM files f WHERE f.owner = o.owner AND NOT deleted)
            + (SELECT count(*) FROM file_folders f WHERE f.owner = o.owner),
        (SELECT ifnull(sum(p.size), 0) FROM files f JOIN file_pieces p USING (docid) WHERE f.owner = o.owner)
            + (SELECT ifnull(sum(received), 0) FROM uploads u WHERE u.owner = o.owner)
            + {ROW_BYTES} * ((SELECT count(*) FROM files f JOIN file_versions USING (docid)
                WHERE f.owner = o.owner)
                + (SELECT count(*) FROM file_folders f WHERE f.owner = o.owner)
                + (SELECT count(*) FROM uploads u WHERE u.owner = o.owner)),
        max((SELECT ifnull(max(moment), 0) FROM file_owners h WHERE h.owner = o.owner),
            (SELECT ifnull(max(moment), 0) FROM files f WHERE f.owner = o.owner),
            (SELECT ifnull(max(created), 0) FROM file_folders f WHERE f.owner = o.owner))
    FROM owners o
"""
"""What each owner has, as its rows say; and the moment of its newest change."""

_UNFOUND = """
    SELECT docid, owner, path FROM files
    WHERE NOT deleted AND docid NOT IN (SELECT docid FROM file_documents)
"""
_UNFOUNDED = """
    SELECT d.docid, d.owner, ifnull(f.path, d.docid) FROM file_documents d LEFT JOIN files f USING (docid)
    WHERE f.docid IS NULL OR f.deleted OR f.owner IS NOT d.owner
        OR stamp > (SELECT moment FROM file_owners o WHERE o.owner = d.owner)
"""


def _sealed(table: str, connection: apsw.Connection) -> Iterator[Problem]:
    stored: Any = connection.execute(f"SELECT * FROM {table}")
    for *fields, check in stored:
        if check != seal(*fields):
            yield Problem("row", table, " ".join(str(field) for field in fields[:3]))


def _versions(connection: apsw.Connection) -> Iterator[Problem]:
    """Every version of every file is there, and its pieces make up its content."""
    stored: Any = connection.execute("SELECT owner, path FROM files ORDER BY docid")
    for owner, path in stored:
        try:
            file = entries.find(connection, owner, path)
        except Corrupt:
            continue  # Told of as a row.
        for version in range(file.oldest, file.version + 1):
            try:
                pieces.of(connection, states.of(connection, file, version))
            except (Corrupt, NotFound):
                yield Problem("row", "file_pieces", f"version {version} of '{path}' of {owner}")


def _parts(connection: apsw.Connection) -> Iterator[Problem]:
    """The parts of uploads, each sealed with its chunk's hash."""
    stored: Any = connection.execute(
        "SELECT p.*, hash FROM upload_parts p LEFT JOIN file_chunks ON id = chunk"
    )
    for *fields, check, hash in stored:
        if check != seal(*fields, hash):
            yield Problem("row", "upload_parts", f"bytes {fields[1]} of upload {fields[0]}")


def _chunks(connection: apsw.Connection) -> Iterator[Problem]:
    stored: Any = connection.execute("SELECT id, hash, content FROM file_chunks")
    for id, hash, content in stored:
        try:
            chunks.checked(hash, content)
        except Corrupt:
            yield Problem("blob", "file_chunks", f"chunk {id}")


def _owners(connection: apsw.Connection) -> Iterator[Problem]:
    for owner, *counted, _ in connection.execute(_COUNTED):
        try:
            held = holdings.load(connection, str(owner))
        except Corrupt:
            held = Holdings(str(owner), num_bytes=-1)
        if [held.num_files, held.num_bytes] != counted:
            yield Problem("counter", "file_owners", str(owner))


def _mend_owners(connection: apsw.Connection) -> None:
    counted: list[Any] = connection.execute(_COUNTED).fetchall()
    for row in counted:
        holdings.save(connection, Holdings(*row))


def _documents(connection: apsw.Connection) -> Iterator[Problem]:
    """Each file that is there is a document of its owner, and nothing else is."""
    for sql in (_UNFOUND, _UNFOUNDED):
        stored: Any = connection.execute(sql)
        for _, owner, path in stored:
            yield Problem("index", "file_documents", f"'{path}' of {owner}")


def _mend_documents(connection: apsw.Connection) -> None:
    lost: list[Any] = connection.execute(_UNFOUNDED).fetchall()
    for docid, owner, _ in lost:
        documents.drop(connection, File(docid, owner, ""))
    unfound: list[Any] = connection.execute(_UNFOUND).fetchall()
    for _, owner, path in unfound:
        try:
            file, held = entries.find(connection, owner, path), holdings.load(connection, owner)
        except Corrupt:
            continue  # Told of as a row.
        documents.add(connection, file, held.next_moment(0.0))
        holdings.save(connection, held)


def _texts(connection: apsw.Connection) -> Iterator[Problem]:
    """Each document that is there has a row of its newest version, and nothing else has."""
    stored: Any = connection.execute("SELECT * FROM files WHERE NOT deleted")
    known: set[int] = set()
    for *fields, check in stored:
        file = File(*fields)
        if check != seal(*fields) or not texts.is_document(file.path):
            continue
        known.add(file.docid)
        if texts.find(connection, file) is None:
            yield Problem("index", "file_texts", f"text of '{file.path}' of {file.owner}")
    for (docid,) in connection.execute("SELECT docid FROM file_texts"):
        if docid not in known:
            yield Problem("index", "file_texts", f"text of file {docid}")


def _mend_texts(connection: apsw.Connection) -> None:
    """What is wrong waits to be taken out anew, when the next kernel starts."""
    stored: list[Any] = connection.execute("SELECT * FROM files WHERE NOT deleted").fetchall()
    files = {fields[0]: File(*fields) for *fields, check in stored if check == seal(*fields)}
    for (docid,) in connection.execute("SELECT docid FROM file_texts").fetchall():
        if docid not in files or not texts.is_document(files[docid].path):
            connection.execute("DELETE FROM file_texts WHERE docid = ?", (docid,))
    for file in files.values():
        if texts.find(connection, file) is None:
            texts.changed(connection, file)


_AHEAD = """
    SELECT m.id, m.owner, k.folder, k.name FROM mount_files k
    JOIN mounts m ON m.id = k.mount
    LEFT JOIN files f ON f.owner = m.owner
        AND f.path = m.folder || '/' || iif(k.folder = '', '', k.folder || '/') || k.name
    WHERE f.version IS NOT k.version AND NOT EXISTS (
        SELECT 1 FROM mount_waiting w WHERE w.mount = k.mount
            AND w.path = iif(k.folder = '', '', k.folder || '/') || k.name)
"""
"""Files of mounted directories that are not what their entry is, and that nobody knows to wait."""


def _mounted(connection: apsw.Connection) -> Iterator[Problem]:
    stored: Any = connection.execute(_AHEAD)
    for _, owner, folder, name in stored:
        yield Problem("index", "mount_waiting", f"'{folder}/{name}' of a directory mounted by {owner}")


def _mend_mounted(connection: apsw.Connection) -> None:
    """What is newer waits to be written to the directory, where that has not changed either."""
    ahead: list[Any] = connection.execute(_AHEAD).fetchall()
    for id, _, folder, name in ahead:
        path = f"{folder}/{name}" if folder else name
        connection.execute("REPLACE INTO mount_waiting VALUES (?, ?, ?)", (id, path, seal(id, path)))


CHECKS = (
    Check(("file_chunks",), _chunks),
    *(Check((table,), partial(_sealed, table)) for table in SEALED if table != "file_owners"),
    Check(("file_pieces",), _versions),
    Check(("upload_parts",), _parts),
    Check(("file_owners",), _owners, _mend_owners),
    Check(("file_documents",), _documents, _mend_documents),
    Check(("file_texts",), _texts, _mend_texts),
    Check(("mount_waiting", "mount_files", "mounts"), _mounted, _mend_mounted),
)
