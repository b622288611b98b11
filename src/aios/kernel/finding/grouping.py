"""Files that were found, put together by what they have in common."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice

import apsw
from msgspec import Struct

from aios.abi.syscalls import FileGroup, FileGroups, GroupBy, StorageGroup
from aios.kernel.files.entries import File
from aios.kernel.files.media import kinds_of
from aios.kernel.files.tables import MICROSECONDS
from aios.kernel.finding import shelving
from aios.kernel.finding.clusters import MAX_TEXTS, clusters
from aios.kernel.finding.searching import Found, Shown, files_of
from aios.kernel.shelves.shelf import Hit

MAX_FILES = 10_000
"""Looked at, where no texts are."""


class _Group(Struct):
    files: list[Found] = []
    num_bytes: int = 0


def limit_of(call: StorageGroup) -> int:
    """How many hits are looked for: one more than are grouped, to tell whether there are more."""
    return _most(call) + 1


def grouped(connection: apsw.Connection, hits: Sequence[Hit], call: StorageGroup) -> FileGroups:
    """In the order of their best files."""
    most = _most(call)
    files = files_of(connection, hits, call, most + 1)
    is_cut = len(files) > most
    files = files[:most]
    if call.by == "meaning":
        names = clusters([shelving.text_of(connection, one.file) for one in files])
    else:
        names = [_name(one.file, call.by) for one in files]
    groups: dict[str, _Group] = {}
    for name, one in zip(names, files, strict=True):
        group = groups.setdefault(name, _Group())
        group.files.append(one)
        group.num_bytes += one.file.size
    shown = Shown(connection, call.text)
    return FileGroups(
        tuple(
            FileGroup(
                name,
                len(group.files),
                group.num_bytes,
                tuple(shown.hit(one) for one in group.files[: call.num_best]),
            )
            for name, group in islice(groups.items(), call.limit)
        ),
        len(groups),
        len(files),
        is_cut,
    )


def _most(call: StorageGroup) -> int:
    return MAX_TEXTS if call.by == "meaning" else MAX_FILES


def _name(file: File, by: GroupBy) -> str:
    match by:
        case "folder":
            return file.path.rpartition("/")[0]
        case "kind":
            return kinds_of(file.path)[0]
        case "label":
            return file.label
    then = datetime.fromtimestamp(file.moment / MICROSECONDS, UTC)
    if by == "week":
        year, week, _ = then.isocalendar()
        return f"{year}-W{week:02}"
    return then.strftime("%Y-%m-%d" if by == "day" else "%Y-%m")
