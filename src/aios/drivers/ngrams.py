"""Words as sets of hashed character n-grams: likeness without a model.

`colour` is like `color`, and `pasword` like `password`, because most of their n-grams are the same. A word's
begin and end count as letters of it. N-grams are hashed into 32 bits (Weinberger and others, Feature Hashing
for Large Scale Multitask Learning, ICML 2009). Knows neither texts nor where they are kept.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GRAM_SIZES = (2, 3)
MIN_LETTERS = 4
"""Shorter words have no n-grams: too many others would be like them."""
MAX_LETTERS = 32
"""Of a word, what is looked at."""
PLACE_BITS = np.uint64(32)

_FNV_PRIME = np.uint32(16_777_619)

Codes = NDArray[np.uint64]


def grams_of(words: Sequence[str]) -> Codes:
    """The distinct n-grams of each word, as `hash << 32 | the word's place in words`; sorted."""
    padded = [f" {word[:MAX_LETTERS]} " for word in words]
    letters = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.array([len(word) for word in padded], np.intp)
    place_of = np.repeat(np.arange(len(words), dtype=np.uint64), lengths)
    is_long = np.repeat(lengths >= MIN_LETTERS + 2, lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(letters))
    found: list[Codes] = []
    for size in GRAM_SIZES:
        num_grams = max(len(letters) - size + 1, 0)
        gram = np.full(num_grams, size, np.uint32)
        for offset in range(size):
            gram = (gram ^ letters[offset : offset + num_grams]) * _FNV_PRIME
        gram ^= gram >> np.uint32(15)
        codes = (gram.astype(np.uint64) << PLACE_BITS) | place_of[:num_grams]
        found.append(codes[is_long[:num_grams] & (left[:num_grams] >= size)])
    return np.unique(np.concatenate(found))
