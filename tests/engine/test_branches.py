"""Several answers to one prompt, and the search for the likeliest."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aios.abi.errors import InvalidArgument
from aios.abi.messages import Beams, Message, Sampling, ToolSpec
from aios.drivers.engine import Engine
from aios.drivers.engine_answer import Answers
from aios.drivers.engine_branches import Branches, branches_of
from aios.drivers.engine_frames import Failed, Progress, Submit
from aios.drivers.engine_prompts import Prompts
from aios.drivers.llm import Finished, Generation
from aios.drivers.models.chat import ChatFormat
from aios.drivers.models.decoder import Decoder

LogitsOf = Callable[[tuple[int, ...]], NDArray[np.float32]]


def started(chat: ChatFormat, sampling: Sampling) -> Branches:
    prompt = [chat.bos_id, chat.controls["<|assistant|>"]]
    answers = Answers(chat, 300)
    return branches_of(sampling, lambda number: answers.begin(prompt, sampling, number=number))


def grown(branches: Branches, logits_of: LogitsOf) -> list[str]:
    """Grow to the end; the tokens of a branch determine its logits."""
    branches.grow([logits_of(())])
    while not branches.is_over:
        before = [tuple(branch.answer.tokens) for branch in branches.live]
        _, parents = branches.grow([logits_of(tokens) for tokens in before])
        for branch, parent in zip(branches.live, parents, strict=True):
            assert tuple(branch.answer.tokens[:-1]) == before[parent]
    return [choice.text for choice in branches.choices()]


def random_logits(chat: ChatFormat, letters: list[int], seed: int) -> LogitsOf:
    """Only some letters and the end may come, with chances drawn for each beginning."""

    def logits_of(tokens: tuple[int, ...]) -> NDArray[np.float32]:
        rng = np.random.default_rng([seed, *tokens])
        logits = np.full(chat.vocab_size, -np.inf, np.float32)
        logits[[*letters, chat.end_id]] = rng.standard_normal(len(letters) + 1).astype(np.float32) * 2
        return logits

    return logits_of


def letters_of(chat: ChatFormat) -> list[int]:
    return [token for token in range(chat.vocab_size) if chat.surface(token) in (b"a", b"e", b"i")]


@pytest.mark.parametrize("penalty", [-1.0, 0.0, 1.0, 2.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_search_that_leaves_nothing_out_finds_the_best_of_all(
    chat: ChatFormat, penalty: float, seed: int
) -> None:
    letters, longest = letters_of(chat), 3
    logits_of = random_logits(chat, letters, seed)

    def worth(tokens: tuple[int, ...]) -> float:
        score = 0.0
        for place, token in enumerate(tokens):
            logits = logits_of(tokens[:place]).astype(np.float64)
            score += logits[token] - np.log(np.exp(logits).sum())
        return score / math.pow(len(tokens), penalty)

    texts = [
        (*text, chat.end_id)
        for length in range(longest)
        for text in itertools.product(letters, repeat=length)
    ]
    texts += list(itertools.product(letters, repeat=longest))
    best = sorted(texts, key=worth, reverse=True)[:3]
    sampling = Sampling(beams=Beams(32, penalty, "never"), n=3, max_tokens=longest)
    found = grown(started(chat, sampling), logits_of)
    assert found == [chat.decode(tokens) for tokens in best]


def test_one_beam_is_the_greedy_answer(chat: ChatFormat) -> None:
    logits_of = random_logits(chat, letters_of(chat), 7)
    greedy = grown(started(chat, Sampling(max_tokens=6)), logits_of)
    assert grown(started(chat, Sampling(max_tokens=6, beams=Beams(1))), logits_of) == greedy


def test_early_stopping_ends_as_soon_as_there_are_enough(chat: ChatFormat) -> None:
    logits_of = random_logits(chat, letters_of(chat), 3)
    early = started(chat, Sampling(max_tokens=40, beams=Beams(3, 2.0, True)))
    late = started(chat, Sampling(max_tokens=40, beams=Beams(3, 2.0, "never")))
    grown(early, logits_of)
    grown(late, logits_of)
    assert early.num_tokens < late.num_tokens


def test_the_first_of_several_is_the_only_one_and_others_have_other_luck(chat: ChatFormat) -> None:
    logits_of = random_logits(chat, letters_of(chat), 5)
    alone = grown(started(chat, Sampling(temperature=1.0, seed=3, max_tokens=12)), logits_of)
    several = grown(started(chat, Sampling(temperature=1.0, seed=3, max_tokens=12, n=5)), logits_of)
    assert several[0] == alone[0]
    assert len(set(several)) > 1


def test_beams_keep_to_a_schema(chat: ChatFormat) -> None:
    prompt = [chat.bos_id, chat.controls["<|assistant|>"]]
    sampling = Sampling(beams=Beams(3), n=2, max_tokens=60)
    schema = {"enum": ["red", "green", "blue"]}
    answers = Answers(chat, 300)
    branches = branches_of(sampling, lambda number: answers.begin(prompt, sampling, (), (), schema, number))
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((100, chat.vocab_size)).astype(np.float32)
    found = grown(branches, lambda tokens: draws[len(tokens)].copy())
    assert len(set(found)) == 2
    assert set(found) <= {'"red"', '"green"', '"blue"'}


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(beams=Beams(2), temperature=0.5),
        Sampling(beams=Beams(2), top_k=3),
        Sampling(beams=Beams(2), n=3),
    ],
)
def test_what_beams_cannot_do_is_refused(chat: ChatFormat, sampling: Sampling) -> None:
    with pytest.raises(InvalidArgument, match="beams"):
        Prompts(chat, "tiny", 300).run(1, Generation((Message("user", "hello"),), (), sampling))


def answer(model_folder: Path, sampling: Sampling, slots: int = 4) -> tuple[Finished | None, list[Progress]]:
    engine = Engine(
        Decoder.load(model_folder),
        ChatFormat(model_folder / "tokenizer.model"),
        model="tiny",
        slots=slots,
        cache_bytes=1 << 20,
        snapshot_bytes=0,
    )
    tool = ToolSpec("add", "", {"properties": {"x": {"type": "integer"}}})
    events = engine.turn([Submit(1, Generation((Message("user", "hello there"),), (tool,), sampling))])
    while engine.is_busy:
        events += engine.turn([])
        engine.check()
    assert not [event for event in events if isinstance(event, Failed)]
    said = [event for event in events if isinstance(event, Progress)]
    return said[-1].finished, said


def test_the_pieces_of_several_answers_add_up_to_each(model_folder: Path) -> None:
    finished, said = answer(model_folder, Sampling(temperature=1.0, seed=1, n=3, max_tokens=20))
    assert finished is not None
    deltas = [delta for event in said for delta in event.deltas]
    for index, choice in enumerate([finished, *finished.others]):
        assert "".join(delta.text for delta in deltas if delta.index == index) == choice.text
    assert sum(delta.num_tokens for delta in deltas) <= finished.usage.completion_tokens <= 60


def test_beams_tell_of_work_at_every_step_and_show_the_best_at_the_end(model_folder: Path) -> None:
    finished, said = answer(model_folder, Sampling(beams=Beams(3), n=2, max_tokens=9))
    assert finished is not None
    assert len(finished.others) == 1
    *steps, last = said
    assert all(delta.num_tokens and not delta.text for event in steps for delta in event.deltas)
    assert "".join(delta.text for delta in last.deltas if delta.index == 0) == finished.text
    assert (
        sum(delta.num_tokens for event in said for delta in event.deltas) == finished.usage.completion_tokens
    )


def test_more_answers_than_rows_are_refused(model_folder: Path) -> None:
    engine = Engine(
        Decoder.load(model_folder),
        ChatFormat(model_folder / "tokenizer.model"),
        model="tiny",
        slots=2,
        cache_bytes=0,
        snapshot_bytes=0,
    )
    (refused,) = engine.obey(Submit(1, Generation((Message("user", "hello"),), (), Sampling(n=3))))
    assert isinstance(refused, Failed)
    assert refused.error.message == "3 answers at once; tiny takes 2"
