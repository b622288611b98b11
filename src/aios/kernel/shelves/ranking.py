"""Which documents answer a query best: by words (BM25), by likeness of words, or by both.

All that a score depends on is the query and the documents that are visible: how often a term occurs is
counted among those, exactly, whatever segments they are in and whatever else was there before.

BM25: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009, section 3.5, with
the inverse document frequency that is never negative. Likeness: each word of the query meets the word of the
document that is most like it, and these are summed by rarity (the late interaction of Khattab and Zaharia,
ColBERT, SIGIR 2020, section 3.3, here between sets of character n-grams). Both: the convex combination that
Bruch, Gai and Ingber found better than fusing ranks (ACM TOIS 42, 2023).
"""

from collections.abc import Sequence
from typing import Literal

import apsw
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from aios.kernel.shelves.lexicon import NONE, Lexicon, Similar
from aios.kernel.shelves.segment import Bools, Places, Segment
from aios.kernel.shelves.terms import Keys, keys_of

Mode = Literal["both", "keyword", "meaning"]
Scores = NDArray[np.float64]

SATURATION, LENGTH_SHARE = 1.2, 0.75
"""`k1` and `b` of BM25."""
WEIGHT_OF_WORDS = 0.5
"""Of the score that words give; the rest is given by likeness."""
WEIGHT_OF_VECTORS = 0.5
"""Of likeness, what trained vectors give where there are any; the rest is given by letters."""
HALF_BM25 = 2.0
"""The BM25 score that counts as half of the best there is: one rare word, about."""
MOST_SIMILAR = 8
"""Words that stand in for one of the query, those most like it that are in any document."""
COMMON, COMMON_SHARE = 4096, 0.25
"""A word in more documents than this many, and this share of all, is not looked for beside others."""


class Part(Struct, frozen=True):
    """A segment, the documents of it that count, and those of them that are asked for; None for all."""

    segment: Segment
    is_visible: Bools | None
    is_wanted: Bools | None

    @property
    def num_documents(self) -> int:
        return len(self.segment) if self.is_visible is None else int(self.is_visible.sum())

    @property
    def num_words(self) -> int:
        """Of all its documents together."""
        lengths = self.segment.columns.lengths
        return int((lengths if self.is_visible is None else lengths[self.is_visible]).sum())


class Standins(Struct, frozen=True):
    """What is looked for in the place of one word of a query: itself, and words like it, least like first.

    `terms` are their places among the terms that were found.
    """

    terms: list[int]
    likeness: list[float]
    num_with: float
    """In how many documents they are, each counted by its likeness."""


class _Found(Struct, frozen=True):
    """Where the postings of terms begin and end in each part, and how many visible documents have them."""

    keys: Keys
    """Sorted."""
    begins: list[list[int]]
    ends: list[list[int]]
    num_with: NDArray[np.float64]

    def at(self, keys: Keys) -> NDArray[np.intp]:
        """The places of keys that were looked for."""
        return np.searchsorted(self.keys, keys)


