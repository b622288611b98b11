"""The tensors of a model folder by their names: from one safetensors file, or several with an index."""

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import safe_open

_ONE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def files_of(folder: Path) -> list[Path]:
    """The files that hold a model's tensors. `OSError`, `ValueError` or `KeyError` where there are none."""
    if not (folder / _INDEX).exists():
        if not (folder / _ONE).exists():
            raise FileNotFoundError(f"neither {_ONE} nor {_INDEX}")
        return [folder / _ONE]
    names = set(json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"].values())
    return [folder / Path(name).name for name in sorted(names)]


class Tensors:
    """An open folder. Each tensor is read when it is taken, straight onto `device` and into `dtype`."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        self._folder, self._dtype, self._device = folder, dtype, device
        self._stack = ExitStack()
        self._places: dict[str, Any] = {}

    def __enter__(self) -> "Tensors":
        for file in files_of(self._folder):
            opened = self._stack.enter_context(safe_open(file, framework="pt", device="cpu"))
            self._places |= dict.fromkeys(opened.keys(), opened)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def take(self, name: str, *shape: int) -> torch.Tensor:
        """`KeyError` where there is none, `ValueError` where it has another shape."""
        found: torch.Tensor = self._places[name].get_tensor(name)
        if found.shape != shape:
            raise ValueError(f"{name} is {tuple(found.shape)}, not {shape}")
        return found.to(self._device, self._dtype)

    def find(self, name: str, *shape: int) -> torch.Tensor | None:
        """The same; None where there is none."""
        return self.take(name, *shape) if name in self._places else None
