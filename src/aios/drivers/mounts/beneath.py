"""A folder of this machine, entered beneath its root only.

Every path is walked name by name from the root's descriptor, and no name is ever followed where it is a
link, so that nobody who swaps a folder for a link meanwhile leads out. Only plain files and folders of the
root's own file system are entered. Everything here blocks: it is run on threads.
"""

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Protocol

from msgspec import Struct

UNSURE_NS = 50_000_000
"""A file changed so short before it was looked at may change again without another time on it."""
TEMPORARY = ".aios-mount-"
"""How files begin that are being written; they are no part of the folder."""
LEFT_OVER_S = 3600.0
"""After which such a file is one that somebody was killed over."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""How a file system says that it has no second names for a file."""
_NONE = (errno.ELOOP, errno.EINVAL, errno.EXDEV)
"""A link, something that is neither file nor folder, something of another file system."""
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What is not there, or only by way of something that is no folder."""


class Stamp(Struct, frozen=True):
    """What tells that a file is as it was. Times are in nanoseconds since the epoch."""

    inode: int
    size: int
    mtime: int
    ctime: int
    is_sure: bool = True
    """Whether a later change would have had other times."""

    def is_of(self, other: "Stamp | None") -> bool:
        """Whether the other is of the same file in the same state, as far as stamps tell."""
        return other is not None and self.fields == other.fields

    @property
    def fields(self) -> tuple[int, int, int, int]:
        return self.inode, self.size, self.mtime, self.ctime


class Listing(Struct, frozen=True):
    """What is in a folder, by name; why something in it is left out."""

    files: dict[str, Stamp]
    folders: list[str]
    problems: dict[str, str]


class Refused(Struct, frozen=True):
    """Something that is not entered or cannot be read, and why."""

    why: str
    is_none: bool = False
    """Whether it is no file or folder of this directory at all."""


Found = Stamp | Listing | Refused | None
"""A file, a folder, something that is left out, or nothing."""


class Changed(Exception):
    """There is something else than what was expected."""


class Watching(Protocol):
    """Told of each folder before it is listed."""

    def __call__(self, descriptor: int, path: str) -> None: ...


class Beneath:
    """The folder at `path`, which is opened here: raises `OSError`.

    Of the folders `forbidden` neither they nor what is in them is entered, nor may `path` be in one. Names
    that begin with a dot are left out unless `hidden`. Unless it is for `write`, looking changes nothing.
    """

    def __init__(
        self, path: Path, *, hidden: bool, write: bool = False, forbidden: Iterable[Path] = ()
    ) -> None:
        self._path = path
        self._hidden = hidden
        self._write = write
        self._forbidden = {_identity(os.stat(one)) for one in forbidden if one.exists()}
        top = path.resolve(strict=True)
        for folder in (top, *top.parents):
            if _identity(os.stat(folder)) in self._forbidden:
                raise OSError(errno.EACCES, "it is the kernel's own data")
        self._root = os.open(top, _FOLDER)
        self._device = os.fstat(self._root).st_dev

    def close(self) -> None:
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def is_current(self) -> bool:
        """Whether its path still leads to the folder that was opened."""
        try:
            return _identity(os.stat(self._path)) == _identity(os.fstat(self._root))
        except OSError:
            return False

    def look(self, path: str, watch: Watching | None = None) -> Found:
        """What is at a path; the empty one is the root. Raises `OSError` of the root only."""
        try:
            if not path:
                return self._list(path, watch)
            with self._entered(_folder_of(path)) as parent:
                mode = os.stat(_name_of(path), dir_fd=parent, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                return self._list(path, watch)
            with self.open(path) as opened:
                return stamp_of(opened)
        except OSError as error:
            if not path:
                raise
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            return Refused(told(error), is_none=error.errno in _NONE)

    def open(self, path: str) -> FileIO:
        """A plain file, to be read. Raises `OSError`."""
        with self._entered(_folder_of(path)) as parent:
            name = _name_of(path)
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            self._check_plain(found)  # Before it is opened: to open a device may do something.
            opened = FileIO(os.open(name, _FILE, dir_fd=parent), "rb")
        try:
            self._check_plain(os.fstat(opened.fileno()))
        except OSError:
            opened.close()
            raise
        return opened

    def count(self) -> tuple[int, int]:
        """How many files there are, and how many bytes they have. Raises `OSError` of the root only."""
        num_files = num_bytes = 0
        folders = [""]
        while folders:
            folder = folders.pop()
            found = self.look(folder)
            if isinstance(found, Listing):
                num_files += len(found.files)
                num_bytes += sum(one.size for one in found.files.values())
                folders += [f"{folder}/{name}" if folder else name for name in found.folders]
        return num_files, num_bytes

    def begin(self, path: str) -> "Writing":
        """Begin to write a file, making the folders that it is in. Raises `OSError`."""
        with self._entered(_folder_of(path), make=True) as parent:
            return Writing(os.dup(parent), _name_of(path))

    def remove(self, path: str, expected: Stamp) -> None:
        """Remove a file, and the folders that are empty without it. Raises `Changed` or `OSError`."""
        folder = _folder_of(path)
        try:
            with self._entered(folder) as parent:
                _check(parent, _name_of(path), expected)
                os.unlink(_name_of(path), dir_fd=parent)
                os.fsync(parent)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
        while folder:
            try:
                with self._entered(_folder_of(folder)) as parent:
                    os.rmdir(_name_of(folder), dir_fd=parent)
            except OSError:
                return  # Something is in it.
            folder = _folder_of(folder)

    # ---- walking

    @contextmanager
    def _entered(self, folder: str, *, make: bool = False) -> Iterator[int]:
        """A descriptor of a folder, until it is left."""
        descriptor = os.open(".", _FOLDER, dir_fd=self._root)
        try:
            for name in folder.split("/") if folder else ():
                inner = self._inner(name, descriptor, make=make)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _inner(self, name: str, parent: int, *, make: bool) -> int:
        try:
            inner = os.open(name, _FOLDER, dir_fd=parent)
        except FileNotFoundError:
            if not make:
                raise
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=parent)
            os.fsync(parent)
            inner = os.open(name, _FOLDER, dir_fd=parent)
        found = os.fstat(inner)
        try:
            self._check_own(found)
            if _identity(found) in self._forbidden:
                raise OSError(errno.EACCES, "it is the kernel's own data")
        except OSError:
            os.close(inner)
            raise
        return inner

    def _list(self, path: str, watch: Watching | None) -> Listing:
        found = Listing({}, [], {})
        with self._entered(path) as descriptor:
            if watch is not None:
                watch(descriptor, path)
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    self._add(found, entry, descriptor)
        return found

    def _add(self, found: Listing, entry: "os.DirEntry[str]", parent: int) -> None:
        name = entry.name
        if name.startswith(TEMPORARY) and self._write:
            _clear(name, parent)
        if is_left_out(name, hidden=self._hidden):
            return
        try:
            name.encode()
            seen = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(seen.st_mode):
                self._check_own(seen)
                found.folders.append(name)
                return
            self._check_plain(seen)
            found.files[name] = _stamp(seen)
        except UnicodeEncodeError:
            found.problems[repr(name)] = "its name is not UTF-8"
        except FileNotFoundError:
            return  # It has gone since.
        except OSError as error:
            found.problems[name] = told(error)

    def _check_plain(self, found: os.stat_result) -> None:
        if stat.S_ISLNK(found.st_mode):
            raise OSError(errno.ELOOP, "it is a link")
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no plain file")
        self._check_own(found)

    def _check_own(self, found: os.stat_result) -> None:
        if found.st_dev != self._device:
            raise OSError(errno.EXDEV, "it is on another file system")


class Writing:
    """A file on its way into a folder: nobody sees it before `finish`. `drop` gives it up.

    Owns the folder's descriptor `parent`.
    """

    def __init__(self, parent: int, name: str) -> None:
        self._parent = parent
        self._name = name
        self._temporary = f"{TEMPORARY}{secrets.token_hex(8)}"
        try:
            self._file = os.open(self._temporary, _NEW, 0o666, dir_fd=parent)
        except OSError:
            os.close(parent)
            raise

    def add(self, data: bytes) -> None:
        """Raises `OSError`."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def finish(self, expected: Stamp | None) -> Stamp:
        """Put it in the place of the file with the stamp `expected`; None of none. What it is there.

        It is on the disk then, and has the mode of what was there. Raises `Changed` or `OSError`; it is given
        up in either case.
        """
        try:
            if expected is not None:
                mode = _check(self._parent, self._name, expected).st_mode
                os.fchmod(self._file, stat.S_IMODE(mode) & 0o777)
            os.fsync(self._file)
            if expected is None:
                self._put_new()
            else:
                self._rename()
            os.fsync(self._parent)
            return _stamp(os.fstat(self._file))
        finally:
            self.drop()

    def drop(self) -> None:
        if self._file < 0:
            return
        os.close(self._file)
        with suppress(OSError):
            os.unlink(self._temporary, dir_fd=self._parent)
        os.close(self._parent)
        self._file = -1

    def _put_new(self) -> None:
        """A second name is given to nothing that is there, however late that came to be."""
        _remove_empty(self._name, self._parent)
        try:
            os.link(
                self._temporary,
                self._name,
                src_dir_fd=self._parent,
                dst_dir_fd=self._parent,
                follow_symlinks=False,
            )
            os.unlink(self._temporary, dir_fd=self._parent)
        except FileExistsError:
            raise Changed from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if _is_there(self._parent, self._name):
                raise Changed from None
            self._rename()

    def _rename(self) -> None:
        os.rename(self._temporary, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)


