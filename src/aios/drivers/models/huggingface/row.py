"""The keys and values of one sequence on torch's device. Knows nothing of what computes them."""

import numpy as np
import torch

from aios.drivers.models.huggingface.family import ModelConfig
from aios.drivers.models.kv_row import BLOCK
from aios.drivers.models.model import KeysValues

_GROWTH = 256


class TorchRow:
    """Keys and values of one sequence: (layers, key heads then value heads, positions, head_dim)."""

    def __init__(self, config: ModelConfig, like: torch.Tensor) -> None:
        """`like` has the number format and the device that this row is to have."""
        self._limit = -(-config.max_position_embeddings // BLOCK) * BLOCK
        self._shape = config.num_hidden_layers, 2 * config.kv_heads, config.dim
        self._like = like
        self.data = self._empty(min(_GROWTH, self._limit))

    def _empty(self, capacity: int) -> torch.Tensor:
        layers, heads, dim = self._shape
        return self._like.new_empty((layers, heads, capacity, dim))

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

    def copy(self, start: int, stop: int) -> KeysValues:
        """A copy of the positions from `start` up to `stop`; of bfloat16 its bits, as integers."""
        part = self.data[:, :, start:stop].to("cpu", copy=True).contiguous()
        out: KeysValues = (part.view(torch.int16) if part.dtype == torch.bfloat16 else part).numpy()
        return out

    def put(self, start: int, values: KeysValues) -> None:
        """Put back what `copy` gave, at `start`; keeps what stands before."""
        stop = start + values.shape[2]
        whole = np.require(values, requirements=["C", "W"])  # what was read from a file may not be written
        with torch.inference_mode():  # What has grown in a step may be changed in this mode only.
            self.reserve(stop, start)
            self.data[:, :, start:stop] = torch.from_numpy(whole).view(self.data.dtype)
