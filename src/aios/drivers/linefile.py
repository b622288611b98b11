"""A file of lines that grows to a bound and is then turned over: one older file is kept beside it."""

import logging
import os
from io import FileIO
from pathlib import Path

from aios.drivers.clock import Clock, Timer

log = logging.getLogger(__name__)

BUFFER_BYTES = 64 * 1024
FLUSH_S = 1.0


class LineFile:
    """Lines reach the file within a second, or as soon as there are many; a crash may lose the last second's.

    When the file cannot be written (the disk is full, say), lines are dropped and counted; it is logged once.
    """

    def __init__(self, path: Path, max_bytes: int, clock: Clock) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._clock = clock
        self._buffer = bytearray()
        self._timer: Timer | None = None
        self.num_dropped = 0
        """Writes that failed."""

    def append(self, line: bytes) -> None:
        """Add a line; `line` has no newline in it."""
        self._buffer += line
        self._buffer += b"\n"
        if len(self._buffer) >= BUFFER_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = self._clock.call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Hand what is buffered to the system. It goes to the page cache: the disk is not waited for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._buffer = self._buffer, bytearray()
        try:
            self._write(lines)
        except OSError as error:
            if not self.num_dropped:
                log.error("%s cannot be written, and goes without some lines: %s", self._path, error)
            self.num_dropped += 1

    def _write(self, lines: bytearray) -> None:
        with open(self._path, "ab", buffering=0) as file:
            if file.tell() and file.tell() + len(lines) > self._max_bytes:
                os.replace(self._path, self._path.with_name(self._path.name + ".1"))
                with open(self._path, "ab", buffering=0) as fresh:
                    _write_whole(fresh, lines)
            else:
                _write_whole(file, lines)


def _write_whole(file: FileIO, lines: bytearray) -> None:
    """A write may take less than it was given; the rest comes after it."""
    rest = memoryview(lines)
    while rest:
        rest = rest[file.write(rest) :]
