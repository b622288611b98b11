"""Files: their versions and contents, and what the storage manager does with them inside one transaction.

A file is found by its owner and path, so whoever asks reaches that owner's files only. Every change is a
version. Owns the files' table, their place in the search, and the limits; knows neither callers nor threads.
"""

import base64

import apsw
from msgspec import Struct

from aios.abi.errors import Conflict, NotFound, QuotaExceeded, TooLarge
from aios.abi.syscalls import Done, FileContent, FileEntries, FileEntry, FileVersion, FileVersions
from aios.drivers.sqlite import put_blob
from aios.kernel import file_search, versions

SCHEMA = (
    f"""
    CREATE TABLE file_owners (
        owner TEXT PRIMARY KEY, num_files INTEGER NOT NULL, num_bytes INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE files (
        docid INTEGER PRIMARY KEY, owner TEXT NOT NULL, path TEXT NOT NULL, version INTEGER NOT NULL,
        size INTEGER NOT NULL, depth INTEGER NOT NULL, created REAL NOT NULL, modified REAL NOT NULL,
        deleted INTEGER NOT NULL, UNIQUE (owner, path)
    );
    {versions.SCHEMA}
    {file_search.SCHEMA}
    """,
)

VERSION_BYTES = 256
"""What a version counts against its owner's limit besides its content."""


class Limits(Struct, frozen=True):
    max_file_bytes: int
    max_files: int
    max_owner_bytes: int


class File(Struct, frozen=True):
    """A file as its newest version left it. `docid` None means that it is not there yet."""

    owner: str
    path: str
    docid: int | None = None
    version: int = 0
    size: int = 0
    depth: int = 0
    created: float = 0.0
    modified: float = 0.0
    deleted: bool = True

    @property
    def entry(self) -> FileEntry:
        return FileEntry(self.path, self.owner, self.version, self.size, self.created, self.modified)


def write(
    connection: apsw.Connection,
    owner: str,
    path: str,
    content: bytes,
    change: versions.Change,
    limits: Limits,
) -> FileEntry:
    """Make `content` the file's. Raises `TooLarge`, `QuotaExceeded`; `Conflict` to a `create` of what is."""
    file = find(connection, owner, path)
    if change.verb == "create" and not file.deleted:
        raise Conflict(f"there is already a file '{path}'")
    return _put(connection, file, content, change, limits)


def append(
    connection: apsw.Connection,
    owner: str,
    path: str,
    content: bytes,
    change: versions.Change,
    limits: Limits,
) -> FileEntry:
    """Add `content` to the file's end. Raises as `write` does, or `Corrupt`."""
    file = find(connection, owner, path)
    if file.deleted or file.docid is None:
        return _put(connection, file, content, change, limits)
    if file.depth + 1 >= versions.MAX_DEPTH:
        whole = versions.content(connection, file.docid, path, file.version) + content
        return _put(connection, file, whole, change, limits)
    _check_size(path, file.size + len(content), limits)
    blob = put_blob(connection, content)
    size = file.size + len(content)
    return _commit(connection, file, change, limits, blob, len(content), size, file.depth + 1)


def rollback(
    connection: apsw.Connection, owner: str, path: str, version: int, change: versions.Change, limits: Limits
) -> FileEntry:
    """Make the content of `version` the file's. Raises `NotFound`, `Corrupt`, or as `write` does."""
    file = find(connection, owner, path)
    content = _content(connection, file, version)
    return _put(connection, file, content, change, limits)


def delete(connection: apsw.Connection, owner: str, path: str, change: versions.Change) -> Done:
    """Raises `NotFound`. The versions stay."""
    file = _existing(connection, owner, path)
    assert file.docid is not None
    versions.add(connection, file.docid, file.version + 1, 0, 0, None, change)
    file_search.changed(connection, file.docid, file.version - file.depth, file.version)
    connection.execute(
        "UPDATE files SET version = ?, size = 0, depth = 0, modified = ?, deleted = 1 WHERE docid = ?",
        (file.version + 1, change.now, file.docid),
    )
    _count(connection, owner, -1, VERSION_BYTES)
    return Done()


def read(connection: apsw.Connection, owner: str, path: str, version: int | None) -> FileContent:
    """The newest content, or that of a version (of a deleted file too). Raises `NotFound` or `Corrupt`."""
    file = find(connection, owner, path) if version else _existing(connection, owner, path)
    version = version or file.version
    content = _content(connection, file, version)
    try:
        return FileContent(path, version, content.decode())
    except UnicodeDecodeError:
        return FileContent(path, version, base64.b64encode(content).decode(), "base64")


