"""Choosing a token from logits. A plain function of logits, setting, seed and index: it keeps no state.

The random number of the i-th token is a hash of (seed, i), so an interruption can't shift it.
"""

import struct
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from aios.abi.messages import Sampling

_COUNTER = struct.Struct("<QQ")


def uniform(seed: int, index: int) -> float:
    """The `index`-th number of the stream `seed`, in [0, 1), of 53 random bits."""
    digest = blake2b(_COUNTER.pack(seed, index), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def choose(logits: NDArray[np.float32], sampling: Sampling, index: int) -> int:
    """The token for place `index` of the answer. Greedy at temperature 0; of equals the lowest id."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    weights = _weights(logits, sampling.temperature)
    if sampling.top_k or sampling.top_p < 1:
        weights = _cut(weights, sampling.top_k, sampling.top_p)
    sums = np.cumsum(weights)
    place = np.searchsorted(sums, uniform(sampling.seed or 0, index) * sums[-1], side="right")
    return int(min(place, np.flatnonzero(weights)[-1]))


def _weights(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
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
