"""What strict endpoints make of a JSON Schema: whether they take it, and how it can be made to fit them."""

from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]

_KNOWN = {"type", "properties", "required", "items", "enum", "const", "anyOf", "$ref", "$defs"} | {
    *("title", "description", "default", "format", "additionalProperties"),
}
"""Keywords that every endpoint with structured answers knows."""
_SHAPES = {"allOf", "not", "if", "then", "else", "patternProperties", "propertyNames", "dependentSchemas"} | {
    *("prefixItems", "contains", "unevaluatedProperties", "$dynamicRef", "definitions", "$anchor"),
}
"""Keywords that none of them knows and that cannot be left out: they say what the answer looks like."""


def is_strict(schema: Any) -> bool:
    """Whether every object in it is closed, and each of its properties required."""
    return _holds(schema, lambda part: _is_closed(part) and _requires_all(part))


def plain(schema: Json) -> Json | None:
    """`schema` with every object closed, and what no endpoint checks told in descriptions instead.

    What fits the result fits `schema`, but for what is told. None where it cannot be said so.
    """
    try:
        made = _plain(schema)
        return None if _is_recursive(made) else made
    except (TypeError, AttributeError, ValueError, RecursionError):
        return None


def _plain(schema: Json) -> Json:
    if not _SHAPES.isdisjoint(schema):
        raise ValueError("it has a shape that cannot be said")
    made = {key: value for key, value in schema.items() if key in _KNOWN}
    told = [
        f"{key}: {value}" for key, value in schema.items() if key not in {*_KNOWN, "oneOf", "$schema", "$id"}
    ]
    if told:
        made["description"] = f"{made.get('description', '')} ({', '.join(told)})".strip()
    if _is_object(schema):
        if not schema.get("properties") and schema.get("additionalProperties") is not False:
            raise ValueError("an object with any properties cannot be said")
        if isinstance(schema.get("additionalProperties"), dict):
            raise ValueError("an object with further properties cannot be said")
        made["additionalProperties"] = False
    for key in ("properties", "$defs"):
        if key in schema:
            made[key] = {name: _plain(part) for name, part in schema[key].items()}
    if options := [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        made["anyOf"] = [_plain(part) for part in options]
    if "items" in schema:
        made["items"] = _plain(schema["items"])
    return made


def _is_recursive(schema: Json) -> bool:
    """Whether a definition leads to itself. Raises `ValueError` for a reference to none."""
    definitions = {f"#/$defs/{name}": part for name, part in schema.get("$defs", {}).items()}
    leads = {name: set(_references(part)) for name, part in definitions.items()}
    if not leads.keys() >= set(_references(schema)):
        raise ValueError("it refers to what is not there")
    while ends := {name for name, others in leads.items() if not others & leads.keys()}:
        leads = {name: others for name, others in leads.items() if name not in ends}
    return bool(leads)


def _references(schema: Json) -> Iterator[str]:
    return (part["$ref"] for part in _parts(schema) if "$ref" in part)


def _holds(schema: Any, is_fit: Callable[[Json], bool]) -> bool:
    try:
        return all(map(is_fit, _parts(schema)))
    except (TypeError, AttributeError, RecursionError):
        return False  # no JSON Schema; what to say of it is the endpoint's business


def _is_object(schema: Json) -> bool:
    return "properties" in schema or "object" in (schema.get("type") or ())


def _is_closed(schema: Json) -> bool:
    return not _is_object(schema) or schema.get("additionalProperties") is False


def _requires_all(schema: Json) -> bool:
    names = frozenset(schema.get("properties", {}))
    return names <= frozenset(schema.get("required", ()))


def _parts(schema: Json) -> Iterator[Json]:
    """The schema and those inside it."""
    yield schema
    inner = [part for key in ("properties", "$defs") for part in schema.get(key, {}).values()]
    inner += [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]
    for part in inner:
        yield from _parts(part)
