"""The words of a shelf, to find those that are like one: most often the same word, inflected or misspelt."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from aios.drivers.ngrams import PLACE_BITS, Codes, grams_of
from aios.kernel.shelves.terms import Keys, word_key

LEAST = 0.3
"""Likeness below which words have nothing to do with each other."""

_PLACES = np.uint64((1 << 32) - 1)


class _Piece(Struct, frozen=True):
    """Some words. `codes` are their n-grams, as in `aios.drivers.ngrams`."""

    keys: Keys
    codes: Codes
    num_grams: NDArray[np.float64]
    """Of each word; 1 for those that have none."""


class Similar(Struct, frozen=True):
    """Words, the most alike first, and how much so (the cosine between sets of n-grams)."""

    keys: Keys
    likeness: NDArray[np.float64]


NONE = Similar(np.zeros(0, np.uint64), np.zeros(0))


class Lexicon:
    """Words are only added: those that are gone do no harm but to take room."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []

    @property
    def num_bytes(self) -> int:
        return sum(one.keys.nbytes + one.codes.nbytes + one.num_grams.nbytes for one in self._pieces)

    def add(self, keys: Keys, words: str) -> None:
        """Take in words, one in each line of `words`, by their keys, which are sorted."""
        is_new = np.ones(len(keys), np.bool_)
        for piece in self._pieces:
            is_new &= ~np.isin(keys, piece.keys, assume_unique=True)
        if not is_new.any():
            return
        lines = words.splitlines()
        new = [lines[place] for place in np.flatnonzero(is_new).tolist()]
        self._pieces.append(_piece(keys[is_new], grams_of(new)))
        while len(self._pieces) > 1 and len(self._pieces[-2].keys) <= 2 * len(self._pieces[-1].keys):
            self._pieces[-2:] = [_joined(*self._pieces[-2:])]

    def similar(self, words: Sequence[str]) -> list[Similar]:
        """For each word all that are like it, itself left out."""
        codes = grams_of(words)
        grams, whose = codes >> PLACE_BITS, codes & _PLACES
        found = [_shared(piece, grams, whose, len(words)) for piece in self._pieces]
        nums = np.bincount(whose.astype(np.intp), minlength=len(words))
        return [
            _alike(words[at], int(nums[at]), self._pieces, [one[at] for one in found]) if nums[at] else NONE
            for at in range(len(words))
        ]


def _piece(keys: Keys, codes: Codes) -> _Piece:
    num_grams = np.bincount((codes & _PLACES).astype(np.intp), minlength=len(keys))
    return _Piece(keys, codes, np.maximum(num_grams, 1).astype(np.float64))


def _joined(one: _Piece, other: _Piece) -> _Piece:
    keys = np.sort(np.concatenate([one.keys, other.keys]))
    codes = []
    for piece in (one, other):
        moved = np.searchsorted(keys, piece.keys).astype(np.uint64)
        codes.append((piece.codes & ~_PLACES) | moved[(piece.codes & _PLACES).astype(np.intp)])
    return _piece(keys, np.sort(np.concatenate(codes)))


def _shared(piece: _Piece, grams: Codes, whose: Codes, num_words: int) -> list[list[Codes]]:
    """For each word asked for the n-grams that it shares with others, as codes of those."""
    begins = np.searchsorted(piece.codes, grams << PLACE_BITS).tolist()
    ends = np.searchsorted(piece.codes, (grams << PLACE_BITS) | _PLACES, side="right").tolist()
    shared: list[list[Codes]] = [[] for _ in range(num_words)]
    for word, begin, end in zip(whose.tolist(), begins, ends, strict=True):
        if begin < end:
            shared[word].append(piece.codes[begin:end])
    return shared


def _alike(word: str, num_grams: int, pieces: Sequence[_Piece], shared: Sequence[Sequence[Codes]]) -> Similar:
    all_keys, all_likeness = [NONE.keys], [NONE.likeness]
    for piece, codes in zip(pieces, shared, strict=True):
        if not codes:
            continue
        places = (np.concatenate(codes) & _PLACES).astype(np.intp)
        num_shared = np.bincount(places, minlength=len(piece.keys))
        likeness = num_shared / np.sqrt(piece.num_grams * float(num_grams))
        chosen = np.flatnonzero(likeness >= LEAST)
        all_keys.append(piece.keys[chosen])
        all_likeness.append(likeness[chosen])
    keys, likeness = np.concatenate(all_keys), np.concatenate(all_likeness)
    order = np.lexsort((keys, -likeness))
    order = order[keys[order] != np.uint64(word_key(word))]
    return Similar(keys[order], likeness[order])
