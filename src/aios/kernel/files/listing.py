"""What is in a folder, a page at a time, by path."""

from collections.abc import Iterator
from heapq import merge
from typing import Any

import apsw

from aios.abi.syscalls import FileEntries, FileEntry, StorageList
from aios.kernel.files.asking import Asking
from aios.kernel.files.entries import File, span
from aios.kernel.files.tables import seal

Found = tuple[str, FileEntry | None]
"""A path, and what is there; None where it is a folder, whose path ends in a slash."""

_WHERE = "WHERE owner = ? AND path >= ? AND path < ?"


def page(connection: apsw.Connection, asking: Asking, call: StorageList) -> FileEntries:
    """A file whose entry is damaged is listed as that: the others are there."""
    folder = call.folder.removesuffix("/")
    first, end = span(folder)
    if call.after.endswith("/") and not call.deep:
        first = _past_folder(call.after)
    else:
        first = f"{call.after or first}\0"
    walk = _deep if call.deep else _shallow
    found: list[Found] = []
    for one in walk(connection, asking.owner, folder, first, end):
        if len(found) == call.limit:
            return _reply(found, found[-1][0])
        found.append(one)
    return _reply(found, "")


def _reply(found: list[Found], following: str) -> FileEntries:
    return FileEntries(
        tuple(entry for _, entry in found if entry is not None),
        tuple(path[:-1] for path, entry in found if entry is None),
        following,
    )


def _deep(
    connection: apsw.Connection, owner: str, folder: str, first: str, end: str | bytes
) -> Iterator[Found]:
    """All files at any depth, and the folders that were made."""
    return merge(_files(connection, owner, first, end), _folders(connection, owner, first, end), key=_path_of)


def _shallow(
    connection: apsw.Connection, owner: str, folder: str, first: str, end: str | bytes
) -> Iterator[Found]:
    """The folder's own files and folders: what is in these is leapt over."""
    begin = len(folder) + 1 if folder else 0
    while found := next(_deep(connection, owner, folder, first, end), None):
        path = found[0]
        name, slash, _ = path[begin:].partition("/")
        if slash:
            inner = f"{path[:begin]}{name}/"
            yield inner, None
            first = _past_folder(inner)
        else:
            yield found
            first = f"{path}\0"


def _path_of(found: Found) -> str:
    return found[0]


def _past_folder(path: str) -> str:
    """What is in this folder, whose path ends in a slash, comes before."""
    return f"{path[:-1]}0"


def _files(connection: apsw.Connection, owner: str, first: str, end: str | bytes) -> Iterator[Found]:
    rows = connection.execute(
        f"SELECT * FROM files {_WHERE} AND NOT deleted ORDER BY path", (owner, first, end)
    )
    for *fields, check in rows:
        yield fields[2], _entry(fields, check)


def _entry(fields: list[Any], check: Any) -> FileEntry:
    if check == seal(*fields):
        return File(*fields).entry
    return FileEntry(str(fields[2]), str(fields[1]), 0, 0, 0.0, 0.0, damaged=True)


def _folders(connection: apsw.Connection, owner: str, first: str, end: str | bytes) -> Iterator[Found]:
    for (path,) in connection.execute(
        f"SELECT path FROM file_folders {_WHERE} ORDER BY path", (owner, first, end)
    ):
        yield path, None
