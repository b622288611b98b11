"""A Llama-type decoder in numpy: many rows a token each, or one row a block of its prompt.

Owns the computation and the layout of keys and values. It knows nothing of text, sampling or scheduling.
Everything is float32: one float64 scalar would make all of it fourteen times slower.

A row's numbers depend on that row alone, bit for bit: products have widths that agree (`panels`), attention
is computed for each row over its own length, and prompts run in blocks of `BLOCK` at multiples of it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aios.drivers.models.kv_row import BLOCK, KVRow
from aios.drivers.models.panels import agreeing_widths, multiply
from aios.drivers.models.weights import DecoderConfig, Floats, Layer, Weights, load_weights

_UNCOUNTED = np.float32(1e-20)
"""Added to a weight and taken off again, it rounds those below 1e-27 to nothing; the largest is 1. Attention
with sharp peaks has many below 1e-38, and with such a processor computes ten times as slowly."""


class Decoder:
    """One model's weights with the buffers to run it. Not for two threads at once."""

    def __init__(self, weights: Weights) -> None:
        self.config = config = weights.config
        self._layers, self._embedding = weights.layers, weights.embedding
        self._unembedding, self._identity = weights.unembedding, weights.identity
        first = weights.layers[0]
        self.widths = agreeing_widths([first.qkv, first.out, first.gate_up, first.down, weights.unembedding])
        self._turns = _rotations(config)
        self._scratch = {rows: _Scratch(config, rows) for rows in {*self.widths, BLOCK}}
        self._scores = np.empty((2, 0), np.float32)
        self._logits = np.empty((0, config.vocab_size), np.float32)
        self._future = np.triu(np.full((BLOCK, BLOCK), -np.inf, np.float32), 1)[:, None]

    @classmethod
    def load(cls, folder: Path) -> "Decoder":
        """Read a model from `folder`. `errors.Unavailable` where there is none that fits."""
        return cls(load_weights(folder))

    @property
    def identity(self) -> str:
        """What tells this model from others: rows of one mean nothing to another."""
        return self._identity

    @property
    def is_exact(self) -> bool:
        """By construction: see above."""
        return True

    @property
    def matrices(self) -> list[Floats]:
        """The matrices of one step in the order of their use: the least work that a token takes."""
        each = [(layer.qkv, layer.out, layer.gate_up, layer.down) for layer in self._layers]
        return [*(matrix for layer in each for matrix in layer), self._unembedding]

    def new_row(self) -> KVRow:
        return KVRow(self.config)

    def decode(self, rows: Sequence[KVRow], tokens: Sequence[int], lengths: Sequence[int]) -> Floats:
        """Feed one token to each row, whose first `lengths` positions are filled; logits by row.

        The result is a buffer that the next call overwrites.
        """
        if len(self._logits) < len(rows):
            self._logits = np.empty((len(rows), self.config.vocab_size), np.float32)
        widest = self.widths[-1]
        for start in range(0, len(rows), widest):
            part = slice(start, start + widest)
            logits = self._decode_panel(rows[part], tokens[part], lengths[part])
            self._logits[part][: len(logits)] = logits
        return self._logits[: len(rows)]

    def prefill(self, row: KVRow, tokens: Sequence[int], start: int, *, last: bool) -> Floats | None:
        """Compute one block of a prompt at `start`, a multiple of `BLOCK`; with `last` the logits after it.

        A shorter last block is filled up: what it leaves behind its end is overwritten before it is read.
        """
        row.reserve(start + BLOCK, start)
        scratch = self._scratch[BLOCK]
        padded = np.zeros(BLOCK, np.intp)
        padded[: len(tokens)] = tokens
        np.take(self._embedding, padded, axis=0, out=scratch.x)
        turns = self._turns[start : start + BLOCK, None]
        with np.errstate(over="ignore"):
            for index, layer in enumerate(self._layers):
                self._project(layer, scratch, turns)
                self._attend_block(row.data[index], scratch, start)
                self._feed_forward(layer, scratch)
        if not last:
            return None
        end = len(tokens) - 1
        scratch.normalise(self.config.rms_norm_eps)
        logits: Floats = (scratch.normed[end : end + 1] @ self._unembedding)[0]
        return logits

    def _decode_panel(self, rows: Sequence[KVRow], tokens: Sequence[int], lengths: Sequence[int]) -> Floats:
        scratch = self._scratch[next(width for width in self.widths if width >= len(rows))]
        scratch.x[len(rows) :] = 0
        scratch.attended[len(rows) :] = 0
        np.take(self._embedding, tokens, axis=0, out=scratch.x[: len(rows)])
        positions = np.zeros(len(scratch.x), np.intp)
        positions[: len(rows)] = lengths
        turns = self._turns[positions][:, None]
        for row, length in zip(rows, lengths, strict=True):
            row.reserve(length + 1, length)
        reach = _Reach(rows, lengths, self.config, *self._room_for_scores(sum(lengths) + len(rows)))
        with np.errstate(over="ignore"):
            for index, layer in enumerate(self._layers):
                self._project(layer, scratch, turns)
                reach.attend(index, scratch)
                self._feed_forward(layer, scratch)
        scratch.normalise(self.config.rms_norm_eps)
        multiply(scratch.normed, self._unembedding, scratch.logits)
        return scratch.logits[: len(rows)]

    def _room_for_scores(self, positions: int) -> Floats:
        """Two buffers, for the scores of all rows and for what is taken off them."""
        size = self.config.num_attention_heads * positions
        if self._scores.shape[1] < size:
            self._scores = np.empty((2, 2 * size), np.float32)
        return self._scores[:, :size]

    def _project(self, layer: Layer, scratch: "_Scratch", turns: NDArray[np.complex64]) -> None:
        scratch.normalise(self.config.rms_norm_eps)
        multiply(scratch.normed, layer.qkv, scratch.qkv)
        np.multiply(scratch.rotating, turns, out=scratch.rotating)

    def _feed_forward(self, layer: Layer, scratch: "_Scratch") -> None:
        multiply(scratch.attended_flat, layer.out, scratch.residual)
        scratch.x += scratch.residual
        scratch.normalise(self.config.rms_norm_eps)
        multiply(scratch.normed, layer.gate_up, scratch.gate_up)
        swish = scratch.swish
        np.negative(scratch.gate, out=swish)
        np.exp(swish, out=swish)
        swish += np.float32(1)
        np.divide(scratch.gate, swish, out=swish)
        swish *= scratch.up
        multiply(swish, layer.down, scratch.residual)
        scratch.x += scratch.residual

    def _attend_block(self, kv: Floats, scratch: "_Scratch", start: int) -> None:
        config, stop = self.config, start + BLOCK
        kv[:, start:stop] = scratch.kv.swapaxes(0, 1)
        keys, values = kv[: config.num_key_value_heads, :stop], kv[config.num_key_value_heads :, :stop]
        queries = scratch.queries.swapaxes(0, 1).reshape(config.num_key_value_heads, -1, config.head_dim)
        scores: Floats = queries @ keys.swapaxes(1, 2)
        scores.reshape(-1, BLOCK, config.group, stop)[..., start:] += self._future
        scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
        to_weights(scores)
        attended = scores @ values
        attended /= np.add.reduce(scores, axis=-1, keepdims=True)
        scratch.attended[:] = attended.reshape(-1, BLOCK, config.group, config.head_dim).swapaxes(0, 1)


