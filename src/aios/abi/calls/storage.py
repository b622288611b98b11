"""The calls `storage.*`: versioned files in folders, a tree for each owner.

Every change of a file is a version of it. A folder's version is that of the newest change in it. What a call
changes may be bound to what was seen before it (`if_version`), and to a lock.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from aios.abi.calls.base import (
    Encoding,
    Label,
    Limit,
    Moment,
    Name,
    Path,
    Reply,
    SearchMode,
    Seconds,
    Source,
    SystemCall,
    Text,
)

Folder = Annotated[str, Meta(max_length=1024)]
"""A folder's path; empty for the whole tree."""
Version = Annotated[int, Meta(ge=1)]
IfVersion = Annotated[int, Meta(ge=0)]
"""What the newest version must be for the call to have its effect, else `Conflict`; 0 where none may be."""
LockToken = Annotated[int, Meta(ge=1)]
"""What `storage.lock` gave. A call that names one has an effect only as long as that lock lasts."""
Offset = Annotated[int, Meta(ge=0)]
"""A place in a file, in bytes."""
GroupBy = Literal["folder", "kind", "label", "day", "week", "month", "meaning"]
"""Days, weeks (of ISO 8601) and months are of UTC, by the last change."""

MAX_READ_BYTES = 8 * 1024 * 1024
"""Of a file in one reply."""
MAX_PART_BYTES = 4 * 1024 * 1024
"""Of an upload in one call."""
MAX_MOUNT_PROBLEMS = 100
"""Files of a mounted directory that are named with what is wrong with them."""


class StorageCreate(SystemCall, frozen=True):
    """Make a new file. `Conflict` where one exists."""

    path: Path
    content: Text = ""
    encoding: Encoding = "utf-8"
    label: Label = "trusted"
    source: Source = ""
    lock: LockToken | None = None
    owner: Name | None = None
    """In whose tree; None for the caller's own."""


class StorageWrite(SystemCall, frozen=True):
    """Set a file's whole content, making the file where there is none. Another's file waits for a person."""

    path: Path
    content: Text
    encoding: Encoding = "utf-8"
    label: Label = "trusted"
    source: Source = ""
    if_version: IfVersion | None = None
    lock: LockToken | None = None
    owner: Name | None = None


class StorageAppend(SystemCall, frozen=True):
    """Add to a file's end, making the file where there is none. An untrusted file stays untrusted."""

    path: Path
    content: Text
    encoding: Encoding = "utf-8"
    label: Label = "trusted"
    source: Source = ""
    if_version: IfVersion | None = None
    lock: LockToken | None = None
    owner: Name | None = None


class StorageRead(SystemCall, frozen=True):
    """Read a file or a part of it, now or as it was in `version`. `TooLarge` for over 8 MiB at once."""

    path: Path
    version: Version | None = None
    start: Offset = 0
    length: Annotated[int, Meta(ge=1, le=MAX_READ_BYTES)] | None = None
    """Bytes from `start` on; None for the rest. A part of a text begins and ends between characters."""
    as_bytes: bool = False
    """The bytes as they are, in the reply's `data`."""
    owner: Name | None = None


class StorageList(SystemCall, frozen=True):
    """List what is in a folder, by path; an empty folder name means the whole tree."""

    folder: Folder = ""
    limit: Limit = 1000
    after: Annotated[str, Meta(max_length=1025)] = ""
    """The `next` of the page before; empty for the first."""
    deep: bool = True
    """The files in folders below, too; else these folders themselves."""
    owner: Name | None = None


class StorageStat(SystemCall, frozen=True):
    """A file's or folder's size, version and times, without its content."""

    path: Path
    owner: Name | None = None


class StorageMkdir(SystemCall, frozen=True):
    """Make a folder, which stays when it is empty. `Conflict` where there is a file or folder already.

    Writing a file makes the folders that it is in, and they go with their last file.
    """

    path: Path
    owner: Name | None = None


class StorageMove(SystemCall, frozen=True):
    """Move a file or a folder. `Conflict` where there is something already.

    The versions stay where they were made: at the new path the file begins with its content of now. Another's
    waits for a person.
    """

    path: Path
    to: Path
    if_version: IfVersion | None = None
    lock: LockToken | None = None
    owner: Name | None = None


class StorageDelete(SystemCall, frozen=True):
    """Delete a file or folder. Versions stay, so that it can be rolled back. Another's waits for a person."""

    path: Path
    deep: bool = False
    """A folder with all that is in it; else `Conflict` where something is."""
    if_version: IfVersion | None = None
    lock: LockToken | None = None
    owner: Name | None = None


