"""The keys and values of one sequence, and the room they need. Knows nothing of what computes them."""

import numpy as np

from aios.drivers.models.weights import DecoderConfig, Floats

BLOCK = 32
"""Positions of a prompt that are computed together."""
_GROWTH = 256


class KVRow:
    """Keys and values of one sequence: (layers, key heads then value heads, positions, head_dim)."""

    def __init__(self, config: DecoderConfig) -> None:
        self._limit = -(-config.max_position_embeddings // BLOCK) * BLOCK
        self._shape = config.num_hidden_layers, 2 * config.num_key_value_heads, config.head_dim
        self.data = self._empty(min(_GROWTH, self._limit))

    def _empty(self, capacity: int) -> Floats:
        layers, heads, dim = self._shape
        return np.empty((layers, heads, capacity, dim), np.float32)

    def reserve(self, length: int, kept: int) -> None:
        """Make room for `length` positions and keep the first `kept`. Doubles, so that copies stay few."""
        capacity = self.data.shape[2]
        if length <= capacity:
            return
        while capacity < length:
            capacity *= 2
        grown = self._empty(min(capacity, self._limit))
        grown[:, :, :kept] = self.data[:, :, :kept]
        self.data = grown

    def copy(self, start: int, stop: int) -> Floats:
        """A copy of the positions from `start` up to `stop`."""
        return self.data[:, :, start:stop].copy()

    def put(self, start: int, values: Floats) -> None:
        """Put back what `copy` gave, at `start`; keeps what stands before."""
        stop = start + values.shape[2]
        self.reserve(stop, start)
        self.data[:, :, start:stop] = values
