"""Whole files to and from the kernel, of any size, in parts: `agent.storage.put(…)` and `get(…)`.

Knows the calls for parts; the way they take is the transport's.
"""

import asyncio
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError
from aios.sdk.stubs import Storage

OnProgress = Callable[[int, int], None]
"""Is told after each part how many bytes are done, and of how many."""

PART_BYTES = sc.MAX_PART_BYTES


class Files(Storage):
    """Files of this process's principal, and of others that let it."""

    async def put(
        self,
        path: str,
        file: Path | str,
        *,
        label: sc.Label = "trusted",
        source: str = "",
        if_version: int | None = None,
        lock: int | None = None,
        owner: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> sc.FileEntry:
        """Write a file of this machine, of up to the kernel's limit. It is seen when all of it has come.

        `source` says where it came from. Raises what `storage.upload`, `part` and `commit` raise, `OSError`
        where the file cannot be read; nothing is left of what had come by then.
        """
        with await asyncio.to_thread(_reading, file) as opened:
            return await self.put_opened(
                path,
                opened,
                label=label,
                source=source,
                if_version=if_version,
                lock=lock,
                owner=owner,
                on_progress=on_progress,
            )

    async def put_opened(
        self,
        path: str,
        opened: BinaryIO,
        *,
        label: sc.Label = "trusted",
        source: str = "",
        if_version: int | None = None,
        lock: int | None = None,
        owner: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> sc.FileEntry:
        """As `put`, of a file that is open, from where it stands; it stays open."""
        upload = await self.upload(path, owner=owner)
        try:
            size = await self._send(upload.id, opened, on_progress)
            return await self.commit(
                upload.id,
                path,
                size,
                label=label,
                source=source,
                if_version=if_version,
                lock=lock,
                owner=owner,
            )
        except BaseException:
            with suppress(AiosError):  # It ends by itself in a day.
                await self.abort(upload.id)
            raise

    async def get(
        self,
        path: str,
        target: Path | str,
        *,
        version: int | None = None,
        owner: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> sc.FileContent:
        """Read a file or one version of it into a file of this machine, replaced when all is there.

        Answers what was read, without its content. Raises what `storage.read` raises, or `OSError`.
        """
        target = Path(target)
        partial = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}")
        try:
            with await asyncio.to_thread(_new, partial) as opened:
                found = await self._receive(path, version, owner, opened, on_progress)
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return found

    async def _send(self, upload_id: str, opened: BinaryIO, on_progress: OnProgress | None) -> int:
        size, whole = 0, os.fstat(opened.fileno()).st_size
        while data := await asyncio.to_thread(opened.read, PART_BYTES):
            await self.part(upload_id, size, data)
            size += len(data)
            if on_progress is not None:
                on_progress(size, max(size, whole))
        return size

    async def _receive(
        self,
        path: str,
        version: int | None,
        owner: str | None,
        opened: BinaryIO,
        on_progress: OnProgress | None,
    ) -> sc.FileContent:
        """All parts are of the version that the first was."""
        place = 0
        while True:
            found = await self.read(
                path, version=version, start=place, length=PART_BYTES, as_bytes=True, owner=owner
            )
            await asyncio.to_thread(opened.write, found.data)
            version, place = found.version, found.end
            if on_progress is not None:
                on_progress(place, found.size)
            if place >= found.size:
                return sc.FileContent(path, found.version, end=place, size=place, label=found.label)


def _reading(file: Path | str) -> BinaryIO:
    return open(file, "rb")


def _new(path: Path) -> BinaryIO:
    return open(path, "xb")
