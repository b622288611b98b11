"""The decoder of the Llama, Mistral and Qwen families in torch: many rows a token each, or one row a block.

Owns the computation and the layout of keys and values. It knows nothing of text, sampling or scheduling.

A row's numbers depend on that row alone: what works on many rows at once runs in widths that were seen to
give the same bits on this machine (`panels`), attention is computed for each row over its own length, and
prompts run in blocks of `BLOCK` at multiples of it. On processors the contract test holds this bit for bit;
on a GPU it has not been measured, so `is_exact` does not promise it there.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from aios.abi.errors import Unavailable
from aios.drivers.models.huggingface.family import ModelConfig, read_config
from aios.drivers.models.huggingface.layers import Layer, Layers, load_layers
from aios.drivers.models.huggingface.rotation import turns
from aios.drivers.models.huggingface.row import TorchRow
from aios.drivers.models.huggingface.tensors import files_of
from aios.drivers.models.identity import identity_of
from aios.drivers.models.kv_row import BLOCK
from aios.drivers.models.model import Floats
from aios.drivers.models.panels import Computation, widths_of

_WIDTHS = (2, 4, 8, 16, 24, 32, 48, 64)
"""Rows of one product. A single row is computed as two: alone it would be a product of another kind."""


class TorchDecoder:
    """One model's weights on one device. Not for two threads at once."""

    def __init__(self, config: ModelConfig, weights: Layers, identity: str, ends: Sequence[int] = ()) -> None:
        """Where more than one of `ends` ends a reply, the first gets the likelihood of all."""
        self.config, self._weights, self._identity = config, weights, identity
        self._ends = [end for end in ends if end < config.vocab_size]
        self._device, self._dtype = weights.gain.device, weights.gain.dtype
        positions = -(-config.max_position_embeddings // BLOCK) * BLOCK
        self._turns = torch.from_numpy(turns(config.rope, config.dim, positions)).to(self._device)
        with torch.inference_mode():
            self.widths = widths_of(list(self._computations()), _WIDTHS)

    @classmethod
    def load(
        cls, folder: Path, dtype: torch.dtype, device: torch.device, ends: Sequence[int] = ()
    ) -> "TorchDecoder":
        """Read a model from `folder`. `errors.Unavailable` where there is none that fits."""
        config = read_config(folder)
        weights = load_layers(folder, config, dtype, device)
        where = f"cpu{torch.get_num_threads()}" if device.type == "cpu" else device.type
        computed = f"torch-{str(dtype).removeprefix('torch.')}-{where}"
        try:
            identity = identity_of([folder / "config.json", *files_of(folder)], computed)
        except OSError as error:
            raise Unavailable(f"the weights in {folder} can't be read again: {error}") from None
        return cls(config, weights, identity, ends)

    @property
    def identity(self) -> str:
        """What tells this model from others: rows of one mean nothing to another.

        On processors it names the number of threads, too: they share products out otherwise.
        """
        return self._identity

    @property
    def is_exact(self) -> bool:
        return bool(self._device.type == "cpu")

    def new_row(self) -> TorchRow:
        return TorchRow(self.config, self._weights.gain)

    def decode(self, rows: Sequence[TorchRow], tokens: Sequence[int], lengths: Sequence[int]) -> Floats:
        """Feed one token to each row, whose first `lengths` positions are filled; logits by row."""
        widest = self.widths[-1]
        parts = [slice(start, start + widest) for start in range(0, len(rows), widest)]
        with torch.inference_mode():
            logits = [self._decode_panel(rows[part], tokens[part], lengths[part]) for part in parts]
            return self._to_host(torch.cat(logits))

    def prefill(self, row: TorchRow, tokens: Sequence[int], start: int, *, last: bool) -> Floats | None:
        """Compute one block of a prompt at `start`, a multiple of `BLOCK`; with `last` the logits after it.

        A shorter last block is filled up: what it leaves behind its end is overwritten before it is read.
        """
        row.reserve(start + BLOCK, start)
        with torch.inference_mode():
            x = self._block(row, tokens, start)
            if not last:
                return None
            end = len(tokens) - 1
            out: Floats = self._to_host(self._logits(x[[end, end]]))[0]
            return out

    def _block(self, row: TorchRow, tokens: Sequence[int], start: int) -> torch.Tensor:
        x = self._embedded(tokens, BLOCK)
        block_turns = self._turns[start : start + BLOCK, None]
        masks = {window: self._mask(start, window) for window in set(self.config.windows)}
        for index, layer in enumerate(self._weights.layers):
            by_head = self._project(layer, x, block_turns)
            mask = masks[self.config.windows[index]]
            self._finish(layer, x, self._attend_block(row.data[index], by_head, start, mask))
        return x

    def _decode_panel(
        self, rows: Sequence[TorchRow], tokens: Sequence[int], lengths: Sequence[int]
    ) -> torch.Tensor:
        width = next(width for width in self.widths if width >= len(rows))
        x = self._embedded(tokens, width)
        positions = torch.zeros(width, dtype=torch.int64)
        positions[: len(rows)] = torch.tensor(lengths)
        step_turns = self._turns[positions.to(self._device)][:, None]
        for row, length in zip(rows, lengths, strict=True):
            row.reserve(length + 1, length)
        reach = _Reach(self.config, rows, lengths)
        idle = x.new_zeros((width - len(rows), self.config.num_attention_heads * self.config.dim))
        for index, layer in enumerate(self._weights.layers):
            by_head = self._project(layer, x, step_turns)
            self._finish(layer, x, torch.cat([*reach.attend(index, by_head), idle]))
        return self._logits(x)[: len(rows)]

    def _embedded(self, tokens: Sequence[int], width: int) -> torch.Tensor:
        """Rows of the tokens, and of token 0 up to `width`."""
        padded = torch.zeros(width, dtype=torch.int64)
        padded[: len(tokens)] = torch.tensor(tokens)
        places, embedding = padded.to(self._device), self._weights.embedding
        if embedding is not None:
            return embedding[places]
        return self._weights.unembedding.index_select(1, places).t().contiguous()

    def _project(self, layer: Layer, x: torch.Tensor, step_turns: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values by head: (rows, heads, head_dim), turned to their positions."""
        config = self.config
        heads, kv_heads, eps = config.num_attention_heads, config.kv_heads, config.rms_norm_eps
        by_head = _times(self._normed(x, layer.attention_gain), layer.qkv, layer.qkv_bias)
        by_head = by_head.unflatten(1, (-1, config.dim))
        for part, gain in (
            (by_head[:, :heads], layer.query_gain),
            (by_head[:, heads : heads + kv_heads], layer.key_gain),
        ):
            if gain is not None:
                part.copy_(rms_norm(part, (config.dim,), gain, eps))
        turning = by_head[:, : heads + kv_heads]
        wide = turning.float()  # the same memory where it is float32 already
        torch.view_as_complex(wide.unflatten(2, (-1, 2))).mul_(step_turns)
        if wide.dtype != turning.dtype:
            turning.copy_(wide)
        return by_head

    def _finish(self, layer: Layer, x: torch.Tensor, attended: torch.Tensor) -> None:
        """Add to `x` what was attended to, and then what the rest of the layer makes of it."""
        x += _times(attended, layer.out, layer.out_bias)
        gate_up = _times(self._normed(x, layer.feed_gain), layer.gate_up, layer.gate_up_bias)
        gate, up = gate_up.chunk(2, 1)
        x += _times(silu(gate).mul_(up), layer.down, layer.down_bias)

    def _normed(self, x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, gain.shape, gain, self.config.rms_norm_eps)

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        logits = (self._normed(x, self._weights.gain) @ self._weights.unembedding).float()
        if len(self._ends) > 1:
            logits[:, self._ends[0]] = logits[:, self._ends].logsumexp(1)
            logits[:, self._ends[1:]] = -torch.inf
        return logits

    def _attend_block(
        self, kv: torch.Tensor, by_head: torch.Tensor, start: int, mask: torch.Tensor
    ) -> torch.Tensor:
        config, stop = self.config, start + BLOCK
        heads, kv_heads = config.num_attention_heads, config.kv_heads
        kv[:, start:stop] = by_head[:, heads:].transpose(0, 1)
        seen = kv[None, :, stop - mask.shape[1] : stop]
        # The query heads that share keys stand below each other, as if they were positions.
        queries = by_head[:, :heads].unflatten(1, (kv_heads, -1)).permute(1, 2, 0, 3).flatten(1, 2)
        attended = scaled_dot_product_attention(queries[None], seen[:, :kv_heads], seen[:, kv_heads:], mask)
        return attended[0].unflatten(1, (-1, BLOCK)).permute(2, 0, 1, 3).flatten(1)

    def _mask(self, start: int, window: int) -> torch.Tensor:
        """What each query of a block at `start` does not see: minus infinity; the others 0."""
        first = max(0, start - window + 1) if window else 0
        places = torch.arange(start, start + BLOCK)[:, None]
        seen = torch.arange(first, start + BLOCK)
        hidden = seen > places
        if window:
            hidden |= seen <= places - window
        mask = torch.zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
        return mask.repeat(self.config.group, 1).to(self._device, self._dtype)

    def _to_host(self, logits: torch.Tensor) -> Floats:
        out: Floats = logits.cpu().numpy()
        return out

    def _computations(self) -> Iterator[Computation]:
        """All that is computed for many rows at once, of the first layer: the others are of the same form."""
        config, layer = self.config, self._weights.layers[0]
        attended = config.num_attention_heads * config.dim

        def project(x: torch.Tensor) -> torch.Tensor:
            return self._project(layer, x, self._turns[1:2, None]).flatten(1)

        def finish(both: torch.Tensor) -> torch.Tensor:
            x = both[:, attended:].contiguous()
            self._finish(layer, x, both[:, :attended].contiguous())
            return x

        yield config.hidden_size, self._from_host(project)
        yield attended + config.hidden_size, self._from_host(finish)
        yield config.hidden_size, self._from_host(self._logits)

    def _from_host(self, compute: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Floats], Floats]:
        def computed(rows: Floats) -> Floats:
            return self._to_host(compute(torch.from_numpy(rows).to(self._device, self._dtype)).float())

        return computed


class _Reach:
    """What each row of one step attends to: views of its keys and values, made once for all layers."""

    def __init__(self, config: ModelConfig, rows: Sequence[TorchRow], lengths: Sequence[int]) -> None:
        self._config = config
        self._kinds = sorted(set(config.windows))
        places = list(zip(rows, lengths, strict=True))
        self._news = [row.data[:, :, length].unbind(0) for row, length in places]
        self._seen = [[self._views(row, length, window) for row, length in places] for window in self._kinds]

    def _views(self, row: TorchRow, length: int, window: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of each layer, up to the new position."""
        first = max(0, length + 1 - window) if window else 0
        seen = row.data[:, None, :, first : length + 1]
        keys, values = seen.split(self._config.kv_heads, 2)
        return list(zip(keys.unbind(0), values.unbind(0), strict=True))

    def attend(self, layer: int, by_head: torch.Tensor) -> list[torch.Tensor]:
        """Store the new keys and values of this layer; for each row what it attended to, (1, heads * dim)."""
        config = self._config
        heads = config.num_attention_heads
        for place, new in zip(self._news, by_head[:, heads:].unbind(0), strict=False):
            place[layer].copy_(new)
        # The query heads that share keys are as if they were positions.
        queries = by_head[:, None, :heads].unflatten(2, (config.kv_heads, -1)).unbind(0)
        seen = self._seen[self._kinds.index(config.windows[layer])]
        return [
            scaled_dot_product_attention(query, *views[layer]).reshape(1, -1)
            for query, views in zip(queries, seen, strict=False)
        ]


def _times(x: torch.Tensor, matrix: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.mm(x, matrix) if bias is None else torch.addmm(bias, x, matrix)
