"""Terms: what a document is found by. Its words, and marks such as its tags.

A term is a key of 48 bits, its kind in the upper two. Knows no shelf.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import cast

import apsw
import numpy as np
from numpy.typing import NDArray

WORD, MARK = 0, 1
"""Kinds of terms."""
KIND_SHIFT = 46
PLACE_SHIFT = 16
"""A code is a key and, below it, the place of a document that holds the term."""
MAX_PLACES = 1 << PLACE_SHIFT
MAX_WORDS = 32
"""Words of a query that are looked for; more would cost much and find little."""

Tokenize = Callable[[str], list[str]]
"""The words of a text in their order, as they are indexed."""

Keys = NDArray[np.uint64]

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]{2,}"
)
"""Of scripts that put no space between words, or not always."""


def tokenizer(connection: apsw.Connection) -> Tokenize:
    """Whole words without case and accents, English endings cut off (Porter, Program 14.3, 1980).

    Where a script puts no space between words, each two letters in a row stand for one.
    """
    words = connection.fts5_tokenizer("porter", ["unicode61", "remove_diacritics", "2"])

    def tokenize(text: str) -> list[str]:
        if not text.isascii():
            text = _UNSPACED.sub(_pairs, text)
        data = text.encode("utf-8", "ignore")
        found = words(data, apsw.FTS5_TOKENIZE_DOCUMENT, None, include_offsets=False, include_colocated=False)
        return cast(list[str], found)

    return tokenize


@lru_cache(maxsize=1 << 16)
def word_key(word: str) -> int:
    return WORD << KIND_SHIFT | _hash(word)


def mark_key(mark: str) -> int:
    return MARK << KIND_SHIFT | _hash(mark)


def words_of(tokenize: Tokenize, text: str) -> list[str]:
    """The distinct words of a query, the first of them."""
    return list(dict.fromkeys(tokenize(text)))[:MAX_WORDS]


def keys_of(words: Sequence[str]) -> Keys:
    return np.array([word_key(word) for word in words], np.uint64)


def _pairs(run: re.Match[str]) -> str:
    letters = run[0]
    return f" {' '.join(letters[at : at + 2] for at in range(len(letters) - 1))} "


def _hash(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - KIND_SHIFT)
