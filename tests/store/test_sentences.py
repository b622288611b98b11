"""A sentence embedding model in a folder, by the real libraries: a tiny one that is written here."""

import os
import subprocess
import sys

import numpy as np
import pytest

from aios.abi.errors import InvalidArgument, Misconfigured
from aios.drivers.sentences import AT_ONCE, SentenceModel
from fakes.sentence_folder import write_model

pytest.importorskip("onnxruntime", reason="needs the extra `embed`")
pytest.importorskip("tokenizers", reason="needs the extra `embed`")

WORDS = {"tea": (1, 0, 0), "coffee": (0, 1, 0), "roof": (0, 0, 2)}


@pytest.fixture
async def opened():
    """Opens models, and closes them after the test."""
    models = []

    async def start(folder):
        models.append(SentenceModel(folder))
        await models[-1].start()
        return models[-1]

    yield start
    for model in models:
        await model.close()


async def vectors(model, *texts):
    return (await model.vectors(texts, is_urgent=True)).round(4).tolist()


async def test_a_vector_is_the_mean_of_the_tokens_of_length_one(opened, tmp_path):
    model = await opened(write_model(tmp_path, WORDS))
    assert await vectors(model, "tea", "Tea coffee", "roof roof roof", "unheard", "") == [
        [1, 0, 0],
        [pytest.approx(0.7071), pytest.approx(0.7071), 0],
        [0, 0, 1],
        [0, 0, 0],
        [0, 0, 0],
    ]


async def test_a_text_has_the_same_vector_alone_and_among_others(opened, tmp_path):
    model = await opened(write_model(tmp_path, WORDS))
    texts = ["tea", "tea coffee roof roof", "roof"] * AT_ONCE
    together = await model.vectors(texts, is_urgent=False)
    assert together.dtype == np.float32
    alone = [await vectors(model, text) for text in texts[:3]]
    assert together.round(4).tolist() == [one for (one,) in alone] * AT_ONCE


async def test_what_is_longer_than_the_model_takes_is_cut_off(opened, tmp_path):
    model = await opened(write_model(tmp_path, WORDS, max_tokens=2))
    assert await vectors(model, "tea tea roof", "tea " * 100_000) == [[1, 0, 0], [1, 0, 0]]


async def test_the_name_tells_files_and_sizes_apart_and_nothing_else(opened, tmp_path):
    one = await opened(write_model(tmp_path / "one", WORDS))
    same = await opened(write_model(tmp_path / "same", WORDS))
    shorter = await opened(write_model(tmp_path / "shorter", WORDS, max_tokens=4))
    other = await opened(write_model(tmp_path / "other", {"tea": (1, 0)}))
    assert one.name == same.name
    assert one.name.endswith(" 3")
    assert len({one.name, shorter.name, other.name}) == 3


async def test_the_folder_of_an_export_may_have_it_a_level_below(opened, tmp_path):
    write_model(tmp_path, WORDS)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "model.onnx").rename(tmp_path / "onnx" / "model.onnx")
    assert await vectors(await opened(tmp_path), "tea") == [[1, 0, 0]]


async def test_a_text_that_the_model_fails_over_is_refused(opened, tmp_path):
    write_model(tmp_path, WORDS)
    tokenizer = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(tokenizer.replace('"roof": 3', '"roof": 99'))
    model = await opened(tmp_path)
    with pytest.raises(InvalidArgument, match="the embedding model failed"):
        await vectors(model, "tea", "the roof")
    assert await vectors(model, "tea") == [[1, 0, 0]]


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
async def test_what_is_missing_or_broken_is_named(opened, tmp_path, name):
    write_model(tmp_path, WORDS)
    (tmp_path / name).write_bytes(b"no")
    with pytest.raises(Misconfigured, match="cannot be loaded"):
        await opened(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(Misconfigured, match=name):
        await opened(tmp_path)


async def test_a_model_of_another_kind_is_refused(opened, tmp_path):
    with pytest.raises(Misconfigured, match="no sentence embedding model: it takes pixels"):
        await opened(write_model(tmp_path, WORDS, inputs=("pixels",)))


async def test_without_the_extra_it_is_said_how_to_get_it(opened, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Misconfigured, match=r"pip install 'aios\[embed\]'"):
        await opened(tmp_path)


def test_nothing_is_collected_to_be_sent_home(tmp_path):
    """onnxruntime otherwise keeps an id of the machine and a database of events in the user's folder."""
    environment = {name: value for name, value in os.environ.items() if name not in _OF_TELEMETRY}
    script = "from aios.drivers.sentences import _libraries; _libraries()"
    subprocess.run([sys.executable, "-c", script], env=environment | {"HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []


_OF_TELEMETRY = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
