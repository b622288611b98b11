"""Which batch widths give the same bits on this machine.

A matrix product's rows may depend on how many rows it has, because BLAS picks its kernel by the size. An
interrupted generation comes back among other neighbours, so its rows must not. Widths that agree bit for
bit with one reference, wherever a row stands, may be mixed freely; the order of a kernel's additions does
not depend on the numbers, so agreement on random ones is agreement.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from aios.drivers.models.model import Floats

CANDIDATES = (8, 16, 24, 32, 48, 64)
"""Rows of one product, worth having: below 8 little is saved, above 64 nothing is gained."""
REFERENCE = 32

Computation = tuple[int, Callable[[Floats], Floats]]
"""A function of rows of so many numbers, that works on each row by itself."""


def agreeing_widths(matrices: Sequence[Floats]) -> tuple[int, ...]:
    """The widths to use with these matrices, ascending; (1,), which has no neighbours, where none agree."""
    return widths_of([(matrix.shape[0], partial(_product, matrix)) for matrix in matrices], CANDIDATES)


def widths_of(computations: Sequence[Computation], candidates: Sequence[int]) -> tuple[int, ...]:
    """The same of any computations of rows, among `candidates`, one of which is `REFERENCE`."""
    samples = [(compute, *_reference(inputs, compute, candidates[-1])) for inputs, compute in computations]
    agreeing = tuple(w for w in candidates if all(_agrees(w, *sample) for sample in samples))
    return agreeing if REFERENCE in agreeing else (1,)


def _product(matrix: Floats, rows: Floats) -> Floats:
    out: Floats = rows @ matrix
    return out


def _reference(inputs: int, compute: Callable[[Floats], Floats], widest: int) -> tuple[Floats, Floats]:
    rows = np.random.default_rng(0).standard_normal((2 * widest, inputs), dtype=np.float32)
    return rows, np.concatenate([compute(part) for part in np.split(rows, len(rows) // REFERENCE)])


def _agrees(width: int, compute: Callable[[Floats], Floats], rows: Floats, expected: Floats) -> bool:
    starts = (0, 5, len(rows) - width - 3)  # a row meets several places
    return all(np.array_equal(compute(rows[i : i + width]), expected[i : i + width]) for i in starts)
