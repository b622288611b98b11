"""The disk under the real store: it remembers what was written and flushed when, and fails on order.

Everything is passed on to real files, but for flushes, which only count: what is on the disk after the power
went is worked out from what was remembered (`power.py`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import apsw

Change = tuple[str, str, int, bytes]
"""What was done ("create", "delete", "write", "truncate", "sync", "failed sync"), to which file, where or to
what size, and with what."""


class Operation(NamedTuple):
    """One call of SQLite's to the disk."""

    number: int
    kind: str
    file: str


def no_fault(operation: Operation) -> Exception | None:
    return None


def broken(code: str = "IOERR") -> Exception:
    """An I/O error as the real disk's driver reports it."""
    error = apsw.IOError("planned")
    error.extendedresult = getattr(apsw, f"SQLITE_{code}")
    return error


def full() -> Exception:
    error = apsw.FullError("planned")
    error.extendedresult = apsw.SQLITE_FULL
    return error


class Disk(apsw.VFS):
    """`fault` is asked before every operation for the error that it fails with, None for none.

    `changes` remembers where `is_recording`. `room` is what files may grow by, in bytes; None for no end.
    """

    def __init__(self, name: str = "faulty", *, is_recording: bool = False, is_default: bool = False) -> None:
        self.fault: Callable[[Operation], Exception | None] = no_fault
        self.num_operations = 0
        self.kinds: list[str] = []
        self.is_recording = is_recording
        self.changes: list[Change] = []
        self.room: int | None = None
        super().__init__(name, "unix", makedefault=is_default)

    def operate(self, kind: str, path: str) -> None:
        """Count an operation. Raises the error that it is to fail with."""
        operation = Operation(self.num_operations, kind, Path(path).name)
        self.num_operations += 1
        self.kinds.append(kind)
        error = self.fault(operation)
        if error is not None:
            raise error

    def remember(self, kind: str, path: str, place: int = 0, data: bytes = b"") -> None:
        if self.is_recording:
            self.changes.append((kind, Path(path).name, place, data))

    def xOpen(self, name, flags):
        return File(self, name, flags)

    def xDelete(self, name, is_folder_synced):
        self.operate("delete", name)
        super().xDelete(name, is_folder_synced)
        self.remember("delete", name)

    def xAccess(self, name, flags):
        self.operate("access", name)
        return super().xAccess(name, flags)


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name, flags) -> None:
        self._disk = disk
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        disk.operate("open", self._path)
        is_new = not Path(self._path).exists()
        super().__init__("unix", name, flags)
        self._size = super().xFileSize()
        if is_new:
            disk.remember("create", self._path)

    def xRead(self, amount, offset):
        self._disk.operate("read", self._path)
        return super().xRead(amount, offset)

    def xFileSize(self):
        self._disk.operate("size", self._path)
        return super().xFileSize()

    def xWrite(self, data, offset):
        self._disk.operate("write", self._path)
        self._grow(offset + len(data))
        super().xWrite(data, offset)
        self._disk.remember("write", self._path, offset, bytes(data))

    def xTruncate(self, size):
        self._disk.operate("truncate", self._path)
        super().xTruncate(size)
        self._disk.remember("truncate", self._path, size)
        if self._disk.room is not None:
            self._disk.room += max(0, self._size - size)
        self._size = size

    def xSync(self, flags):
        try:
            self._disk.operate("sync", self._path)
        except apsw.Error:
            self._disk.remember("failed sync", self._path)
            raise
        self._disk.remember("sync", self._path)

    def _grow(self, size: int) -> None:
        growth = max(0, size - self._size)
        if growth and self._disk.room is not None:
            if growth > self._disk.room:
                raise full()
            self._disk.room -= growth
        self._size = max(size, self._size)
