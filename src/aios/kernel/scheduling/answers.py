"""How long answers get: so much is kept in flight for a call, and not all that it might ask for.

Agents ask for far more than they use, and memory that is kept for what never comes stands empty. Learnt for
each agent, model and size of limit apart: an answer that was cut at its limit tells nothing of longer ones.
Not kept over a restart, after which the first calls are believed to need all they ask for. No clock, no I/O.
"""

import math

from aios.kernel.scheduling.estimates import Place

QUANTILE = 0.9
"""Of the answers. The rest goes beyond, and what is kept for them grows while they do."""
MIN_SAMPLES = 8
MAX_KEYS = 4096
"""Those that have not been seen for the longest are forgotten."""

Key = tuple[str, str | None, int]


class Lengths:
    """Of answers alike."""

    __slots__ = ("_place", "likely")

    def __init__(self) -> None:
        self._place = Place()
        self.likely: int | None = None
        """The tokens that such an answer hardly exceeds; None while too few are known."""

    def add(self, num_tokens: int) -> None:
        """One ended well after so many tokens."""
        self._place.add(num_tokens, QUANTILE)
        if self._place.num_samples >= MIN_SAMPLES:
            self.likely = math.ceil(math.exp(self._place.log_value))


class Answers:
    """The lengths of all kinds of answers."""

    def __init__(self) -> None:
        self._lengths: dict[Key, Lengths] = {}

    def lengths(self, agent: str, model: str | None, limit: int | None) -> Lengths:
        """Of the answers to this kind of agent by this model, under a limit of this size."""
        key = agent, model, 0 if limit is None else limit.bit_length()
        found = self._lengths.pop(key, None) or Lengths()
        self._lengths[key] = found  # The one asked for last is last.
        if len(self._lengths) > MAX_KEYS:
            del self._lengths[next(iter(self._lengths))]
        return found
