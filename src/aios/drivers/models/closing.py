"""The end of a reply that has to be whole: brought to it before its limit of tokens cuts it off.

A grammar alone keeps a reply right as far as it goes; with too few tokens left it would be cut inside a
string or a call. So before each token that could lead too far, a short way to the end is measured, and taken
when a longer one would not fit any more.
"""

import string
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aios.drivers.models.model import Chat, Grammar

Ranks = NDArray[np.float32]

_STEP = 6
"""The highest rank of a token that brings the end nearer by itself."""
_FAR = 9
_DEEP = 3
"""Tokens that a form may ask for before it lets text end, that no single one tells of: `@a` of an address."""


class WayOut:
    """Finds short ways to the end of a reply of one model's tokens.

    Of the tokens that may come next it takes the one of the lowest rank: punctuation that closes, before what
    goes on, before what opens. Inside a string only its end closes, and brackets are text like any other;
    where nothing is quoted only symbols close. Text that may not end yet is tried with digits, letters,
    signs and symbols, and what these come to with another.
    """

    def __init__(self, chat: Chat) -> None:
        self._end_id = chat.end_id
        surfaces = [chat.surface(token) for token in range(chat.vocab_size)]
        self._outside = _with_symbols(chat, [_rank(surface) for surface in surfaces])
        self._inside = _with_symbols(chat, [_rank_in_text(surface) for surface in surfaces])
        self._plain = _with_symbols(chat, [_FAR - len(surface) / 64 for surface in surfaces])
        self._letters = [token for token, surface in enumerate(surfaces) if surface in (b"q", b"Q")]
        self._signs = [token for token, surface in enumerate(surfaces) if surface in (b"]", b"}", b",")]
        kinds = [
            [token for token, surface in enumerate(surfaces) if is_kind(surface[:1])]
            for is_kind in (_is_zero, _is_other_digit, bytes.islower, bytes.isupper)
        ]
        self._kinds = [np.array(kind) for kind in kinds if kind]
        signs = {bytes([sign]) for sign in (string.punctuation + " ").encode()}
        self._each = np.array(
            [*(token for token, surface in enumerate(surfaces) if surface in signs), *chat.spoken], np.intp
        )
        """Signs and symbols, of which each means something of its own."""

    def find(self, grammar: Grammar, most: int) -> list[int] | None:
        """Tokens that end the reply from here on, `most` at most; None where no such way was found.

        `grammar` is led along that way: give a hurried one.
        """
        way: list[int] = []
        hopeless: set[bytes] = set()
        while len(way) < most:
            for token in self._next(grammar, hopeless):
                way.append(token)
                grammar.feed(token)
            if way[-1] == self._end_id:
                return way if len(way) <= most else None
        return None

    def _next(self, grammar: Grammar, hopeless: set[bytes]) -> list[int]:
        """`hopeless` are places from which no short way leads on, to be gone on from token by token."""
        ranks = self._allowed(grammar)
        best = int(ranks.argmin())
        is_given = np.count_nonzero(np.isfinite(ranks)) == 1
        if is_given or ranks[best] <= _STEP or (place := _place(ranks)) in hopeless:
            return [best]
        way = self._to_an_end(grammar, ranks)
        if not way:
            hopeless.add(place)
        return way or [best]

    def _to_an_end(self, grammar: Grammar, ranks: Ranks) -> list[int]:
        """The fewest tokens after which text may end; none where it takes more than a few.

        Of ways to places at which the same tokens may come next the first is followed.
        """
        level, seen = [(list[int](), grammar, ranks)], {_place(ranks)}
        for _ in range(_DEEP):
            further: list[tuple[list[int], Grammar, Ranks]] = []
            for way, before, allowed in level:
                for token in self._tries(allowed):
                    after = before.hurried()
                    after.feed(token)
                    found = self._allowed(after)
                    if found.min() <= _STEP:
                        return [*way, token]
                    if (place := _place(found)) not in seen:
                        seen.add(place)
                        further.append(([*way, token], after, found))
            level = further
        return []

    def _tries(self, ranks: Ranks) -> list[int]:
        """One token of each kind that may come next."""
        best = [int(kind[ranks[kind].argmin()]) for kind in self._kinds]
        each = self._each[np.isfinite(ranks[self._each])]
        return [*(token for token in best if np.isfinite(ranks[token])), *each.tolist()]

    def _allowed(self, grammar: Grammar) -> Ranks:
        """The ranks of the tokens that may come next; infinite for the others."""
        mask = grammar.allowed()
        if not grammar.is_quoted:
            ranks = self._plain
        else:
            is_inside = mask[self._letters].any() and mask[self._signs].any()
            ranks = self._inside if is_inside else self._outside
        return np.where(mask, ranks, np.float32(np.inf))


