"""A server's prefix cache: beginnings of prompts that need not be read again, the longest unused forgotten.

Counted in tokens. A conversation is kept with its last answer, a system prompt by its kind, apart from the
conversations that begin with it.
"""

from collections import OrderedDict

from aios.bench.upstream.work import Work

Name = tuple[str, int]


class PrefixCache:
    """Holds up to `room` tokens."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._used = 0
        self._held: OrderedDict[Name, int] = OrderedDict()

    def take(self, work: Work) -> int:
        """How many tokens of its prompt are there, and are used now."""
        if not work.conversation:
            return 0
        own, shared = ("conversation", work.conversation), ("kind", work.kind)
        for name in (own, shared):
            if name in self._held:
                self._held.move_to_end(name)
        n_shared = min(work.n_shared, self._held.get(shared, 0))
        return min(work.n_known, n_shared + self._held[own]) if own in self._held else n_shared

    def keep(self, work: Work) -> None:
        """What was read and written for a call is there from now on."""
        if not work.conversation:
            return
        self._put(("conversation", work.conversation), work.num_tokens - work.n_shared)
        self._put(("kind", work.kind), work.n_shared)
        while self._used > self._room:
            _, size = self._held.popitem(last=False)
            self._used -= size

    def _put(self, name: Name, size: int) -> None:
        self._used += size - self._held.get(name, 0)
        self._held[name] = size
        self._held.move_to_end(name)
