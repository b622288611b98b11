"""Keys and values of prompts' full blocks, found by all tokens up to their end, forgotten by least use.

Only blocks that a prefill made are kept: the same tokens at the same place give the same bits, so a prompt
that begins with them need not compute them again. A block in use by a snapshot is pinned and stays alive.
"""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from aios.drivers.models.weights import Floats

ROOT = b""
"""The key before the first block."""


class Block:
    """One block's keys and values, and how many snapshots need it."""

    __slots__ = ("pins", "values")

    def __init__(self, values: Floats) -> None:
        self.values = values
        self.pins = 0


def key_after(before: bytes, tokens: Sequence[int]) -> bytes:
    """The key of a block: it names the block's tokens and all before it."""
    return blake2b(before + np.array(tokens, np.int32).tobytes(), digest_size=16).digest()


class PrefixCache:
    """Blocks by key, under a budget of `max_bytes` for those that nobody has pinned."""

    def __init__(self, max_bytes: int) -> None:
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()
        self._max_bytes = max_bytes
        self.num_bytes = 0
        self.pinned_bytes = 0
        """Bytes of blocks that snapshots hold; they may have left the cache already."""

    def find(self, key: bytes) -> Block | None:
        """The block, which becomes the last used."""
        block = self._blocks.get(key)
        if block is not None:
            self._blocks.move_to_end(key)
        return block

    def add(self, key: bytes, values: Floats) -> Block:
        """Keep a new block; the least used go where the budget asks for it."""
        block = self._blocks[key] = Block(values)
        self.num_bytes += values.nbytes
        while self.num_bytes > self._max_bytes and self._blocks:
            _, oldest = self._blocks.popitem(last=False)
            self.num_bytes -= oldest.values.nbytes
        return block

    def pin(self, blocks: Sequence[Block]) -> None:
        """A snapshot holds these from now on."""
        for block in blocks:
            block.pins += 1
            self.pinned_bytes += block.values.nbytes if block.pins == 1 else 0

    def unpin(self, blocks: Sequence[Block]) -> None:
        """A snapshot that held these is gone."""
        for block in blocks:
            block.pins -= 1
            self.pinned_bytes -= block.values.nbytes if block.pins == 0 else 0

    def check(self) -> None:
        """The sums are what they say."""
        assert self.num_bytes == sum(block.values.nbytes for block in self._blocks.values())
        assert self.num_bytes <= self._max_bytes
        assert all(block.pins >= 0 for block in self._blocks.values())