def is_left_out(path: str, *, hidden: bool) -> bool:
    """Whether a path is no part of a directory: for a name that begins with a dot, where `hidden` files are
    left out, or for one of a file that is only being written."""
    return any(name.startswith(TEMPORARY if hidden else (".", TEMPORARY)) for name in path.split("/"))


def stamp_of(opened: FileIO) -> Stamp:
    """Of an opened file. Raises `OSError`."""
    return _stamp(os.fstat(opened.fileno()))


def told(error: OSError) -> str:
    """What went wrong, in words."""
    return error.strerror or str(error)


def _stamp(found: os.stat_result) -> Stamp:
    age = time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns)
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, is_sure=age > UNSURE_NS)


def _is_there(parent: int, name: str) -> bool:
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=parent, follow_symlinks=False)
        return True
    return False


def _check(parent: int, name: str, expected: Stamp) -> os.stat_result:
    """Raises `Changed` unless it is as expected."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        raise Changed from None
    if not stat.S_ISREG(found.st_mode) or not _stamp(found).is_of(expected):
        raise Changed
    return found


def _remove_empty(name: str, parent: int) -> None:
    """Remove a folder with nothing but folders in it: it is nothing beside files."""
    with suppress(OSError):
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
        try:
            for inner in os.listdir(descriptor):
                _remove_empty(inner, descriptor)
        finally:
            os.close(descriptor)
        os.rmdir(name, dir_fd=parent)


def _clear(name: str, parent: int) -> None:
    """Remove a file that somebody was killed over."""
    with suppress(OSError):
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISREG(found.st_mode) and time.time() - found.st_mtime > LEFT_OVER_S:
            os.unlink(name, dir_fd=parent)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _name_of(path: str) -> str:
    return path.rpartition("/")[2]
