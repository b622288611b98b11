"""JSON Schema as the embedded model reads and writes it: tools as one line each, values as plain text."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from aios.abi.messages import JsonSchema, ToolSpec

Writing = Literal["choice", "text", "list", "json"]
"""How a value is written: one of a few texts, text as it is, an item after the other, or as JSON."""

BINDING_TEXT = frozenset({"minLength", "maxLength", "pattern"})
"""What text as it is can be bound by."""

_REMARKS = frozenset({"title", "description", "default", "examples", "deprecated", "$comment"})
"""Keywords that bind nothing."""
_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def tool_line(tool: ToolSpec) -> str:
    """A tool as the model sees it: `name: description (arg: type, arg?: type, arg: one|two)`."""
    schema = tool.parameters
    fields = _fields_text(schema)
    description = " ".join(tool.description.split())
    return f"{tool.name}: {description} ({fields})" if description else f"{tool.name} ({fields})"


def _fields_text(schema: JsonSchema) -> str:
    required = frozenset(schema.get("required", ()))
    fields: Mapping[str, JsonSchema] = schema.get("properties", {})
    return ", ".join(f"{k}{'' if k in required else '?'}: {_type_text(v)}" for k, v in fields.items())


def _type_text(schema: JsonSchema) -> str:
    schema = plain(schema)
    if "enum" in schema:
        return "|".join(value_text(value) for value in schema["enum"])
    if "const" in schema:
        return value_text(schema["const"])
    names = _types(schema)
    if names == ["array"]:
        return f"[{_type_text(items_of(schema))}]"
    if names == ["object"] and schema.get("properties"):
        return "{" + _fields_text(schema) + "}"
    return "|".join(name for name in names if name != "null") or "any"


def plain(schema: Any) -> JsonSchema:
    """A schema that says something of its own; `true` and a tuple's list of schemas say nothing here."""
    return schema if isinstance(schema, dict) else {}


def _types(schema: JsonSchema) -> list[str]:
    schema = plain(schema)
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return [kinds]
    if isinstance(kinds, list):
        return [str(kind) for kind in kinds]
    return [kind for option in schema.get("anyOf", ()) for kind in _types(option)]


def is_list(schema: JsonSchema) -> bool:
    """Whether values of this schema are lists."""
    return "array" in _types(schema)


def items_of(schema: JsonSchema) -> JsonSchema:
    """The schema of a list's items, also where the list is one of several options."""
    if "items" in (schema := plain(schema)):
        return plain(schema["items"])
    return next((items_of(option) for option in schema.get("anyOf", ()) if is_list(option)), {})


def _given(schema: JsonSchema) -> Sequence[Any]:
    """The only values there are, where `enum` or `const` names them."""
    schema = plain(schema)
    return schema.get("enum") or ([schema["const"]] if "const" in schema else [])


def choices_of(schema: JsonSchema) -> list[str] | None:
    """The only texts that a value may be written as; None where they are not counted."""
    if given := _given(schema):
        return [value_text(value) for value in given]
    return ["true", "false"] if _types(schema) == ["boolean"] else None


def writing_of(schema: JsonSchema) -> Writing:
    """How the values of a schema are written. What text as it is could not be bound to is written as JSON."""
    if choices_of(schema) is not None:
        return "choice"
    kinds, binding = set(_types(schema)), _binding(schema)
    if not binding and (not kinds or "string" in kinds):
        return "text"
    if schema.get("type") == "string" and binding <= BINDING_TEXT and "anyOf" not in schema:
        return "text"
    if "array" in kinds and kinds <= {"array", "null"} and binding <= {"items", "minItems", "maxItems"}:
        least, most = num_items_of(schema)
        is_plain = 0 <= least <= most >= 1 and writing_of(items_of(schema)) != "list"
        return "list" if is_plain else "json"
    return "json"


def _binding(schema: JsonSchema) -> set[str]:
    """The keywords of a schema, and of its options, that say more than a type."""
    options = [plain(option) for option in plain(schema).get("anyOf", ())]
    return {key for part in (plain(schema), *options) for key in part} - _REMARKS - {"type", "anyOf"}


def num_items_of(schema: JsonSchema) -> tuple[int, float]:
    """How many items a list of this schema has at least and at most."""
    schema = next((option for option in plain(schema).get("anyOf", ()) if is_list(option)), plain(schema))
    return schema.get("minItems", 0), schema.get("maxItems", math.inf)


def read_value(items: Sequence[str], schema: JsonSchema) -> Any:
    """The value that a reply wrote, in the type its schema asks for; what does not fit stays text.

    `items` are the written values, each after one space; only a list has other than one.
    """
    texts = [item.removeprefix(" ") for item in items]
    if len(texts) == 1 and writing_of(schema) == "json":
        return _read_one(texts[0], schema)
    if is_list(schema):
        inner = items_of(schema)
        return [] if list(items) == [""] else [_read_one(text, inner) for text in texts]
    return [_read_one(text, {}) for text in texts] if len(texts) > 1 else _read_one(texts[0], schema)


def _read_one(text: str, schema: JsonSchema) -> Any:
    for value in _given(schema):
        if value_text(value) == text:
            return value
    if writing_of(schema) != "json":
        return _read_word(text, _types(schema))
    kinds = plain(schema).get("type")
    wanted = [kinds] if isinstance(kinds, str) else kinds
    found = _read_json(text)
    if found is not _NO_JSON and (wanted is None or not _KINDS[type(found)].isdisjoint(wanted)):
        return found
    return _read_word(text, _types(schema))


def _read_word(text: str, kinds: Sequence[str]) -> Any:
    """What a text means that need not be JSON: numbers as people write them, words for themselves."""
    for kind in kinds:
        if kind == "integer" and _INTEGER.fullmatch(text) and len(text) < 1000:
            return int(text)
        if kind == "number" and _NUMBER.fullmatch(text) and len(text) < 1000:
            number = int(text) if _INTEGER.fullmatch(text) else float(text)
            return number if abs(number) < math.inf else text
        if kind == "boolean" and text in ("true", "false"):
            return text == "true"
        if kind == "null" and text == "null":
            return None
    return text


_NO_JSON = object()
_KINDS: Mapping[type, frozenset[str]] = {
    dict: frozenset({"object"}),
    list: frozenset({"array"}),
    str: frozenset({"string"}),
    bool: frozenset({"boolean"}),
    int: frozenset({"integer", "number"}),
    float: frozenset({"number"}),
    type(None): frozenset({"null"}),
}


def _read_json(text: str) -> Any:
    try:
        # Unlike the standard library it takes no lone surrogate and no NaN, which no frame could carry.
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return _NO_JSON


def value_texts(value: Any) -> list[str]:
    """The texts that a value is written as: one, or of a list one for each item."""
    return [value_text(item) for item in value] if isinstance(value, list) else [value_text(value)]


def value_text(value: Any) -> str:
    """A value as a call carries it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
