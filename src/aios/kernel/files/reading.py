"""Looking at files: what they hold, what they were, what they take. Nothing here changes anything."""

import base64
import codecs

import apsw
from msgspec import structs

from aios.abi.errors import Corrupt, TooLarge
from aios.abi.syscalls import (
    MAX_READ_BYTES,
    FileContent,
    FileEntry,
    FileQuota,
    FileVersion,
    FileVersions,
    StorageHistory,
    StorageQuota,
    StorageRead,
    StorageStat,
)
from aios.kernel.files import entries, folders, holdings, pieces, states, texts
from aios.kernel.files.asking import Asking
from aios.kernel.files.entries import IS_BELOW, File, span
from aios.kernel.files.states import State
from aios.kernel.files.tables import MAX_MOMENT

MAX_LETTER = 4
"""Bytes of the longest character in UTF-8."""


def read(connection: apsw.Connection, asking: Asking, call: StorageRead) -> FileContent:
    """Raises `NotFound`, `TooLarge` or `Corrupt`."""
    file = entries.find(connection, asking.owner, call.path)
    if call.version is None and file.deleted:
        raise entries.absent(call.path)
    state = states.with_content(connection, file, call.version or file.version)
    start = min(call.start, state.size)
    length = call.length if call.length is None or call.as_bytes else max(call.length, MAX_LETTER)
    end = state.size if length is None else min(start + length, state.size)
    if end - start > MAX_READ_BYTES:
        raise TooLarge(
            f"'{call.path}' has {state.size} bytes, and one read may have {MAX_READ_BYTES}: "
            "read it in parts, with start and length"
        )
    found = part(connection, call.path, state, start, end)
    return found if call.as_bytes else _as_text(found)


def part(connection: apsw.Connection, path: str, state: State, start: int, end: int) -> FileContent:
    """A stretch of a version as bytes, both ends within it. Raises `Corrupt`."""
    try:
        data = pieces.read(connection, state, start, end)
    except Corrupt as error:
        raise states.damaged(path, state.version, error.message) from error
    return FileContent(
        path, state.version, data=data, start=start, end=end, size=state.size, label=state.label
    )


def _as_text(found: FileContent) -> FileContent:
    """The same as text, from character to character; as base64 where it is none."""
    data = found.data
    skipped = 0
    while found.start and skipped < min(MAX_LETTER - 1, len(data)) and data[skipped] & 0xC0 == 0x80:
        skipped += 1
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(data[skipped:], final=found.end == found.size)
    except UnicodeDecodeError:
        encoded = base64.b64encode(data).decode()
        return structs.replace(found, content=encoded, encoding="base64", data=b"")
    unread = len(decoder.getstate()[0])
    return structs.replace(found, content=text, data=b"", start=found.start + skipped, end=found.end - unread)


def stat(connection: apsw.Connection, asking: Asking, call: StorageStat) -> FileEntry:
    """Raises `NotFound` or `Corrupt`."""
    file = entries.find(connection, asking.owner, call.path)
    if file.deleted:
        return folders.entry(connection, asking.owner, call.path)
    return structs.replace(file.entry, text=texts.told(connection, file))


def quota(connection: apsw.Connection, asking: Asking, call: StorageQuota) -> FileQuota:
    """Raises `Corrupt`."""
    held, limits = holdings.load(connection, asking.owner), asking.limits
    return FileQuota(held.num_files, limits.max_files, held.num_bytes, limits.max_owner_bytes)


def is_file(connection: apsw.Connection, file: File) -> bool:
    """Whether a path, found as `file`, is a file's rather than a folder's: of now, or else of before."""
    if not file.path or not file.version:
        return False
    return not file.deleted or not folders.is_there(connection, file.owner, file.path)


def history(connection: apsw.Connection, asking: Asking, call: StorageHistory) -> FileVersions:
    """Raises `NotFound` or `Corrupt`."""
    file = entries.find(connection, asking.owner, call.path)
    if is_file(connection, file):
        before = min(call.before or file.version + 1, file.version + 1)
        return FileVersions(tuple(states.newest(connection, file, before, call.limit)))
    before = min(call.before or MAX_MOMENT, MAX_MOMENT)
    found = _newest_below(connection, asking.owner, call.path, before, call.limit)
    if not (found or folders.is_there(connection, asking.owner, call.path)):
        raise entries.absent(call.path)
    return FileVersions(tuple(found))


def _newest_below(
    connection: apsw.Connection, owner: str, folder: str, before: int, limit: int
) -> list[FileVersion]:
    rows = connection.execute(
        "SELECT path, v.* FROM files f JOIN file_versions v USING (docid) "
        f"WHERE owner = ?1 AND {IS_BELOW} AND v.moment < ?4 ORDER BY v.moment DESC LIMIT ?5",
        (owner, *span(folder), before, limit),
    )
    found = []
    for path, *row in rows:
        state = states.checked(path, tuple(row))
        found.append(states.shown(path, state, state.moment))
    return found[::-1]
