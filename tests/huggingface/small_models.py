"""Small models with random weights, made by transformers and saved as it saves them.

Whoever imports this is skipped without the extra `huggingface`; `make test-huggingface` brings it.
"""

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra huggingface: make test-huggingface")
pytest.importorskip("transformers", reason="needs the extra huggingface: make test-huggingface")

os.environ["HF_HUB_OFFLINE"] = "1"  # whatever is asked for here is on this machine or not there

import torch
import transformers

VOCAB = 420
SMALL: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 300,
}
_LONGER = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"tie_word_embeddings": True}),
    "llama-3.1": ("Llama", {"head_dim": 24, "rope_parameters": _LONGER}),
    "llama-biased": ("Llama", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}),
    "mistral": ("Mistral", {"sliding_window": 40, "head_dim": 32}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2-sliding": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 50, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {"head_dim": 32, "num_key_value_heads": 1}),
}
"""A name, transformers' own class of it, and what its configuration says besides `SMALL`."""


def reference(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The model as transformers computes it."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def save_random(folder: Path, name: str, shard: str, seed: int, changes: dict[str, Any]) -> None:
    """Save a random model of a family."""
    kind, own = FAMILIES[name]
    config = getattr(transformers, f"{kind}Config")(**SMALL | own | changes)
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():  # so that biases and gains count, and choices are not dull
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, max_shard_size=shard)