class StorageHistory(SystemCall, frozen=True):
    """The newest versions of a file, or of all files in a folder, oldest first."""

    path: Folder
    limit: Limit = 1000
    before: Version | None = None
    """Only versions below this one: asks for the page before."""
    owner: Name | None = None


class StorageDiff(SystemCall, frozen=True):
    """What changed in a file or folder between two versions or moments, as a unified diff.

    Where neither end is said: what the newest change did. Files that are no text, or of over 4 MiB, are only
    said to differ.
    """

    path: Folder
    old: Version | None = None
    since: Moment | None = None
    """Instead of `old`: as it was then."""
    new: Version | None = None
    """None, with `until`, for now."""
    until: Moment | None = None
    context: Annotated[int, Meta(ge=0, le=1000)] = 3
    """Lines shown around each change."""
    owner: Name | None = None


class StorageRollback(SystemCall, frozen=True):
    """Make a file, or all in a folder, what it was in an earlier version or at a moment.

    Nothing is lost: it is a new version. Files of a folder that were not there then are deleted. Another's
    waits for a person.
    """

    path: Folder
    version: Version | None = None
    time: Moment | None = None
    """Instead of `version`."""
    if_version: IfVersion | None = None
    lock: LockToken | None = None
    owner: Name | None = None


class StoragePrune(SystemCall, frozen=True):
    """Forget old versions for good, of a file or of all in a folder, and free their room.

    The newest version of a file that is there always stays. Waits for a person, unless the operator asks.
    """

    path: Folder
    keep: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    """Newest versions of each file that stay; with 0, deleted files go wholly."""
    before: Moment | None = None
    """Only versions that were no longer the newest at this moment; None for all."""
    if_version: IfVersion | None = None
    owner: Name | None = None


class FileConditions(SystemCall, frozen=True):
    """What files are looked for: the beginning of the calls that find some.

    All conditions hold before anything is ranked, and the ranking knows nothing but the owner's files, in the
    folder alone where one is named. Of each file the first 256 KiB are looked through.
    """

    text: Annotated[str, Meta(max_length=4096)] = ""
    """Without words in it, those changed last are the best."""
    mode: SearchMode = "both"
    folder: Folder = ""
    """Only files in this folder or below it,"""
    name: Annotated[str, Meta(max_length=256)] = ""
    """with this in their name. A pattern with `*`, `?` or `[a-z]` fits all of the name, one with `/` the
    whole path. Capitals do not count."""
    kind: Annotated[str, Meta(max_length=128)] = ""
    """An ending such as `md`, or a media type such as `text/html` or `text/*`."""
    min_bytes: Offset = 0
    max_bytes: Offset | None = None
    since: Moment | None = None
    """Only files that were changed last at or after this moment,"""
    until: Moment | None = None
    """and before this one."""
    label: Label | None = None
    owner: Name | None = None


class StorageSearch(FileConditions, frozen=True):
    """Find files by what they and their paths say, best first. Without words, those changed last."""

    limit: Limit = 10


class StorageGroup(FileConditions, frozen=True, kw_only=True):
    """Find files, and put together those of one folder, kind, label or time, or alike in meaning.

    Groups come in the order of their best files. Looked at are the best 10,000 files; by meaning, the best
    256.
    """

    by: GroupBy
    limit: Limit = 20
    """Groups at most,"""
    num_best: Annotated[int, Meta(ge=0, le=20)] = 3
    """and files named of each."""


