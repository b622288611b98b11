"""Other names for the fields of a request, where an endpoint that speaks a wire knows them by others.

And the settings that change an answer so much that a wire without a field for them refuses them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from aios.abi.errors import InvalidArgument
from aios.abi.messages import Sampling

UNCHANGED: Mapping[str, str] = MappingProxyType({})
"""Each field by its own name."""


NEUTRAL = Sampling()
TELLING = (
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "n",
    "beams",
)
"""Settings that are used only where somebody means them."""


def told(sampling: Sampling, *known: str) -> dict[str, Any]:
    """The settings of `TELLING` that are used. `InvalidArgument` where one of them is not `known`."""
    used = {name: getattr(sampling, name) for name in TELLING}
    used = {name: value for name, value in used.items() if value != getattr(NEUTRAL, name)}
    for name in used:
        if name not in known:
            raise InvalidArgument(f"the model's endpoint takes no {name}; leave it out")
    return used


def renamed(body: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """`body` with the names that `fields` gives; one that it gives no name is left out."""
    if not fields:
        return dict(body)
    return {fields.get(name, name): value for name, value in body.items() if fields.get(name, name)}
