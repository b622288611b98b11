"""What is done in one transaction to keep a mount's entries and what is known of its directory together.

The directory is right: where both have changed, what it has becomes the newest version, and what was written
here stays in the history.
"""

from hashlib import blake2b
from typing import Literal

import apsw
from msgspec import Struct, structs

from aios.abi.errors import Corrupt
from aios.abi.syscalls import Label
from aios.drivers.mounts.beneath import Listing, Stamp
from aios.kernel.files import entries, folders, mounting, pieces, states, uploads
from aios.kernel.files.asking import Asking
from aios.kernel.files.changing import Change
from aios.kernel.files.chunks import Chunk
from aios.kernel.files.entries import File
from aios.kernel.files.folders import ancestors
from aios.kernel.files.holdings import ROW_BYTES
from aios.kernel.files.mounting import Known, Mount

READ_BYTES = 1024 * 1024
"""Of an entry's content, compared or handed on at once."""
REMOVED_FILES = 500
"""Entries removed in one transaction."""

Outcome = Literal["same", "written", "removed", "overtaken"]
"""What came of a look at a file: nothing new, a new version, its deletion, or one of these two over a change
that was made here."""


class Seen(Struct, frozen=True):
    """A file of the directory as it was read: without a stamp where none is there."""

    path: str
    stamp: Stamp | None = None
    hash: bytes = b""
    size: int = 0
    """What was read, in bytes: a file may be growing meanwhile."""
    content: tuple[Chunk, ...] = ()
    """Not of a file that is what it was by its hash."""
    upload: str = ""
    """Where the content was put that is too large to be handed on."""


def hashed() -> blake2b:
    """What makes the hash of a content."""
    return blake2b(digest_size=16)


def take(connection: apsw.Connection, asking: Asking, mount: Mount, seen: Seen, label: Label) -> Outcome:
    """Make an entry what its file is. Raises `TooLarge`, `QuotaExceeded` or `Corrupt`."""
    if seen.stamp is None:
        return _gone(connection, asking, mount, seen.path)
    known = mounting.known(connection, mount, seen.path)
    if known is not None and known.hash == seen.hash:
        mounting.keep(connection, structs.replace(known, stamp=seen.stamp))
        return "same"
    path = mount.outside(seen.path)
    file = entries.find(connection, mount.owner, path)
    if not seen.upload and is_content(connection, file, seen.size, seen.hash):
        return _same(connection, mount, seen, file)
    change = Change(connection, asking)
    _make_way(connection, change, mount, path)
    source = f"mount:{mount.name}"
    if seen.upload:
        content = uploads.taken(connection, uploading(asking, mount), change, seen.upload, seen.size)
        new = change.put(file, content, "write", label=label, source=source)
    else:
        new = change.write(file, seen.content, "write", label=label, source=source)
    change.close()
    mounting.keep(connection, Known(mount.id, seen.path, new.version, seen.hash, seen.stamp))
    return _overtaken(connection, mount, seen.path) or "written"


def uploading(asking: Asking, mount: Mount) -> Asking:
    """The same as of whom its uploads are of: no two mounts go on with each other's."""
    return structs.replace(asking, author=f"mount:{mount.id}")


def same(connection: apsw.Connection, mount: Mount, seen: Seen, version: int) -> bool:
    """Keep that a file is what its entry is in `version`; False where the entry has another by now."""
    file = entries.find(connection, mount.owner, mount.outside(seen.path))
    if file.deleted or file.version != version:
        return False
    _same(connection, mount, seen, file)
    return True


def is_content(connection: apsw.Connection, file: File, size: int, hash: bytes) -> bool:
    """Whether an entry's content has this size and hash."""
    if file.deleted or file.size != size:
        return False
    digest = hashed()
    try:
        state = states.of(connection, file, file.version)
        for start in range(0, size, READ_BYTES):
            digest.update(pieces.read(connection, state, start, min(start + READ_BYTES, size)))
    except Corrupt:
        return False  # The directory has it whole.
    return digest.digest() == hash


def remove_below(connection: apsw.Connection, asking: Asking, mount: Mount, folder: str) -> tuple[int, bool]:
    """Remove entries of files that were in a folder that is gone; how many, and whether there are more."""
    paths = mounting.known_below(connection, mount, folder, REMOVED_FILES)
    for path in paths:
        _gone(connection, asking, mount, path)
    return len(paths), len(paths) == REMOVED_FILES


