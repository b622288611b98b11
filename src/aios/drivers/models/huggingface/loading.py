"""From a folder or a name on the hub to a model on a device.

Owns where files are looked for, and what `auto` means. A name that is no folder here goes to Hugging Face's
hub client, which has a cache, keys and offline mode of its own (`HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`).
"""

import os
from pathlib import Path

import torch

from aios.abi.errors import InvalidArgument, Unavailable
from aios.drivers.models.huggingface.decoder import TorchDecoder
from aios.drivers.models.huggingface.family import read_config
from aios.drivers.models.huggingface.template import TemplateChat

_FILES = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model")
"""What a model's folder has to have: no other formats of the same weights."""
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load(name: str, device: str, dtype: str, threads: int) -> tuple[TorchDecoder, TemplateChat]:
    """The model and its way of speaking. `Unavailable` where they are missing or of no kind known here."""
    where = device_of(device)
    if where.type == "cpu":
        torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    folder = folder_of(name)
    chat = TemplateChat.load(folder, read_config(folder))
    return TorchDecoder.load(folder, dtype_of(dtype, where), where, chat.ends), chat


def device_of(device: str) -> torch.device:
    """`auto` is a GPU where torch sees one. `Unavailable` where one is asked for and it sees none."""
    if device not in ("auto", "cpu", "cuda"):
        raise InvalidArgument(f"there is no device {device!r}; there are auto, cpu, cuda")
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise Unavailable("torch sees no GPU here")
    return torch.device("cuda" if has_gpu and device != "cpu" else "cpu")


def dtype_of(dtype: str, device: torch.device) -> torch.dtype:
    """`auto` is float32 on processors and bfloat16 on a GPU."""
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if dtype not in _DTYPES:
        raise InvalidArgument(f"there is no dtype {dtype!r}; there are auto, {', '.join(_DTYPES)}")
    return _DTYPES[dtype]


def folder_of(name: str) -> Path:
    """The folder of that name here, or the hub's files of it, from its cache where they are there."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise Unavailable(f"there is no folder {name!r}, and the hub does not give it: {first}") from None
