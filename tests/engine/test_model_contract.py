"""The numpy model keeps to what every model keeps to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from aios.drivers.models.decoder import Decoder
from fakes.model_contract import ModelContract


@pytest.fixture(scope="module")
def model(make_model: Callable[..., Path]) -> Decoder:
    return Decoder.load(make_model(7))


class TestDecoder(ModelContract):
    pass
