"""Whether what is given as a JSON Schema has the form of one, as far as it is read in `schema_text` and in
`reply_grammar`, and whether JSON is nested less deeply than whoever reads it can follow.

Keywords that are read nowhere here may be of any form: whoever takes the call checks its arguments.
"""

from collections.abc import Callable, Mapping
from typing import Any

from aios.abi.errors import InvalidArgument
from aios.abi.messages import JsonSchema

MAX_DEPTH = 64
"""Levels of lists and objects in each other: readers need a few calls for each level."""


def check_schema(schema: JsonSchema, what: str) -> None:
    """`InvalidArgument` where a keyword has a value that no JSON Schema gives it. `what` names it."""
    check_depth(schema, what)
    if not _are_texts(schema.get("required", [])):
        raise _malformed(what, "required", schema["required"])
    _check(schema, what)


def check_depth(value: Any, what: str) -> None:
    """`InvalidArgument` where JSON is nested too deeply. `what` names it."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [part for each in level for part in _parts(each) if isinstance(part, dict | list)]
        if not level:
            return
    raise InvalidArgument(f"{what}: nested more than {MAX_DEPTH} levels deep")


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _check(schema: Any, what: str) -> None:
    if not isinstance(schema, dict):
        return  # `true`, or a tuple's list of schemas: it says nothing that is read
    for keyword, is_sound in _FORMS.items():
        if keyword in schema and not is_sound(schema[keyword]):
            raise _malformed(what, keyword, schema[keyword])
    if "properties" in schema and not _are_texts(schema.get("required", [])):
        raise _malformed(what, "required", schema["required"])
    for part in (*schema.get("properties", {}).values(), *schema.get("anyOf", ()), schema.get("items")):
        _check(part, what)


def _malformed(what: str, keyword: str, value: Any) -> InvalidArgument:
    return InvalidArgument(f"{what}: no JSON Schema has a {keyword!r} of {str(value)[:40]!r}")


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


_FORMS: Mapping[str, Callable[[Any], bool]] = {
    "type": lambda value: isinstance(value, str) or _are_texts(value),
    "properties": lambda value: isinstance(value, dict),
    "enum": lambda value: isinstance(value, list),
    "anyOf": lambda value: isinstance(value, list),
    "pattern": lambda value: isinstance(value, str),
    "minItems": _is_count,
    "maxItems": _is_count,
    "minLength": _is_count,
    "maxLength": _is_count,
}
"""Whether the value of a keyword is one that it may have."""