def remove_all(connection: apsw.Connection, asking: Asking, mount: Mount) -> bool:
    """Remove some entries of a mount that ends, and what is known of it at last; whether there is more."""
    found = entries.below(connection, mount.owner, mount.folder, deleted=False)
    files = [file for file, _ in zip(found, range(REMOVED_FILES), strict=False)]
    if not files:
        if mounting.forget(connection, mount, REMOVED_FILES):
            return True
        _remove_folders(connection, asking, mount.owner, mount.folder)
        return False
    change = Change(connection, asking)
    for file in files:
        change.remove(file)
    change.close()
    return True


def pushed(
    connection: apsw.Connection, mount: Mount, path: str, version: int, stamp: Stamp | None, hash: bytes
) -> bool:
    """Keep that a file is in the directory as it is in `version`; False where there is a newer one."""
    if stamp is None:
        mounting.drop(connection, mount, path)
    else:
        mounting.keep(connection, Known(mount.id, path, version, hash, stamp))
    if entries.find(connection, mount.owner, mount.outside(path)).version != version:
        return False
    mounting.settle(connection, mount, path)
    return True


class Plan(Struct, frozen=True):
    """What has to be looked at in a folder: files by name, and folders that are there or were."""

    files: list[str]
    folders: list[str]


def plan(connection: apsw.Connection, mount: Mount, folder: str, found: Listing, deep: bool) -> Plan:
    """Compare a listing with what is known: what differs, and with `deep` all folders, too."""
    known = mounting.known_in(connection, mount, folder)
    files = [
        name
        for name, stamp in found.files.items()
        if (one := known.get(name)) is None or not one.stamp.is_sure or not stamp.is_of(one.stamp)
    ]
    files += [name for name in known if name not in found.files]
    before = mounting.folders_in(connection, mount, folder)
    there = set(found.folders)
    inner = there | before if deep else there ^ before
    return Plan(sorted(files), sorted(inner))


def _same(connection: apsw.Connection, mount: Mount, seen: Seen, file: File) -> Outcome:
    assert seen.stamp is not None
    mounting.keep(connection, Known(mount.id, seen.path, file.version, seen.hash, seen.stamp))
    mounting.settle(connection, mount, seen.path)
    return "same"


def _gone(connection: apsw.Connection, asking: Asking, mount: Mount, path: str) -> Outcome:
    if not mounting.drop(connection, mount, path):
        return "same"  # What was made here and is not in the directory yet was never gone.
    file = entries.find(connection, mount.owner, mount.outside(path))
    if file.deleted:
        mounting.settle(connection, mount, path)
        return "same"
    change = Change(connection, asking)
    change.remove(file)
    change.close()
    return _overtaken(connection, mount, path) or "removed"


def _overtaken(connection: apsw.Connection, mount: Mount, path: str) -> Outcome | None:
    """Count a change made here that the directory's is now above."""
    if not mounting.settle(connection, mount, path):
        return None
    now = mounting.find_mount(connection, mount.id)
    assert now is not None
    mounting.save(connection, structs.replace(now, conflicts=now.conflicts + 1))
    return "overtaken"


def _make_way(connection: apsw.Connection, change: Change, mount: Mount, path: str) -> None:
    """Remove what cannot be beside a file at this path: a file where its folder is, a folder where it is."""
    around = [entries.find(connection, mount.owner, one) for one in ancestors(path) if mount.covers(one)]
    for file in (*around, *entries.below(connection, mount.owner, path, deleted=False)):
        if not file.deleted:
            change.remove(file)
            inside = mount.inside(file.path)
            mounting.drop(connection, mount, inside)
            _overtaken(connection, mount, inside)
    num_made = folders.remove(connection, mount.owner, path)
    change.held.count(-num_made, -num_made * ROW_BYTES)


def _remove_folders(connection: apsw.Connection, asking: Asking, owner: str, folder: str) -> None:
    change = Change(connection, asking)
    num_made = folders.remove(connection, owner, folder)
    change.held.count(-num_made, -num_made * ROW_BYTES)
    change.close()
