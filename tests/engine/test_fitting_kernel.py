"""Conversations that do not fit, on real models with windows of 300 and 250 tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aios.abi import errors
from aios.abi import syscalls as sc
from aios.abi.messages import Message, Sampling
from aios.drivers.llm_local import EMBEDDED_MODEL, EmbeddedDriver
from aios.kernel.config import Config, ContextConfig, CoreConfig
from aios.kernel.fitting import Fitting, room_for_answer
from aios.kernel.kernel import Kernel

RULES = Message("system", "You keep notes.")
NAME = Message("user", "My name is Zoë.", pinned=True)
TALK = (
    RULES,
    NAME,
    *(
        message
        for number in range(12)
        for message in (
            Message("user", f"Write note {number} about the weather in the capital."),
            Message("assistant", f"Note {number} is written."),
        )
    ),
    Message("user", "Which note was the last?"),
)
SAMPLING = Sampling(seed=5, max_tokens=12)


class Lives:
    def __init__(self, kernel: Kernel, driver: EmbeddedDriver) -> None:
        self.kernel = kernel
        self.driver = driver

    async def ask(self, messages: tuple[Message, ...] = TALK, **fields: Any) -> sc.LlmAnswer:
        call = sc.LlmGenerate(messages=messages, **{"sampling": SAMPLING, **fields})
        answer = await self.kernel.trap(self.kernel.operator_token, call)
        assert isinstance(answer, sc.LlmAnswer)
        return answer


@asynccontextmanager
async def living(
    folder: Path, model: Path = EMBEDDED_MODEL, *, window: int = 0, **context: Any
) -> AsyncIterator[Lives]:
    driver = EmbeddedDriver(model, model="m", slots=2, inline=True)
    core = CoreConfig(name="a", slots=2, window=window)
    config = Config(data=folder, cores=(core,), context=ContextConfig(**context))
    async with Kernel(config, drivers={"a": driver}) as kernel:
        yield Lives(kernel, driver)
        kernel.check()


async def test_by_itself_what_does_not_fit_is_refused(tmp_path: Path, model_folder: Path) -> None:
    async with living(tmp_path, model_folder) as lives:
        for fields in ({}, {"fit": "refuse"}):
            with pytest.raises(errors.ContextOverflow):
                await lives.ask(**fields)


async def test_the_oldest_turns_are_left_out(tmp_path: Path, model_folder: Path) -> None:
    async with living(tmp_path, model_folder, fit="drop") as lives:

        async def count(messages: Any) -> int:
            return await lives.driver.num_prompt_tokens(messages, ()) or 0

        kept, fitted = await Fitting(TALK, 300, room_for_answer(12, 300), count).drop()
        answer = await lives.ask()
        assert fitted is not None
        assert answer.fitted == fitted
        assert kept[:2] == (RULES, NAME)
        assert await count(kept) <= 300 - 12
        same = await lives.ask(kept, fit="refuse")
        assert (same.text, same.fitted) == (answer.text, None)
        assert same.usage.prompt_tokens == answer.usage.prompt_tokens


async def test_a_summary_is_put_in_their_place_and_paid(tmp_path: Path) -> None:
    async with living(tmp_path, window=250) as lives:
        answer = await lives.ask(fit="summarise")
        assert answer.fitted is not None
        assert answer.fitted.summary
        before = Message("user", "Summary of what was said before:\n" + answer.fitted.summary)
        left = [message for message in TALK if message not in (RULES, NAME)][answer.fitted.num_dropped :]
        same = await lives.ask((RULES, NAME, before, *left), fit="refuse")
        assert same.text == answer.text
        assert answer.usage.prompt_tokens > same.usage.prompt_tokens + 100
        assert answer.usage.completion_tokens > same.usage.completion_tokens


async def test_a_summary_nobody_can_pay_for_is_not_made(tmp_path: Path) -> None:
    async with living(tmp_path, window=250) as lives:
        prompt = await lives.driver.num_prompt_tokens(TALK, ()) or 0
        with pytest.raises(errors.QuotaExceeded):
            await lives.ask(fit="summarise", budget=sc.Budget(tokens=prompt + 60))
        assert lives.kernel.cores()[0].tokens == 0


@pytest.mark.parametrize("way", ["drop", "summarise"])
async def test_what_has_to_stay_is_refused_without_effect(
    tmp_path: Path, model_folder: Path, way: sc.Fit
) -> None:
    async with living(tmp_path, model_folder) as lives:
        with pytest.raises(errors.ContextOverflow, match="has to stay"):
            await lives.ask((RULES, Message("user", "old"), Message("user", "words " * 400)), fit=way)
        assert lives.kernel.cores()[0].tokens == 0
