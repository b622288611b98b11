"""What a Hugging Face `config.json` says of a model, and which models can be computed from it.

Owns the families, their configuration under older and newer names, and what is refused. It knows no weights.
"""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from aios.abi.errors import Unavailable

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Values of `model_type` whose computation is the one of `decoder`, up to what the configuration says."""
_ROPE = ("default", "linear", "llama3")


class ModelConfig(Struct, frozen=True, kw_only=True):
    """The keys of a `config.json` that the computation needs, by their own names."""

    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    rms_norm_eps: float = 1e-6
    hidden_act: str = "silu"
    tie_word_embeddings: bool = False
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    """Of transformers 4; its 5 writes `rope_parameters`, with the theta in it."""
    rope_parameters: dict[str, Any] | None = None
    sliding_window: int | None = None
    use_sliding_window: bool = False
    """Of Qwen, which may give a window and not use it."""
    max_window_layers: int = 0
    """Of Qwen: so many layers at the beginning have none."""
    layer_types: tuple[str, ...] | None = None
    quantization_config: Any = None
    eos_token_id: int | tuple[int, ...] | None = None

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def group(self) -> int:
        """Query heads that share one key and value head."""
        return self.num_attention_heads // self.kv_heads

    @property
    def dim(self) -> int:
        """Of one head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def rope(self) -> dict[str, Any]:
        """`rope_type`, `rope_theta`, and what else the type needs."""
        said = self.rope_parameters or self.rope_scaling or {}
        kind = said.get("rope_type") or said.get("type") or "default"
        return {"rope_theta": self.rope_theta, **said, "rope_type": kind}

    @property
    def windows(self) -> tuple[int, ...]:
        """Of each layer, how many positions back it sees with the token's own; 0 for all."""
        window = self.sliding_window or 0
        if self.model_type.startswith("qwen") and not self.use_sliding_window:
            window = 0
        return tuple(window if self._slides(layer) else 0 for layer in range(self.num_hidden_layers))

    def _slides(self, layer: int) -> bool:
        if self.layer_types is not None:
            return self.layer_types[layer] == "sliding_attention"
        return not self.model_type.startswith("qwen") or layer >= self.max_window_layers


def read_config(folder: Path) -> ModelConfig:
    """`Unavailable` where there is no model, or one that is not of these families."""
    try:
        said = (folder / "config.json").read_bytes()
        kind = msgspec.json.decode(said, type=_Kind).model_type
        if kind not in FAMILIES:
            raise Unavailable(f"the model in {folder} is of the type {kind!r}; {_known()}")
        config = msgspec.json.decode(said, type=ModelConfig)
    except (OSError, msgspec.DecodeError) as error:
        raise Unavailable(f"no model in {folder}: config.json: {error}") from None
    if refused := _refused(config):
        raise Unavailable(f"the model in {folder} has {refused}, which can't be computed here")
    return config


class _Kind(Struct):
    model_type: str = ""


def _known() -> str:
    return f"there are {', '.join(FAMILIES)}"


def _refused(config: ModelConfig) -> str:
    """What is in a configuration that the computation does not have; empty for nothing."""
    if config.quantization_config is not None:
        return "quantised weights"
    if config.hidden_act != "silu":
        return f"the activation {config.hidden_act!r}"
    if config.rope["rope_type"] not in _ROPE:
        return f"positions of the type {config.rope['rope_type']!r} ({', '.join(_ROPE)} can)"
    if float(config.rope.get("partial_rotary_factor", 1.0)) != 1:
        return "positions in a part of each head"
    if config.num_attention_heads % config.kv_heads or config.dim % 2:
        return "heads that do not divide"
    return ""
