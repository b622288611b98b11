"""What Anthropic's models take, which their names tell: the wire is one, but newer ones refuse older fields.

Facts: the migration guides at platform.claude.com/docs/en/models, and …/build-with-claude/structured-outputs.
"""

import re

from msgspec import Struct

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:[-.](\d{1,2})(?!\d))?")
_NEWEST = (1000, 0)


class Abilities(Struct, frozen=True):
    """What a request for one model may hold."""

    samples: bool
    """Temperature, top_p and top_k."""
    forces_tools: bool
    """A choice of tools that leaves the model none."""
    formats: bool
    """The schema of the answer."""
    prefills: bool
    """The begin of the answer, as a last message of the assistant."""


_OTHERS = Abilities(samples=True, forces_tools=True, formats=False, prefills=True)
"""Of servers that speak this wire with models of their own."""


def abilities(model: str) -> Abilities:
    """What `model` takes. One of Anthropic's whose name tells no version is taken for the newest."""
    if "claude" not in model:
        return _OTHERS
    found = _VERSION.search(model)
    version = (int(found[1]), int(found[2] or 0)) if found is not None else _NEWEST
    return Abilities(
        samples=version < (4, 7),
        forces_tools=version <= (5, 0),
        formats=version >= (4, 5),
        prefills=version < (4, 6),
    )
