"""What a file was in each of its versions. Owns the table `file_versions`."""

import apsw
from msgspec import Struct, structs

from aios.abi.errors import Corrupt, NotFound
from aios.abi.syscalls import FileVerb, FileVersion, Label
from aios.kernel.files.entries import File, absent
from aios.kernel.files.tables import MICROSECONDS, seal


class State(Struct, frozen=True):
    """A row of the table: a file in one version. `moment` is in microseconds since the epoch."""

    docid: int
    version: int
    verb: FileVerb
    size: int
    base: int
    """The version that its content begins with; see `entries.File`."""
    moment: int
    author: str
    label: Label = "trusted"
    source: str = ""
    other: str = ""
    """Of a move, the other path."""

    @property
    def is_deletion(self) -> bool:
        return self.verb == "delete"


def add(connection: apsw.Connection, state: State, *, is_sound: bool = True) -> None:
    """Keep a version; one that is not sound without a checksum, so that whoever reads it is told."""
    fields = structs.astuple(state)
    connection.execute(
        "INSERT INTO file_versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*fields, seal(*fields) if is_sound else b""),
    )


def of(connection: apsw.Connection, file: File, version: int) -> State:
    """A file as it was in `version`. Raises `NotFound` where there is none, or `Corrupt`."""
    if not file.version:
        raise absent(file.path)
    if version > file.version:
        plural = "version" if file.version == 1 else "versions"
        raise NotFound(f"'{file.path}' has {file.version} {plural}; there is no version {version}")
    if version < file.oldest:
        raise NotFound(f"version {version} of '{file.path}' was pruned; the oldest is {file.oldest}")
    row = connection.execute(
        "SELECT * FROM file_versions WHERE docid = ? AND version = ?", (file.docid, version)
    ).fetchone()
    if row is None:
        raise damaged(file.path, version, "it is missing")
    return checked(file.path, row)


def with_content(connection: apsw.Connection, file: File, version: int) -> State:
    """As `of`. Raises `NotFound` for a deletion, too."""
    state = of(connection, file, version)
    if state.is_deletion:
        raise NotFound(f"version {version} of '{file.path}' is its deletion; there is no content")
    return state


def at(connection: apsw.Connection, file: File, moment: int) -> State | None:
    """A file as it was at a moment; None where it was not yet. Raises `NotFound` if pruned, or `Corrupt`."""
    number = number_at(connection, file, moment)
    if number is not None:
        return of(connection, file, number)
    if file.oldest > 1:
        raise NotFound(f"what '{file.path}' was then was pruned; its oldest version is {file.oldest}")
    return None


def number_at(connection: apsw.Connection, file: File, moment: int) -> int | None:
    """The version that was the newest at a moment; None where no version is so old. Raises `Corrupt`."""
    first, last = file.oldest - 1, file.version
    while first < last:
        middle = (first + last + 1) // 2
        if of(connection, file, middle).moment <= moment:
            first = middle
        else:
            last = middle - 1
    return first if first >= file.oldest else None


def newest(connection: apsw.Connection, file: File, before: int, limit: int) -> list[FileVersion]:
    """The newest `limit` versions below `before`, oldest first. Raises `Corrupt`."""
    rows = connection.execute(
        "SELECT * FROM file_versions WHERE docid = ? AND version < ? ORDER BY version DESC LIMIT ?",
        (file.docid, before, limit),
    )
    states = [checked(file.path, row) for row in rows]
    first = max(file.oldest, before - limit)
    if [state.version for state in states] != list(range(before - 1, first - 1, -1)):
        raise Corrupt(f"some versions of '{file.path}' are missing")
    return [shown(file.path, state, state.version) for state in reversed(states)]


def shown(path: str, state: State, version: int) -> FileVersion:
    """A state as a history tells of it."""
    return FileVersion(
        version,
        state.size,
        state.moment / MICROSECONDS,
        state.author,
        state.verb,
        path,
        state.label,
        state.source,
        state.other,
    )


def checked(path: str, row: "tuple[object, ...]") -> State:
    """A row of the table as it was read. Raises `Corrupt`."""
    *fields, check = row
    if check != seal(*fields):
        raise damaged(path, fields[1], "it does not match its checksum")
    return State(*fields)  # type: ignore[arg-type]


def damaged(path: str, version: object, how: str) -> Corrupt:
    return Corrupt(f"version {version} of '{path}' is damaged: {how}")
