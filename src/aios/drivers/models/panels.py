"""Which batch widths give the same bits on this machine.

A matrix product's rows may depend on how many rows it has, because BLAS picks its kernel by the size. An
interrupted generation comes back among other neighbours, so its rows must not. Widths that agree bit for
bit with one reference, wherever a row stands, may be mixed freely; the order of a kernel's additions does
not depend on the numbers, so agreement on random ones is agreement.
"""

from collections.abc import Sequence

import numpy as np

from aios.drivers.models.weights import Floats

CANDIDATES = (8, 16, 24, 32, 48, 64)
"""Rows of one product, worth having: below 8 little is saved, above 64 nothing is gained."""
REFERENCE = 32


def agreeing_widths(matrices: Sequence[Floats]) -> tuple[int, ...]:
    """The widths to use with these matrices, ascending; (1,), which has no neighbours, where none agree."""
    samples = [(matrix, *_reference(matrix)) for matrix in matrices]
    agreeing = tuple(w for w in CANDIDATES if all(_agrees(w, *sample) for sample in samples))
    return agreeing if REFERENCE in agreeing else (1,)


def _reference(matrix: Floats) -> tuple[Floats, Floats]:
    rows = np.random.default_rng(0).standard_normal((2 * CANDIDATES[-1], matrix.shape[0]), dtype=np.float32)
    return rows, np.concatenate([part @ matrix for part in np.split(rows, len(rows) // REFERENCE)])


def _agrees(width: int, matrix: Floats, rows: Floats, expected: Floats) -> bool:
    starts = (0, 5, len(rows) - width - 3)  # a row meets several places
    return all(np.array_equal(rows[i : i + width] @ matrix, expected[i : i + width]) for i in starts)
