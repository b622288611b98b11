"""What changed in a file, or in all files of a folder, between two versions or moments."""

from collections.abc import Iterable, Iterator

import apsw

from aios.abi.errors import InvalidArgument
from aios.abi.syscalls import FileDiff, StorageDiff
from aios.kernel.files import entries, folders, pieces, reading, states
from aios.kernel.files.asking import Asking
from aios.kernel.files.entries import File
from aios.kernel.files.linediff import unified
from aios.kernel.files.states import State
from aios.kernel.files.tables import MAX_MOMENT, moment_of

MAX_TEXT_BYTES = 4 * 1024 * 1024
"""Of each of two files, beyond which they are only said to differ."""
MAX_DIFF_LETTERS = 4 * 1024 * 1024
"""Of the answer, beyond which no further file is shown."""

Pair = tuple[File, State | None, State | None]
"""A file, what it was before, and after; None where it was not there."""


def diff(connection: apsw.Connection, asking: Asking, call: StorageDiff) -> FileDiff:
    """Raises `InvalidArgument`, `NotFound` or `Corrupt`."""
    if None not in (call.old, call.since) or None not in (call.new, call.until):
        raise InvalidArgument("say each end by its version or by its time, not by both")
    file = entries.find(connection, asking.owner, call.path)
    if reading.is_file(connection, file):
        return _told(connection, [_pair(connection, file, call)], call.context)
    return _told(connection, _pairs_below(connection, asking.owner, call), call.context)


def _pair(connection: apsw.Connection, file: File, call: StorageDiff) -> Pair:
    if call.until is not None:
        new = states.at(connection, file, moment_of(call.until))
    else:
        new = states.of(connection, file, call.new or file.version)
    if call.since is not None:
        old = states.at(connection, file, moment_of(call.since))
    else:
        version = call.old or (new.version - 1 if new is not None else 0)
        old = states.of(connection, file, version) if version else None
    return file, old, new


def _pairs_below(connection: apsw.Connection, owner: str, call: StorageDiff) -> Iterator[Pair]:
    """All files that were changed between the two moments."""
    if not (folders.is_there(connection, owner, call.path) or folders.version(connection, owner, call.path)):
        raise entries.absent(call.path)
    new = _moment(call.new, call.until)
    old = _moment(call.old, call.since)
    if old is None:
        newest = folders.version(connection, owner, call.path) if new is None else new
        old = newest - 1
    for file in entries.below(connection, owner, call.path, deleted=True):
        if file.moment > old:
            before = states.at(connection, file, old)
            yield file, before, states.at(connection, file, MAX_MOMENT if new is None else new)


def _moment(version: int | None, time: float | None) -> int | None:
    if version is not None:
        return min(version, MAX_MOMENT)
    return None if time is None else moment_of(time)


def _told(connection: apsw.Connection, pairs: Iterable[Pair], context: int) -> FileDiff:
    texts: list[str] = []
    num_letters = 0
    for file, old, new in pairs:
        text = _difference(connection, file.path, old, new, context)
        num_letters += len(text)
        if num_letters > MAX_DIFF_LETTERS:
            return FileDiff("".join(texts), len(texts), is_cut=True)
        if text:
            texts.append(text)
    return FileDiff("".join(texts), len(texts))


def _difference(
    connection: apsw.Connection, path: str, old: State | None, new: State | None, context: int
) -> str:
    old, new = _if_there(old), _if_there(new)
    old_name, new_name = _name(path, old), _name(path, new)
    before, after = _text(connection, path, old), _text(connection, path, new)
    if before is not None and after is not None:
        shown = unified(before, after, old_name, new_name, context)
        # An empty file that came to be there, or went, has no line to show.
        return shown if shown or (old is None) == (new is None) else f"--- {old_name}\n+++ {new_name}\n"
    if old is not None and new is not None and _is_same(connection, path, old, new):
        return ""
    return f"{old_name} and {new_name} differ, and are not shown: no texts, or too large\n"


def _if_there(state: State | None) -> State | None:
    return None if state is None or state.is_deletion else state


def _name(path: str, state: State | None) -> str:
    return "/dev/null" if state is None else f"{path}\tversion {state.version}"


def _text(connection: apsw.Connection, path: str, state: State | None) -> str | None:
    """What it says, nothing where it is not there; None where it is no text, or too large."""
    if state is None:
        return ""
    if state.size > MAX_TEXT_BYTES:
        return None
    data = reading.part(connection, path, state, 0, state.size).data
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def _is_same(connection: apsw.Connection, path: str, old: State, new: State) -> bool:
    """Whether the bytes are the same, however they are cut."""
    if old.size != new.size:
        return False
    if pieces.of(connection, old) == pieces.of(connection, new):
        return True
    stretches = (
        (start, min(start + MAX_TEXT_BYTES, old.size)) for start in range(0, old.size, MAX_TEXT_BYTES)
    )
    return all(
        reading.part(connection, path, old, *one).data == reading.part(connection, path, new, *one).data
        for one in stretches
    )
