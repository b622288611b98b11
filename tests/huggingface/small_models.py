"""Small models with random weights, made by transformers and saved as it saves them.

Whoever imports this is skipped without the extra `huggingface`; `make test-huggingface` brings it.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra huggingface: make test-huggingface")
pytest.importorskip("transformers", reason="needs the extra huggingface: make test-huggingface")

os.environ["HF_HUB_OFFLINE"] = "1"  # whatever is asked for here is on this machine or not there

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

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


QWEN = """
{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}
{% endif %}A call is <tool_call>
{"name": a name, "arguments": an object}
</tool_call>. There are:
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}<|im_start|>user
<tool_response>{{ message.content }}</tool_response><|im_end|>
{% elif message.role != 'system' or not tools %}<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
LLAMA = """
{{- bos_token }}
{%- for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>

{% if tools and loop.first %}Answer with {"name": a name, "parameters": an object}.
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}{% endif %}{{ message.content }}
{%- for call in message.tool_calls or [] %}{"name": "{{ call.function.name }}", \
"parameters": {{ call.function.arguments | tojson }}}{% endfor %}<|eot_id|>
{%- endfor %}
{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""
MISTRAL = """
{{- bos_token }}
{%- for message in messages %}
{%- if message.role == 'user' %}
{%- if tools and loop.last %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}
{{- '[INST] ' + message.content + '[/INST]' }}
{%- elif message.tool_calls %}{{ CALLS }}{{ eos_token }}
{%- elif message.role == 'tool' %}
{%- if message.tool_call_id | length != 9 %}{{ raise_exception('ids have nine characters') }}{% endif %}
{{- '[TOOL_RESULTS] ' + message.content + '[/TOOL_RESULTS]' }}
{%- elif message.role == 'assistant' %}{{ ' ' + message.content + eos_token }}
{%- else %}{{ raise_exception('there are no system messages') }}{% endif %}{% endfor %}"""
_LIST = """[TOOL_CALLS] [{% for call in message.tool_calls %}{{ call.function | tojson }}\
{{ ', ' if not loop.last }}{% endfor %}]"""
_NAMED = """{% for call in message.tool_calls %}[TOOL_CALLS]{{ call.function.name }}[ARGS]\
{{ call.function.arguments | tojson }}{% endfor %}"""
MARKS = ("[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]")
TEMPLATES: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "hermes": (QWEN, "<|im_end|>", ("<|im_start|>",), ("<tool_call>", "</tool_call>")),
    "llama": (LLAMA, "<|eot_id|>", ("<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>"), ()),
    "mistral": (MISTRAL.replace("{{ CALLS }}", _LIST), "</s>", (*MARKS, "[TOOL_CALLS]"), ()),
    "mistral-named": (MISTRAL.replace("{{ CALLS }}", _NAMED), "</s>", (*MARKS, "[TOOL_CALLS]", "[ARGS]"), ()),
    "plain": (QWEN.replace("tool_call", "call"), "<|im_end|>", ("<|im_start|>",), ()),
}
"""By format of calls: a template, the token of a reply's end, special tokens, and others that are added."""
_TEXTS = [
    "The quick brown fox writes a note about the weather in the capital and reads it again.",
    'It said {"name": "look_up", "arguments": {"city": "Zoë", "days": [1, 2, 30]}} and nothing else.',
] * 20


def make_tokenizer(template: str, *, is_bytes: bool = True) -> Any:
    """A small tokenizer with a template, of bytes or of sentencepiece's kind."""
    text, end, special, added = TEMPLATES[template]
    raw = _of_bytes() if is_bytes else _of_pieces()
    raw.add_special_tokens([AddedToken(name, special=True) for name in dict.fromkeys((*special, end))])
    raw.add_tokens([AddedToken(name, special=False) for name in added])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token=end, chat_template=text.replace("\\\n", "")
    )


def _of_bytes() -> Tokenizer:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(_TEXTS, trainer)
    return raw


def _of_pieces() -> Tokenizer:
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    first = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=first, show_progress=False)
    raw.train_from_iterator(_TEXTS, trainer)
    learnt = json.loads(raw.to_str())["model"]
    bytes_too = {f"<0x{byte:02X}>": len(learnt["vocab"]) + byte for byte in range(256)}
    merges = [tuple(pair) for pair in learnt["merges"]]
    raw.model = models.BPE(learnt["vocab"] | bytes_too, merges, byte_fallback=True, unk_token="<unk>")
    spaces = decoders.Replace("\u2581", " ")
    raw.decoder = decoders.Sequence(
        [spaces, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return raw