class FileAt(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file in one version; None for the newest."""

    path: Path
    version: Version | None = None


class StorageJoin(SystemCall, frozen=True):
    """Put the texts of files one after the other into one of the caller's own, under path and version each.

    It is written at once or not at all, and is untrusted where one of them is. What is no text is left out,
    and named. `TooLarge` for over 32 MiB of text.
    """

    files: Annotated[tuple[FileAt, ...], Meta(min_length=1, max_length=1000)]
    to: Path
    """In the caller's own tree."""
    title: Annotated[str, Meta(max_length=512)] = ""
    """The first line; empty for none."""
    if_version: IfVersion | None = None
    """Of `to`."""
    lock: LockToken | None = None
    """On `to`."""
    dry_run: bool = False
    """Only say what it would come to."""
    owner: Name | None = None
    """Whose the files are; None for the caller's own."""


class StorageQuota(SystemCall, frozen=True):
    """What an owner's files take, and may take."""

    owner: Name | None = None


class StorageLock(SystemCall, frozen=True):
    """Keep others from changing a file, or all in a folder, for a while. `Conflict` where somebody does.

    Changes that name the token are let through, others refused. It ends when its time is up, it is unlocked,
    or the process that took it ends; then its token opens nothing any more, also where nobody locked since.
    """

    path: Path
    lease_s: Seconds = 60.0
    token: LockToken | None = None
    """Of a lock that one has, to have it last so long from now on."""
    owner: Name | None = None


class StorageUnlock(SystemCall, frozen=True):
    """Give a lock up. `Conflict` where it has ended already."""

    path: Path
    token: LockToken
    owner: Name | None = None


class StorageShare(SystemCall, frozen=True):
    """Make a link by which anybody may read one version of one's own file, until it expires or is revoked.

    Deleting or moving the file ends it, too. By default it waits for a person.
    """

    path: Path
    version: Version | None = None
    """None for the newest now."""
    expires_s: Annotated[float, Meta(gt=0, le=31_536_000.0)] = 86_400.0


class StorageUnshare(SystemCall, frozen=True):
    """Revoke one of one's own links: it opens nothing from the next call on."""

    share_id: Name


class StorageShares(SystemCall, frozen=True):
    """One's own links that still open something."""


class StorageOpen(SystemCall, frozen=True):
    """Read what a link stands for, as bytes. Whoever has the link may; `NotFound` where it opens nothing."""

    link: Annotated[str, Meta(min_length=1, max_length=256)]
    start: Offset = 0
    length: Annotated[int, Meta(ge=1, le=MAX_READ_BYTES)] = MAX_READ_BYTES
    """Bytes at most."""


class StorageUpload(SystemCall, frozen=True):
    """Begin a file that comes in parts, of up to 1 GiB as things stand. It is seen once it is committed.

    What has come counts for the owner. An upload that nobody goes on with for a day is dropped.
    """

    path: Path
    owner: Name | None = None


class StoragePart(SystemCall, frozen=True):
    """Hand over one part, in any order. The same again changes nothing; `Conflict` for other bytes there."""

    upload_id: Name
    start: Offset
    data: Annotated[bytes, Meta(min_length=1, max_length=MAX_PART_BYTES)]
    """In JSON, base64."""


class StorageCommit(SystemCall, frozen=True):
    """Make the parts the file's content. `Conflict` where one is missing, and for what `write` has it for."""

    upload_id: Name
    path: Path
    size: Offset
    """Bytes of the whole."""
    label: Label = "trusted"
    source: Source = ""
    if_version: IfVersion | None = None
    lock: LockToken | None = None
    owner: Name | None = None


class StorageAbort(SystemCall, frozen=True):
    """Drop an upload and what has come of it."""

    upload_id: Name


class StorageMount(SystemCall, frozen=True):
    """Have a folder of one's files follow a directory of this machine, which the operator lends by a name.

    Its files are entries like others, with versions and found by searches; what changes there changes here,
    and with `write` the other way round. `Conflict` where there is something in the folder, or it is in
    another mounted directory. By default it waits for a person. How far it is `storage.mounts` says.
    """

    name: Name
    """Of the directory; `storage.mounts` names those that are lent."""
    folder: Path
    write: bool = False
    """Where the directory is lent for writing."""
    owner: Name | None = None


class StorageUnmount(SystemCall, frozen=True):
    """End a mount. Its entries are deleted, which leaves their versions; the directory stays as it is.

    `Conflict` where what was written here is not in the directory yet.
    """

    folder: Path
    keep: bool = False
    """Keep the entries, as ordinary files."""
    owner: Name | None = None


class StorageMounts(SystemCall, frozen=True):
    """The mounted directories of an owner and how far each is; for the operator everybody's."""

    owner: Name | None = None


class FileEntry(Reply, frozen=True):
    """A file or folder without its content. Times are seconds since the epoch, `size` is in bytes.

    A folder's size is that of the files in it, and its version rises with every change of one.
    """

    path: str
    owner: str
    version: int
    size: int
    created: float
    modified: float
    deleted: bool = False
    label: Label = "trusted"
    kind: Literal["file", "folder"] = "file"
    damaged: bool = False
    """Of a listing: the entry does not match its checksum, and nothing is known but the name."""
    text: str = ""
    """Of `stat`, for HTML, PDF and Office files: `extracted`, `waiting`, or `none: ` and why there is no text
    to be searched."""
    mount: str = ""
    """Of a file in a mounted directory that may be written: why it is not there as it was written here."""


class FileContent(Reply, frozen=True):
    """A file's content in one version, or a part of it; bytes that are not UTF-8 come as base64."""

    path: str
    version: int
    content: str = ""
    encoding: Encoding = "utf-8"
    data: bytes = b""
    """The bytes as they are, where these were asked for."""
    start: int = 0
    """Where this begins in the file; `end` is where it ends: a part that follows starts there."""
    end: int = 0
    size: int = 0
    """Of the whole file, in bytes."""
    label: Label = "trusted"


class FileEntries(Reply, frozen=True):
    """A page of a folder."""

    files: tuple[FileEntry, ...]
    folders: tuple[str, ...] = ()
    """The folders in it; where the listing is deep, those below that were made with `mkdir`."""
    next: str = ""
    """Asks for the page after this one, as its `after`; empty where this is the last."""


FileVerb = Literal["create", "write", "append", "delete", "rollback", "move"]


class FileVersion(Struct, frozen=True):
    """One version: `author` is the principal that wrote it, `verb` how."""

    version: int
    """In a folder's history, the folder's."""
    size: int
    modified: float
    author: str
    verb: FileVerb
    path: str = ""
    label: Label = "trusted"
    source: str = ""
    other: str = ""
    """Of a move: where it came from, and of the deletion that was one, where it went."""


class FileVersions(Reply, frozen=True):
    versions: tuple[FileVersion, ...]


class FileDiff(Reply, frozen=True):
    """A unified diff; empty where nothing changed."""

    text: str
    num_changed: int
    """Files that differ."""
    is_cut: bool = False
    """Whether more changed than is shown."""


class Pruned(Reply, frozen=True):
    """What a prune freed: versions, and bytes as quotas count them."""

    versions: int
    bytes: int


class FileQuota(Reply, frozen=True):
    """Files and folders made with `mkdir`; bytes of all versions together, and of uploads under way."""

    files: int
    max_files: int
    bytes: int
    max_bytes: int


class FileLock(Reply, frozen=True):
    """A lock. Of two locks of an owner's things the later has the higher token."""

    path: str
    token: int
    expires: float
    """Seconds since the epoch."""


class ShareLink(Reply, frozen=True):
    """A link to one version of a file. `GET` of `url` at the kernel's address reads it, without a token."""

    id: str
    path: str
    version: int
    link: str
    url: str
    expires: float


class ShareLinks(Reply, frozen=True):
    links: tuple[ShareLink, ...]


class Upload(Reply, frozen=True):
    """An upload under way, and how many bytes of it have come."""

    id: str
    received: int


class MountProblem(Struct, frozen=True):
    """A file of a mounted directory, by its path there, and what is wrong with it."""

    path: str
    why: str


class MountEntry(Reply, frozen=True):
    """A mounted directory. `why` says of one that is `unavailable` what keeps it from being followed."""

    folder: str
    owner: str
    name: str
    write: bool = False
    state: Literal["scanning", "following", "unavailable"] = "following"
    """`scanning` until all of it has been taken in once."""
    why: str = ""
    files: int = 0
    """That have been taken in,"""
    all_files: int = 0
    """of so many that there were when it was mounted, or are now."""
    bytes: int = 0
    waiting: int = 0
    """Entries changed here that are not in the directory yet."""
    conflicts: int = 0
    """Changes made here that a change in the directory has overtaken: they are in the history."""
    num_problems: int = 0
    """Things in the directory that are left out, such as links, of which the first 100 are named."""
    problems: tuple[MountProblem, ...] = ()
    unsaved: tuple[MountProblem, ...] = ()
    """The first 100 that could not be written to the directory; that is tried again now and then."""
    unwatched: str = ""
    """Why changes are only found when the directory is looked through; empty where they are told at once."""


class LentEntry(Struct, frozen=True):
    """A directory that may be mounted, and with which label its files come."""

    name: str
    write: bool
    label: Label


class MountEntries(Reply, frozen=True):
    mounts: tuple[MountEntry, ...]
    lent: tuple[LentEntry, ...] = ()


class FileHit(Struct, frozen=True):
    file: FileEntry
    snippet: str
    score: float


class FileHits(Reply, frozen=True):
    hits: tuple[FileHit, ...]


class FileGroup(Struct, frozen=True):
    """Files that have something in common: how many, their bytes together, and the best of them."""

    name: str
    """The folder, kind or time, such as `2026-W07`; of those alike in meaning, words that tell them apart."""
    num_files: int
    bytes: int
    best: tuple[FileHit, ...]


class FileGroups(Reply, frozen=True):
    groups: tuple[FileGroup, ...]
    num_groups: int
    """With those beyond the limit."""
    num_files: int
    """In all groups together."""
    is_cut: bool = False
    """Whether more files fit than were looked at."""


class JoinedFile(Struct, frozen=True):
    """Where in the whole a file's text stands, in bytes; or why it does not."""

    path: str
    version: int
    start: int = 0
    size: int = 0
    left_out: str = ""


class FileJoin(Reply, frozen=True):
    """What was joined, in its order, and what came of it."""

    parts: tuple[JoinedFile, ...]
    size: int
    label: Label = "trusted"
    file: FileEntry | None = None
    """None of a dry run."""