class Ranking:
    """Ranks the documents of some parts, whose words are in `lexicons`."""

    def __init__(
        self, connection: apsw.Connection, parts: Sequence[Part], lexicons: Sequence[Lexicon]
    ) -> None:
        self._connection = connection
        self._parts = parts
        self._lexicons = lexicons
        self._num_documents = sum(part.num_documents for part in parts)
        self._num_words = sum(part.num_words for part in parts)

    def scores(
        self, words: Sequence[str], mode: Mode, cosines: Sequence[Scores] | None = None
    ) -> list[Scores]:
        """The score of each document of each part for these words; 0 where none of them is in it.

        `cosines` are those of trained vectors; one that has none yet is found by its letters alone.
        """
        own = keys_of(words)
        if mode == "keyword":
            return self._by_words(self._find(own), own)
        similar = self._similar(words)
        found = self._find(np.concatenate([own, *(one.keys[: 2 * MOST_SIMILAR] for one in similar)]))
        if any(self._wants_more(found, one) for one in similar):
            found = self._find(np.concatenate([own, *(one.keys for one in similar)]))
        likeness = self._by_likeness(found, own, similar)
        if cosines is not None:
            likeness = [
                WEIGHT_OF_VECTORS * cosine + (1 - WEIGHT_OF_VECTORS) * letters
                for cosine, letters in zip(cosines, likeness, strict=True)
            ]
        if mode == "meaning":
            return likeness
        return [
            WEIGHT_OF_WORDS * bm25 / (bm25 + HALF_BM25) + (1 - WEIGHT_OF_WORDS) * alike
            for bm25, alike in zip(self._by_words(found, own), likeness, strict=True)
        ]

    def _by_words(self, found: _Found, own: Keys) -> list[Scores]:
        """BM25."""
        terms = found.at(own)
        terms = terms[self._uncommon(found.num_with[terms])]
        rarity = self._rarity(found.num_with[terms]).tolist()
        mean = self._num_words / self._num_documents if self._num_words else 1.0
        return [self._bm25(number, found, terms.tolist(), rarity, mean) for number in range(len(self._parts))]

    def _by_likeness(self, found: _Found, own: Keys, similar: Sequence[Similar]) -> list[Scores]:
        """From 0 to 1: 1 for a document that holds all the words themselves."""
        standins = [self._standins(found, *one) for one in zip(own, similar, strict=True)]
        num_with = np.array([one.num_with for one in standins])
        chosen = [(standins[place], self._rarity(num_with[place])) for place in self._uncommon(num_with)]
        whole = float(sum(rarity for _, rarity in chosen)) or 1.0
        return [self._likeness(number, found, chosen) / whole for number in range(len(self._parts))]

    # ---- what is looked for

    def _find(self, keys: Keys) -> _Found:
        keys = np.unique(keys)
        num_with = np.zeros(len(keys))
        all_begins, all_ends = [], []
        for part in self._parts:
            begins, ends = part.segment.ranges(keys)
            all_begins.append(begins.tolist())
            all_ends.append(ends.tolist())
            if part.is_visible is None:
                num_with += ends - begins
                continue
            for term in np.flatnonzero(begins < ends).tolist():
                holders = part.segment.postings.places(self._connection, int(begins[term]), int(ends[term]))
                num_with[term] += np.count_nonzero(part.is_visible[holders])
        return _Found(keys, all_begins, all_ends, num_with)

    def _similar(self, words: Sequence[str]) -> list[Similar]:
        """For each word those like it on any of the shelves, the most alike first."""
        found = [lexicon.similar(words) for lexicon in self._lexicons]
        if len(found) == 1:
            return found[0]
        found = found or [[NONE] * len(words)]  # No shelf may be searched.
        return [_joined([one[at] for one in found]) for at in range(len(words))]

    def _wants_more(self, found: _Found, similar: Similar) -> bool:
        """Whether of the words like one so many are in no document any more that others may stand in."""
        first = similar.keys[: 2 * MOST_SIMILAR]
        num_there = np.count_nonzero(found.num_with[found.at(first)])
        return len(first) < len(similar.keys) and int(num_there) < MOST_SIMILAR

    def _standins(self, found: _Found, own: np.uint64, similar: Similar) -> Standins:
        terms = found.at(similar.keys)
        is_found = terms < len(found.keys)
        is_found &= found.keys[np.minimum(terms, len(found.keys) - 1)] == similar.keys
        is_found[is_found] = found.num_with[terms[is_found]] > 0
        chosen = np.flatnonzero(is_found)[:MOST_SIMILAR]
        all_terms, likeness = terms[chosen], similar.likeness[chosen]
        term = found.at(np.array([own]))
        if found.num_with[term[0]] > 0:
            all_terms = np.concatenate([term, all_terms])
            likeness = np.concatenate([np.ones(1), likeness])
        num_with = float((found.num_with[all_terms] * likeness).sum())
        return Standins(
            all_terms[::-1].tolist(), likeness[::-1].tolist(), min(num_with, float(self._num_documents))
        )

    def _rarity(self, num_with: NDArray[np.float64]) -> Scores:
        rarity: Scores = np.log1p((self._num_documents - num_with + 0.5) / (num_with + 0.5))
        return rarity

    def _uncommon(self, num_with: NDArray[np.float64]) -> NDArray[np.intp]:
        """Which words are looked for: those in any document, and common ones only for want of others."""
        is_there = num_with > 0
        is_rare = is_there & (num_with <= max(COMMON, COMMON_SHARE * self._num_documents))
        return np.flatnonzero(is_rare if is_rare.any() else is_there)

    # ---- scores

    def _bm25(self, number: int, found: _Found, terms: list[int], rarity: list[float], mean: float) -> Scores:
        segment = self._parts[number].segment
        scores = np.zeros(len(segment))
        for term, weight in zip(terms, rarity, strict=True):
            begin, end = found.begins[number][term], found.ends[number][term]
            if begin == end:
                continue
            places = segment.postings.places(self._connection, begin, end)
            counts = segment.postings.counts(self._connection, begin, end).astype(np.float64)
            damped = segment.columns.lengths[places] * (SATURATION * LENGTH_SHARE / mean)
            damped += SATURATION * (1 - LENGTH_SHARE)
            damped += counts
            counts *= weight * (SATURATION + 1)
            counts /= damped
            scores[places] += counts
        return scores

    def _likeness(self, number: int, found: _Found, chosen: Sequence[tuple[Standins, Scores]]) -> Scores:
        segment = self._parts[number].segment
        begins, ends = found.begins[number], found.ends[number]
        scores = np.zeros(len(segment))
        best = np.zeros(len(segment))
        for standins, rarity in chosen:
            touched: list[Places] = []
            for term, likeness in zip(standins.terms, standins.likeness, strict=True):
                if begins[term] < ends[term]:
                    touched.append(segment.postings.places(self._connection, begins[term], ends[term]))
                    best[touched[-1]] = likeness  # The more alike come later.
            if touched:
                places = touched[0] if len(touched) == 1 else np.concatenate(touched)
                scores[places] += rarity * best[places]  # A place that is there twice is written once.
                best[places] = 0.0
        return scores


def _joined(found: Sequence[Similar]) -> Similar:
    keys, at = np.unique(np.concatenate([one.keys for one in found]), return_index=True)
    likeness = np.concatenate([one.likeness for one in found])[at]
    order = np.lexsort((keys, -likeness))
    return Similar(keys[order], likeness[order])
