"""Matrix products of few rows, and which batch widths give the same bits on this machine.

A matrix product's rows may depend on how many rows it has, because BLAS picks its kernel by the size. An
interrupted generation comes back among other neighbours, so its rows must not. Widths that agree bit for
bit with one reference, wherever a row stands, may be mixed freely; the order of a kernel's additions does
not depend on the numbers, so agreement on random ones is agreement.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from aios.drivers.models.model import Floats

CANDIDATES = (4, 8, 16, 24, 32, 48, 64)
"""Rows of one product, worth having: below 4 nothing is saved, above 64 nothing is gained."""
REFERENCE = 32
_FEW = 16
"""Rows up to which a product takes as long as reading its matrix."""
_SMALL = 1_000_000
"""Multiplications of a product up to which OpenBLAS reads the matrix where it lies: a larger one is copied
first, which takes three to five times as long with few rows."""
_UNIT = 64
"""Of the sizes of pieces: at their edges other code is used, which may add up in another order."""
_DEEPEST = 256
"""Inputs that are added up in one go at any width: of more, OpenBLAS adds up in parts or not, by the size."""

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


def multiply(rows: Floats, matrix: Floats, out: Floats) -> None:
    """`rows @ matrix` into `out`, in pieces that are quick for few rows and have the same bits for many."""
    num_inputs = len(matrix)
    step = _even(num_inputs, _DEEPEST)
    _multiply(rows[:, :step], matrix[:step], out)
    for start in range(step, num_inputs, step):
        part = np.empty_like(out)
        _multiply(rows[:, start : start + step], matrix[start : start + step], part)
        out += part


def _multiply(rows: Floats, matrix: Floats, out: Floats) -> None:
    num_rows, (num_inputs, num_outputs) = len(rows), matrix.shape
    if num_rows > _FEW or num_rows * num_inputs * num_outputs <= _SMALL:
        np.matmul(rows, matrix, out=out)
        return
    step = _even(num_outputs, _SMALL // (num_rows * num_inputs))
    for start in range(0, num_outputs, step):
        stop = start + step
        np.matmul(rows, matrix[:, start:stop], out=out[:, start:stop])


def _even(length: int, most: int) -> int:
    """The size of about equal pieces of a length: a multiple of `_UNIT`, at most `most` where it can be."""
    most = max(_UNIT, most // _UNIT * _UNIT)
    num_pieces = -(-length // most)
    return -(-length // (num_pieces * _UNIT)) * _UNIT


def _product(matrix: Floats, rows: Floats) -> Floats:
    out = np.empty((len(rows), matrix.shape[1]), np.float32)
    multiply(rows, matrix, out)
    return out


def _reference(inputs: int, compute: Callable[[Floats], Floats], widest: int) -> tuple[Floats, Floats]:
    rows = np.random.default_rng(0).standard_normal((2 * widest, inputs), dtype=np.float32)
    return rows, np.concatenate([compute(part) for part in np.split(rows, len(rows) // REFERENCE)])


def _agrees(width: int, compute: Callable[[Floats], Floats], rows: Floats, expected: Floats) -> bool:
    starts = (0, 5, len(rows) - width - 3)  # a row meets several places
    return all(np.array_equal(compute(rows[i : i + width]), expected[i : i + width]) for i in starts)
