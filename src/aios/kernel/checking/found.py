"""What a check finds wrong, and what a check is."""

from collections.abc import Callable, Iterator
from typing import Literal

import apsw
from msgspec import Struct

Kind = Literal["page", "row", "blob", "reference", "counter", "index", "chain"]


class Problem(Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it should be. `name` says which, in the words of its callers."""

    kind: Kind
    table: str
    name: str
    is_mended: bool = False


class Check(Struct, frozen=True):
    """Looks at some tables. `mend` makes anew what can be; None where that is nothing.

    `mend` is run on the writer, and may be run where nothing is wrong.
    """

    tables: tuple[str, ...]
    find: Callable[[apsw.Connection], Iterator[Problem]]
    mend: Callable[[apsw.Connection], object] | None = None
