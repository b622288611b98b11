"""The store's own floor: bare rows of so many bytes, acknowledged in groups, with nothing else done to them.

What a manager reaches over the same store is told beside it, measured in the same run on the same disk.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import apsw
from msgspec import Struct

from aios.drivers.store import Store

_TABLE = "CREATE TABLE bare (id INTEGER PRIMARY KEY, body BLOB NOT NULL)"


class Floor(Struct, frozen=True):
    """`per_second` acknowledged rows, and how many of them one commit served in the mean."""

    per_second: float
    per_commit: float


@asynccontextmanager
async def bare_rows(folder: Path, num_bytes: int) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """What writes a row of `num_bytes` to a new store in `folder`, and waits until it is on the disk."""
    async with _bare_store(folder) as store:
        yield partial(store.write, _inserting(num_bytes))


async def floor(folder: Path, *, num_writers: int, num_rows: int, num_bytes: int) -> Floor:
    """Write `num_rows` rows of `num_bytes` to a new store in `folder`, each writer one after the other."""
    async with _bare_store(folder) as store:
        insert = _inserting(num_bytes)
        before, began = store.num_commits, time.perf_counter()
        await asyncio.gather(*(_write(store, insert, num_rows // num_writers) for _ in range(num_writers)))
        took = time.perf_counter() - began
        num_written = num_rows // num_writers * num_writers
        return Floor(num_written / took, num_written / (store.num_commits - before))


@asynccontextmanager
async def _bare_store(folder: Path) -> AsyncIterator[Store]:
    store = Store(folder / "floor.db")
    await store.start()
    try:
        await store.migrate("bare", (_TABLE,))
        yield store
    finally:
        await store.close()


def _inserting(num_bytes: int) -> Callable[[apsw.Connection], None]:
    body = bytes(num_bytes)

    def insert(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO bare (body) VALUES (?)", (body,))

    return insert


async def _write(store: Store, insert: Callable[[apsw.Connection], None], num_rows: int) -> None:
    for _ in range(num_rows):
        await store.write(insert)
