"""The computation in torch: transformers' own numbers for each family, and the same bits among neighbours."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from small_models import FAMILIES, reference, torch

from aios.abi.errors import Unavailable
from aios.drivers.models.huggingface.decoder import TorchDecoder
from aios.drivers.models.huggingface.family import read_config
from aios.drivers.models.panels import REFERENCE
from fakes.model_contract import ModelContract, drawn, prefilled

CPU = torch.device("cpu")


def loaded(folder: Path, dtype: torch.dtype = torch.float32, ends: Sequence[int] = ()) -> TorchDecoder:
    return TorchDecoder.load(folder, dtype, CPU, ends)


def expected_logits(model: torch.nn.Module, tokens: Sequence[int]) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0].float().numpy()


@pytest.mark.parametrize("name", FAMILIES)
def test_prefill_and_decode_give_the_logits_of_transformers(
    make_folder: Callable[..., Path], name: str
) -> None:
    folder = make_folder(name)
    decoder = loaded(folder)
    tokens = drawn(decoder, 1, 120)
    expected = expected_logits(reference(folder), tokens)
    row, logits = prefilled(decoder, tokens[:100])
    np.testing.assert_allclose(logits, expected[99], rtol=0, atol=2e-4)
    for place in range(100, 120):
        step = decoder.decode([row], tokens[place : place + 1], [place])
        np.testing.assert_allclose(step[0], expected[place], rtol=0, atol=2e-4)
    assert np.abs(expected).max() > 1


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_bfloat16_stays_as_near_to_float32_as_transformers_own(
    make_folder: Callable[..., Path], name: str
) -> None:
    folder = make_folder(name)
    decoder = loaded(folder, torch.bfloat16)
    tokens = drawn(decoder, 2, 60)
    exact = expected_logits(reference(folder), tokens)[-1]
    theirs = expected_logits(reference(folder, torch.bfloat16), tokens)[-1]
    _, ours = prefilled(decoder, tokens)
    assert np.abs(ours - exact).mean() < 1.5 * np.abs(theirs - exact).mean()


class TestFloat32(ModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, make_folder: Callable[..., Path]) -> TorchDecoder:
        return loaded(make_folder("llama"))


class TestBfloat16(ModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, make_folder: Callable[..., Path]) -> TorchDecoder:
        return loaded(make_folder("qwen3"), torch.bfloat16)


class TestSlidingWindow(ModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, make_folder: Callable[..., Path]) -> TorchDecoder:
        return loaded(make_folder("qwen2-sliding"))


def test_a_row_that_has_grown_in_a_step_is_used_again(make_folder: Callable[..., Path]) -> None:
    decoder = loaded(make_folder("llama"))
    tokens = drawn(decoder, 3, 257)
    row, _ = prefilled(decoder, tokens[:256])
    kept = row.copy(0, 32)
    decoder.decode([row], tokens[256:], [256])
    row.put(0, kept)
    np.testing.assert_array_equal(row.copy(0, 32), kept)


def test_many_rows_share_products(make_folder: Callable[..., Path]) -> None:
    assert {2, REFERENCE} <= set(loaded(make_folder("llama")).widths)


def test_weights_in_several_files_are_the_same_model(make_folder: Callable[..., Path]) -> None:
    one, several = make_folder("qwen2"), make_folder("qwen2", shard="100KB")
    assert len(list(several.glob("*.safetensors"))) > 2
    tokens = drawn(loaded(one), 3, 20)
    np.testing.assert_array_equal(prefilled(loaded(one), tokens)[1], prefilled(loaded(several), tokens)[1])


def test_what_computes_a_model_is_in_its_identity(make_folder: Callable[..., Path]) -> None:
    folder = make_folder("llama")
    wide, narrow = loaded(folder).identity, loaded(folder, torch.bfloat16).identity
    assert wide.startswith("torch-float32-cpu1-")
    assert narrow.startswith("torch-bfloat16-cpu1-")
    assert loaded(make_folder("llama", seed=1)).identity != wide == loaded(folder).identity


def test_the_likelihood_of_every_end_is_the_first_ones(make_folder: Callable[..., Path]) -> None:
    folder = make_folder("llama")
    tokens = drawn(loaded(folder), 4, 10)
    _, plain = prefilled(loaded(folder), tokens)
    _, merged = prefilled(loaded(folder, ends=(7, 9)), tokens)
    np.testing.assert_allclose(merged[7], np.logaddexp(plain[7], plain[9]), rtol=1e-6)
    assert merged[8] == plain[8]
    np.testing.assert_allclose(np.logaddexp.reduce(merged), np.logaddexp.reduce(plain), rtol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_configurations_of_older_versions_say_the_same(
    make_folder: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    folder = make_folder(name)
    said = json.loads((folder / "config.json").read_text())
    rope = said.pop("rope_parameters")
    said["rope_theta"] = rope.pop("rope_theta")
    said["rope_scaling"] = {"type": rope.pop("rope_type"), **rope}
    said.pop("layer_types", None)
    (tmp_path / "config.json").write_text(json.dumps(said))
    old, new = read_config(tmp_path), read_config(folder)
    assert {**old.rope, "type": None} == {**new.rope, "type": None}
    assert old.windows == new.windows


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "mamba"}, "'mamba'; there are llama, mistral, qwen2, qwen3"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "'dynamic'"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"num_hidden_layers": 4}, "model.layers.3"),
        ({"vocab_size": 421}, "embed_tokens"),
    ],
)
def test_what_can_not_be_computed_is_refused_by_name(
    make_folder: Callable[..., Path], tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    folder = make_folder("llama")
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    said = json.loads((folder / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(Unavailable, match=says):
        loaded(tmp_path)


@pytest.mark.parametrize("broken", ["nothing", "no weights", "cut", "no index"])
def test_a_folder_without_a_whole_model_is_unavailable(
    make_folder: Callable[..., Path], tmp_path: Path, broken: str
) -> None:
    folder = make_folder("llama")
    if broken != "nothing":
        (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    if broken == "cut":
        (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    if broken == "no index":
        (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(Unavailable):
        loaded(tmp_path)
