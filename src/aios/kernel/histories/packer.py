"""Packs on disk what has left memory: text that was appended in small pieces is kept small from then on.

It can be left out without harm, so a disk that cannot be written is no error here.
"""

import asyncio
from collections.abc import Iterable
from functools import partial
from itertools import islice

from aios.abi.errors import OutcomeUnknown, Overloaded, StorageFull, Unavailable
from aios.drivers.store import Store
from aios.kernel.histories import rows

PIECE = 16
"""Nodes that are packed in one write, so that others' writes do not wait long."""
MAX_WAITING = 10_000
"""Nodes that wait; of more, the first stay as they are until they leave memory again."""


class Packer:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[int, None] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, node_ids: Iterable[int]) -> None:
        self._waiting.update(dict.fromkeys(node_ids))
        for node_id in list(islice(self._waiting, max(0, len(self._waiting) - MAX_WAITING))):
            del self._waiting[node_id]
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def idle(self) -> None:
        """Wait until all is packed that waits for it."""
        if self._task is not None:
            await self._task

    async def close(self) -> None:
        """Finish the write under way, and forget the rest."""
        self._waiting.clear()
        await self.idle()

    async def _run(self) -> None:
        while piece := list(islice(self._waiting, PIECE)):
            for node_id in piece:
                del self._waiting[node_id]
            try:
                await self._store.write(partial(rows.compress, node_ids=piece))
            except (StorageFull, Unavailable, OutcomeUnknown, Overloaded):
                self._waiting.clear()
