"""A network in a folder: float16 weights under Hugging Face's names, and its configuration."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from aios.drivers.models.chat import ChatFormat
from recipe import MODEL


def export(parameters: dict[str, Tensor], chat: ChatFormat, folder: Path) -> None:
    """Write `model.safetensors` and `config.json`."""
    weights = {
        f"model.{name}": weight.detach().to(torch.float16).contiguous() for name, weight in parameters.items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    ids = {"bos_token_id": chat.bos_id, "eos_token_id": chat.end_id, "pad_token_id": chat.pad_id}
    (folder / "config.json").write_text(json.dumps({**MODEL, **ids}, indent=2) + "\n")


def load(folder: Path) -> dict[str, Tensor]:
    """The weights that `export` wrote, by the network's own names."""
    weights = load_file(folder / "model.safetensors")
    return {name.removeprefix("model."): weight for name, weight in weights.items()}
