"""Folders: those that files are in, and those that were made. Owns the table `file_folders`.

A folder is there as long as a file or a made folder is in it, or it was made itself. Its version is the
moment of the newest change in it, in microseconds since the epoch. In the table a path ends in a slash: so a
folder lies in its own span, and is in order among the paths of files.
"""

import json

import apsw

from aios.abi.errors import Conflict, Corrupt
from aios.abi.syscalls import FileEntry
from aios.kernel.files.entries import IS_BELOW, absent, span
from aios.kernel.files.tables import MICROSECONDS, seal

_WHERE = "FROM file_folders WHERE owner = ?1 AND path >= ?2 AND path < ?3"
"""The folders made at a path and below it, with its span."""


def ancestors(path: str) -> list[str]:
    """The folders that a path is in, the outermost first."""
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(1, len(names))]


def check_free(connection: apsw.Connection, owner: str, path: str) -> None:
    """`Conflict` where a folder has this name, or a file the name of a folder that it would be in."""
    file, is_folder = connection.execute(
        "SELECT (SELECT path FROM files WHERE owner = ?1 AND NOT deleted "
        "AND path IN (SELECT value FROM json_each(?4)) LIMIT 1), "
        f"EXISTS (SELECT 1 {_WHERE}) OR "
        f"EXISTS (SELECT 1 FROM files WHERE owner = ?1 AND {IS_BELOW} AND NOT deleted)",
        (owner, *span(path), json.dumps(ancestors(path))),
    ).get
    if file is not None:
        raise Conflict(f"'{file}' is a file, so there can be nothing in it")
    if is_folder:
        raise Conflict(f"there is already a folder '{path}'")


def is_there(connection: apsw.Connection, owner: str, path: str) -> bool:
    """Whether there is such a folder; the whole tree always is."""
    found: int = connection.execute(
        f"SELECT EXISTS (SELECT 1 {_WHERE}) OR "
        f"EXISTS (SELECT 1 FROM files WHERE owner = ?1 AND {IS_BELOW} AND NOT deleted)",
        (owner, *span(path)),
    ).get
    return bool(found) or not path


def version(connection: apsw.Connection, owner: str, path: str) -> int:
    """The moment of the newest change in a folder; 0 where there was none."""
    found: int = connection.execute(
        f"SELECT max(ifnull((SELECT max(moment) FROM files WHERE owner = ?1 AND {IS_BELOW}), 0), "
        f"ifnull((SELECT max(created) {_WHERE}), 0))",
        (owner, *span(path)),
    ).get
    return found


def entry(connection: apsw.Connection, owner: str, path: str) -> FileEntry:
    """Raises `NotFound`."""
    if not is_there(connection, owner, path):
        raise absent(path)
    size, used, made = connection.execute(
        f"SELECT sum(size), min(created), (SELECT min(created) {_WHERE}) "
        f"FROM files WHERE owner = ?1 AND {IS_BELOW} AND NOT deleted",
        (owner, *span(path)),
    ).get
    newest = version(connection, owner, path)
    created = min(moment for moment in (used, made, newest) if moment is not None)
    return FileEntry(
        path, owner, newest, size or 0, created / MICROSECONDS, newest / MICROSECONDS, kind="folder"
    )


def add(connection: apsw.Connection, owner: str, path: str, created: int) -> None:
    """Make a folder."""
    fields = (owner, f"{path}/", created)
    connection.execute("INSERT INTO file_folders VALUES (?, ?, ?, ?)", (*fields, seal(*fields)))


def made(connection: apsw.Connection, owner: str, path: str) -> list[tuple[str, int]]:
    """The folders made at a path and below it, and at which moment. Raises `Corrupt`."""
    found = []
    for *fields, check in connection.execute(f"SELECT * {_WHERE} ORDER BY path", (owner, *span(path))):
        if check != seal(*fields):
            raise Corrupt(f"the folder '{fields[1]}' does not match its checksum")
        found.append((fields[1].removesuffix("/"), fields[2]))
    return found


def remove(connection: apsw.Connection, owner: str, path: str) -> int:
    """Forget the folders made at a path and below it; how many there were."""
    connection.execute(f"DELETE {_WHERE}", (owner, *span(path)))
    return connection.changes()
