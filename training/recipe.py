"""The recipe of the embedded model: every number that decides what comes out of training."""

from msgspec import Struct

SEED = 20261121

MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 2048,
    "hidden_size": 256,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 704,
    "hidden_act": "silu",
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "torch_dtype": "float16",
}
"""Hugging Face's Llama keys; the tokens' ids are added from the tokenizer."""


class Recipe(Struct, frozen=True):
    """How training runs. Each worker works through `parts` small batches a step, each of one of `buckets`:
    rows of a length, about 1,500 tokens together, so that what is touched stays in the caches."""

    workers: int = 2
    parts: int = 2
    buckets: tuple[tuple[int, int], ...] = (
        (256, 6),
        (384, 4),
        (512, 3),
        (704, 2),
        (1024, 1),
        (1536, 1),
        (2048, 1),
    )
    short_length: int = 512
    short_share: float = 0.85
    """In this first part of the run rows longer than `short_length` are left out: they cost most a token."""
    drill_share: float = 0.25
    """How many batches of drills there are for each of dialogues, up to `drill_until` of the run."""
    drill_until: float = 0.65
    matrix_rate: float = 0.02
    """Muon's step, for the layers' matrices."""
    other_rate: float = 3e-3
    """AdamW's step, for embeddings and norms."""
    momentum: float = 0.95
    weight_decay: float = 0.01
    warmup_steps: int = 60
    decay_share: float = 0.35
    """The last part of the run, in which the steps shrink linearly to nothing."""
    rest_share: float = 0.15
    """How many of the tokens that the assistant does not say count in the loss too."""
    rest_weight: float = 0.3
    """The weight of each of these."""
    evaluate_every: int = 500
    save_every: int = 200


RECIPE = Recipe()
