"""Makes the vectors of documents in the background, a few at a time, and those of queries as they come.

What waits for its vector is found by its words and letters meanwhile, and so is all while the embedding
fails: nothing waits for it but a query, and that for a moment. Where the configuration names another one than
a shelf's vectors are of, they are made anew; where that stops, it goes on after the next start.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import apsw
from msgspec import Struct

from aios.abi.errors import AiosError, InvalidArgument
from aios.drivers.clock import Clock, Timer
from aios.drivers.sentences import Vectors
from aios.drivers.store import Store
from aios.kernel.shelves import vectors
from aios.kernel.shelves.segment import Document
from aios.kernel.shelves.shelf import Source
from aios.kernel.shelves.vectors import Meaning, Progress, Vector

log = logging.getLogger(__name__)

BATCH = 32
"""Documents whose vectors are made together."""
LETTERS = 8_192
"""Of a document or a query, what is looked at."""
FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 300.0
"""After a failure; each is twice as long as the one before."""
TOLD = 1_000
"""Vectors after which the log says how far it has come."""


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def name(self) -> str:
        """Which vectors these are: others have another name. Empty as long as nobody knows."""
        ...

    async def start(self) -> None:
        """Make ready. Raises `Misconfigured`."""
        ...

    async def close(self) -> None: ...

    async def vectors(self, texts: Sequence[str], *, is_urgent: bool) -> Vectors:
        """A vector of length 1 for each text. Somebody waits for what is urgent.

        Raises an error of `aios.abi.errors`, `InvalidArgument` where a text is one that it cannot take.
        """
        ...


class _Work(Struct, frozen=True):
    """What is next for a shelf: documents in the order of their stamps, without those that have a vector."""

    progress: Progress
    upto: int
    """Up to where it has come with them."""
    documents: list[Document]
    num_waiting: int


class Embedding:
    """`embedder` is closed with it."""

    def __init__(self, store: Store, source: Source, clock: Clock, embedder: Embedder) -> None:
        self._store = store
        self._source = source
        self._clock = clock
        self._embedder = embedder
        self._woken: dict[str, None] = {}
        self._waiting: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._pause: Timer | None = None
        self._is_closed = False
        self._num_failures = 0
        """One after the other."""
        self.num_made = self.num_refused = 0
        """Documents that were given a vector since the start, and those that cannot be."""

    async def start(self) -> None:
        """Make the embedder ready. Raises what that raises."""
        await self._embedder.start()

    async def begin(self) -> None:
        """Go on with what waits, once calls are answered."""
        try:
            shelves = await self._store.read(self._source.shelves)
        except AiosError as error:
            log.warning(
                "what waits for a vector is not known, but for what is written from here on: %s", error
            )
            return
        for shelf in shelves:
            self.wake(shelf)

    async def close(self) -> None:
        """Leave off: what is not done yet is done after the next start."""
        self._is_closed = True
        if self._pause is not None:
            self._pause.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._embedder.close()

    async def idle(self) -> None:
        """Wait until there is nothing to do, or that waits for a pause to be over."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    def wake(self, shelf: str) -> None:
        """Something may have been put on a shelf."""
        self._woken[shelf] = None
        if self._pause is None and not self._is_closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def meaning_of(self, text: str) -> Meaning | None:
        """Of a query; None where the embedding fails, and as long as it does."""
        if self._pause is not None:
            return None
        try:
            found = await self._embedder.vectors([_looked_at(text)], is_urgent=True)
        except InvalidArgument as error:
            log.info("a query is searched for without its meaning: %s", error)
            return None
        except AiosError as error:
            self._fail(error)
            return None
        return Meaning(self._embedder.name, found[0])

    def statistics(self) -> dict[str, int]:
        """`waiting` are documents without a vector, as far as their shelves were looked at."""
        return {
            "made": self.num_made,
            "refused": self.num_refused,
            "waiting": sum(self._waiting.values()),
            "failing": int(self._pause is not None),
        }

    # ---- making them

    async def _work(self) -> None:
        while self._woken:
            shelf = next(iter(self._woken))
            del self._woken[shelf]
            try:
                if await self._go_on(shelf):
                    self._woken[shelf] = None  # After the others.
            except AiosError as error:
                self._woken[shelf] = None
                self._fail(error)
                return
            self._num_failures = 0

    async def _go_on(self, shelf: str) -> bool:
        """One step for a shelf; whether there are more."""
        if not self._embedder.name:
            await self._embedder.vectors(["size"], is_urgent=False)
        name = self._embedder.name
        work = await self._store.read(partial(_next, source=self._source, shelf=shelf))
        if work.progress.embedding != name:
            await self._begin_anew(shelf, work.progress.embedding, name)
            return True
        if work.upto == work.progress.upto:
            self._waiting.pop(shelf, None)
            return False
        self._waiting[shelf] = work.num_waiting
        made = await self._made(shelf, work.documents)
        if self._embedder.name != name:  # These are of another size: they are made anew.
            return True
        await self._store.write(partial(_keep, source=self._source, shelf=shelf, work=work, made=made))
        self._tell(len(made))
        return True

    async def _begin_anew(self, shelf: str, old: str, new: str) -> None:
        if old:
            log.info("the vectors of %s are of %r, and are made anew by %r", shelf, old, new)
        while await self._store.write(partial(vectors.drop_some, shelf=shelf)):
            pass
        await self._store.write(partial(vectors.advance, shelf=shelf, progress=Progress(new, 0)))

    async def _made(self, shelf: str, documents: Sequence[Document]) -> list[tuple[int, Vector]]:
        """The stamps and vectors of documents. Those that the embedder cannot take are left out."""
        if not documents:
            return []
        texts = [_looked_at(document.text) for document in documents]
        try:
            found = await self._embedder.vectors(texts, is_urgent=False)
        except InvalidArgument as error:
            if len(documents) > 1:
                each = [await self._made(shelf, [document]) for document in documents]
                return [one for some in each for one in some]
            self.num_refused += 1
            log.warning("a document of %s has no vector: %s", shelf, error)
            return []
        return list(zip((document.stamp for document in documents), found, strict=True))

    def _tell(self, num_made: int) -> None:
        before, self.num_made = self.num_made, self.num_made + num_made
        if before // TOLD != self.num_made // TOLD:
            log.info("%d vectors were made, %d documents wait", self.num_made, sum(self._waiting.values()))

    def _fail(self, error: AiosError) -> None:
        """Leave off for a while."""
        if self._pause is not None or self._is_closed:
            return
        pause_s = min(FIRST_PAUSE_S * 2.0**self._num_failures, LAST_PAUSE_S)
        self._num_failures += 1
        log.warning("searches do without new vectors for %g s, as they cannot be made: %s", pause_s, error)
        self._pause = self._clock.call_later(pause_s, self._try_again)

    def _try_again(self) -> None:
        self._pause = None
        for shelf in list(self._woken):
            self.wake(shelf)


def _looked_at(text: str) -> str:
    """The beginning of a text, without half characters."""
    return text[:LETTERS].encode("utf-8", "replace").decode()


def _next(connection: apsw.Connection, source: Source, shelf: str) -> _Work:
    progress = vectors.progress(connection, shelf)
    found = source.changed_since(connection, shelf, progress.upto, BATCH)
    known = vectors.known(connection, shelf, [document.stamp for document in found])
    wanted = [one for one in found if one.stamp not in known and one.text.strip()]
    upto = found[-1].stamp if found else progress.upto
    return _Work(progress, upto, wanted, source.num_after(connection, shelf, progress.upto))


def _keep(
    connection: apsw.Connection, source: Source, shelf: str, work: _Work, made: Sequence[tuple[int, Vector]]
) -> None:
    """Keep them, but of documents that have gone or changed meanwhile; nothing where they are made anew."""
    if vectors.progress(connection, shelf) != work.progress:
        return
    for stamp, vector in made:
        if source.has(connection, shelf, stamp):
            vectors.put(connection, shelf, stamp, vector)
    vectors.advance(connection, shelf, Progress(work.progress.embedding, work.upto))
