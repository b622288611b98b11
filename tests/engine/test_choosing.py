"""Sampling is a function of logits, setting, seed and place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.abi.messages import Sampling
from aios.drivers.models.sampling import Floats, Sampler, log_softmax, uniform


def choose(logits: Floats, sampling: Sampling, place: int) -> int:
    return Sampler(sampling, ()).choose(logits, place)


_LOGITS = np.random.default_rng(5).standard_normal(50).astype(np.float32)


def test_greedy_takes_the_lowest_id_of_equals() -> None:
    assert choose(np.array([0, 3, 1, 3], np.float32), Sampling(), 0) == 1


def test_the_stream_is_uniform_and_keyed_by_seed_and_place() -> None:
    numbers = [uniform(7, place) for place in range(2000)]
    assert all(0 <= number < 1 for number in numbers)
    assert len(set(numbers)) == 2000
    assert np.mean(numbers) == pytest.approx(0.5, abs=0.03)
    assert uniform(7, 3) == numbers[3] != uniform(8, 3)


def test_tokens_come_as_often_as_their_weights_say() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    drawn = [choose(logits, Sampling(temperature=1.0, seed=1), place) for place in range(3000)]
    shares = np.bincount(drawn, minlength=3) / 3000
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.03)


@settings(max_examples=25)
@given(place=st.integers(0, 10_000), top_k=st.integers(1, 50))
def test_top_k_keeps_the_likeliest(place: int, top_k: int) -> None:
    token = choose(_LOGITS, Sampling(temperature=1.5, top_k=top_k, seed=3), place)
    assert token in np.argsort(-_LOGITS)[:top_k]


@settings(max_examples=25)
@given(place=st.integers(0, 10_000), top_p=st.floats(1e-6, 1))
def test_top_p_keeps_the_fewest_that_hold_the_share(place: int, top_p: float) -> None:
    token = choose(_LOGITS, Sampling(temperature=1.0, top_p=top_p, seed=3), place)
    weights = np.exp(_LOGITS.astype(np.float64))
    likelier = weights[weights > weights[token]].sum() / weights.sum()
    assert likelier <= top_p + 1e-9


@settings(max_examples=25)
@given(temperature=st.floats(5e-324, 2), seed=st.integers(0, 2**63 - 1), place=st.integers(0, 2**20))
def test_what_is_ruled_out_never_comes(temperature: float, seed: int, place: int) -> None:
    logits = _LOGITS.copy()
    logits[1:] = -np.inf
    assert choose(logits, Sampling(temperature=temperature, seed=seed), place) == 0
    logits = _LOGITS.copy()
    logits[::2] = -np.inf
    assert choose(logits, Sampling(temperature=temperature, top_p=0.9, top_k=30, seed=seed), place) % 2 == 1


@settings(max_examples=25)
@given(place=st.integers(0, 10_000), min_p=st.floats(0.01, 1))
def test_min_p_keeps_what_is_nearly_as_likely(place: int, min_p: float) -> None:
    token = choose(_LOGITS, Sampling(temperature=1.0, min_p=min_p, seed=3), place)
    weights = np.exp(_LOGITS.astype(np.float64))
    assert weights[token] >= min_p * weights.max() * (1 - 1e-9)


def test_a_repetition_penalty_counts_prompt_and_answer_once_and_never_favours() -> None:
    sampler = Sampler(Sampling(repetition_penalty=2.0), [0, 1])
    for _ in range(3):
        sampler.feed(2)
    found = sampler.adjusted(np.array([4, -4, 2, 3], np.float32))
    assert found.tolist() == [2, -8, 1, 3]


def test_presence_counts_once_and_frequency_each_time() -> None:
    sampler = Sampler(Sampling(presence_penalty=1.0, frequency_penalty=0.5), [3])
    for token in (0, 0, 1):
        sampler.feed(token)
    found = sampler.adjusted(np.array([4, 4, 4, 4], np.float32))
    assert found.tolist() == [2.0, 2.5, 4, 4]


def test_a_bias_moves_the_choice_but_not_what_is_ruled_out() -> None:
    logits = np.array([1, 2, 0, -np.inf], np.float32)
    assert choose(logits, Sampling(logit_bias={0: 5.0, 3: 100.0}), 0) == 0
    assert logits.tolist()[:3] == [1, 2, 0], "the logits of the caller stay"


def test_likelihoods_are_normalised() -> None:
    likely = log_softmax(np.array([1, 1000, -np.inf], np.float32))
    assert likely[1] == pytest.approx(0)
    assert np.exp(likely).sum() == pytest.approx(1)
    assert likely[2] == -np.inf