def _place(ranks: Ranks) -> bytes:
    return np.isfinite(ranks).tobytes()


def _is_zero(first: bytes) -> bool:
    return first == b"0"


def _is_other_digit(first: bytes) -> bool:
    """A fraction may have to end with one of these."""
    return first.isdigit() and first != b"0"


def _with_symbols(chat: Chat, ranks: list[float]) -> Ranks:
    out = np.array(ranks, np.float32)
    out[list(chat.spoken)] = list(chat.spoken.values())
    return out


def _rank(surface: bytes) -> float:
    if not surface:
        return 99
    if not surface.strip(b'"]}'):
        return 3 - len(surface) / 8
    if surface.startswith((b"]", b"}")):
        return 4
    if surface.startswith(b","):
        return 5
    if surface[:1].isdigit():
        return _FAR + 1 + len(surface) + _is_zero(surface[:1]) / 2
    return 30 if surface[:1] in b"{[\\" else _FAR - len(surface) / 64


def _rank_in_text(surface: bytes) -> float:
    if not surface:
        return 99
    if surface.startswith(b'"'):
        return _rank(surface) if not surface.strip(b'"]}') else 5
    return 30 if surface.startswith(b"\\") else _FAR - len(surface) / 64


class Closing:
    """Keeps one reply within its limit. `reach` is how many tokens one token may make necessary."""

    def __init__(self, way_out: WayOut, reach: int) -> None:
        self._way_out, self._reach = way_out, reach
        self._way: list[int] = []
        """Taken from here on, the last first."""
        self._num_free = 0
        """Tokens until one could lead too far."""
        self._known: list[int] = []
        """The last way out that was found; mostly it leads out from further on, too."""

    @property
    def forced(self) -> int | None:
        """The only token that may come next; None where there is a choice."""
        return self._way[-1] if self._way else None

    @property
    def place(self) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
        """Where it stands, for `resume`."""
        return tuple(self._way), self._num_free, tuple(self._known)

    def resume(self, place: tuple[Sequence[int], int, Sequence[int]]) -> None:
        """Go on from a `place`."""
        self._way, self._num_free, self._known = [*place[0]], place[1], [*place[2]]

    def fork(self) -> "Closing":
        """The same place in the same reply, to go on from by itself."""
        twin = Closing(self._way_out, self._reach)
        twin.resume(self.place)
        return twin

    def kept(self, grammar: Grammar, token: int, left: int) -> int:
        """`token`, or what must come in its place, where `left` tokens may come with this one."""
        if self._way:
            return self._way.pop()
        self._num_free -= 1
        if self._num_free >= 0 or not grammar.is_bound_after(token):
            return token
        after = grammar.hurried()
        after.feed(token)
        way = self._way_from(after, token, left - 1)
        if way is not None:
            self._known = way
            self._num_free = max(0, left - 1 - len(way) - 2 * self._reach) // 4
            return token
        way = self._way_out.find(grammar.hurried(), left) if grammar.is_bound else None
        if way is None:
            self._num_free = left // 8  # There may be one again when more of it is said.
            return token
        self._way = way[::-1]
        return self._way.pop()

    def _way_from(self, grammar: Grammar, token: int, most: int) -> list[int] | None:
        """A way out after `token`, `most` long at most: the known one, or the rest of it, or a new one."""
        known = self._known[1:] if self._known[:1] == [token] else self._known
        if known and len(known) <= most and grammar.leads(known):
            return known
        return self._way_out.find(grammar, most)
