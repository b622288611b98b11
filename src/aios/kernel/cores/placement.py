"""PLACEMENT: which of several cores of a model, all with room, takes a call.

The one that would be done first, by what it has to read, what it does already and how fast it is. A core
that has lately seen the beginning of this conversation may have it cached; that counts only where it is a
good part of the prompt. A call reads its prompt in one slot, and the load is spread over all of them: so a
core is left for one with less to do when its load in a slot exceeds the other's by more than would have to
be read again. A call that waits belongs to no core: whichever has room first takes it. But a core that would
have to read what another has cached lets others go before it, for a while (`scheduler.PATIENCE`).
"""

from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct

from aios.abi.messages import Message
from aios.kernel.program import Prefixes

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

    def order(self, candidates: Sequence[Candidate], prefixes: Prefixes, num_in: int) -> list[str]:
        """The names of the candidates, the best first."""
        seconds = {
            one.name: (num_in * (1 - self.share(one.name, prefixes)) + one.load / one.slots)
            / max(one.rate, 1e-9)
            for one in candidates
        }
        return sorted(seconds, key=lambda name: seconds[name])

    def home(self, prefixes: Prefixes) -> str:
        """The core that is believed to have cached the most of what is this conversation's alone, if any.

        What others begin with, too, is no reason to wait: read by one more core, it serves them there.
        """
        matched = {core: self._matched(core, prefixes) for core in self._seen}
        home = max(matched, key=lambda core: matched[core], default="")
        return home if home and matched[home] > prefixes.num_common else ""

    def placed(self, core: str, prefixes: Prefixes) -> float:
        """A conversation goes there: the part of it that the core is believed to have cached."""
        share = self.share(core, prefixes)
        seen = self._seen.setdefault(core, OrderedDict())
        for prefix, _ in prefixes.ends:
            seen[prefix] = None
            seen.move_to_end(prefix)
        while len(seen) > MAX_PREFIXES:
            seen.popitem(last=False)
        return share

    def share(self, core: str, prefixes: Prefixes) -> float:
        """The part of a prompt that the core is believed to have cached, where it is enough to count."""
        share = self._matched(core, prefixes) / prefixes.ends[-1][1]
        return share if share > MIN_SHARE else 0.0

    def _matched(self, core: str, prefixes: Prefixes) -> int:
        """Characters that the core has seen before."""
        seen = self._seen.get(core, ())
        return next((size for prefix, size in reversed(prefixes.ends) if prefix in seen), 0)


def prefixes_of(messages: Sequence[Message]) -> Prefixes:
    """Of one conversation, of one message at least."""
    ends: list[tuple[int, int]] = []
    hashed = size = 0
    num_common = None
    for message in messages:
        if message.role == "assistant" and num_common is None:
            num_common = size
        text = message.text
        calls = tuple((call.id, call.name) for call in message.tool_calls)
        hashed = hash((hashed, message.role, text, calls))
        size += len(text) + 1
        ends.append((hashed, size))
    return Prefixes(ends, size if num_common is None else num_common)
