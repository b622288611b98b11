"""A sentence embedding model of a few words, as files: a table of vectors in ONNX's format, a tokenizer.

The format is the protocol buffer of onnx.proto (IR version 8), of which this writes the few fields it needs.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def write_model(
    folder: Path,
    words: Mapping[str, Sequence[float]],
    *,
    max_tokens: int = 8,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
) -> Path:
    """A model that gives each token its word's vector; of a word that it does not know, zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    size = len(next(iter(words.values())))
    table = np.array([np.zeros(size), *words.values()], np.float32)
    (folder / "model.onnx").write_bytes(_model(table, inputs))
    vocabulary = {"[UNK]": 0, **{word: number for number, word in enumerate(words, 1)}}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": max_tokens}))
    return folder


def _model(table: "np.ndarray", inputs: Sequence[str]) -> bytes:
    node = _texts(1, "table", inputs[0]) + _texts(2, "last_hidden_state") + _texts(4, "Gather")
    weights = b"".join(_number(1, size) for size in table.shape) + _number(2, _FLOAT)
    weights += _texts(8, "table") + _field(9, table.tobytes())
    graph = _field(1, node) + _texts(2, "words") + _field(5, weights)
    graph += b"".join(_field(11, _value(name, _INT64, ("batch", "tokens"))) for name in inputs)
    graph += _field(12, _value("last_hidden_state", _FLOAT, ("batch", "tokens", table.shape[1])))
    return _number(1, 8) + _field(7, graph) + _field(8, _number(2, 13))


_FLOAT, _INT64 = 1, 7


def _value(name: str, kind: int, shape: Sequence[str | int]) -> bytes:
    sizes = [_number(1, size) if isinstance(size, int) else _texts(2, size) for size in shape]
    tensor = _number(1, kind) + _field(2, b"".join(_field(1, size) for size in sizes))
    return _texts(1, name) + _field(2, _field(1, tensor))


def _texts(number: int, *texts: str) -> bytes:
    return b"".join(_field(number, text.encode()) for text in texts)


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
