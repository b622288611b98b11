"""Model folders for the tests of torch's models; without the extra `huggingface` there are no such tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Save a random model of a family, with a tokenizer too where a `template` is named.

    Other keywords change its configuration.
    """
    import torch
    from small_models import make_tokenizer, save_random

    torch.set_num_threads(1)
    made: dict[str, Path] = {}

    def make(name: str, *, template: str = "", shard: str = "1GB", seed: int = 0, **changes: Any) -> Path:
        key = repr((name, template, shard, seed, sorted(changes.items())))
        if key not in made:
            made[key] = tmp_path_factory.mktemp(name)
            save_random(made[key], name, shard, seed, changes)
            if template:
                make_tokenizer(template).save_pretrained(made[key])
        return made[key]

    return make
