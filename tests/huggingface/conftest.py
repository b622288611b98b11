"""Model folders for the tests of torch's models; without the extra `huggingface` there are no such tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Save a random model of a family; keywords change its configuration."""
    import torch
    from small_models import save_random

    torch.set_num_threads(1)
    made: dict[str, Path] = {}

    def make(name: str, *, shard: str = "1GB", seed: int = 0, **changes: Any) -> Path:
        key = repr((name, shard, seed, sorted(changes.items())))
        if key not in made:
            made[key] = tmp_path_factory.mktemp(name)
            save_random(made[key], name, shard, seed, changes)
        return made[key]

    return make
