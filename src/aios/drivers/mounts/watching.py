"""Folders watched for changes in them, by Linux's inotify: one descriptor for all, read without waiting.

inotify(7) tells of a change before the call that made it returns, so whoever has changed a file and then
asks is told of it by the next `drain`. What changes on other machines' disks, or through a mapping of memory,
it does not tell. Folders may be watched from threads.
"""

import ctypes
import errno
import os
import struct
import threading
from typing import Literal

from msgspec import Struct

_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_UNMOUNT, _OVERFLOW, _IGNORED, _IS_FOLDER = 0x2000, 0x4000, 0x8000, 0x40000000
_ONLY_FOLDERS = 0x01000000
_WATCHED = (
    _MODIFY
    | _ATTRIB
    | _CLOSE_WRITE
    | _MOVED_FROM
    | _MOVED_TO
    | _CREATE
    | _DELETE
    | _DELETE_SELF
    | _MOVE_SELF
    | _ONLY_FOLDERS
)
_OF_ITSELF = _DELETE_SELF | _MOVE_SELF | _UNMOUNT
_HEAD = struct.Struct("iIII")
_BUFFER_BYTES = 64 * 1024

Kind = Literal["file", "writing", "folder"]
"""A file that has changed, one that is being written, or a folder that came, went or may be read now."""


class Event(Struct, frozen=True):
    """What was told of a path, of one who watches."""

    watcher: int
    path: str
    kind: Kind


class Watches:
    """Raises `OSError` where the system has no inotify, or none left."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._libc, "inotify_init1"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self.descriptor = self._called("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        """Can be read when something has changed."""
        self._lock = threading.Lock()
        self._places: dict[int, dict[int, str]] = {}
        """By watch, where in which watcher's tree its folder is."""

    def close(self) -> None:
        os.close(self.descriptor)

    def add(self, folder: int, watcher: int, path: str) -> None:
        """Watch an opened folder, at `path` for this watcher. Raises `OSError`, `ENOSPC` for too many."""
        name = os.fsencode(f"/proc/self/fd/{folder}")
        with self._lock:  # Nobody is told of a watch that is not noted down yet.
            number = self._called("inotify_add_watch", self.descriptor, name, _WATCHED)
            self._places.setdefault(number, {})[watcher] = path

    def forget(self, watcher: int) -> None:
        """Watch nothing any more for this one."""
        with self._lock:
            for number, places in list(self._places.items()):
                places.pop(watcher, None)
                if not places:
                    del self._places[number]
                    self._libc.inotify_rm_watch(self.descriptor, number)

    def drain(self) -> tuple[list[Event], bool]:
        """What has been told since; and whether something was lost, so that everything may have changed."""
        events: dict[Event, None] = {}
        is_lost = False
        with self._lock:
            while data := self._read():
                place = 0
                while place < len(data):
                    number, mask, _, size = _HEAD.unpack_from(data, place)
                    place += _HEAD.size
                    name = os.fsdecode(data[place : place + size].rstrip(b"\0"))
                    place += size
                    is_lost = is_lost or bool(mask & _OVERFLOW)
                    for event in self._told(number, mask, name):
                        events.pop(event, None)  # What is told last counts.
                        events[event] = None
        return list(events), is_lost

    def _told(self, number: int, mask: int, name: str) -> list[Event]:
        places = self._places.get(number, {})
        if mask & _IGNORED:
            self._places.pop(number, None)
            return []
        kind: Kind = "file"
        if mask & (_IS_FOLDER | _OF_ITSELF) or not name:
            kind = "folder"
        elif mask & (_MODIFY | _CREATE):  # What is made is closed, too.
            kind = "writing"
        return [Event(watcher, _joined(path, name), kind) for watcher, path in places.items()]

    def _read(self) -> bytes:
        try:
            return os.read(self.descriptor, _BUFFER_BYTES)
        except BlockingIOError:
            return b""

    def _called(self, name: str, *arguments: int | bytes) -> int:
        found: int = getattr(self._libc, name)(*arguments)
        if found < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return found


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path and name else path or name
