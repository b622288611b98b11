"""A copy of a database while it is in use: all of it as it was at one moment.

Made by a reader that holds that moment, so that what is written meanwhile neither waits nor begins it anew.
"""

import os
from collections.abc import Callable
from pathlib import Path

import apsw

from aios.abi.errors import Conflict, Unavailable
from aios.drivers.sqlite import open_reader, typed

PAGES = 1024
"""Copied between two looks at how far it is."""

Progress = Callable[[int, int], None]
"""Is told how many pages are copied, and of how many."""


def copy(source: Path, target: Path, progress: Progress) -> int:
    """Copy the database at `source` to the new file `target`; its size in bytes.

    Until it is whole, and on the disk, it is called `target` and `.part`. Raises `Conflict` where `target`
    is there, `StorageFull`, `Unavailable`, or `Corrupt` where a page cannot be read.
    """
    if target.exists():
        raise Conflict(f"{target} is there already; a backup never writes over another file")
    if not source.is_file():
        raise Unavailable(f"there is no database at {source}")
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _copy(source, part, progress)
        _flush(part)
        part.rename(target)
        _flush(target.parent)
    except apsw.Error as error:
        raise typed(error) from error
    except OSError as error:
        raise Unavailable(f"the backup cannot be kept at {target}: {error.strerror}") from error
    return target.stat().st_size


def _copy(source: Path, part: Path, progress: Progress) -> None:
    reader = open_reader(source)
    writer = apsw.Connection(str(part))
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchall()  # It holds the moment from here on.
        with writer.backup("main", reader, "main") as backup:
            while not backup.done:
                backup.step(PAGES)
                progress(backup.page_count - backup.remaining, backup.page_count)
    finally:
        writer.close(True)
        reader.close(True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
