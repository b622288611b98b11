"""Nearest texts by the letters they share: hashed n-grams of characters, weighted by rarity, exact search.

Needs no model: `colour` meets `colours` and `color` because most of their n-grams are the same (the hashing
of Weinberger and others, ICML 2009; rarity is the inverse document frequency of Spärck Jones, 1972). Owns
the vectors in memory and the locks around them; knows neither where the texts are kept nor whose they are.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

NUM_BUCKETS = 512
GRAM_SIZES = (3, 4)
CHUNK = 256 * 1024
"""Letters turned into vectors at a time, give or take a text: what that needs is some 50 times as large."""

_WORD = re.compile(r"\w+")
_SPACE = ord(" ")

Floats = NDArray[np.float32]


def embed(texts: Sequence[str]) -> Floats:
    """One row for each text: how often each bucket of n-grams occurs in it, dampened."""
    rows = np.empty((len(texts), NUM_BUCKETS), np.float32)
    start = num_letters = 0
    for end, text in enumerate(texts, 1):
        num_letters += len(text) + NUM_BUCKETS  # Its row of counts takes room as well.
        if num_letters >= CHUNK or end == len(texts):
            rows[start:end] = _count(texts[start:end])
            start, num_letters = end, 0
    return np.log1p(rows, out=rows)


def _count(texts: Sequence[str]) -> NDArray[np.int64]:
    padded = [f" {' '.join(_WORD.findall(text.casefold()))} " for text in texts]
    letters = np.frombuffer("".join(padded).encode("utf-32-le"), np.uint32)
    row_of = np.repeat(np.arange(len(texts)), [len(text) for text in padded])
    is_inside = letters != _SPACE
    places = []
    for size in GRAM_SIZES:
        num_grams = max(len(letters) - size + 1, 0)
        gram = np.zeros(num_grams, np.uint32)
        is_gram = np.ones(num_grams, np.bool_)
        for offset in range(size):
            gram = (gram ^ letters[offset : offset + num_grams]) * np.uint32(16_777_619)  # FNV-1
            if 0 < offset < size - 1:
                is_gram &= is_inside[offset : offset + num_grams]
        bucket = (gram ^ (gram >> np.uint32(15))) % np.uint32(NUM_BUCKETS)
        places.append((row_of[:num_grams] * NUM_BUCKETS + bucket)[is_gram])
    counts = np.bincount(np.concatenate(places), minlength=len(texts) * NUM_BUCKETS)
    return counts.reshape(len(texts), NUM_BUCKETS)


def _dot(vectors: Floats, weights: Floats) -> Floats:
    # Not `@`: the threads of the matrix library wait by spinning, and would take the cores from the models.
    product: Floats = np.einsum("ij,j->i", vectors, weights)
    return product


class VectorIndex:
    """Texts by number. Use it with `lock` held."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stamp = 0
        """The newest change that its user has put in."""
        self._row_of: dict[int, int] = {}
        self._numbers = np.zeros(0, np.int64)
        self._vectors = np.zeros((0, NUM_BUCKETS), np.float32)
        self._rarity: Floats | None = None
        self._lengths = np.zeros(0, np.float32)

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def num_bytes(self) -> int:
        return self._vectors.nbytes

    def put(self, numbers: Sequence[int], texts: Sequence[str]) -> None:
        """Add texts, or replace those that have these numbers."""
        vectors = embed(texts)
        rows = [self._row_of.setdefault(number, len(self._row_of)) for number in numbers]
        self._grow(len(self._row_of))
        self._numbers[rows] = numbers
        self._vectors[rows] = vectors
        self._rarity = None

    def keep_only(self, numbers: Collection[int]) -> None:
        """Take out all texts but these."""
        kept = [(number, row) for number, row in self._row_of.items() if number in numbers]
        rows = [row for _, row in kept]
        self._vectors = self._vectors[rows]
        self._numbers = self._numbers[rows]
        self._row_of = {number: row for row, (number, _) in enumerate(kept)}
        self._rarity = None

    def nearest(self, text: str, limit: int, among: Collection[int] | None = None) -> dict[int, float]:
        """The nearest texts' numbers and likeness (cosine, above 0), best first; only those in `among`."""
        rarity = self._weigh()
        wanted = embed([text])[0] * rarity
        length = float(np.linalg.norm(wanted))
        if length == 0.0:
            return {}
        rows = np.arange(len(self._row_of))
        if among is not None:
            rows = np.array([self._row_of[number] for number in among if number in self._row_of], np.int64)
        vectors = self._vectors[: len(rows)] if among is None else self._vectors[rows]
        scores = _dot(vectors, wanted * rarity) / (self._lengths[rows] * np.float32(length))
        best = np.argsort(-scores, kind="stable")[:limit]
        return {int(self._numbers[rows[i]]): float(scores[i]) for i in best if scores[i] > 0}

    def _weigh(self) -> Floats:
        if self._rarity is None:
            vectors = self._vectors[: len(self._row_of)]
            num_with = np.count_nonzero(vectors, axis=0)
            self._rarity = np.log((len(vectors) + 1) / (num_with + 0.5)).astype(np.float32)
            self._lengths = np.sqrt(_dot(np.square(vectors), np.square(self._rarity))) + np.float32(1e-6)
        return self._rarity

    def _grow(self, num_rows: int) -> None:
        if num_rows <= len(self._vectors):
            return
        capacity = max(num_rows, len(self._vectors) * 3 // 2, 16)
        self._numbers = np.resize(self._numbers, capacity)
        vectors = np.zeros((capacity, NUM_BUCKETS), np.float32)
        vectors[: len(self._vectors)] = self._vectors
        self._vectors = vectors


class VectorCache:
    """The indexes of the owners that searched last, within `max_bytes`; others are made anew.

    The one used last stays even where it alone is larger, or each of its owner's searches would make it anew.
    An empty one is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._indexes: OrderedDict[str, VectorIndex] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self.num_bytes = 0

    @contextmanager
    def use(self, owner: str) -> Iterator[VectorIndex]:
        """The owner's index, locked; a new, empty one where there is none."""
        with self._lock:
            index = self._indexes.setdefault(owner, VectorIndex())
            self._indexes.move_to_end(owner)
        with index.lock:
            yield index
        with self._lock:
            if self._indexes.get(owner) is index:
                self._measure(owner, index)

    def _measure(self, owner: str, index: VectorIndex) -> None:
        self.num_bytes += index.num_bytes - self._sizes.get(owner, 0)
        self._sizes[owner] = index.num_bytes
        if not len(index):
            self._drop(owner)
        while self.num_bytes > self._max_bytes and len(self._indexes) > 1:
            self._drop(next(iter(self._indexes)))

    def _drop(self, owner: str) -> None:
        del self._indexes[owner]
        self.num_bytes -= self._sizes.pop(owner, 0)
