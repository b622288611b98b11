"""Beam search of the engine beside that of transformers: the same texts, in the same order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from small_models import FAMILIES, reference, torch

from aios.abi.messages import Beams, Choice, Message, Sampling
from aios.drivers.engine import Engine
from aios.drivers.engine_frames import Load, Progress, Submit, Torch
from aios.drivers.llm import Generation
from aios.drivers.models.huggingface.family import read_config
from aios.drivers.models.huggingface.template import TemplateChat

TOKENS = 24
SETTINGS: list[tuple[float, bool | Literal["never"]]] = [
    (1.0, False),
    (1.0, True),
    (1.0, "never"),
    (0.0, "never"),
    (-1.0, False),
    (2.5, False),
    (2.5, "never"),
]
MESSAGES = (Message("user", "the weather and the fox"),)


@pytest.fixture(scope="module")
def folders(
    make_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Models for which the end is likely at times: its logits are spread further than others."""

    def make(name: str, seed: int) -> Path:
        made = make_folder(name, template="plain", seed=seed)
        folder = tmp_path_factory.mktemp("ending")
        for file in made.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        model = reference(made)
        end = TemplateChat.load(made, read_config(made)).end_id
        with torch.no_grad():
            model.lm_head.weight[end] *= 5 if name == "qwen3" else 3
        model.generation_config.eos_token_id = end
        model.save_pretrained(folder)
        return folder

    return make


def found(engine: Engine, beams: Beams) -> list[Choice]:
    """What the engine finds, the best first."""
    sampling = Sampling(beams=beams, n=beams.width, max_tokens=TOKENS)
    events = engine.turn([Submit(1, Generation(MESSAGES, sampling=sampling))])
    while engine.is_busy:
        events += engine.turn([])
    finished = next(event.finished for event in events if isinstance(event, Progress) and event.finished)
    first = Choice(finished.text, finished.tool_calls, finished.finish_reason)
    return [first, *finished.others]


def expected(model: Any, chat: TemplateChat, beams: Beams) -> list[str]:
    """What transformers finds where no token without a text may come, as none may here."""
    prompt = torch.tensor([chat.encode(MESSAGES)])
    silent = [token for token in range(chat.vocab_size) if not chat.surface(token)]
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        num_beams=beams.width,
        num_return_sequences=beams.width,
        length_penalty=beams.length_penalty,
        early_stopping=beams.early_stopping,
        max_new_tokens=TOKENS,
        do_sample=False,
        eos_token_id=chat.end_id,
        pad_token_id=chat.end_id,
        suppress_tokens=[
            *(token for token in silent if token != chat.end_id),
            *range(chat.vocab_size, model.config.vocab_size),
        ],
    )
    said = out[:, prompt.shape[1] :].tolist()
    return [chat.decode([token for token in tokens if token != chat.end_id]) for tokens in said]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_texts_are_those_of_transformers(folders: Callable[..., Path], name: str) -> None:
    folder = folders(name, 3)
    engine = Engine.load(Load(str(folder), "m", 4, 0, 0, torch=Torch("cpu", "float32", 1)))
    model, chat = reference(folder), TemplateChat.load(folder, read_config(folder))
    ends = set()
    for penalty, early in SETTINGS:
        beams = Beams(4, penalty, early)
        choices = found(engine, beams)
        assert [choice.text for choice in choices] == expected(model, chat, beams), beams
        ends |= {choice.finish_reason for choice in choices}
    assert "stop" in ends