def stat(connection: apsw.Connection, owner: str, path: str) -> FileEntry:
    """Raises `NotFound`."""
    return _existing(connection, owner, path).entry


def entries(connection: apsw.Connection, owner: str, folder: str, limit: int) -> FileEntries:
    """The files below `folder` (all, where it is empty), by path."""
    rows = connection.execute(
        "SELECT path, docid, version, size, depth, created, modified, deleted FROM files "
        "WHERE owner = ?1 AND NOT deleted AND (?2 = '' OR path >= ?2 || '/' AND path < ?2 || '0') "
        "ORDER BY path LIMIT ?3",  # '0' is the character after '/'.
        (owner, folder.removesuffix("/"), limit),
    )
    return FileEntries(tuple(File(owner, *row).entry for row in rows))


def history(connection: apsw.Connection, owner: str, path: str, limit: int) -> FileVersions:
    """The newest `limit` versions, oldest first. Raises `NotFound`."""
    file = find(connection, owner, path)
    if file.docid is None:
        raise NotFound(f"there is no file '{path}'")
    rows = connection.execute(
        "SELECT version, size, modified, author, verb FROM file_versions "
        "WHERE docid = ? AND version > ? ORDER BY version",
        (file.docid, file.version - limit),
    )
    return FileVersions(tuple(FileVersion(*row) for row in rows))


def find(connection: apsw.Connection, owner: str, path: str) -> File:
    """The file, deleted or not; one without `docid` where there never was one."""
    row = connection.execute(
        "SELECT docid, version, size, depth, created, modified, deleted FROM files "
        "WHERE owner = ? AND path = ?",
        (owner, path),
    ).fetchone()
    return File(owner, path) if row is None else File(owner, path, *row)


def _existing(connection: apsw.Connection, owner: str, path: str) -> File:
    file = find(connection, owner, path)
    if file.deleted:
        raise NotFound(f"there is no file '{path}'")
    return file


def _content(connection: apsw.Connection, file: File, version: int) -> bytes:
    if file.docid is None:
        raise NotFound(f"there is no file '{file.path}'")
    if version > file.version:
        plural = "version" if file.version == 1 else "versions"
        raise NotFound(f"'{file.path}' has {file.version} {plural}; there is no version {version}")
    return versions.content(connection, file.docid, file.path, version)


def _put(
    connection: apsw.Connection, file: File, content: bytes, change: versions.Change, limits: Limits
) -> FileEntry:
    _check_size(file.path, len(content), limits)
    blob = put_blob(connection, content)
    return _commit(connection, file, change, limits, blob, len(content), len(content), 0)


def _commit(
    connection: apsw.Connection,
    file: File,
    change: versions.Change,
    limits: Limits,
    blob: int,
    num_new: int,
    size: int,
    depth: int,
) -> FileEntry:
    """Make the next version, which adds `num_new` bytes to what is kept."""
    num_files, num_bytes = _count(connection, file.owner, int(file.deleted), num_new + VERSION_BYTES)
    if num_files > limits.max_files and file.deleted:
        raise QuotaExceeded(f"{file.owner} has {limits.max_files} files, which is all it may have")
    if num_bytes > limits.max_owner_bytes:
        raise QuotaExceeded(
            f"the files of {file.owner} with all their versions may have {limits.max_owner_bytes} bytes"
        )
    created = change.now if file.docid is None else file.created
    version = file.version + 1
    row = connection.execute(
        "INSERT INTO files (owner, path, version, size, depth, created, modified, deleted) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET version = excluded.version, "
        "size = excluded.size, depth = excluded.depth, modified = excluded.modified, deleted = 0 "
        "RETURNING docid",
        (file.owner, file.path, version, size, depth, created, change.now),
    ).fetchone()
    assert row is not None
    versions.add(connection, row[0], version, size, depth, blob, change)
    # With a whole content, the versions that the old one was made of are looked through no more.
    file_search.changed(connection, row[0], version if depth else file.version - file.depth, version)
    return FileEntry(file.path, file.owner, version, size, created, change.now)


def _count(connection: apsw.Connection, owner: str, num_files: int, num_bytes: int) -> tuple[int, int]:
    row = connection.execute(
        "INSERT INTO file_owners VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET "
        "num_files = num_files + ?2, num_bytes = num_bytes + ?3 RETURNING num_files, num_bytes",
        (owner, num_files, num_bytes),
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def _check_size(path: str, size: int, limits: Limits) -> None:
    if size > limits.max_file_bytes:
        raise TooLarge(f"'{path}' would have {size} bytes; a file may have {limits.max_file_bytes}")
