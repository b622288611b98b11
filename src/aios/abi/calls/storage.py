"""The calls `storage.*`: versioned files."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from aios.abi.calls.base import Encoding, Limit, Name, Path, Reply, SystemCall, Text


class StorageCreate(SystemCall, frozen=True):
    """Make a new file. `Conflict` where one exists."""

    path: Path
    content: Text = ""
    encoding: Encoding = "utf-8"
    owner: Name | None = None
    """In whose tree; None for the caller's own."""


class StorageWrite(SystemCall, frozen=True):
    """Set a file's whole content, making the file where there is none. Each write is a new version."""

    path: Path
    content: Text
    encoding: Encoding = "utf-8"
    owner: Name | None = None


class StorageAppend(SystemCall, frozen=True):
    """Add to a file's end, making the file where there is none. A new version."""

    path: Path
    content: Text
    encoding: Encoding = "utf-8"
    owner: Name | None = None


class StorageRead(SystemCall, frozen=True):
    """Read a file, now or as it was in `version`."""

    path: Path
    version: Annotated[int, Meta(ge=1)] | None = None
    owner: Name | None = None


class StorageList(SystemCall, frozen=True):
    """List the files in a folder and below it; an empty folder name means all."""

    folder: Annotated[str, Meta(max_length=1024)] = ""
    limit: Limit = 1000
    owner: Name | None = None


class StorageStat(SystemCall, frozen=True):
    """A file's size, version and times, without its content."""

    path: Path
    owner: Name | None = None


class StorageDelete(SystemCall, frozen=True):
    """Delete a file. Its history stays, so that it can be rolled back. Another's file waits for a person."""

    path: Path
    owner: Name | None = None


class StorageHistory(SystemCall, frozen=True):
    """The versions of a file, oldest first."""

    path: Path
    limit: Limit = 1000
    owner: Name | None = None


class StorageRollback(SystemCall, frozen=True):
    """Make the content of an earlier version the newest one. Nothing is lost: it is a new version."""

    path: Path
    version: Annotated[int, Meta(ge=1)]
    owner: Name | None = None


class StorageSearch(SystemCall, frozen=True):
    """Find files by words in their content or path, best first."""

    text: Annotated[str, Meta(min_length=1, max_length=4096)]
    limit: Limit = 10
    owner: Name | None = None


class FileEntry(Reply, frozen=True):
    """A file without its content. Times are seconds since the epoch, `size` is in bytes."""

    path: str
    owner: str
    version: int
    size: int
    created: float
    modified: float
    deleted: bool = False


class FileContent(Reply, frozen=True):
    """A file's content in one version; bytes that are not UTF-8 come as base64."""

    path: str
    version: int
    content: str
    encoding: Encoding = "utf-8"


class FileEntries(Reply, frozen=True):
    files: tuple[FileEntry, ...]


class FileVersion(Struct, frozen=True):
    """One version: `author` is the principal that wrote it, `verb` how."""

    version: int
    size: int
    modified: float
    author: str
    verb: Literal["create", "write", "append", "delete", "rollback"]


class FileVersions(Reply, frozen=True):
    versions: tuple[FileVersion, ...]


class FileHit(Struct, frozen=True):
    file: FileEntry
    snippet: str
    score: float


class FileHits(Reply, frozen=True):
    hits: tuple[FileHit, ...]
