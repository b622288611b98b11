"""One SQLite connection: how it is opened, and what its errors mean.

Owns the pragmas and the table `barrier`; knows nothing of threads, batches or who stores what.
"""

import os
from hashlib import blake2b
from pathlib import Path

import apsw

from aios.abi.errors import Corrupt, Internal, StorageFull, Unavailable
from aios.drivers import migrations

BUSY_MS = 5_000
"""How long a statement waits for a lock that another process holds, such as a backup."""
WAL_PAGES = 4_000
"""Pages in the write-ahead log after which it is copied into the database."""
MAX_LOG_BYTES = 4 * WAL_PAGES * 4096
"""Size of the log's file beyond which the writer waits for the readers, so that it can begin anew."""
RESTART_MS = 1_000
"""How long it waits for them; then it goes on, and tries again after the next commit."""

SYNCHRONOUS = "full"
"""With `normal` a commit is acknowledged before it is on the disk."""
_PIECE = 64 * 1024
"""SQLite takes less than 128 KiB at once."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS barrier (id INTEGER PRIMARY KEY, number INTEGER NOT NULL);
INSERT OR IGNORE INTO barrier VALUES (1, 0);
"""

_FAILED = (
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.PermissionsError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.ProtocolError,
    apsw.NoMemError,
    apsw.InterruptError,
)


def open_writer(path: Path, vfs: str | None = None) -> apsw.Connection:
    """A connection that may write: what it commits is on the disk (WAL, synchronous FULL)."""
    connection = _open(path, vfs)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", SYNCHRONOUS)
    connection.pragma("wal_autocheckpoint", WAL_PAGES)
    connection.pragma("journal_size_limit", MAX_LOG_BYTES)
    connection.execute(migrations.SCHEMA + _SCHEMA)
    return connection


def bound_log(connection: apsw.Connection) -> None:
    """Start the log anew where it has grown; while some reader is always in it, SQLite alone never does."""
    try:
        if os.path.getsize(connection.filename_wal) > MAX_LOG_BYTES:
            restart_log(connection)
    except (apsw.Error, OSError):
        return  # The log stays as it is; the next commit tells what is wrong with the disk.


def restart_log(connection: apsw.Connection) -> None:
    """Copy the log into the database and start it anew, waiting for readers but not for ever."""
    connection.set_busy_timeout(RESTART_MS)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
    finally:
        connection.set_busy_timeout(BUSY_MS)


def renew_log(path: Path, vfs: str | None = None) -> None:
    """Write a log that an earlier process left once more; call it before any connection is opened.

    When flushing fails, the system may keep what was to be flushed in memory and take it for written (Rebello
    et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020, section 3). SQLite would go on
    from there, and lose what comes after it with the power.
    """
    log = f"{path}-wal"
    if not os.path.exists(log) or not os.path.getsize(log):
        return
    file = apsw.VFSFile(vfs or "", log, [apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_READWRITE, 0])
    try:
        size = file.xFileSize()
        for offset in range(0, size, _PIECE):
            file.xWrite(file.xRead(min(_PIECE, size - offset), offset), offset)
        file.xSync(apsw.SQLITE_SYNC_NORMAL)
    finally:
        file.xClose()


def open_reader(path: Path, vfs: str | None = None) -> apsw.Connection:
    """A connection that cannot write."""
    connection = _open(path, vfs)
    connection.pragma("query_only", True)
    return connection


def _open(path: Path, vfs: str | None) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(str(path), flags=flags, vfs=vfs, statementcachesize=256)
    connection.set_busy_timeout(BUSY_MS)
    connection.pragma("foreign_keys", True)
    connection.pragma("temp_store", "memory")
    return connection


def typed(error: BaseException) -> BaseException:
    """What `error` means to a caller: SQLite's own become errors of `aios.abi.errors`, others stay."""
    if isinstance(error, apsw.FullError):
        return StorageFull("the disk has no room; what is stored can still be read")
    # What is kept as text was UTF-8 when it was written, and every table and column that is named was made.
    is_missing = isinstance(error, apsw.SQLError) and "no such" in str(error)
    if is_missing or isinstance(error, apsw.CorruptError | apsw.NotADBError | UnicodeDecodeError):
        return Corrupt(f"the database is damaged where this was looked for: {error}")
    if isinstance(error, _FAILED):
        return Unavailable(f"the disk cannot be used: {error}")
    if isinstance(error, StopIteration | apsw.Error):  # A future cannot carry a StopIteration.
        return Internal(f"the store failed: {type(error).__name__}: {error}")
    return error


def checksum(*parts: bytes) -> bytes:
    """16 bytes that tell whether these parts are what they were; where one part ends counts."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
