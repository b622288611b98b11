"""The store's own floor: bare rows of so many bytes, acknowledged in groups, with nothing else done to them.

What a manager reaches over the same store is told beside it, measured in the same run on the same disk.
"""

import asyncio
import time
from pathlib import Path

import apsw
from msgspec import Struct

from aios.drivers.store import Store

_TABLE = "CREATE TABLE bare (id INTEGER PRIMARY KEY, body BLOB NOT NULL)"


class Floor(Struct, frozen=True):
    """`per_second` acknowledged rows, and how many of them one commit served in the mean."""

    per_second: float
    per_commit: float


async def floor(folder: Path, *, num_writers: int, num_rows: int, num_bytes: int) -> Floor:
    """Write `num_rows` rows of `num_bytes` to a new store in `folder`, each writer one after the other."""
    store = Store(folder / "floor.db")
    await store.start()
    try:
        await store.migrate("bare", (_TABLE,))
        body = bytes(num_bytes)
        before, began = store.num_commits, time.perf_counter()
        await asyncio.gather(*(_write(store, body, num_rows // num_writers) for _ in range(num_writers)))
        took = time.perf_counter() - began
        num_written = num_rows // num_writers * num_writers
        return Floor(num_written / took, num_written / (store.num_commits - before))
    finally:
        await store.close()


async def _write(store: Store, body: bytes, num_rows: int) -> None:
    def insert(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO bare (body) VALUES (?)", (body,))

    for _ in range(num_rows):
        await store.write(insert)
