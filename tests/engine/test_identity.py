"""Models that compute otherwise are told apart; the same model is itself again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aios.drivers.models import identity
from aios.drivers.models.decoder import Decoder
from aios.drivers.models.identity import identity_of


def test_a_model_keeps_its_identity_and_another_has_another(make_model: Callable[..., Path]) -> None:
    folder = make_model(1)
    first = Decoder.load(folder).identity
    assert first == Decoder.load(folder).identity
    assert first.startswith("numpy-float32-cpu-")
    assert first != Decoder.load(make_model(2)).identity
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rope_theta": 20000.0}))
    assert first != Decoder.load(folder).identity


@pytest.mark.parametrize("place", [0, 100, 5000, -1])
def test_a_large_file_is_known_by_its_size_head_and_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    monkeypatch.setattr(identity, "_WHOLE_BYTES", 1000)
    monkeypatch.setattr(identity, "_HEAD_BYTES", 200)
    monkeypatch.setattr(identity, "_SAMPLES", 3)
    monkeypatch.setattr(identity, "_SAMPLE_BYTES", 64)
    file = tmp_path / "model.safetensors"
    content = bytearray(10_000)
    file.write_bytes(content)
    first = identity_of([file], "x")
    content[place] = 1
    file.write_bytes(content)
    assert identity_of([file], "x") != first
    file.write_bytes(bytes(10_001))
    assert identity_of([file], "x") != first
