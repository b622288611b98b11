"""Write a network into a folder: float16 weights under Hugging Face's names, configuration and tokenizer."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
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
