"""A decoder's weights, laid out for torch: a few big matrices for each layer, each (inputs, outputs).

Owns the mapping from the names and the layout of the Hugging Face files. It computes nothing.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from aios.abi.errors import Unavailable
from aios.drivers.models.huggingface.family import ModelConfig
from aios.drivers.models.huggingface.tensors import Tensors


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's matrices and gains; a bias is None where there is none."""

    attention_gain: torch.Tensor
    qkv: torch.Tensor
    """Queries, keys and values; the two numbers that a rotation mixes lie next to each other."""
    qkv_bias: torch.Tensor | None
    query_gain: torch.Tensor | None
    """Of the norm of each head's queries, where there is one, in the order of the rotation,"""
    key_gain: torch.Tensor | None
    """and of its keys."""
    out: torch.Tensor
    out_bias: torch.Tensor | None
    feed_gain: torch.Tensor
    gate_up: torch.Tensor
    gate_up_bias: torch.Tensor | None
    down: torch.Tensor
    down_bias: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Layers:
    """All weights of a model."""

    embedding: torch.Tensor | None
    """(vocabulary, hidden); None where the columns of `unembedding` are it."""
    layers: tuple[Layer, ...]
    gain: torch.Tensor
    unembedding: torch.Tensor
    """(hidden, vocabulary)."""


def load_layers(folder: Path, config: ModelConfig, dtype: torch.dtype, device: torch.device) -> Layers:
    """`Unavailable` where weights are missing, do not fit, or take more memory than there is."""
    try:
        with Tensors(folder, dtype, device) as tensors:
            return _arranged(config, tensors)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise Unavailable(f"the weights in {folder} can't be used: {error!r}") from None


def _arranged(config: ModelConfig, tensors: Tensors) -> Layers:
    vocab, hidden = config.vocab_size, config.hidden_size
    embedding = tensors.take("model.embed_tokens.weight", vocab, hidden)
    last = embedding if config.tie_word_embeddings else tensors.take("lm_head.weight", vocab, hidden)
    return Layers(
        embedding=None if config.tie_word_embeddings else embedding,
        layers=tuple(_layer(config, tensors, index) for index in range(config.num_hidden_layers)),
        gain=tensors.take("model.norm.weight", hidden),
        unembedding=last.t().contiguous(),
    )


def _layer(config: ModelConfig, tensors: Tensors, index: int) -> Layer:
    name, hidden, wide, dim = (
        f"model.layers.{index}.",
        config.hidden_size,
        config.intermediate_size,
        config.dim,
    )
    queries, keys = config.num_attention_heads * dim, config.kv_heads * dim
    take, find = tensors.take, tensors.find
    parts = (("q", queries), ("k", keys), ("v", keys))
    matrices = [take(f"{name}self_attn.{part}_proj.weight", size, hidden) for part, size in parts]
    biases = [find(f"{name}self_attn.{part}_proj.bias", size) for part, size in parts]
    gains = [find(f"{name}self_attn.{part}_norm.weight", dim) for part in ("q", "k")]
    feeds = [take(f"{name}mlp.{part}_proj.weight", wide, hidden) for part in ("gate", "up")]
    return Layer(
        attention_gain=take(f"{name}input_layernorm.weight", hidden),
        qkv=_beside([_paired(matrices[0], dim), _paired(matrices[1], dim), matrices[2]]),
        qkv_bias=_joined([_maybe_paired(biases[0], dim), _maybe_paired(biases[1], dim), biases[2]]),
        query_gain=_maybe_paired(gains[0], dim),
        key_gain=_maybe_paired(gains[1], dim),
        out=_beside([take(f"{name}self_attn.o_proj.weight", hidden, queries)]),
        out_bias=find(f"{name}self_attn.o_proj.bias", hidden),
        feed_gain=take(f"{name}post_attention_layernorm.weight", hidden),
        gate_up=_beside(feeds),
        gate_up_bias=_joined([find(f"{name}mlp.{part}_proj.bias", wide) for part in ("gate", "up")]),
        down=_beside([take(f"{name}mlp.down_proj.weight", hidden, wide)]),
        down_bias=find(f"{name}mlp.down_proj.bias", hidden),
    )


def _beside(matrices: list[torch.Tensor]) -> torch.Tensor:
    """Matrices of (outputs, inputs) as one of (inputs, outputs)."""
    return torch.cat(matrices).t().contiguous()


def _joined(biases: list[torch.Tensor | None]) -> torch.Tensor | None:
    found = [bias for bias in biases if bias is not None]
    if not found:
        return None
    if len(found) < len(biases):
        raise ValueError("of matrices that belong together only some have a bias")
    return torch.cat(found)


def _paired(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    """Put the two halves of each head that a rotation mixes side by side, so that it is one complex product.

    The same order on queries and keys leaves their products as they were.
    """
    return tensor.unflatten(0, (-1, 2, dim // 2)).transpose(1, 2).reshape(tensor.shape)


def _maybe_paired(tensor: torch.Tensor | None, dim: int) -> torch.Tensor | None:
    return None if tensor is None else _paired(tensor, dim)
