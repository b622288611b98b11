"""Choosing the tokens of an answer from logits.

The random number of the i-th token is a hash of (seed, i), and penalties are counted from the tokens: what is
chosen depends on prompt, setting, seed and the answer so far, and no interruption can shift it.
"""

import struct
from collections.abc import Sequence
from copy import copy
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from aios.abi.messages import Sampling

Floats = NDArray[np.float32]

_COUNTER = struct.Struct("<QQ")


def uniform(seed: int, index: int) -> float:
    """The `index`-th number of the stream `seed`, in [0, 1), of 53 random bits."""
    digest = blake2b(_COUNTER.pack(seed, index), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def seed_of(seed: int, number: int) -> int:
    """The seed of one of several answers to the same prompt; the first has the seed itself."""
    if number == 0:
        return seed
    return int.from_bytes(blake2b(_COUNTER.pack(seed, number), digest_size=8).digest(), "little") >> 1


class Sampler:
    """Chooses the tokens of one answer to `prompt`, the `number`-th of several; told each by `feed`."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], number: int = 0) -> None:
        self._sampling = sampling
        self._seed = seed_of(sampling.seed or 0, number)
        self._bias = sampling.logit_bias
        self._is_adjusted = bool(self._bias)
        self._seen: set[int] | None = None
        """The tokens of prompt and answer, where repeating them is made dearer or cheaper."""
        if sampling.repetition_penalty != 1:
            self._seen = set(prompt)
            self._is_adjusted = True
        self._counts: dict[int, int] | None = None
        """How often each token is in the answer, where that counts."""
        if sampling.presence_penalty or sampling.frequency_penalty:
            self._counts = {}
            self._is_adjusted = True

    def feed(self, token: int) -> None:
        """Count the token that was chosen."""
        if self._seen is not None:
            self._seen.add(token)
        if self._counts is not None:
            self._counts[token] = self._counts.get(token, 0) + 1

    def fork(self) -> "Sampler":
        """The same place in the same answer, to go on from by itself."""
        twin = copy(self)
        twin._seen = None if self._seen is None else {*self._seen}
        twin._counts = None if self._counts is None else {**self._counts}
        return twin

    def choose(self, logits: Floats, index: int) -> int:
        """The token for place `index` of the answer. Greedy at temperature 0; of equals the lowest id."""
        logits = self.adjusted(logits)
        sampling = self._sampling
        if sampling.temperature == 0:
            return int(logits.argmax())
        weights = _weights(logits, sampling.temperature)
        if sampling.min_p:
            weights[weights < sampling.min_p * weights.max()] = 0
        if sampling.top_k or sampling.top_p < 1:
            weights = _cut(weights, sampling.top_k, sampling.top_p)
        sums = np.cumsum(weights)
        place = np.searchsorted(sums, uniform(self._seed, index) * sums[-1], side="right")
        return int(min(place, np.flatnonzero(weights)[-1]))

    def adjusted(self, logits: Floats) -> Floats:
        """The logits after biases and penalties; what was ruled out stays so."""
        if not self._is_adjusted:
            return logits
        logits = logits.copy()
        sampling = self._sampling
        if self._bias:
            logits[list(self._bias)] += np.fromiter(self._bias.values(), np.float32)
        if self._seen:
            seen = np.fromiter(self._seen, np.intp)
            penalty = np.float32(sampling.repetition_penalty)
            found = logits[seen]
            logits[seen] = np.where(found > 0, found / penalty, found * penalty)
        if self._counts:
            tokens = np.fromiter(self._counts, np.intp)
            times = np.fromiter(self._counts.values(), np.float32)
            off = sampling.frequency_penalty * times + sampling.presence_penalty
            logits[tokens] -= off.astype(np.float32)
        return logits


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """Natural logarithms of the probabilities that these logits stand for."""
    wide = logits.astype(np.float64)
    wide -= wide.max()
    result: NDArray[np.float64] = wide - np.log(np.exp(wide).sum())
    return result


def _weights(logits: Floats, temperature: float) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    with np.errstate(over="ignore"):
        weights: NDArray[np.float64] = np.exp((wide - wide.max()) / temperature)
    return weights


def _cut(weights: NDArray[np.float64], top_k: int, top_p: float) -> NDArray[np.float64]:
    """Keep the k heaviest, and of them as few as hold the share `top_p`; at least one."""
    order = np.argsort(-weights, kind="stable")[: top_k or None]
    sums = np.cumsum(weights[order])
    before = np.concatenate([[0.0], sums[:-1]])
    kept = order[before < top_p * sums[-1]]
    out = np.zeros_like(weights)
    out[kept] = weights[kept]
    return out
