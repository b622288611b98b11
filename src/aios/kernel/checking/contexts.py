"""Checks of conversations that agents keep."""

from collections.abc import Iterator

import apsw

from aios.kernel import points
from aios.kernel.checking.found import Check, Problem


def _points(connection: apsw.Connection) -> Iterator[Problem]:
    return (
        Problem("row", "points", f"{row[1]} of {row[0]}")
        for row, is_whole in points.rows(connection)
        if not is_whole
    )


CHECKS = (Check(("points",), _points),)
