"""Which documents answer a query best: by words (BM25), by likeness (cosine), or by both.

All that a score depends on is the query and the documents that are visible: how often a term occurs is
counted among those, exactly, whatever segments they are in and whatever else was there before.

BM25: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009, section 3.5, with
the inverse document frequency that is never negative. Likeness: the cosine between n-grams, the query's
weighted by rarity and the documents' not (`lnc.ltc` of Manning, Raghavan and Schütze, Introduction to
Information Retrieval, 2008, section 6.4.3; each n-gram counts once). Both: the convex combination that Bruch,
Gai and Ingber found better than fusing ranks (ACM TOIS 42, 2023).
"""

from collections.abc import Sequence
from typing import Literal

import apsw
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from aios.kernel.shelves.segment import Bools, Found, Segment
from aios.kernel.shelves.terms import Keys

Mode = Literal["both", "keyword", "meaning"]
Scores = NDArray[np.float64]

SATURATION, LENGTH_SHARE = 1.2, 0.75
"""`k1` and `b` of BM25."""
WEIGHT_OF_WORDS = 0.5
"""Of the score that words give; the rest is given by likeness."""
HALF_BM25 = 2.0
"""The BM25 score that counts as half of the best there is: one rare word, about."""


class Part(Struct, frozen=True):
    """A segment, the documents of it that count, and those of them that are asked for."""

    segment: Segment
    is_visible: Bools
    is_wanted: Bools


def by_words(connection: apsw.Connection, parts: Sequence[Part], words: Keys) -> list[Scores]:
    """The BM25 score of each document of each part, 0 where it holds none of the words."""
    found = [_visible(part, part.segment.find(connection, words)) for part in parts]
    num_with, num_docs = _count(parts, found, len(words))
    num_words = sum(int(part.segment.columns.lengths[part.is_visible].sum()) for part in parts)
    rarity = np.log1p((num_docs - num_with + 0.5) / (num_with + 0.5))
    mean = num_words / num_docs if num_words else 1.0
    return [_bm25(part.segment, one, rarity, mean) for part, one in zip(parts, found, strict=True)]


def by_likeness(connection: apsw.Connection, parts: Sequence[Part], grams: Keys) -> list[Scores]:
    """The likeness of each document of each part, from 0 to 1."""
    found = [_visible(part, part.segment.find(connection, grams)) for part in parts]
    num_with, num_docs = _count(parts, found, len(grams))
    rarity = np.log((num_docs + 1) / (num_with + 0.5))
    length = float(np.sqrt(np.square(rarity).sum())) or 1.0
    scores = []
    for part, one in zip(parts, found, strict=True):
        sums = np.bincount(one.places, weights=rarity[one.terms], minlength=len(part.segment))
        scores.append(sums / (np.sqrt(np.maximum(part.segment.columns.num_grams, 1)) * length))
    return scores


def fuse(words: Sequence[Scores], likeness: Sequence[Scores]) -> list[Scores]:
    """Both in one, from 0 to 1."""
    return [
        WEIGHT_OF_WORDS * bm25 / (bm25 + HALF_BM25) + (1 - WEIGHT_OF_WORDS) * cosine
        for bm25, cosine in zip(words, likeness, strict=True)
    ]


def _visible(part: Part, found: Found) -> Found:
    if part.is_visible.all():
        return found
    stays = part.is_visible[found.places]
    counts = found.counts[stays] if len(found.counts) else found.counts
    return Found(found.terms[stays], found.places[stays], counts)


def _count(
    parts: Sequence[Part], found: Sequence[Found], num_terms: int
) -> tuple[NDArray[np.float64], float]:
    """In how many visible documents each term is, and how many there are."""
    num_with = np.zeros(num_terms, np.float64)
    for one in found:
        num_with += np.bincount(one.terms, minlength=num_terms)
    return num_with, float(sum(int(part.is_visible.sum()) for part in parts))


def _bm25(segment: Segment, found: Found, rarity: Scores, mean: float) -> Scores:
    lengths = segment.columns.lengths[found.places]
    counts = found.counts.astype(np.float64)
    damped = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * lengths / mean)
    weights = rarity[found.terms] * counts * (SATURATION + 1) / (counts + damped)
    scores: Scores = np.bincount(found.places, weights=weights, minlength=len(segment)).astype(np.float64)
    return scores
