"""What changes a file or a folder: made, written, added to, moved, deleted."""

import apsw

from aios.abi.errors import Conflict, InvalidArgument, TooLarge
from aios.abi.syscalls import (
    Done,
    FileEntry,
    StorageAppend,
    StorageCreate,
    StorageDelete,
    StorageMkdir,
    StorageMove,
    StorageWrite,
)
from aios.kernel.files import entries, folders, holdings, locks, mounting, states
from aios.kernel.files.asking import Asking
from aios.kernel.files.changing import Change, check_version
from aios.kernel.files.entries import File
from aios.kernel.files.holdings import ROW_BYTES
from aios.kernel.paths import check_path


def write(
    connection: apsw.Connection, asking: Asking, call: StorageCreate | StorageWrite | StorageAppend
) -> FileEntry:
    """Raises `Conflict`, `TooLarge`, `QuotaExceeded` or `Corrupt`."""
    locks.check(connection, asking, call.path, call.lock)
    file = entries.find(connection, asking.owner, call.path)
    change = Change(connection, asking)
    match call:
        case StorageCreate():
            check_version(call.path, live_version(file), 0)
            new = change.write(file, asking.content, "create", label=call.label, source=call.source)
        case StorageWrite():
            check_version(call.path, live_version(file), call.if_version)
            new = change.write(file, asking.content, "write", label=call.label, source=call.source)
        case StorageAppend():
            check_version(call.path, live_version(file), call.if_version)
            new = change.append(file, asking.content, label=call.label, source=call.source)
    change.close()
    return new.entry


def mkdir(connection: apsw.Connection, asking: Asking, call: StorageMkdir) -> Done:
    """Raises `Conflict`, `QuotaExceeded` or `PermissionDenied`."""
    locks.check(connection, asking, call.path, None)
    _check_room(connection, asking.owner, call.path)
    if not entries.find(connection, asking.owner, call.path).deleted:
        raise Conflict(f"there is already a file '{call.path}'")
    folders.check_free(connection, asking.owner, call.path)
    held = holdings.load(connection, asking.owner)
    folders.add(connection, asking.owner, call.path, held.next_moment(asking.now))
    held.count(1, ROW_BYTES)
    held.check(asking.limits, has_more_files=True)
    holdings.save(connection, held)
    return Done()


def delete(connection: apsw.Connection, asking: Asking, call: StorageDelete) -> Done:
    """Raises `NotFound`, `Conflict`, `TooLarge` or `Corrupt`."""
    file = entries.find(connection, asking.owner, call.path)
    locks.check(connection, asking, call.path, call.lock, deep=bool(file.deleted))
    change = Change(connection, asking)
    if file.deleted:
        _delete_folder(connection, asking, call, change)
    else:
        check_version(call.path, file.version, call.if_version)
        change.remove(file)
    change.close()
    return Done()


def _delete_folder(connection: apsw.Connection, asking: Asking, call: StorageDelete, change: Change) -> None:
    owner, path = asking.owner, call.path
    check_folder(connection, owner, path, call.if_version)
    mounting.check_holds_none(connection, owner, path)
    files = files_below(connection, asking, path)
    if files and not call.deep:
        raise Conflict(f"'{path}' is a folder with something in it: delete it with deep, or empty it first")
    for file in files:
        change.remove(file)
    num_made = folders.remove(connection, owner, path)
    change.held.count(-num_made, -num_made * ROW_BYTES)


def move(connection: apsw.Connection, asking: Asking, call: StorageMove) -> FileEntry:
    """Raises `NotFound`, `Conflict`, `TooLarge`, `QuotaExceeded`, `InvalidArgument` or `Corrupt`."""
    file = entries.find(connection, asking.owner, call.path)
    is_folder = bool(file.deleted)
    locks.check(connection, asking, call.path, call.lock, deep=is_folder)
    locks.check_others(connection, asking, call.to, call.lock, deep=is_folder)
    change = Change(connection, asking)
    if is_folder:
        _move_folder(connection, asking, call, change)
        change.close()
        return folders.entry(connection, asking.owner, call.to)
    check_version(call.path, file.version, call.if_version)
    new = _move_file(connection, asking, change, file, call.to)
    change.close()
    return new.entry


def _move_file(connection: apsw.Connection, asking: Asking, change: Change, file: File, to: str) -> File:
    there = entries.find(connection, asking.owner, to)
    if not there.deleted:
        raise Conflict(f"there is already a file '{to}'")
    change.remove(file, other=to)
    return change.copy(there, states.of(connection, file, file.version), "move", other=file.path)


def _move_folder(connection: apsw.Connection, asking: Asking, call: StorageMove, change: Change) -> None:
    owner, path, to = asking.owner, call.path, call.to
    if to == path or to.startswith(f"{path}/"):
        raise InvalidArgument(f"'{path}' cannot be moved into itself")
    check_folder(connection, owner, path, call.if_version)
    mounting.check_holds_none(connection, owner, path)
    _check_room(connection, owner, to)
    folders.check_free(connection, owner, to)
    if not entries.find(connection, owner, to).deleted:
        raise Conflict(f"there is already a file '{to}'")
    for file in files_below(connection, asking, path):
        _move_file(connection, asking, change, file, _moved(file.path, path, to))
    made = folders.made(connection, owner, path)
    folders.remove(connection, owner, path)
    for name, created in made:
        folders.add(connection, owner, _moved(name, path, to), created)


def _check_room(connection: apsw.Connection, owner: str, folder: str) -> None:
    """`PermissionDenied` where a folder may not be made: in a mount that is read only."""
    for mount in mounting.all_of(connection, owner):
        if mount.covers(folder):
            mounting.check_writable(mount, folder)


def _moved(name: str, path: str, to: str) -> str:
    new = to + name.removeprefix(path)
    check_path(new)
    return new


def check_folder(connection: apsw.Connection, owner: str, path: str, if_version: int | None) -> None:
    """`NotFound` where there is no such folder, `Conflict` where it is not at the version expected."""
    if not folders.is_there(connection, owner, path):
        raise entries.absent(path)
    if if_version is not None:
        check_version(path, folders.version(connection, owner, path), if_version)


def files_below(
    connection: apsw.Connection, asking: Asking, folder: str, *, deleted: bool = False
) -> list[File]:
    """All files of a folder, to be changed together. `TooLarge` where that would hold up others for long."""
    files: list[File] = []
    for file in entries.below(connection, asking.owner, folder, deleted=deleted):
        if len(files) == asking.limits.max_tree_files:
            raise TooLarge(
                f"'{folder}' has more than {len(files)} files, which is all that one call may change: "
                "take the folders in it one by one"
            )
        files.append(file)
    return files


def live_version(file: File) -> int:
    """The version that a call may be bound to; 0 where the file is not there."""
    return 0 if file.deleted else file.version


def version_of(connection: apsw.Connection, owner: str, path: str) -> int:
    """What a call may be bound to: the version of a file or folder; 0 where there is none."""
    file = entries.find(connection, owner, path)
    if not file.deleted:
        return file.version
    return folders.version(connection, owner, path) if folders.is_there(connection, owner, path) else 0
