"""The computation: right against a plain reference, and the same bits whatever stands around a row."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from aios.abi.errors import Unavailable
from aios.drivers.models.decoder import Decoder, to_weights
from aios.drivers.models.kv_row import BLOCK, KVRow
from aios.drivers.models.panels import CANDIDATES, REFERENCE, agreeing_widths, multiply

_VOCAB = 420


@pytest.fixture(scope="module")
def decoder(model_folder: Path) -> Decoder:
    return Decoder.load(model_folder)


def prefill(decoder: Decoder, tokens: Sequence[int]) -> tuple[KVRow, np.ndarray]:
    row, logits = decoder.new_row(), None
    for start in range(0, len(tokens), BLOCK):
        part = tokens[start : start + BLOCK]
        logits = decoder.prefill(row, part, start, last=start + len(part) == len(tokens))
    assert logits is not None
    return row, logits


def reference_logits(folder: Path, tokens: Sequence[int]) -> np.ndarray:
    """All positions at once, in float64, straight from the definition and the Hugging Face layout."""
    config = json.loads((folder / "config.json").read_text())
    tensors = {
        name: value.astype(np.float64) for name, value in load_file(folder / "model.safetensors").items()
    }
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config["head_dim"]
    places = np.arange(len(tokens))
    angles = places[:, None] * config["rope_theta"] ** -(np.arange(0, dim, 2) / dim)
    cos, sin = (np.concatenate([wave, wave], -1)[:, None] for wave in (np.cos(angles), np.sin(angles)))

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return (
            x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * tensors[name + ".weight"]
        )

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ tensors[name + ".weight"].T

    def turn(x: np.ndarray) -> np.ndarray:
        first, second = np.split(x, 2, -1)
        return x * cos + np.concatenate([-second, first], -1) * sin

    x = tensors["model.embed_tokens.weight"][list(tokens)]
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}."
        h = norm(x, layer + "input_layernorm")
        q = turn(linear(h, layer + "self_attn.q_proj").reshape(-1, heads, dim))
        k = turn(linear(h, layer + "self_attn.k_proj").reshape(-1, kv_heads, dim))
        v = linear(h, layer + "self_attn.v_proj").reshape(-1, kv_heads, dim)
        k, v = (part.repeat(heads // kv_heads, axis=1) for part in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(dim)
        scores[:, places[None, :] > places[:, None]] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        x = x + linear(
            np.einsum("hqk,khd->qhd", weights, v).reshape(len(tokens), -1), layer + "self_attn.o_proj"
        )
        h = norm(x, layer + "post_attention_layernorm")
        gate = linear(h, layer + "mlp.gate_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(h, layer + "mlp.up_proj"), layer + "mlp.down_proj")
    return norm(x, "model.norm") @ tensors["model.embed_tokens.weight"].T


@pytest.mark.parametrize(
    "changes", [{}, {"num_key_value_heads": 4}, {"num_key_value_heads": 1, "head_dim": 8}]
)
def test_prefill_and_decode_agree_with_a_plain_reference(
    make_model: Callable[..., Path], changes: dict[str, int]
) -> None:
    folder = make_model(3, **changes)
    decoder = Decoder.load(folder)
    tokens = np.random.default_rng(0).integers(0, _VOCAB, 90).tolist()
    expected = reference_logits(folder, tokens)
    row, logits = prefill(decoder, tokens[:70])
    np.testing.assert_allclose(logits, expected[69], rtol=0, atol=2e-4)
    for place in range(70, 90):
        logits = decoder.decode([row], tokens[place : place + 1], [place])[0]
        np.testing.assert_allclose(logits, expected[place], rtol=0, atol=2e-4)


def test_decoding_grows_a_row_beyond_its_first_room(decoder: Decoder, model_folder: Path) -> None:
    tokens = np.random.default_rng(1).integers(0, _VOCAB, 260).tolist()
    row, _ = prefill(decoder, tokens[:250])
    for place in range(250, 260):
        logits = decoder.decode([row], tokens[place : place + 1], [place])[0]
    np.testing.assert_allclose(logits, reference_logits(model_folder, tokens)[-1], rtol=0, atol=2e-4)


@settings(max_examples=15)
@given(
    lengths=st.lists(st.integers(1, 80), min_size=1, max_size=70),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_a_row_has_the_same_logits_alone_and_among_any_neighbours(
    decoder: Decoder, lengths: list[int], seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(0, _VOCAB, length).tolist() for length in lengths]
    rows = [prefill(decoder, prompt)[0] for prompt in prompts]
    tokens = rng.integers(0, _VOCAB, len(rows)).tolist()
    order = data.draw(st.permutations(range(len(rows))))
    together = decoder.decode(
        [rows[i] for i in order], [tokens[i] for i in order], [lengths[i] for i in order]
    )
    watched = data.draw(st.sampled_from(order))
    among = together[order.index(watched)].copy()
    alone, _ = prefill(decoder, prompts[watched])
    np.testing.assert_array_equal(among, decoder.decode([alone], [tokens[watched]], [lengths[watched]])[0])
    np.testing.assert_array_equal(
        rows[watched].data[:, :, : lengths[watched] + 1], alone.data[:, :, : lengths[watched] + 1]
    )


def test_what_a_shorter_block_leaves_behind_its_end_is_never_read(decoder: Decoder) -> None:
    tokens = list(range(40))
    row, clean = prefill(decoder, tokens)
    row.data[:, :, 40:] = np.nan
    dirty, _ = prefill(decoder, tokens)
    a = decoder.decode([row], [7], [40])[0].copy()
    np.testing.assert_array_equal(a, decoder.decode([dirty], [7], [40])[0])
    assert np.isfinite(a).all()
    assert np.isfinite(clean).all()


def test_everything_is_float32(decoder: Decoder) -> None:
    row, logits = prefill(decoder, [1, 2, 3])
    assert logits.dtype == row.data.dtype == decoder.decode([row], [1], [3]).dtype == np.float32


def test_widths_that_agree_are_used_and_others_not() -> None:
    widths = agreeing_widths([np.ones((16, 16), np.float32)])
    assert widths == (1,) or (REFERENCE in widths and set(widths) <= set(CANDIDATES))


@pytest.mark.parametrize("broken", ["nothing", "config", "weights", "missing", "shape"])
def test_a_folder_without_a_fitting_model_is_unavailable(
    make_model: Callable[..., Path], tmp_path: Path, broken: str
) -> None:
    folder = make_model(0)
    if broken == "nothing":
        folder = tmp_path
    elif broken == "config":
        (folder / "config.json").write_text("{}")
    elif broken == "weights":
        (folder / "model.safetensors").write_bytes(b"not this")
    else:
        tensors = load_file(folder / "model.safetensors")
        name = "model.norm.weight"
        tensors = {k: v for k, v in tensors.items() if k != name or broken != "missing"}
        if broken == "shape":
            tensors[name] = tensors[name][:-1]
        save_file(tensors, folder / "model.safetensors")
    with pytest.raises(Unavailable):
        Decoder.load(folder)


@pytest.mark.parametrize(
    "shape", [(1, 5, 7), (3, 256, 70), (8, 300, 1408), (16, 704, 256), (20, 513, 9), (2, 8000, 130)]
)
def test_pieces_make_up_the_product(shape: tuple[int, int, int]) -> None:
    num_rows, num_inputs, num_outputs = shape
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((num_rows, num_inputs), dtype=np.float32)
    matrix = rng.standard_normal((num_inputs, num_outputs), dtype=np.float32)
    out = np.full((num_rows, num_outputs), np.nan, np.float32)
    multiply(rows, matrix, out)
    np.testing.assert_allclose(out, rows @ matrix, rtol=1e-4, atol=1e-3)


def test_what_weighs_too_little_to_count_weighs_nothing() -> None:
    scores = np.linspace(-110, 0, 1101, dtype=np.float32)
    scores[0] = -np.inf
    weights = scores.copy()
    to_weights(weights)
    assert weights[0] == 0
    assert not weights[(weights != 0) & (weights < 1e-30)].size
    np.testing.assert_allclose(weights, np.exp(scores.astype(np.float64)), rtol=1e-6, atol=1e-27)