class _Scratch:
    """Buffers for one width, with the views of them that the layers use: a step allocates next to nothing."""

    def __init__(self, config: DecoderConfig, rows: int) -> None:
        heads, kv_heads, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        wide = config.intermediate_size
        self.x = np.empty((rows, config.hidden_size), np.float32)
        self.normed = np.empty_like(self.x)
        self.residual = np.empty_like(self.x)
        self.qkv = np.empty((rows, (heads + 2 * kv_heads) * dim), np.float32)
        by_head = self.qkv.reshape(rows, -1, dim)
        self.rotating = by_head.view(np.complex64)[:, : heads + kv_heads]
        self.queries = by_head[:, :heads].reshape(rows, kv_heads, config.group, dim)
        self.kv = by_head[:, heads:]
        self.attended = np.empty((rows, kv_heads, config.group, dim), np.float32)
        self.attended_flat = self.attended.reshape(rows, -1)
        self.gate_up = np.empty((rows, 2 * wide), np.float32)
        self.gate, self.up = self.gate_up[:, :wide], self.gate_up[:, wide:]
        self.swish = np.empty((rows, wide), np.float32)
        self.logits = np.empty((rows, config.vocab_size), np.float32)

    def normalise(self, eps: float) -> None:
        """`x` over its root mean square, into `normed`."""
        np.multiply(self.x, self.x, out=self.normed)
        root = np.add.reduce(self.normed, axis=-1, keepdims=True)
        root *= np.float32(1 / self.x.shape[-1])
        root += np.float32(eps)
        np.sqrt(root, out=root)
        np.divide(self.x, root, out=self.normed)


