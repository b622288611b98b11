"""How small histories are kept: `python -m aios.bench.histories.size FILE NUM_RUNS` prints what it came to.

Each call's whole history is kept as one: its agent's grows, and before each answer it is forked. That is done
in a process of its own, whose growth is told. Before, it lives through the same with made-up histories, few
and long ones, which it then forgets: so the code and the database's page cache are there already.
"""

import asyncio
import ctypes
import gc
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
import zstandard
from msgspec import Struct

from aios.abi.messages import Message
from aios.abi.syscalls import MemoryAppend, MemoryClear, MemoryFork, MemoryRead
from aios.bench.histories.runs import Run, read
from aios.drivers.clock import SystemClock
from aios.drivers.store import Store
from aios.kernel.config import MemoryConfig
from aios.kernel.histories.manager import HistoryManager
from aios.kernel.histories.rows import MAIN, lines_of
from aios.kernel.process import Caller

FIRST, FIRST_BYTES = 2, 20_000
"""Agents with made-up histories that come before, and the bytes of their messages: few, and long."""
SAMPLE = 100
"""Every so manieth history is read again, and has to be what was asked."""


class Size(Struct, frozen=True):
    """Bytes of the same histories, kept in several ways."""

    num_calls: int
    raw: int
    """Each apart, as JSON lines."""
    zstd: int
    """Each apart, compressed alone."""
    text: int
    """In the trie, before it is packed."""
    kept: int
    """In the trie, as it is kept."""
    disk: int
    """All pages of the database that the histories take, with names, places, checksums and indexes."""
    resident: int
    """What the process grew by."""
    counted: int
    """What the manager counts, and holds to its budget."""


async def measure(runs: Sequence[Run]) -> Size:
    """Raises `AssertionError` where a history is not what it was."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "aios.db")
        await store.start()
        manager = HistoryManager(store, MemoryConfig(), SystemClock())
        await manager.start()
        try:
            await _keep(manager, _made_up())
            await _forget(manager, _made_up())
            pages, counted, resident = await store.read(_disk), _counted(manager), _resident()
            await _keep(manager, runs)
            await manager.idle()
            grown = _resident() - resident, _counted(manager) - counted
            await _check(manager, runs)
            text, kept = await store.read(_text)
            disk = await store.read(_disk) - pages
        finally:
            await manager.close()
            await store.close()
    raw, zstd, num_calls = _apart(runs)
    return Size(num_calls, raw, zstd, text, kept, disk, *grown)


async def _keep(manager: HistoryManager, runs: Sequence[Run]) -> None:
    """All agents at the same time: else each call would wait for the disk alone."""

    async def keep(run: Run) -> None:
        caller = Caller(1, run.agent)
        for number, messages in enumerate(run.turns()):
            await manager.execute(caller, MemoryAppend(messages=messages))
            await manager.execute(caller, MemoryFork(to=f"call-{number}"))

    await asyncio.gather(*map(keep, runs))


async def _forget(manager: HistoryManager, runs: Sequence[Run]) -> None:
    for name in (MAIN, *(f"call-{number}" for number in range(max(len(run.turns()) for run in runs)))):
        clear = MemoryClear(history=name)
        await asyncio.gather(*(manager.execute(Caller(1, run.agent), clear) for run in runs))


def _made_up() -> list[Run]:
    rng = random.Random(0)
    agents = [f"made-up-{number}" for number in range(FIRST)]
    return [Run(agent, tuple(_said(rng, turn) for turn in range(60))) for agent in agents]


def _said(rng: random.Random, turn: int) -> Message:
    return Message("assistant" if turn % 2 else "user", rng.randbytes(FIRST_BYTES // 2).hex())


async def _check(manager: HistoryManager, runs: Sequence[Run]) -> None:
    asked = [(run, number) for run in runs for number in range(len(run.turns()))]
    for run, number in asked[::SAMPLE]:
        reply = await manager.execute(Caller(1, run.agent), MemoryRead(history=f"call-{number}"))
        expected = [message for turn in run.turns()[: number + 1] for message in turn]
        assert list(getattr(reply, "messages", ())) == expected


def _apart(runs: Sequence[Run]) -> tuple[int, int, int]:
    """The bytes of all calls' histories, those when each is compressed alone, and how many there are."""
    raw = zstd = num_calls = 0
    compressor = zstandard.ZstdCompressor()
    for run in runs:
        asked = b""
        for messages in run.turns():
            asked += lines_of(messages)
            raw, num_calls = raw + len(asked), num_calls + 1
            zstd += len(compressor.compress(asked))
    return raw, zstd, num_calls


def _counted(manager: HistoryManager) -> int:
    return manager.statistics()["bytes"]


def _text(connection: apsw.Connection) -> tuple[int, int]:
    """The bytes of all nodes, before and after they are packed."""
    text: Any = connection.execute("SELECT total(end - start) FROM history_nodes").get
    parts = ("history_bodies", "history_tails")
    kept: list[Any] = [connection.execute(f"SELECT total(length(body)) FROM {part}").get for part in parts]
    return int(text), int(sum(kept))


def _disk(connection: apsw.Connection) -> int:
    """The bytes of pages in use."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (int(str(connection.pragma(name))) for name in names)
    return (pages - free) * size


def _resident() -> int:
    """Of this process, when all garbage is collected and what the heap does not need is given back."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode(asyncio.run(measure(read(Path(sys.argv[1]), int(sys.argv[2])))))
    )
