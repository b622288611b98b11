"""What a caller says of its own work, and what it may spend."""

from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

Band = Literal["interactive", "normal", "batch"]
BANDS: tuple[Band, ...] = get_args(Band)
"""Strict classes: nothing of a later band runs while something of an earlier one could."""


class Hints(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What the scheduler may know of a call, or of all calls of a program.

    A call can ask for less than its program was given, never for more: its band and priority are bounded by
    the program's.
    """

    band: Band | None = None
    """None for the program's own, which is `normal` unless it was spawned with another."""
    priority: Annotated[int, Meta(ge=-100, le=100)] | None = None
    """Higher first, under the policy `priority`; None for the program's own, which is 0."""
    deadline_s: Annotated[float, Meta(gt=0, le=604_800.0)] | None = None
    """Seconds from now by which it should be done: an aim of `edf` and `llf`, not a limit."""
    steps_left: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Calls the program will still make one after the other, this one included."""
    work_left: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    """Service the program still needs, this call included, in tokens (an answer's token counts twice)."""


NO_HINTS = Hints()


class Budget(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The most that may be spent; None for no limit."""

    tokens: Annotated[int, Meta(ge=0)] | None = None
    """Of prompts and answers together."""
    money: Annotated[float, Meta(ge=0)] | None = None
    """In the currency of the cores' prices."""
    calls: Annotated[int, Meta(ge=0)] | None = None
    """Of models: generations and embeddings."""
    wall_s: Annotated[float, Meta(gt=0, le=31_536_000.0)] | None = None
    """Seconds from the first call on (of one call: from its creation)."""


NO_BUDGET = Budget()
