"""Texts as sets of hashed character n-grams: likeness without a model.

`colour` meets `colours` and `color` because most of their n-grams are the same. N-grams do not cross words; a
word's begin and end count as letters of it. They are hashed into 32 bits (Weinberger and others, Feature
Hashing for Large Scale Multitask Learning, ICML 2009). Knows neither where texts are kept nor whose they are.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GRAM_SIZES = (3, 4)
PIECE = 256 * 1024
"""Letters taken at a time, give or take a text: what that needs is some 50 times as large."""

_WORD = re.compile(r"\w+")
_SPACE = ord(" ")
_FNV_PRIME = np.uint32(16_777_619)

Codes = NDArray[np.uint64]


def grams_of(texts: Sequence[str], max_letters: int) -> Codes:
    """Each distinct n-gram of each text's first `max_letters`, as `hash << 16 | the text's place`; sorted.

    There may be at most 65,536 texts.
    """
    pieces: list[Codes] = []
    start = num_letters = 0
    for end, text in enumerate(texts, 1):
        num_letters += min(len(text), max_letters)
        if num_letters >= PIECE or end == len(texts):
            pieces.append(_grams([one[:max_letters] for one in texts[start:end]], start))
            start, num_letters = end, 0
    codes = np.concatenate(pieces) if pieces else np.zeros(0, np.uint64)
    codes.sort()
    return codes


def _grams(texts: Sequence[str], first: int) -> Codes:
    padded = [f" {' '.join(_WORD.findall(text.casefold()))} " for text in texts]
    letters = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32)
    places = np.arange(first, first + len(texts), dtype=np.uint64)
    text_of = np.repeat(places, [len(text) for text in padded])
    is_inside = letters != _SPACE
    found: list[Codes] = []
    for size in GRAM_SIZES:
        num_grams = max(len(letters) - size + 1, 0)
        gram = np.zeros(num_grams, np.uint32)
        is_gram = np.ones(num_grams, np.bool_)
        for offset in range(size):
            gram = (gram ^ letters[offset : offset + num_grams]) * _FNV_PRIME
            if 0 < offset < size - 1:
                is_gram &= is_inside[offset : offset + num_grams]
        gram ^= gram >> np.uint32(15)
        found.append(((gram.astype(np.uint64) << np.uint64(16)) | text_of[:num_grams])[is_gram])
    return np.unique(np.concatenate(found))