class _Reach:
    """What each row of one step attends to: views of its keys and values, made once for all layers.

    Keys and values of different rows are read where they lie; only the scores stand side by side, so that
    the softmax is a handful of calls for all rows. Its sums run over one row's part each.
    """

    def __init__(
        self,
        rows: Sequence[KVRow],
        lengths: Sequence[int],
        config: DecoderConfig,
        room: Floats,
        spare: Floats,
    ) -> None:
        reached = np.array(lengths, np.intp) + 1
        ends = np.cumsum(reached)
        self._starts = ends - reached
        self._owners = np.repeat(np.arange(len(rows)), reached)
        self._scores = room.reshape(config.num_key_value_heads, config.group, -1)
        self._peaks = spare.reshape(self._scores.shape)
        bounds = zip(self._starts.tolist(), ends.tolist(), strict=True)
        self._parts = [self._scores[:, :, start:end] for start, end in bounds]
        heads = config.num_key_value_heads
        filled = [row.data[:, :, : length + 1] for row, length in zip(rows, lengths, strict=True)]
        self._news = _by_layer([data[:, :, -1] for data in filled])
        self._keys = _by_layer([data[:, :heads].swapaxes(2, 3) for data in filled])
        self._values = _by_layer([data[:, heads:] for data in filled])

    def attend(self, layer: int, scratch: _Scratch) -> None:
        """Store the new keys and values of this layer, then fill `scratch.attended`."""
        for place, new in zip(self._news[layer], scratch.kv, strict=False):
            place[...] = new
        for query, keys, part in zip(scratch.queries, self._keys[layer], self._parts, strict=False):
            np.matmul(query, keys, part)
        scores = self._scores
        peaks = np.maximum.reduceat(scores, self._starts, axis=-1)
        scores -= np.take(peaks, self._owners, axis=-1, out=self._peaks, mode="clip")
        to_weights(scores)
        totals = np.add.reduceat(scores, self._starts, axis=-1)
        for part, values, out in zip(self._parts, self._values[layer], scratch.attended, strict=False):
            np.matmul(part, values, out)
        scratch.attended[: len(self._parts)] /= totals.transpose(2, 0, 1)[..., None]


def to_weights(scores: Floats) -> None:
    """Raise e to each score, in place; what weighs too little to count weighs nothing."""
    np.exp(scores, out=scores)
    scores += _UNCOUNTED
    scores -= _UNCOUNTED


def _by_layer(views: list[Floats]) -> list[tuple[Floats, ...]]:
    return list(zip(*views, strict=True))


def _rotations(config: DecoderConfig) -> NDArray[np.complex64]:
    half = config.head_dim // 2
    speeds = config.rope_theta ** -(np.arange(half) / half)
    positions = np.arange(-(-config.max_position_embeddings // BLOCK) * BLOCK)
    turns: NDArray[np.complex64] = np.exp(1j * positions[:, None] * speeds).astype(np.complex64)
    return turns
