"""The weights of a small Llama-type decoder, read from disk and laid out for numpy.

Owns the mapping from the Hugging Face names and layout to a few big float32 matrices. It computes nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from aios.abi.errors import Unavailable
from aios.drivers.models.identity import identity_of

Floats = NDArray[np.float32]


class DecoderConfig(Struct, frozen=True):
    """The keys of a Llama `config.json` that the computation needs."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    max_position_embeddings: int
    """The window: the most tokens of prompt and answer together."""
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6

    @property
    def group(self) -> int:
        """Query heads that share one key and value head."""
        return self.num_attention_heads // self.num_key_value_heads


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's matrices, each (inputs, outputs) and contiguous, with the norms' gains folded in."""

    qkv: Floats
    """Queries (scaled by 1/sqrt(head_dim)), keys and values; rotary pairs lie next to each other."""
    out: Floats
    gate_up: Floats
    down: Floats


@dataclass(frozen=True, slots=True)
class Weights:
    config: DecoderConfig
    embedding: Floats
    """(vocabulary, hidden)."""
    layers: tuple[Layer, ...]
    unembedding: Floats
    """(hidden, vocabulary), the final norm's gain folded in."""
    identity: str
    """Of the files and of how they are computed with (`identity_of`)."""


def load_config(folder: Path) -> DecoderConfig:
    """`Unavailable` where there is no model or not one of this kind."""
    try:
        return msgspec.json.decode((folder / "config.json").read_bytes(), type=DecoderConfig)
    except (OSError, msgspec.DecodeError) as error:
        hint = "`make model` trains the embedded one, and [[cores]] in aios.toml names another"
        raise Unavailable(f"no model in {folder} ({error}); {hint}") from None


def load_weights(folder: Path) -> Weights:
    """Read `config.json` and `model.safetensors`. `Unavailable` where they are missing or do not fit."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    config, file = load_config(folder), folder / "model.safetensors"
    try:
        # The number tells apart the ways in which products were added up in versions of this program.
        identity = identity_of([folder / "config.json", file], "numpy-float32-cpu-3")
        return _arrange(config, load_file(file), identity)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise Unavailable(f"the weights in {folder} can't be used: {error!r}") from None


def _arrange(config: DecoderConfig, tensors: dict[str, NDArray[Any]], identity: str) -> Weights:
    def take(name: str, *shape: int) -> Floats:
        found = tensors[name]
        if found.shape != shape:
            raise ValueError(f"{name} is {found.shape}, not {shape}")
        return found.astype(np.float32)

    hidden = config.hidden_size
    embedding = take("model.embed_tokens.weight", config.vocab_size, hidden)
    layers = tuple(_layer(config, take, f"model.layers.{i}.") for i in range(config.num_hidden_layers))
    gain = take("model.norm.weight", hidden)
    return Weights(config, embedding, layers, np.ascontiguousarray((embedding * gain).T), identity)


def _layer(config: DecoderConfig, take: Any, name: str) -> Layer:
    hidden, wide = config.hidden_size, config.intermediate_size
    heads, kv_heads, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    attention_gain = take(name + "input_layernorm.weight", hidden)
    feed_gain = take(name + "post_attention_layernorm.weight", hidden)
    query = take(name + "self_attn.q_proj.weight", heads * dim, hidden) * np.float32(dim**-0.5)
    key = take(name + "self_attn.k_proj.weight", kv_heads * dim, hidden)
    value = take(name + "self_attn.v_proj.weight", kv_heads * dim, hidden)
    qkv = np.concatenate([_pair(query, dim), _pair(key, dim), value]) * attention_gain
    gate = take(name + "mlp.gate_proj.weight", wide, hidden)
    up = take(name + "mlp.up_proj.weight", wide, hidden)
    return Layer(
        qkv=np.ascontiguousarray(qkv.T),
        out=np.ascontiguousarray(take(name + "self_attn.o_proj.weight", hidden, heads * dim).T),
        gate_up=np.ascontiguousarray((np.concatenate([gate, up]) * feed_gain).T),
        down=np.ascontiguousarray(take(name + "mlp.down_proj.weight", hidden, wide).T),
    )


def _pair(matrix: Floats, dim: int) -> Floats:
    """Put the two halves that a rotation mixes side by side, so that it is one complex product.

    The same order on queries and keys leaves their products as they were.
    """
    halves = matrix.reshape(-1, 2, dim // 2, matrix.shape[1])
    return halves.swapaxes(1, 2).reshape(matrix.shape)
