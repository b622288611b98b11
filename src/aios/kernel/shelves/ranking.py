"""Which documents answer a query best: by words (BM25), by likeness of words, or by both.

All that a score depends on is the query and the documents that are visible: how often a term occurs is
counted among those, exactly, whatever segments they are in and whatever else was there before.

BM25: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009, section 3.5, with
the inverse document frequency that is never negative. Likeness: each word of the query meets the word of the
document that is most like it, and these are summed by rarity (the late interaction of Khattab and Zaharia,
ColBERT, SIGIR 2020, section 3.3, here between sets of character n-grams). Both: the convex combination that
Bruch, Gai and Ingber found better than fusing ranks (ACM TOIS 42, 2023).
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import apsw
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from aios.kernel.shelves.lexicon import Lexicon
from aios.kernel.shelves.segment import Bools, Places, Segment
from aios.kernel.shelves.terms import Keys, keys_of

Mode = Literal["both", "keyword", "meaning"]
Scores = NDArray[np.float64]

SATURATION, LENGTH_SHARE = 1.2, 0.75
"""`k1` and `b` of BM25."""
WEIGHT_OF_WORDS = 0.5
"""Of the score that words give; the rest is given by likeness."""
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
    """What is looked for in the place of one word of a query: itself, and words like it, least like first."""

    keys: Keys
    likeness: NDArray[np.float64]
    rarity: float


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

    def scores(self, words: Sequence[str], mode: Mode) -> list[Scores]:
        """The score of each document of each part for these words; 0 where none of them is in it."""
        if mode == "keyword":
            return self.by_words(words)
        if mode == "meaning":
            return self.by_likeness(words)
        return [
            WEIGHT_OF_WORDS * bm25 / (bm25 + HALF_BM25) + (1 - WEIGHT_OF_WORDS) * likeness
            for bm25, likeness in zip(self.by_words(words), self.by_likeness(words), strict=True)
        ]

    def by_words(self, words: Sequence[str]) -> list[Scores]:
        """BM25."""
        keys = keys_of(list(words))
        num_with = self._count(keys)
        chosen = self._uncommon(num_with)
        rarity = self._rarity(num_with)[chosen]
        mean = self._num_words / self._num_documents if self._num_words else 1.0
        return [self._bm25(part, keys[chosen], rarity, mean) for part in self._parts]

    def by_likeness(self, words: Sequence[str]) -> list[Scores]:
        """From 0 to 1: 1 for a document that holds all the words themselves."""
        found = [self._standins(word) for word in words]
        num_with = np.array([num for _, num in found], np.float64)
        chosen = [found[place][0] for place in self._uncommon(num_with).tolist()]
        whole = sum(one.rarity for one in chosen if len(one.keys)) or 1.0
        return [self._likeness(part, chosen) / whole for part in self._parts]

    # ---- inside

    def _rarity(self, num_with: NDArray[np.float64]) -> Scores:
        rarity: Scores = np.log1p((self._num_documents - num_with + 0.5) / (num_with + 0.5))
        return rarity

    def _uncommon(self, num_with: NDArray[np.float64]) -> NDArray[np.intp]:
        """Which words are looked for: those in any document, and common ones only for want of others."""
        is_there = num_with > 0
        is_rare = is_there & (num_with <= max(COMMON, COMMON_SHARE * self._num_documents))
        return np.flatnonzero(is_rare if is_rare.any() else is_there)

    def _count(self, keys: Keys) -> NDArray[np.float64]:
        """In how many visible documents each term is."""
        num_with = np.zeros(len(keys), np.float64)
        for part in self._parts:
            ranges = part.segment.ranges(keys)
            if part.is_visible is None:
                num_with += [end - begin for begin, end in ranges]
                continue
            for place, (begin, end) in enumerate(ranges):
                if begin < end:
                    holders = part.segment.postings.places(self._connection, begin, end)
                    num_with[place] += np.count_nonzero(part.is_visible[holders])
        return num_with

    def _standins(self, word: str) -> tuple[Standins, float]:
        """For a word, and in how many documents they are, each counted by its likeness."""
        own = keys_of([word])
        found = [lexicon.similar(word) for lexicon in self._lexicons]
        keys, at = np.unique(np.concatenate([own[:0], *(one.keys for one in found)]), return_index=True)
        likeness = np.concatenate([np.zeros(0), *(one.likeness for one in found)])[at]
        order = np.lexsort((keys, -likeness))
        num_with = np.zeros(0)
        for most in (2 * MOST_SIMILAR, len(order)):
            num_with = self._count(keys[order[:most]])
            if np.count_nonzero(num_with) >= MOST_SIMILAR:
                break
        alive = np.flatnonzero(num_with)[:MOST_SIMILAR]
        num_own = self._count(own)
        best = order[alive]
        all_keys = np.concatenate([own[: int(num_own[0] > 0)], keys[best]])
        all_likeness = np.concatenate([np.ones(int(num_own[0] > 0)), likeness[best]])
        num = min(float(num_own[0] + (num_with[alive] * likeness[best]).sum()), float(self._num_documents))
        rarity = float(self._rarity(np.array([num]))[0])
        return Standins(all_keys[::-1], all_likeness[::-1], rarity), num

    def _bm25(self, part: Part, keys: Keys, rarity: Scores, mean: float) -> Scores:
        segment = part.segment
        scores = np.zeros(len(segment))
        for word, (begin, end) in enumerate(segment.ranges(keys)):
            if begin == end:
                continue
            places = segment.postings.places(self._connection, begin, end)
            counts = segment.postings.counts(self._connection, begin, end).astype(np.float64)
            damped = segment.columns.lengths[places] * (SATURATION * LENGTH_SHARE / mean)
            damped += SATURATION * (1 - LENGTH_SHARE)
            damped += counts
            counts *= rarity[word] * (SATURATION + 1)
            counts /= damped
            scores[places] += counts
        return scores

    def _likeness(self, part: Part, standins: Sequence[Standins]) -> Scores:
        scores = np.zeros(len(part.segment))
        best = np.zeros(len(part.segment))
        for one in standins:
            holders = list(self._holders(part.segment, one.keys))
            for word, places in holders:
                best[places] = one.likeness[word]  # The more alike come later.
            if not holders:
                continue
            touched = np.concatenate([places for _, places in holders])
            scores[touched] += one.rarity * best[touched]  # A place that is there twice is written once.
            best[touched] = 0.0
        return scores

    def _holders(self, segment: Segment, keys: Keys) -> Iterator[tuple[int, Places]]:
        for word, (begin, end) in enumerate(segment.ranges(keys)):
            if begin < end:
                yield word, segment.postings.places(self._connection, begin, end)
