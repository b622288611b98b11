"""Small models with random weights, in the same files as the real one and read by the same code."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in the engine's process; read when numpy is loaded

import numpy as np
import pytest
import sentencepiece
from safetensors.numpy import save_file

from aios.drivers.models.chat import CONTROLS, ChatFormat

TINY = {
    "vocab_size": 420,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 80,
    "max_position_embeddings": 300,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
}
_TEXTS = [
    "The quick brown fox writes a note about the weather in the capital and reads it again.",
    "What is twelve times thirty four? The result is 408, and the answer was kept in a file.",
    "Remember that the train leaves at nine; the café is closed on Monday, says Zoë.",
] * 20


def _tokenizer() -> bytes:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_TEXTS),
        model_writer=out,
        model_type="bpe",
        vocab_size=TINY["vocab_size"],
        pad_id=0,
        pad_piece="<pad>",
        bos_id=1,
        bos_piece="<s>",
        unk_id=2,
        eos_id=-1,
        control_symbols=list(CONTROLS),
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return out.getvalue()


def random_tensors(config: dict[str, float], seed: int) -> dict[str, np.ndarray]:
    """Weights under their Hugging Face names, spread so that the choice of tokens is not dull."""
    rng = np.random.default_rng(seed)
    hidden, wide = int(config["hidden_size"]), int(config["intermediate_size"])
    queries = int(config["num_attention_heads"] * config["head_dim"])
    keys = int(config["num_key_value_heads"] * config["head_dim"])

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (rng.standard_normal((rows, columns)) * 1.5 * columns**-0.5).astype(np.float16)

    def gain() -> np.ndarray:
        return (1 + 0.2 * rng.standard_normal(hidden)).astype(np.float16)

    tensors = {
        "model.embed_tokens.weight": matrix(int(config["vocab_size"]), hidden),
        "model.norm.weight": gain(),
    }
    for index in range(int(config["num_hidden_layers"])):
        layer = f"model.layers.{index}."
        tensors |= {
            layer + name: gain() for name in ("input_layernorm.weight", "post_attention_layernorm.weight")
        }
        for name, shape in (
            ("q", (queries, hidden)),
            ("k", (keys, hidden)),
            ("v", (keys, hidden)),
            ("o", (hidden, queries)),
        ):
            tensors[f"{layer}self_attn.{name}_proj.weight"] = matrix(*shape)
        for name, shape in (("gate", (wide, hidden)), ("up", (wide, hidden)), ("down", (hidden, wide))):
            tensors[f"{layer}mlp.{name}_proj.weight"] = matrix(*shape)
    return tensors


@pytest.fixture(scope="session")
def tokenizer() -> bytes:
    return _tokenizer()


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory, tokenizer: bytes) -> Callable[..., Path]:
    """Write a model folder; keywords change its configuration."""

    def make(seed: int = 0, **changes: float) -> Path:
        config = TINY | changes
        folder = tmp_path_factory.mktemp("model")
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "tokenizer.model").write_bytes(tokenizer)
        save_file(random_tensors(config, seed), folder / "model.safetensors")
        return folder

    return make


@pytest.fixture(scope="session")
def chat(model_folder: Path) -> ChatFormat:
    return ChatFormat(model_folder / "tokenizer.model")


@pytest.fixture(scope="session")
def model_folder(make_model: Callable[..., Path]) -> Path:
    return make_model()
