"""A folder of this machine taken into the kernel's files, so that it can be searched: a knowledge base.

What is there already, by its hash, is not written again. A link is never followed, nor is anything that is no
plain file: each folder is entered by its descriptor and each file opened in it, so that nobody who swaps one
for a link meanwhile leads out of the folder.
"""

import asyncio
import base64
import errno
import os
import stat
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError, NotFound, Unauthenticated, Unavailable
from aios.sdk.files import Files

PARALLEL = 8
"""Files under way at the same time."""
WHOLE_BYTES = 1024 * 1024
"""A file up to this is written by one call, a larger one in parts."""


class Problem(Struct, frozen=True):
    """A file that was not taken in."""

    path: str
    why: str


class Progress(Struct, frozen=True):
    """How far it is: files and bytes done, and of how many."""

    files: int
    all_files: int
    bytes: int
    all_bytes: int


class Ingested(Struct, frozen=True):
    """What came of it. `seconds` is how long it took."""

    into: str
    written: int
    unchanged: int
    bytes: int
    """Of what was written."""
    seconds: float
    problems: tuple[Problem, ...]
    """By path."""


OnProgress = Callable[[Progress], None]


async def ingest(
    storage: Files,
    folder: Path | str,
    into: str = "",
    *,
    label: sc.Label = "trusted",
    hidden: bool = False,
    owner: str | None = None,
    on_progress: OnProgress | None = None,
) -> Ingested:
    """Take in all files of a folder and of those below it, under the folder `into` of the kernel's files.

    Names that begin with a dot are left out unless `hidden`. What cannot be taken in is among the problems;
    raises `OSError` where the folder itself cannot be read, and what ends a connection.
    """
    top = await asyncio.to_thread(_top, folder)
    run = _Run(storage, into.strip("/"), label, owner, on_progress)
    await run.all(top, hidden)
    return run.ingested


def _top(folder: Path | str) -> Path:
    top = Path(folder).resolve(strict=True)
    if not top.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    return top


class _Run:
    def __init__(
        self, storage: Files, into: str, label: sc.Label, owner: str | None, on_progress: OnProgress | None
    ) -> None:
        self._storage = storage
        self._into = into
        self._label = label
        self._owner = owner
        self._on_progress = on_progress
        self._begin = time.monotonic()
        self._done = Progress(0, 0, 0, 0)
        self._num_written = self._num_unchanged = self._num_bytes = 0
        self._problems: list[Problem] = []

    @property
    def ingested(self) -> Ingested:
        return Ingested(
            self._into,
            self._num_written,
            self._num_unchanged,
            self._num_bytes,
            round(time.monotonic() - self._begin, 3),
            tuple(sorted(self._problems, key=lambda one: one.path)),
        )

    async def all(self, top: Path, hidden: bool) -> None:
        num_files, num_bytes = await asyncio.to_thread(_measure, top, hidden)
        self._done = Progress(0, num_files, 0, num_bytes)
        found = _files(top, hidden)
        workers = [asyncio.ensure_future(self._work(found)) for _ in range(PARALLEL)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
            found.close()

    async def _work(self, found: "Iterator[tuple[str, BinaryIO | str]]") -> None:
        for name, opened in found:
            if isinstance(opened, str):
                self._problems.append(Problem(name, opened))
                continue
            with opened:
                await self._take(name, opened)

    async def _take(self, name: str, opened: BinaryIO) -> None:
        size = os.fstat(opened.fileno()).st_size
        try:
            await self._write(f"{self._into}/{name}" if self._into else name, opened)
        except (Unauthenticated, Unavailable):
            raise
        except (AiosError, OSError) as error:
            self._problems.append(Problem(name, str(error)))
        done = self._done
        self._done = Progress(done.files + 1, done.all_files, done.bytes + size, done.all_bytes)
        if self._on_progress is not None:
            self._on_progress(self._done)

    async def _write(self, path: str, opened: BinaryIO) -> None:
        before = _stamp(opened)
        content, digest = await asyncio.to_thread(_read, opened)
        source = f"ingested sha256:{digest}"
        if await self._source_of(path) == source:
            self._num_unchanged += 1
            return
        if content is None:
            opened.seek(0)
            entry = await self._storage.put_opened(
                path, opened, label=self._label, source=source, owner=self._owner
            )
        else:
            text, encoding = _encoded(content)
            entry = await self._storage.write(
                path, text, encoding=encoding, label=self._label, source=source, owner=self._owner
            )
        self._num_written += 1
        self._num_bytes += entry.size
        if _stamp(opened) != before:
            raise OSError("it changed while it was read: take it in again")

    async def _source_of(self, path: str) -> str:
        """What the newest version says about where it came from."""
        try:
            found = await self._storage.history(path, 1, owner=self._owner)
        except NotFound:
            return ""
        return found.versions[-1].source if found.versions else ""


def _read(opened: BinaryIO) -> tuple[bytes | None, str]:
    """A file's content, None of a large one, and its hash."""
    digest, content = sha256(), b""
    while piece := opened.read(WHOLE_BYTES):
        digest.update(piece)
        content = piece if not content else content + piece[: WHOLE_BYTES + 1 - len(content)]
    return content if len(content) <= WHOLE_BYTES else None, digest.hexdigest()


def _encoded(content: bytes) -> tuple[str, sc.Encoding]:
    try:
        return content.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(content).decode(), "base64"


def _stamp(opened: BinaryIO) -> tuple[int, int]:
    found = os.fstat(opened.fileno())
    return found.st_size, found.st_mtime_ns


def _files(top: Path, hidden: bool) -> "Generator[tuple[str, BinaryIO | str], None, None]":
    """Each file by its path below `top`: opened, or why it is not."""
    problems: list[tuple[str, str]] = []
    below = partial(os.path.relpath, start=top)
    walk = os.fwalk(top, onerror=lambda error: problems.append((below(error.filename or top), _told(error))))
    for root, folders, names, descriptor in walk:
        _leave_hidden(folders, hidden)
        links = [name for name in folders if _is_link(name, descriptor)]
        for name in sorted([*_seen(names, hidden), *links]):
            path = below(os.path.join(root, name))
            try:
                path.encode()
                yield path, _opened(name, descriptor)
            except UnicodeEncodeError:
                yield repr(path), "its name is not UTF-8"
            except OSError as error:
                yield path, "it is a link" if error.errno == errno.ELOOP else _told(error)
        while problems:
            yield problems.pop()
    yield from problems


def _measure(top: Path, hidden: bool) -> tuple[int, int]:
    num_files = num_bytes = 0
    for _, folders, names, descriptor in os.fwalk(top):
        _leave_hidden(folders, hidden)
        for name in _seen(names, hidden):
            try:
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:  # It has gone since, and will be no problem later.
                continue
            if stat.S_ISREG(found.st_mode):
                num_files += 1
                num_bytes += found.st_size
    return num_files, num_bytes


def _leave_hidden(folders: list[str], hidden: bool) -> None:
    folders[:] = sorted(_seen(folders, hidden))


def _seen(names: list[str], hidden: bool) -> list[str]:
    return [name for name in names if hidden or not name.startswith(".")]


def _is_link(name: str, descriptor: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)


def _opened(name: str, descriptor: int) -> BinaryIO:
    """A plain file in the folder of this descriptor. Raises `OSError`, `ELOOP` for a link."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    opened = os.fdopen(os.open(name, flags, dir_fd=descriptor), "rb")
    if stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        return opened
    opened.close()
    raise OSError(errno.EINVAL, "it is no plain file")


def _told(error: OSError) -> str:
    return error.strerror or str(error)
