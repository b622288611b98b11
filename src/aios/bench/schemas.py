"""JSON Schemas and tools drawn at random: what agents ask models to answer by, from plain to nested."""

from random import Random
from typing import Any

from aios.abi.messages import JsonSchema, ToolSpec

WORDS = (
    *("name", "city", "price", "count", "tags", "owner", "status", "items", "note", "kind", "due", "rate"),
    *("id", "first name", "größe", "a.b", "x-y", "été"),
)
_FORMATS = ("date", "date-time", "time", "email", "uuid", "ipv4")
_PATTERNS = ("^[A-Z]{2}[0-9]{3}$", "^(low|mid|high)-[a-f0-9]+$", "[0-9]", "^.{2,6}$")


def schema(draw: Random, depth: int = 3) -> JsonSchema:
    """A schema that something fits, `depth` levels deep at most."""
    makers = [_string, _number, _boolean, _choice, _nullable]
    if depth > 0:
        makers += [_array, _object, _object, _one_of]
    return draw.choice(makers)(draw, depth)


def answer_schema(draw: Random) -> JsonSchema:
    """What an answer is asked to fit: an object as a rule, at times one that refers to itself."""
    if draw.random() < 0.1:
        return _tree(draw)
    return _object(draw, 3) if draw.random() < 0.8 else schema(draw)


def tool(draw: Random, name: str) -> ToolSpec:
    """A tool with a few arguments."""
    return ToolSpec(name, f"{draw.choice(WORDS)} and {draw.choice(WORDS)}", _object(draw, 2, is_strict=False))


def _string(draw: Random, depth: int) -> JsonSchema:
    kind = draw.randrange(4)
    if kind == 0:
        least = draw.randrange(4)
        return {"type": "string", "minLength": least, "maxLength": least + draw.randrange(20)}
    if kind == 1:
        return {"type": "string", "format": draw.choice(_FORMATS)}
    if kind == 2:
        return {"type": "string", "pattern": draw.choice(_PATTERNS)}
    return {"type": "string", "description": draw.choice(WORDS)}


def _number(draw: Random, depth: int) -> JsonSchema:
    out: dict[str, Any] = {"type": draw.choice(["integer", "number"])}
    if draw.random() < 0.6:
        out["minimum"] = draw.randint(-1000, 1000)
    if draw.random() < 0.6:
        out["maximum"] = out.get("minimum", 0) + draw.randint(0, 5000)
    return out


def _boolean(draw: Random, depth: int) -> JsonSchema:
    return {"type": "boolean"}


def _choice(draw: Random, depth: int) -> JsonSchema:
    if draw.random() < 0.2:
        return {"const": draw.choice(["only", 7, None, True])}
    values = ["red", "green", "deep blue", 7, 2.5, None, True, "größer", 'say "hi"', ""]
    return {"enum": draw.sample(values, draw.randint(1, 5))}


def _nullable(draw: Random, depth: int) -> JsonSchema:
    kind = draw.choice(["string", "integer", "number"])
    return {"type": [kind, "null"]} if draw.random() < 0.5 else {"anyOf": [{"type": kind}, {"type": "null"}]}


def _array(draw: Random, depth: int) -> JsonSchema:
    out: dict[str, Any] = {"type": "array", "items": schema(draw, depth - 1)}
    if draw.random() < 0.5:
        out["minItems"] = draw.randrange(3)
        out["maxItems"] = out["minItems"] + draw.randint(1, 3)
    return out


def _object(draw: Random, depth: int, is_strict: bool = True) -> JsonSchema:
    names = draw.sample(WORDS, draw.randint(1, 5))
    properties = {name: schema(draw, depth - 1) for name in names}
    required = [name for name in names if draw.random() < 0.7]
    out: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    if is_strict and draw.random() < 0.7:
        out["additionalProperties"] = False
    return out


def _one_of(draw: Random, depth: int) -> JsonSchema:
    return {"anyOf": [schema(draw, depth - 1) for _ in range(draw.randint(2, 3))]}


def _tree(draw: Random) -> JsonSchema:
    node = {
        "type": "object",
        "properties": {
            draw.choice(("label", "größe")): schema(draw, 0),
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
        },
        "required": ["children"],
        "additionalProperties": False,
    }
    return {"$defs": {"node": node}, "$ref": "#/$defs/node"}
