"""Back to what was: a file to one of its versions, a file or a folder to a moment. It makes new versions."""

import apsw

from aios.abi.errors import InvalidArgument, NotFound
from aios.abi.syscalls import FileEntry, StorageRollback
from aios.kernel.files import entries, folders, locks, mounting, pieces, reading, states
from aios.kernel.files.asking import Asking
from aios.kernel.files.changing import Change, check_version
from aios.kernel.files.entries import File
from aios.kernel.files.states import State
from aios.kernel.files.tables import MICROSECONDS, moment_of
from aios.kernel.files.writing import files_below, live_version


def rollback(connection: apsw.Connection, asking: Asking, call: StorageRollback) -> FileEntry:
    """Raises `InvalidArgument`, `NotFound`, `Conflict`, `TooLarge`, `QuotaExceeded` or `Corrupt`."""
    if (call.version is None) == (call.time is None):
        raise InvalidArgument("say to which version, or to what time: one of the two")
    file = entries.find(connection, asking.owner, call.path)
    is_file = reading.is_file(connection, file)
    locks.check(connection, asking, call.path, call.lock, deep=not is_file)
    change = Change(connection, asking)
    if is_file:
        check_version(call.path, live_version(file), call.if_version)
        new = change.copy(file, _wanted(connection, file, call), "rollback")
        change.close()
        return new.entry
    _rollback_folder(connection, asking, call, change)
    change.close()
    return _folder_entry(connection, asking.owner, call.path)


def _wanted(connection: apsw.Connection, file: File, call: StorageRollback) -> State:
    if call.version is not None:
        return states.with_content(connection, file, call.version)
    assert call.time is not None
    state = states.at(connection, file, moment_of(call.time))
    if state is None or state.is_deletion:
        raise NotFound(f"there was no file '{call.path}' then")
    return state


def _rollback_folder(
    connection: apsw.Connection, asking: Asking, call: StorageRollback, change: Change
) -> None:
    moment = moment_of(call.time) if call.time is not None else call.version or 0
    if call.if_version is not None:
        check_version(call.path, folders.version(connection, asking.owner, call.path), call.if_version)
    mounting.check_holds_none(connection, asking.owner, call.path, itself=False)
    files = files_below(connection, asking, call.path, deleted=True)
    if not files and not folders.is_there(connection, asking.owner, call.path):
        raise entries.absent(call.path)
    found = [(file, states.at(connection, file, moment)) for file in files]
    # A name may have been a file's then and be a folder's now: what was not there goes first.
    for file, state in found:
        if not file.deleted and (state is None or state.is_deletion):
            change.remove(file)
    for file, state in found:
        if state is not None and not state.is_deletion and not _is_same(connection, file, state):
            change.copy(file, state, "rollback")


def _is_same(connection: apsw.Connection, file: File, state: State) -> bool:
    """Whether the file is now what it was then."""
    if file.deleted or (file.size, file.label) != (state.size, state.label):
        return False
    if file.version == state.version:
        return True
    now = states.of(connection, file, file.version)
    return pieces.of(connection, now) == pieces.of(connection, state)


def _folder_entry(connection: apsw.Connection, owner: str, path: str) -> FileEntry:
    """The folder's, which may not be there any more: it was not there then."""
    if path and folders.is_there(connection, owner, path):
        return folders.entry(connection, owner, path)
    version = folders.version(connection, owner, path)
    time = version / MICROSECONDS
    return FileEntry(path, owner, version, 0, time, time, deleted=bool(path), kind="folder")
