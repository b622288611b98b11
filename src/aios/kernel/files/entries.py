"""The entry of a file: what its newest version left, found by owner and path. Owns the table `files`."""

from collections.abc import Iterator

import apsw
from msgspec import Struct, structs

from aios.abi.errors import Corrupt, NotFound
from aios.abi.syscalls import FileEntry, Label
from aios.drivers.lookups import check_absent
from aios.kernel.files.tables import MICROSECONDS, seal


class File(Struct, frozen=True):
    """A row of the table; without a version where there never was such a file."""

    docid: int
    owner: str
    path: str
    version: int = 0
    oldest: int = 1
    """The oldest version that is kept."""
    size: int = 0
    base: int = 0
    """The version that its content begins with: pieces of that and of later ones make it up."""
    tail: int = 0
    """How many small pieces stand at its end."""
    created: int = 0
    moment: int = 0
    """Of its newest version."""
    deleted: int = 1
    label: Label = "trusted"

    @property
    def entry(self) -> FileEntry:
        return FileEntry(
            self.path,
            self.owner,
            self.version,
            self.size,
            self.created / MICROSECONDS,
            self.moment / MICROSECONDS,
            bool(self.deleted),
            self.label,
        )


def find(connection: apsw.Connection, owner: str, path: str) -> File:
    """The file, deleted or not. Raises `Corrupt`."""
    row = connection.execute("SELECT * FROM files WHERE owner = ? AND path = ?", (owner, path)).fetchone()
    if row is None:
        check_absent(connection, "files", "owner, path", (owner, path))
        return File(0, owner, path)
    *fields, check = row
    if check != seal(*fields):
        raise _damaged(path)
    return File(*fields)


def existing(connection: apsw.Connection, owner: str, path: str) -> File:
    """The file that is there. Raises `NotFound` or `Corrupt`."""
    file = find(connection, owner, path)
    if file.deleted:
        raise absent(path)
    return file


def absent(path: str) -> NotFound:
    return NotFound(f"there is no file '{path}'")


def below(connection: apsw.Connection, owner: str, folder: str, *, deleted: bool) -> Iterator[File]:
    """The files in a folder and in those below it, by path, `deleted` ones too. Raises `Corrupt`."""
    rows = connection.execute(
        f"SELECT * FROM files WHERE owner = ?1 AND {IS_BELOW} AND (?4 OR NOT deleted) ORDER BY path",
        (owner, *span(folder), deleted),
    )
    for *fields, check in rows:
        if check != seal(*fields):
            raise _damaged(str(fields[2]))
        yield File(*fields)


IS_BELOW = "path > ?2 AND path < ?3"
"""SQL for what is in a folder, with its `span` as the second and third value."""


def span(folder: str) -> tuple[str, str | bytes]:
    """All paths in a folder lie between these two: '0' is the letter after '/', and bytes come after text."""
    return (f"{folder}/", f"{folder}0") if folder else ("", b"")


def save(connection: apsw.Connection, file: File) -> File:
    """Keep the entry. A new file's is given its `docid` here."""
    if file.docid:
        fields = structs.astuple(file)
        connection.execute(
            "UPDATE files SET version = ?4, oldest = ?5, size = ?6, base = ?7, tail = ?8, created = ?9, "
            "moment = ?10, deleted = ?11, label = ?12, checksum = ?13 "
            "WHERE docid = ?1 AND owner = ?2 AND path = ?3",
            (*fields, seal(*fields)),
        )
        return file
    last: int = connection.execute("SELECT max(docid) FROM files").get or 0
    return insert(connection, structs.replace(file, docid=last + 1))


def insert(connection: apsw.Connection, file: File) -> File:
    """Keep the entry of a new file under the `docid` that it has."""
    fields = structs.astuple(file)
    connection.execute(
        "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*fields, seal(*fields))
    )
    return file


def _damaged(path: str) -> Corrupt:
    return Corrupt(f"the entry of '{path}' does not match its checksum; aios fsck can make it anew")
