"""Other names for the fields of a request, where an endpoint that speaks a wire knows them by others."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

UNCHANGED: Mapping[str, str] = MappingProxyType({})
"""Each field by its own name."""


def renamed(body: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """`body` with the names that `fields` gives; one that it gives no name is left out."""
    return {fields.get(name, name): value for name, value in body.items() if fields.get(name, name)}
