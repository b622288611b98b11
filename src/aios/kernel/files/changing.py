"""New versions of files: the one way in which anything about a file changes.

A `Change` is what one call does inside one transaction; it may be of many files.
"""

from collections.abc import Sequence

import apsw
from msgspec import structs

from aios.abi.errors import Conflict, Corrupt, TooLarge
from aios.abi.syscalls import FileVerb, Label
from aios.kernel.files import documents, entries, folders, holdings, mounting, pieces, sharing, states, texts
from aios.kernel.files.asking import Asking
from aios.kernel.files.chunks import Chunk, chunks_of
from aios.kernel.files.entries import File
from aios.kernel.files.holdings import ROW_BYTES
from aios.kernel.files.pieces import Piece
from aios.kernel.files.states import State


class Change:
    """Begun with what the owner holds; `close` keeps what it came to. The others answer the new entry.

    They raise `TooLarge`, `QuotaExceeded`, `Conflict` where a name is taken, `PermissionDenied` in a mount
    that is read only, or `Corrupt`.
    """

    def __init__(self, connection: apsw.Connection, asking: Asking) -> None:
        self._connection = connection
        self._asking = asking
        self.held = holdings.load(connection, asking.owner)
        self._mounts = [] if asking.is_mirror else mounting.all_of(connection, asking.owner)

    def close(self) -> None:
        holdings.save(self._connection, self.held)

    def write(
        self, file: File, content: Sequence[Chunk], verb: FileVerb, *, label: Label, source: str
    ) -> File:
        """A version with this content."""
        self._check_size(file.path, sum(chunk.size for chunk in content))
        return self.put(file, pieces.stored(self._connection, content, 0), verb, label=label, source=source)

    def append(self, file: File, content: Sequence[Chunk], *, label: Label, source: str) -> File:
        """A version with `content` after what the file was."""
        if file.deleted:
            return self.write(file, content, "append", label=label, source=source)
        size = file.size + sum(chunk.size for chunk in content)
        self._check_size(file.path, size)
        start, tail = file.size, file.tail
        if content and tail >= pieces.MAX_TAIL:
            start, content = self._merge(file, content)
            tail = 0
        small = pieces.tail_of([chunk.size for chunk in content])
        new = structs.replace(
            self._next(file),
            size=size,
            tail=small + (tail if small == len(content) else 0),
            label="untrusted" if "untrusted" in (file.label, label) else "trusted",
        )
        return self._keep(new, pieces.stored(self._connection, content, start), "append", source)

    def put(
        self,
        file: File,
        content: Sequence[Piece],
        verb: FileVerb,
        *,
        label: Label,
        source: str,
        other: str = "",
    ) -> File:
        """A version whose content is these pieces, of chunks that are kept already."""
        size = content[-1].start + content[-1].size if content else 0
        self._check_size(file.path, size)
        if file.deleted:
            folders.check_free(self._connection, file.owner, file.path)
        new = structs.replace(
            self._next(file),
            size=size,
            base=file.version + 1,
            tail=pieces.tail_of([one.size for one in content]),
            deleted=0,
            label=label,
        )
        return self._keep(new, content, verb, source, other, num_files=file.deleted)

    def copy(self, file: File, old: State, verb: FileVerb, other: str = "") -> File:
        """A version with the content that `old` has, of this file or another."""
        content = pieces.of(self._connection, old)
        return self.put(file, content, verb, label=old.label, source=old.source, other=other)

    def remove(self, file: File, other: str = "") -> File:
        """A version that says that the file is gone: never too much for an owner. Links to it end."""
        sharing.end_of(self._connection, file)
        new = structs.replace(self._next(file), size=0, base=file.version + 1, tail=0, deleted=1)
        return self._keep(new, (), "delete", "", other, num_files=-1)

    def _merge(self, file: File, content: Sequence[Chunk]) -> tuple[int, Sequence[Chunk]]:
        """The small pieces at the end made one with what comes now: where that begins, and its chunks."""
        try:
            start, last = pieces.merge(self._connection, file, file.version + 1)
        except Corrupt as error:
            raise states.damaged(file.path, file.version, error.message) from error
        return start, chunks_of(last + b"".join(chunk.content for chunk in content))

    def _next(self, file: File) -> File:
        moment = self.held.next_moment(self._asking.now)
        return structs.replace(file, version=file.version + 1, created=file.created or moment, moment=moment)

    def _keep(
        self,
        new: File,
        content: Sequence[Piece],
        verb: FileVerb,
        source: str,
        other: str = "",
        *,
        num_files: int = 0,
    ) -> File:
        mounting.change(self._connection, self._mounts, new.path)
        num_bytes = sum(one.size for one in content) + ROW_BYTES
        self.held.count(num_files, num_bytes)
        if not new.deleted:
            self.held.check(self._asking.limits, has_more_files=num_files > 0)
        if new.docid:
            documents.drop(self._connection, new)
        new = entries.save(self._connection, new)
        if not new.deleted:
            documents.add(self._connection, new, new.moment)
        texts.changed(self._connection, new)
        states.add(
            self._connection,
            State(
                new.docid,
                new.version,
                verb,
                new.size,
                new.base,
                new.moment,
                self._asking.author,
                new.label,
                source,
                other,
            ),
        )
        pieces.add(self._connection, new.docid, new.version, content)
        return new

    def _check_size(self, path: str, size: int) -> None:
        if size > self._asking.limits.max_file_bytes:
            raise TooLarge(
                f"'{path}' would have {size} bytes; a file may have {self._asking.limits.max_file_bytes}"
            )


def check_version(path: str, found: int, wanted: int | None) -> None:
    """`Conflict` unless a thing is at the version that a call is bound to; 0 is of what is not there."""
    if wanted is None or found == wanted:
        return
    if not found:
        raise Conflict(f"'{path}' is not there any more; it was expected at version {wanted}")
    if not wanted:
        raise Conflict(f"there is already a file '{path}'")
    raise Conflict(f"'{path}' is at version {found}, not {wanted}: look at it again")
