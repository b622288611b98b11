"""Conversations that do not fit at an endpoint that counts its tokens by itself: estimated, and learnt."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aios.abi import errors
from aios.abi import syscalls as sc
from aios.abi.messages import Message, Sampling
from aios.drivers.refusals import refusal as meaning
from aios.kernel.config import Config, CoreConfig
from aios.kernel.kernel import Kernel
from fakes.upstream import Asked, Script, Upstream, chunk, refusal, stream, usage

TALK = (
    Message("system", "Be brief."),
    *(Message("user", f"question {number} " + "word " * 30, pinned=number == 1) for number in range(40)),
)


class Narrow(Upstream):
    """Takes 4 characters for a token, and `window` of them. It `tells` how many there were, or not."""

    def __init__(self, window: int, *, tells: bool = True) -> None:
        super().__init__()
        self._window = window
        self._tells = tells

    def _script_for(self, asked: Asked) -> Script:
        num_tokens = sum(len(message["content"]) for message in asked.body["messages"]) // 4
        if num_tokens + asked.body["max_tokens"] <= self._window:
            said = (chunk({"content": word}) for word in ("It", " fits"))
            return stream(*said, chunk({}, "stop"), usage(num_tokens, 2))
        told = f"This model's maximum context length is {self._window} tokens. However, your messages "
        told += f"resulted in {num_tokens} tokens."
        said = told if self._tells else "the prompt is too long"
        return refusal(400, {"error": {"message": said, "code": "context_length_exceeded"}})


@asynccontextmanager
async def living(folder: Path, upstream: Narrow, **core: Any) -> AsyncIterator[Kernel]:
    async with upstream:
        far = CoreConfig(name="far", kind="openai", model="big", base_url=upstream.base_url, **core)
        async with Kernel(Config(data=folder, cores=(far,))) as kernel:
            yield kernel
            kernel.check()


async def ask(kernel: Kernel, messages: tuple[Message, ...] = TALK, **fields: Any) -> sc.LlmAnswer:
    call = sc.LlmGenerate(messages=messages, **{"sampling": Sampling(max_tokens=50), "fit": "drop", **fields})
    answer = await kernel.trap(kernel.operator_token, call)
    assert isinstance(answer, sc.LlmAnswer)
    return answer


async def test_a_refusal_teaches_the_window(tmp_path: Path) -> None:
    upstream = Narrow(600)
    async with living(tmp_path, upstream) as kernel:
        answer = await ask(kernel)
        assert (answer.text, len(upstream.asked)) == ("It fits", 2)
        assert answer.fitted is not None
        kept = upstream.asked[1].body["messages"]
        assert len(kept) == len(TALK) - answer.fitted.num_dropped
        assert [one["content"][:10] for one in kept[:2]] == ["Be brief.", "question 1"]
        assert sum(len(one["content"]) for one in kept) // 4 > 300, "no more is left out than has to be"
        assert all("pinned" not in one for one in kept)
        again = (await ask(kernel)).fitted
        assert again is not None
        assert abs(again.num_dropped - answer.fitted.num_dropped) <= 1
        assert len(upstream.asked) == 3, "now it is known"


async def test_an_endpoint_that_tells_no_numbers_is_asked_for_less_and_less(tmp_path: Path) -> None:
    upstream = Narrow(900, tells=False)
    async with living(tmp_path, upstream) as kernel:
        assert (await ask(kernel)).text == "It fits"
        assert 2 < len(upstream.asked) <= 5


async def test_a_window_that_is_told_is_kept_to_from_the_first(tmp_path: Path) -> None:
    upstream = Narrow(600)
    async with living(tmp_path, upstream, window=600) as kernel:
        answer = await ask(kernel, sampling=Sampling())
        assert (answer.text, len(upstream.asked)) == ("It fits", 1)
        assert upstream.asked[0].body["max_tokens"] >= 150


async def test_what_has_to_stay_is_refused_at_last(tmp_path: Path) -> None:
    upstream = Narrow(100)
    async with living(tmp_path, upstream) as kernel:
        with pytest.raises(errors.ContextOverflow, match="has to stay"):
            await ask(kernel, (Message("user", "word " * 200),))
        assert len(upstream.asked) == 1


async def test_who_wants_no_fitting_gets_the_refusal(tmp_path: Path) -> None:
    upstream = Narrow(600)
    async with living(tmp_path, upstream) as kernel:
        with pytest.raises(errors.ContextOverflow, match="maximum context length"):
            await ask(kernel, fit=None)
        assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    ("said", "window", "num_tokens"),
    [
        ("This model's maximum context length is 8192 tokens. However, your messages resulted in 9312 "
         "tokens.", 8192, 9312),
        ("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4500 in "
         "the messages, 500 in the completion).", 4096, 4500),
        ("prompt is too long: 205000 tokens > 200000 maximum", 200000, 205000),
        ("input length and `max_tokens` exceed context limit: 197000 + 8192 > 200000", 200000, 197000),
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
         1048576, 1200000),
        ("the prompt is too long", 0, 0),
    ],
)  # fmt: skip
def test_refusals_tell_numbers_in_many_ways(said: str, window: int, num_tokens: int) -> None:
    error = meaning(400, {}, b'{"error": {"message": "%s"}}' % said.encode(), 0.0)
    assert isinstance(error, errors.ContextOverflow)
    assert (error.window, error.num_tokens) == (window, num_tokens)
