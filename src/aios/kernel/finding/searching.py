"""A search for files: what of an owner's shelf is looked at, and the files that it found."""

import fnmatch
import re
from collections.abc import Callable, Sequence

import apsw
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from aios.abi.errors import InvalidArgument
from aios.abi.syscalls import FileConditions, FileHit, FileHits
from aios.kernel.files.documents import shelf_of
from aios.kernel.files.entries import IS_BELOW, File, span
from aios.kernel.files.media import kinds_of
from aios.kernel.finding import shelving
from aios.kernel.finding.snippets import snippet
from aios.kernel.shelves.shelf import Hit, Place, Query

MAX_SNIPPET_BYTES = 16 * 1024 * 1024
"""Read for the snippets of one search; files after that are found without."""
_PATTERN = re.compile(r"[*?\[]")


class Found(Struct, frozen=True):
    """A file that was found, and how well it answers."""

    file: File
    score: float


def query_of(call: FileConditions, owner: str, now: float, limit: int) -> Query:
    """The same as a query to the owner's shelf.

    A search in a folder knows the files in it only: who was granted that folder must not tell from a score
    what is in others, and a folder finds the same for everybody.
    """
    folder = call.folder.removesuffix("/")
    marks = [shelving.kind_mark(call.kind.lower())] if call.kind else []
    without: list[str] = []
    if call.label is not None:
        (marks if call.label == shelving.UNTRUSTED else without).append(shelving.UNTRUSTED)
    return Query(
        places=(Place(shelf_of(owner), only=shelving.folder_mark(folder) if folder else None),),
        text=call.text,
        mode=call.mode,
        limit=limit,
        now=now,
        marks=tuple(marks),
        without=tuple(without),
        since=float("-inf") if call.since is None else call.since,
        until=float("inf") if call.until is None else call.until,
    )


def is_narrow(call: FileConditions) -> bool:
    """Whether it asks for what no mark on a shelf tells."""
    return bool(call.name or call.min_bytes or call.max_bytes is not None)


def chosen(connection: apsw.Connection, call: FileConditions, owner: str) -> NDArray[np.int64]:
    """The stamps of the files whose name and size are asked for."""
    fits = _names(call.name)
    rows = connection.execute(
        "SELECT stamp, path FROM files f JOIN file_documents d USING (docid) "
        f"WHERE f.owner = ?1 AND {IS_BELOW} AND f.size BETWEEN ?4 AND ?5",
        (
            owner,
            *span(call.folder.removesuffix("/")),
            call.min_bytes,
            2**63 - 1 if call.max_bytes is None else call.max_bytes,
        ),
    )
    return np.array([stamp for stamp, path in rows if fits(path)], np.int64)


def _names(name: str) -> Callable[[str], bool]:
    """Whether a path fits: its last name, or all of it where a slash is asked for; capitals do not count."""
    wanted = name.casefold()
    if not _PATTERN.search(wanted):
        wanted = f"*{wanted}*"
    matches = re.compile(fnmatch.translate(wanted)).match
    if "/" in name:
        return lambda path: matches(path.casefold()) is not None
    return lambda path: matches(path.casefold().rpartition("/")[2]) is not None


def files_of(
    connection: apsw.Connection, hits: Sequence[Hit], call: FileConditions, limit: int
) -> list[Found]:
    """The files themselves. Damaged ones, and those gone since, are left out; reading them says so."""
    answer: list[Found] = []
    for one in hits:
        if len(answer) == limit:
            break
        file = shelving.hit(connection, one.shelf, one.stamp)
        if file is not None and _fits(file, call):
            answer.append(Found(file, one.score))
    return answer


class Shown:
    """Shows files with a piece of their text, as long as there is room for reading it."""

    def __init__(self, connection: apsw.Connection, text: str) -> None:
        self._connection = connection
        self._text = text
        self._room = MAX_SNIPPET_BYTES

    def hit(self, one: Found) -> FileHit:
        content = shelving.text_of(self._connection, one.file) if self._room > 0 else ""
        self._room -= min(one.file.size, shelving.INDEXED_BYTES)
        return FileHit(one.file.entry, snippet(content, self._text), one.score)


def found(connection: apsw.Connection, hits: Sequence[Hit], call: FileConditions, limit: int) -> FileHits:
    """What a search answers."""
    shown = Shown(connection, call.text)
    return FileHits(tuple(shown.hit(one) for one in files_of(connection, hits, call, limit)))


def _fits(file: File, call: FileConditions) -> bool:
    """Marks are hashed on a shelf: two that meet there do not here."""
    folder = call.folder.removesuffix("/")
    return (
        (not folder or file.path.startswith(f"{folder}/"))
        and (not call.kind or call.kind.lower() in kinds_of(file.path))
        and call.label in (None, file.label)
    )


def check(call: FileConditions) -> None:
    """Raises `InvalidArgument` for what no file could be."""
    if call.max_bytes is not None and call.max_bytes < call.min_bytes:
        raise InvalidArgument(f"max_bytes is {call.max_bytes}, which is less than min_bytes")
    if call.since is not None and call.until is not None and call.until < call.since:
        raise InvalidArgument("until is before since")
