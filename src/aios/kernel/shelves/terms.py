"""Terms: what a document is found by. Words, character n-grams, and marks such as its tags.

A term is a key of 48 bits, its kind in the upper two. Knows no shelf.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import cast

import apsw
import numpy as np
from numpy.typing import NDArray

from aios.drivers.ngrams import Codes, grams_of

WORD, GRAM, MARK = 0, 1, 2
"""Kinds of terms."""
KIND_SHIFT = 46
PLACE_SHIFT = 16
"""A code is a key and, below it, the place of a document that holds the term."""
MAX_PLACES = 1 << PLACE_SHIFT
MAX_WORDS = 32
"""Words of a query that are looked for; more would cost much and find little."""
LIKENESS_LETTERS = 4096
"""Of a document, what likeness looks at: the beginning."""
QUERY_LETTERS = 512
"""Of a query, the same."""

Tokenize = Callable[[str], list[str]]
"""The words of a text in their order, as they are indexed."""

Keys = NDArray[np.uint64]


def tokenizer(connection: apsw.Connection) -> Tokenize:
    """Whole words without case and accents, English endings cut off (Porter, Program 14.3, 1980)."""
    words = connection.fts5_tokenizer("porter", ["unicode61", "remove_diacritics", "2"])

    def tokenize(text: str) -> list[str]:
        data = text.encode("utf-8", "ignore")
        found = words(data, apsw.FTS5_TOKENIZE_DOCUMENT, None, include_offsets=False, include_colocated=False)
        return cast(list[str], found)

    return tokenize


@lru_cache(maxsize=1 << 16)
def word_key(word: str) -> int:
    return _hash(word)


def mark_key(mark: str) -> int:
    return MARK << KIND_SHIFT | _hash(mark)


def grams_in(texts: Sequence[str], max_letters: int) -> Codes:
    """Codes of the n-grams of each text, sorted; a place is a text's place in `texts`."""
    return grams_of(texts, max_letters) | np.uint64(GRAM << (KIND_SHIFT + PLACE_SHIFT))


def gram_keys(text: str) -> Keys:
    """The n-grams of a query."""
    return grams_in([text], QUERY_LETTERS) >> np.uint64(PLACE_SHIFT)


def word_keys(tokenize: Tokenize, text: str) -> Keys:
    """The distinct words of a query, the first of them."""
    words = list(dict.fromkeys(tokenize(text)))[:MAX_WORDS]
    return np.array([word_key(word) for word in words], np.uint64)


def _hash(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - KIND_SHIFT)
