"""Texts that are alike, put together: the same ones for the same texts, whatever the machine.

A text is the sum of its words by rarity, each as itself and as its n-grams, hashed into `DIMENSIONS`
(Weinberger and others, Feature Hashing for Large Scale Multitask Learning, ICML 2009). The two groups that
are most alike on the average are merged as long as they are `ALIKE` (the average linkage of Sokal and
Michener, University of Kansas Science Bulletin 38, 1958).
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from math import log

import numpy as np
from numpy.typing import NDArray

from aios.drivers.ngrams import PLACE_BITS, grams_of
from aios.kernel.shelves.terms import keys_of

MAX_TEXTS = 256
MAX_LETTERS = 16 * 1024
"""Of a text, what is looked at."""
MAX_WORDS = 200
"""Of a text, its rarest and most frequent, are what it is known by."""
DIMENSIONS = 4096
FEW = 4
"""Of so many texts or less, what they have in common still says much of each."""
GRAMS = 0.3
"""What the n-grams of a word weigh beside itself."""
ALIKE = 0.15
NAMING = 3
"""Words that a group is called by."""
NAMELESS = "(no text)"

_WORD = re.compile(r"[^\W\d_]\w{2,}")
_PLACE = np.uint64((1 << 32) - 1)

Vectors = NDArray[np.float64]


def clusters(texts: Sequence[str]) -> list[str]:
    """For each text the name of the group that it is in: words that tell it from the others."""
    counts = [Counter(_WORD.findall(text[:MAX_LETTERS].casefold())) for text in texts]
    weights = _weights(counts)
    members = _merged(_vectors(weights))
    names = [""] * len(texts)
    taken: Counter[str] = Counter()
    for group in members:
        name = _named([weights[text] for text in group])
        taken[name] += 1
        for text in group:
            names[text] = name if taken[name] == 1 else f"{name} ({taken[name]})"
    return names


def _weights(counts: Sequence[Counter[str]]) -> list[dict[str, float]]:
    """How much each word says of its text."""
    num_with = Counter(word for one in counts for word in one)
    found = []
    for one in counts:
        weights = {
            word: (1 + log(count)) * log((len(counts) + 1) / num_with[word]) for word, count in one.items()
        }
        best = sorted(weights, key=lambda word: (-weights[word], word))
        found.append({word: weights[word] for word in best[:MAX_WORDS]})
    return found


def _vectors(weights: Sequence[dict[str, float]]) -> Vectors:
    features = _features(sorted({word for one in weights for word in one}))
    vectors = np.zeros((len(weights), DIMENSIONS))
    for number, one in enumerate(weights):
        columns = [features[word][0] for word in one]
        if columns:
            shares = [weight * features[word][1] for word, weight in one.items()]
            vectors[number] = np.bincount(
                np.concatenate(columns), np.concatenate(shares), minlength=DIMENSIONS
            )
    vectors = _unit(vectors)
    common = vectors.sum(axis=0) / (len(vectors) + FEW)
    return _unit(vectors - common)


def _features(words: Sequence[str]) -> dict[str, tuple[NDArray[np.intp], Vectors]]:
    """Of each word its dimensions and how much it has of them: itself first, then its n-grams."""
    codes = grams_of(words)
    whose = (codes & _PLACE).astype(np.intp)
    hashes = (codes >> PLACE_BITS)[np.argsort(whose, kind="stable")]
    ends = np.cumsum(np.bincount(whose, minlength=len(words))).tolist()
    keys = keys_of(words)
    found: dict[str, tuple[NDArray[np.intp], Vectors]] = {}
    for place, (word, begin, end) in enumerate(zip(words, [0, *ends], ends, strict=False)):
        mine = np.concatenate([keys[place : place + 1], hashes[begin:end]])
        shares = np.full(len(mine), GRAMS / max(end - begin, 1) ** 0.5)
        shares[0] = 1.0
        # Half of them count less than nothing: what meets by chance comes to nothing on the average.
        shares[mine >> np.uint64(20) & np.uint64(1) > 0] *= -1.0
        found[word] = (mine % np.uint64(DIMENSIONS)).astype(np.intp), shares
    return found


def _unit(vectors: Vectors) -> Vectors:
    """Each of length 1, or nothing."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _merged(vectors: Vectors) -> list[list[int]]:
    """The members of each group, in the order of their first."""
    members = [[number] for number in range(len(vectors))]
    likeness = np.round(vectors @ vectors.T, 9)  # Below that, machines may differ.
    np.fill_diagonal(likeness, -1.0)
    sizes = np.ones(len(vectors))
    while len(vectors) > 1:
        one, other = divmod(int(np.argmax(likeness)), len(vectors))
        if likeness[one, other] < ALIKE:
            break
        both = (likeness[one] * sizes[one] + likeness[other] * sizes[other]) / (sizes[one] + sizes[other])
        both[[one, other]] = -1.0
        gone = likeness[other] < -0.5
        likeness[one] = likeness[:, one] = np.where(gone, -1.0, np.round(both, 9))
        likeness[other] = likeness[:, other] = -1.0
        sizes[one] += sizes[other]
        members[one] += members[other]
        members[other] = []
    return [sorted(group) for group in members if group]


def _named(weights: Sequence[dict[str, float]]) -> str:
    together: dict[str, float] = {}
    for one in weights:
        for word, weight in one.items():
            together[word] = together.get(word, 0.0) + weight
    best = sorted(together, key=lambda word: (-together[word], word))
    return " ".join(islice(best, NAMING)) or NAMELESS
