"""A kernel full of invented notes: what the benches of notes share."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from aios.abi.syscalls import MemoryAdd, MemoryLoad, NoteRecord, ProcessSpawn, Spawned
from aios.bench.notes.facts import Fact
from aios.bench.peer import kernel_at_once

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel

PAGE = 1000
"""Notes of one call when many are put in."""


@asynccontextmanager
async def notebook(folder: Path, embedding: str = "ngrams") -> AsyncIterator["Kernel"]:
    """A kernel on `folder` in which one owner may have a million notes and more."""
    from aios.kernel.config import MemoryConfig

    memory = MemoryConfig(max_notes=10_000_000, max_note_bytes=1 << 34, embedding=embedding)
    async with kernel_at_once(folder, memory=memory) as kernel:
        yield kernel


async def spawn(kernel: "Kernel", name: str) -> str:
    """The token of a new agent, whose notes are its own."""
    spawned = await kernel.trap(kernel.operator_token, ProcessSpawn(agent=name, principal=name))
    assert isinstance(spawned, Spawned)
    return spawned.token


async def fill(kernel: "Kernel", token: str, facts: Iterator[Fact], num_notes: int) -> list[Fact]:
    """Keep the next so many facts as notes, many in a call."""
    kept: list[Fact] = []
    while len(kept) < num_notes:
        some = list(islice(facts, min(PAGE, num_notes - len(kept))))
        await kernel.trap(token, MemoryLoad(notes=tuple(NoteRecord(fact.note) for fact in some)))
        kept += some
    return kept


class Adding:
    """Called, it adds one more note and waits until that is on the disk."""

    def __init__(self, kernel: "Kernel", token: str, facts: Iterator[Fact]) -> None:
        self._kernel = kernel
        self._token = token
        self._facts = facts

    async def __call__(self) -> None:
        await self._kernel.trap(self._token, MemoryAdd(text=next(self._facts).note))
