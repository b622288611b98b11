"""Interrupted runs of the engine and the keys and values they need to go on.

Owns the memory of snapshots, under a budget. A prompt's full blocks are shared with the prefix cache and with
each other; only what comes after them is copied. A snapshot that had to go is no loss but of time: the same
job with the same seed gives the same tokens again, so its run is replayed.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from aios.drivers.engine_answer import Answer
from aios.drivers.llm import Snapshot
from aios.drivers.models.kv_row import BLOCK
from aios.drivers.models.model import KeysValues, Row
from aios.drivers.models.prefix_cache import ROOT, Block, PrefixCache


@dataclass(slots=True, eq=False)
class Run:
    """A generation in the engine. It holds a row while it runs and none while it waits or is parked."""

    id: int
    prompt: Sequence[int]
    answer: Answer
    replayed: int = 0
    """Tokens that an earlier life has already shown."""
    row: Row | None = None
    length: int = 0
    """Positions of the row that are filled."""
    next_token: int = -1
    """Chosen but not yet fed; -1 while the prompt is being computed."""
    key: bytes = ROOT
    blocks: list[Block] = field(default_factory=list)
    """The prompt's full blocks, as far as they are computed."""
    slice_tokens: int = 0
    leaving: bool = False
    """It was told to yield while no token was there yet."""
    tail: KeysValues | None = None
    """Of a run without a row that has begun: keys and values after the full blocks."""

    def leave_row(self) -> Row:
        """Copy what is needed out of the row, which is then free for another."""
        row = self.row
        assert row is not None
        self.tail = row.copy(len(self.blocks) * BLOCK, self.length)
        self.row = None
        return row

    def enter_row(self, row: Row) -> None:
        """Begin in a row, or go on in it as in the row that was left."""
        self.row = row
        if self.tail is not None:
            row.reserve(self.length, 0)
            for index, block in enumerate(self.blocks):
                row.put(index * BLOCK, block.values)
            row.put(len(self.blocks) * BLOCK, self.tail)
            self.tail = None


class SnapshotStore:
    """Parked runs by handle. Handles of another engine process mean nothing here."""

    def __init__(self, cache: PrefixCache, max_bytes: int) -> None:
        self._cache = cache
        self._max_bytes = max_bytes
        self._kept: dict[str, Run] = {}
        self._epoch = os.urandom(6).hex()
        self._made = 0
        self._tail_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def num_bytes(self) -> int:
        """Bytes held, blocks that several share counted once."""
        return self._tail_bytes + self._cache.pinned_bytes

    def park(self, run: Run) -> Snapshot:
        """Keep a run that has left its row. Others go where the budget asks for it, the shortest first."""
        assert run.tail is not None
        before = self.num_bytes
        self._made += 1
        handle = f"{self._epoch}-{self._made}"
        self._kept[handle] = run
        self._tail_bytes += run.tail.nbytes
        self._cache.pin(run.blocks)
        snapshot = Snapshot("state", handle, run.answer.num_tokens, self.num_bytes - before)
        while self.num_bytes > self._max_bytes:
            # What has the fewest tokens costs the least to replay.
            self.take(min(self._kept, key=self._num_tokens))
        return snapshot

    def take(self, handle: str) -> Run | None:
        """The run, whose snapshot is used up by this; None where there is none."""
        run = self._kept.pop(handle, None)
        if run is not None and run.tail is not None:
            self._tail_bytes -= run.tail.nbytes
            self._cache.unpin(run.blocks)
        return run

    def check(self) -> None:
        """The sums are what they say."""
        assert self._tail_bytes == sum(run.tail.nbytes for run in self._kept.values() if run.tail is not None)
        blocks = {id(block): block for run in self._kept.values() for block in run.blocks}
        assert self._cache.pinned_bytes == sum(block.values.nbytes for block in blocks.values())

    def _num_tokens(self, handle: str) -> int:
        return self._kept[handle].answer.num_tokens
