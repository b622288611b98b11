"""The words of a shelf, to find those that are like one: most often the same word, inflected or misspelt."""

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
    num_grams: NDArray[np.int64]


class Similar(Struct, frozen=True):
    """Words, the most alike first, and how much so (the cosine between sets of n-grams)."""

    keys: Keys
    likeness: NDArray[np.float64]


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

    def similar(self, word: str) -> Similar:
        """All words like one, itself left out."""
        grams = grams_of([word]) >> PLACE_BITS
        if not len(grams):
            return Similar(np.zeros(0, np.uint64), np.zeros(0))
        found = [_similar(piece, grams) for piece in self._pieces]
        keys = np.concatenate([np.zeros(0, np.uint64), *(one.keys for one in found)])
        likeness = np.concatenate([np.zeros(0), *(one.likeness for one in found)])
        is_other = keys != np.uint64(word_key(word))
        keys, likeness = keys[is_other], likeness[is_other]
        order = np.lexsort((keys, -likeness))
        return Similar(keys[order], likeness[order])


def _piece(keys: Keys, codes: Codes) -> _Piece:
    return _Piece(keys, codes, np.bincount((codes & _PLACES).astype(np.intp), minlength=len(keys)))


def _joined(one: _Piece, other: _Piece) -> _Piece:
    keys = np.sort(np.concatenate([one.keys, other.keys]))
    codes = []
    for piece in (one, other):
        moved = np.searchsorted(keys, piece.keys).astype(np.uint64)
        codes.append((piece.codes & ~_PLACES) | moved[(piece.codes & _PLACES).astype(np.intp)])
    return _piece(keys, np.sort(np.concatenate(codes)))


def _similar(piece: _Piece, grams: Codes) -> Similar:
    begins = np.searchsorted(piece.codes, grams << PLACE_BITS)
    ends = np.searchsorted(piece.codes, (grams << PLACE_BITS) | _PLACES, side="right")
    shared = [piece.codes[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    places = (np.concatenate(shared) & _PLACES).astype(np.intp)
    num_shared = np.bincount(places, minlength=len(piece.keys))
    likeness = num_shared / np.sqrt(np.maximum(piece.num_grams, 1) * len(grams))
    chosen = np.flatnonzero(likeness >= LEAST)
    return Similar(piece.keys[chosen], likeness[chosen])
