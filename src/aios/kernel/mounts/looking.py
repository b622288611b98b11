"""Looking at a directory's files, and reading those that have changed: everything here is run on a thread."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from io import FileIO

from msgspec import Struct

from aios.drivers.mounts.beneath import Beneath, Listing, Refused, Stamp, stamp_of, told
from aios.drivers.mounts.watching import Watches
from aios.kernel.files.chunks import Chunk, chunks_of
from aios.kernel.files.mounting import Known
from aios.kernel.mounts.taking import Seen, hashed

PART_BYTES = 4 * 1024 * 1024
"""Of a file read at once; a larger one is handed on in parts."""
BATCH_BYTES = 8 * 1024 * 1024
"""Read in one go: what is beyond waits for the next."""


class Large(Struct, frozen=True):
    """A file that is too large to be read here."""

    stamp: Stamp


class Unchanged(Struct, frozen=True):
    """A file that is as it was."""


class Later(Struct, frozen=True):
    """A file that the next batch has room for."""


Looked = Seen | Unchanged | Large | Listing | Refused | Later
"""What was found: of a file what is to be kept of it, or why nothing is."""


class Looker:
    """Looks at one mount's directory. `watch` sees to it that folders are watched before they are listed."""

    def __init__(self, beneath: Beneath, watches: Watches | None, mount: int, max_bytes: int) -> None:
        self._beneath = beneath
        self._watches = watches
        self._mount = mount
        self._max_bytes = max_bytes
        self.why_unwatched = "" if watches is not None else "this system has no inotify"

    def look_at(self, paths: Sequence[str], known: Mapping[str, Known | None]) -> dict[str, Looked]:
        """Look at all these. Raises `OSError` of the directory itself only."""
        found: dict[str, Looked] = {}
        room = BATCH_BYTES
        for path in paths:
            if room <= 0:
                found[path] = Later()
                continue
            found[path] = one = self._look(path, known.get(path))
            if isinstance(one, Seen):
                room -= sum(chunk.size for chunk in one.content)
        return found

    def _look(self, path: str, known: Known | None) -> Looked:
        found = self._beneath.look(path, self._watch)
        if found is None:
            return Seen(path)
        if not isinstance(found, Stamp):
            return found
        if known is not None and known.stamp.is_sure and found.is_of(known.stamp):
            return Unchanged()
        if found.size > self._max_bytes:
            return Refused(f"it has {found.size} bytes; a file may have {self._max_bytes}")
        if found.size > PART_BYTES:
            return Large(found)
        return self._read(path, known)

    def _read(self, path: str, known: Known | None) -> Looked:
        try:
            with self._beneath.open(path) as opened:
                before = stamp_of(opened)
                content = read_part(opened, PART_BYTES + 1)
                stamp = settled(before, stamp_of(opened))
        except FileNotFoundError:
            return Seen(path)
        except OSError as error:
            return Refused(told(error))
        if len(content) > PART_BYTES:
            return Large(stamp)
        digest = hashed()
        digest.update(content)
        hash = digest.digest()
        is_known = known is not None and known.hash == hash
        return Seen(path, stamp, hash, len(content), () if is_known else chunks_of(content))

    def _watch(self, descriptor: int, path: str) -> None:
        if self._watches is None:
            return
        try:
            self._watches.add(descriptor, self._mount, path)
        except OSError as error:
            self.why_unwatched = f"'{path or '.'}' cannot be watched: {told(error)}"


def read_part(opened: FileIO, most: int) -> bytes:
    """The next bytes of a file: `most`, or all that there are. Raises `OSError`."""
    parts: list[bytes] = []
    while most and (part := opened.read(most)):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def read_chunks(opened: FileIO, digest: blake2b) -> tuple[bytes, tuple[Chunk, ...]]:
    """The next part of a large file, and the same as chunks. Raises `OSError`."""
    data = read_part(opened, PART_BYTES)
    digest.update(data)
    return data, chunks_of(data)


def settled(before: Stamp, after: Stamp) -> Stamp:
    """The stamp of what was read between these two: one that changed meanwhile is not to be relied on."""
    if before.is_of(after):
        return before
    return Stamp(*after.fields, is_sure=False)
