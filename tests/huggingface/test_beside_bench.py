"""The bench beside transformers' `generate` measures both cores and both models; goals are the least."""

import pytest
from small_models import SMALL

from aios.bench import beside
from aios.drivers.llm_local import EMBEDDED_MODEL


def test_every_core_is_measured_beside_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (EMBEDDED_MODEL / "model.safetensors").exists():
        pytest.skip("the weights are not there yet")
    monkeypatch.setattr(beside, "BATCHES", (1, 2))
    monkeypatch.setattr(beside, "RANDOM", {k: v for k, v in SMALL.items() if k != "vocab_size"})
    measured = beside.measure(EMBEDDED_MODEL, True, 0)
    found = {(row["model"], row["core"], row["batch"]) for row in measured["rows"]}
    cores = (("nano", "torch"), ("nano", "numpy"), ("random", "torch"))
    assert found == {(*core, batch) for core in cores for batch in (1, 2)}
    least = {
        core: min(row["over_transformers"] for row in measured["rows"] if row["core"] == core)
        for core in ("numpy", "torch")
    }
    goals = {key: goal["value"] for key, goal in measured["goals"].items()}
    assert goals == {
        "engine.over_transformers": least["numpy"],
        "engine.torch_over_transformers": least["torch"],
    }
