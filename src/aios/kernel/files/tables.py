"""The tables of files, every change ever made to them, and how their rows are sealed.

Each row carries a checksum of its fields, so that one which was changed by anything but these modules is
found when it is read. A moment is microseconds since the epoch that rise with every change of an owner's
things: it orders the versions of all its files, and tells when each was made.
"""

from hashlib import blake2b

MICROSECONDS = 1_000_000
"""Of a second."""
MAX_MOMENT = 2**63 - 1
"""SQLite's largest integer."""

CHUNKS = """
    CREATE TABLE file_chunks (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, content BLOB NOT NULL);
"""

TABLES = """
    CREATE TABLE file_owners (
        owner TEXT PRIMARY KEY, num_files INTEGER NOT NULL, num_bytes INTEGER NOT NULL,
        moment INTEGER NOT NULL, checksum BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE files (
        docid INTEGER PRIMARY KEY, owner TEXT NOT NULL, path TEXT NOT NULL, version INTEGER NOT NULL,
        oldest INTEGER NOT NULL, size INTEGER NOT NULL, base INTEGER NOT NULL, tail INTEGER NOT NULL,
        created INTEGER NOT NULL, moment INTEGER NOT NULL, deleted INTEGER NOT NULL, label TEXT NOT NULL,
        checksum BLOB NOT NULL, UNIQUE (owner, path)
    );
    CREATE TABLE file_versions (
        docid INTEGER NOT NULL REFERENCES files, version INTEGER NOT NULL, verb TEXT NOT NULL,
        size INTEGER NOT NULL, base INTEGER NOT NULL, moment INTEGER NOT NULL, author TEXT NOT NULL,
        label TEXT NOT NULL, source TEXT NOT NULL, other TEXT NOT NULL, checksum BLOB NOT NULL,
        PRIMARY KEY (docid, version)
    ) WITHOUT ROWID;
    CREATE TABLE file_pieces (
        docid INTEGER NOT NULL REFERENCES files, version INTEGER NOT NULL, start INTEGER NOT NULL,
        size INTEGER NOT NULL, chunk INTEGER NOT NULL REFERENCES file_chunks, merged INTEGER,
        checksum BLOB NOT NULL, PRIMARY KEY (docid, version, start)
    ) WITHOUT ROWID;
    CREATE INDEX file_pieces_of_chunk ON file_pieces (chunk);
    CREATE TABLE file_folders (
        owner TEXT NOT NULL, path TEXT NOT NULL, created INTEGER NOT NULL, checksum BLOB NOT NULL,
        PRIMARY KEY (owner, path)
    ) WITHOUT ROWID;
    CREATE TABLE file_locks (
        owner TEXT NOT NULL, path TEXT NOT NULL, token INTEGER NOT NULL, pid INTEGER NOT NULL,
        expires INTEGER NOT NULL, checksum BLOB NOT NULL, PRIMARY KEY (owner, path)
    ) WITHOUT ROWID;
    CREATE INDEX file_locks_of_process ON file_locks (pid);
    CREATE TABLE file_shares (
        id TEXT PRIMARY KEY, owner TEXT NOT NULL, path TEXT NOT NULL, version INTEGER NOT NULL,
        expires INTEGER NOT NULL, checksum BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX file_shares_of_file ON file_shares (owner, path);
    CREATE TABLE file_keys (name TEXT PRIMARY KEY, key BLOB NOT NULL, checksum BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE uploads (
        id TEXT PRIMARY KEY, owner TEXT NOT NULL, principal TEXT NOT NULL, received INTEGER NOT NULL,
        touched INTEGER NOT NULL, checksum BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX uploads_of_owner ON uploads (owner);
    CREATE TABLE upload_parts (
        upload TEXT NOT NULL REFERENCES uploads, start INTEGER NOT NULL, size INTEGER NOT NULL,
        chunk INTEGER NOT NULL REFERENCES file_chunks, checksum BLOB NOT NULL, PRIMARY KEY (upload, start)
    ) WITHOUT ROWID;
    CREATE INDEX upload_parts_of_chunk ON upload_parts (chunk);
    CREATE TABLE files_pending (place INTEGER PRIMARY KEY, docid INTEGER NOT NULL);
"""

SEALED = (
    *("file_owners", "files", "file_versions", "file_folders", "file_locks", "file_shares", "file_keys"),
    *("uploads", "mounts", "mount_files", "mount_waiting"),
)
"""Tables whose last column seals all others. Pieces and parts are sealed with their chunk's hash, too."""


def moment_of(time: float) -> int:
    """A time in seconds since the epoch as a moment; what is too far off for the tables as the last one."""
    return round(min(time, MAX_MOMENT // (2 * MICROSECONDS)) * MICROSECONDS)


def seal(*fields: object) -> bytes:
    """The checksum of a row with these fields, 16 bytes."""
    return blake2b(repr(fields).encode(), digest_size=16).digest()
