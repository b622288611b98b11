"""Room on the disk kept back for deleting: a file beside the database that holds nothing but its place.

SQLite deletes by writing, so a disk without any room could never be made to have some. When it is full the
file is emptied, and only what gives room back is written until the file can be filled again.
"""

import os
from pathlib import Path

SHARE_FREE = 2
"""The reserve is made again when so many times its size is free: something is to be left for writing, too."""


class Reserve:
    """`num_bytes` in the file at `path`; 0 for no reserve."""

    def __init__(self, path: Path, num_bytes: int) -> None:
        self._path = path
        self.num_bytes = num_bytes

    def release(self) -> None:
        """Give the room to the disk."""
        if self._path.exists():
            os.truncate(self._path, 0)

    def restore(self) -> bool:
        """Take the room, where the disk has it; whether it is there now."""
        try:
            if not self.num_bytes or self._size() == self.num_bytes:
                return True
            return self._is_free() and self._fill()
        except OSError:
            return False

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def _is_free(self) -> bool:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize >= SHARE_FREE * self.num_bytes

    def _fill(self) -> bool:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, 0)
            os.posix_fallocate(file, 0, self.num_bytes)
        except OSError:
            os.ftruncate(file, 0)  # What was had of it before the disk was full.
            return False
        finally:
            os.close(file)
        return True
