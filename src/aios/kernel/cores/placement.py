"""PLACEMENT: which of several cores of a model, all with room, takes a call.

The one that would be done first, by what it has to read, what it does already and how fast it is. A core
that has lately seen the beginning of this conversation may have it cached; that counts only where it is a
good part of the prompt. A call reads its prompt in one slot, and the load is spread over all of them: so a
core is left for one with less to do when its load in a slot exceeds the other's by more than would have to
be read again. A call that waits belongs to no core: whichever has room first takes it.
"""

from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct

from aios.abi.messages import Message

MIN_SHARE = 0.3
"""Of a prompt, that a core must have seen for it to count."""
MAX_PREFIXES = 4096
"""Remembered of one core; those not used for longest are forgotten."""


class Candidate(Struct, frozen=True):
    """A core that has room."""

    name: str
    load: float
    """The service that what runs there still needs."""
    rate: float
    """Service a second in one slot."""
    slots: float
    """How many calls it bears at once."""


class Placement:
    """Remembers which conversations were sent where."""

    def __init__(self) -> None:
        self._seen: dict[str, OrderedDict[int, None]] = {}

    def order(self, candidates: Sequence[Candidate], messages: Sequence[Message], num_in: int) -> list[str]:
        """The names of the candidates, the best first."""
        prefixes = _prefixes(messages)
        seconds = {
            one.name: (num_in * (1 - self._share(one.name, prefixes)) + one.load / one.slots)
            / max(one.rate, 1e-9)
            for one in candidates
        }
        return sorted(seconds, key=lambda name: seconds[name])

    def placed(self, core: str, messages: Sequence[Message]) -> float:
        """A conversation goes there: the part of it that the core is believed to have cached."""
        prefixes = _prefixes(messages)
        share = self._share(core, prefixes)
        seen = self._seen.setdefault(core, OrderedDict())
        for prefix, _ in prefixes:
            seen[prefix] = None
            seen.move_to_end(prefix)
        while len(seen) > MAX_PREFIXES:
            seen.popitem(last=False)
        return share

    def _share(self, core: str, prefixes: Sequence[tuple[int, int]]) -> float:
        """The part of a prompt that the core is believed to have cached."""
        seen = self._seen.get(core)
        if not seen:
            return 0.0
        matched = next((size for prefix, size in reversed(prefixes) if prefix in seen), 0)
        share = matched / prefixes[-1][1]
        return share if share > MIN_SHARE else 0.0


def _prefixes(messages: Sequence[Message]) -> list[tuple[int, int]]:
    """A hash of each beginning of the conversation, and its characters."""
    found = []
    hashed = size = 0
    for message in messages:
        text = message.text
        calls = tuple((call.id, call.name) for call in message.tool_calls)
        hashed = hash((hashed, message.role, text, calls))
        size += len(text) + 1
        found.append((hashed, size))
    return found
