"""Takes the text out of documents in the background: one at a time, woken by writes, never by a timer."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

import apsw

from aios.abi.errors import AiosError, Corrupt, NotFound
from aios.drivers.clock import Clock
from aios.drivers.documents.extracting import Allowed, Extracted, Extractor, too_large
from aios.drivers.store import Store
from aios.kernel.files import documents, holdings, reading, states, texts
from aios.kernel.files.entries import File
from aios.kernel.files.media import media_of
from aios.kernel.files.tables import seal

log = logging.getLogger(__name__)


class Extracting:
    """`extractor` is closed with it."""

    def __init__(self, store: Store, clock: Clock, extractor: Extractor) -> None:
        self._store = store
        self._clock = clock
        self._extractor = extractor
        self._is_woken = False
        self._task: asyncio.Task[None] | None = None
        self.on_text: Callable[[str], None] = lambda shelf: None
        """Told of the shelf on which a document's text has come."""

    async def start(self) -> None:
        """Go on with what waits."""
        if await self._store.read(partial(texts.waiting, after=0)) is not None:
            self.wake()

    async def close(self) -> None:
        """Leave off: what is not done yet is done after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._extractor.close()

    async def idle(self) -> None:
        """Wait until there is nothing to do."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    def wake(self) -> None:
        """See whether a document waits."""
        self._is_woken = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._is_woken:
            self._is_woken = False
            try:
                await self._take_all()
            except AiosError as error:
                log.warning("documents wait for their text to be taken out: %s", error)

    async def _take_all(self) -> None:
        docid: int | None = 0
        while (docid := await self._store.read(partial(texts.waiting, after=docid or 0))) is not None:
            found = await self._store.read(partial(_load, docid=docid, allowed=self._extractor.allowed))
            if found is None:
                continue
            file, content = found
            taken = content if isinstance(content, Extracted) else await self._taken(file, content)
            await self._store.write(partial(_keep, file=file, taken=taken, now=self._clock.time()))
            self.on_text(documents.shelf_of(file.owner))

    async def _taken(self, file: File, content: bytes) -> Extracted:
        return await self._extractor.extract(media_of(file.path), content)


def _load(connection: apsw.Connection, docid: int, allowed: Allowed) -> tuple[File, bytes | Extracted] | None:
    """A file and its content, or why that cannot be had; None where the file itself cannot."""
    row = connection.execute("SELECT * FROM files WHERE docid = ?", (docid,)).fetchone()
    if row is None or row[-1] != seal(*row[:-1]):
        return None
    file = File(*row[:-1])
    if file.size > allowed.num_bytes:
        return file, too_large(allowed)
    try:
        state = states.with_content(connection, file, file.version)
        return file, reading.part(connection, file.path, state, 0, state.size).data
    except (Corrupt, NotFound) as error:
        return file, Extracted(None, error.message)


def _keep(connection: apsw.Connection, file: File, taken: Extracted, now: float) -> None:
    """Keep it, and have the file be found by it: unless it has changed since."""
    row = connection.execute("SELECT version, deleted FROM files WHERE docid = ?", (file.docid,)).fetchone()
    if row != (file.version, 0):
        return
    texts.keep(connection, file, taken.text, taken.why)
    try:
        held = holdings.load(connection, file.owner)
    except Corrupt:  # It is found as it was; `aios fsck --repair` counts anew.
        return
    documents.drop(connection, file)
    documents.add(connection, file, held.next_moment(now))
    holdings.save(connection, held)
