"""ROOM: whether the tokens that an endpoint can have in flight leave room for one more call.

What runs is not worth its end: calls are at different points of their answers, and one that ends gives back
all it held before the others have come to theirs. So what counts is the most that they will come to together
at any moment, if all go on at one speed to the lengths that are expected of them, as in the Past-Future
scheduler (Gong et al. 2025, arXiv 2507.10150, section 3). Pure: no clock.
"""

from bisect import bisect
from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

ROOM = 0.95
"""Share of the tokens in flight that is used: what calls will come to is an estimate."""

Row = tuple[int, int]
"""Of a call: minus the tokens that it still expects, and those in flight now."""


class Held(Protocol):
    """A call, as far as it takes room. Its numbers may change while it runs."""

    @property
    def num_now(self) -> int:
        """Tokens in flight now: its prompt and what there is of its answer."""
        ...

    @property
    def num_more(self) -> int:
        """Those that are still expected."""
        ...


class Whole(Struct, frozen=True):
    """A call that takes all its room from the begin."""

    num_now: int
    num_more: int = 0


class Room:
    """For `most` tokens; 0 for no limit, where nothing is counted."""

    __slots__ = ("_held", "_rows", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._held: list[Held] = []
        self._rows: list[Row] = []
        """The calls as they were last looked at; who goes on longest is first."""

    def has_room(self, call: Held) -> bool:
        """A call too large for any moment passes alone: if it is too much, the endpoint says so."""
        if not self._rows:
            return True
        row = _row(call)
        place = bisect(self._rows, row)
        return peak([*self._rows[:place], row, *self._rows[place:]]) <= ROOM * self.most

    def look(self) -> None:
        """See how far the calls have come."""
        self._rows = sorted(map(_row, self._held))

    def enter(self, call: Held) -> None:
        if self.most:
            self._held.append(call)
            self.look()

    def leave(self, call: Held) -> None:
        if self.most:
            self._held.remove(call)
            self.look()

    @property
    def num_tokens(self) -> int:
        """The most that what runs was expected to come to."""
        return peak(self._rows)


def peak(rows: Iterable[Row]) -> int:
    """The most tokens that calls have in flight at one moment, if all go on at one speed and then are gone.

    It is reached as one of them ends; those that end later have by then come as far as it did since now.
    `rows` are sorted.
    """
    found = num_now = 0
    for num_calls, (less, now) in enumerate(rows, 1):
        num_now += now
        found = max(found, num_now - num_calls * less)
    return found


def _row(call: Held) -> Row:
    return -call.num_more, call.num_now
