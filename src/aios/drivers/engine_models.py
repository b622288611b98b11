"""From a `Load` to the model and the way of speaking that the engine runs.

Owns which kinds of models there are, and whether weights and tokenizer go together.
"""

from pathlib import Path
from typing import Any

from aios.abi.errors import Unavailable
from aios.drivers.engine_frames import Load, Torch
from aios.drivers.models.huggingface import missing
from aios.drivers.models.model import Chat, Model


def load_model(command: Load) -> tuple[Model[Any], Chat]:
    """Read model and tokenizer. `Unavailable` where they are missing or do not go together."""
    if command.torch is None:
        model, chat = _embedded(Path(command.folder))
    else:
        model, chat = _huggingface(command.folder, command.torch)
    if chat.vocab_size > model.config.vocab_size:
        raise Unavailable(f"the tokenizer in {command.folder} has more tokens than the model")
    return model, chat


def _embedded(folder: Path) -> tuple[Model[Any], Chat]:
    from aios.drivers.models.chat import ChatFormat
    from aios.drivers.models.decoder import Decoder

    decoder = Decoder.load(folder)
    try:
        return decoder, ChatFormat(folder / "tokenizer.model")
    except (OSError, ValueError) as error:
        raise Unavailable(f"the tokenizer in {folder} can't be used: {error}") from None


def _huggingface(name: str, how: Torch) -> tuple[Model[Any], Chat]:
    if absent := missing():
        raise Unavailable(absent)
    from aios.drivers.models.huggingface.loading import load

    return load(name, how.device, how.dtype, how.threads)
