"""Schemas made to fit strict endpoints: what fits the result fits the schema it was made from."""

import json

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.drivers.schemas import plain

TEXT = {"type": "string"}


def test_objects_are_closed_wherever_they_are() -> None:
    inner = {"type": "object", "properties": {"a": TEXT}}
    schema = {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": inner},
            "one": {"oneOf": [inner, {"type": "null"}]},
        },
        "$defs": {"d": inner},
        "$schema": "https://json-schema.org/draft/2020-12/schema",
    }
    closed = {**inner, "additionalProperties": False}
    assert plain(schema) == {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": closed},
            "one": {"anyOf": [closed, {"type": "null"}]},
        },
        "$defs": {"d": closed},
        "additionalProperties": False,
    }


def test_what_is_not_checked_is_told() -> None:
    schema = {"type": "integer", "minimum": 1, "maximum": 9, "description": "A digit."}
    assert plain(schema) == {"type": "integer", "description": "A digit. (minimum: 1, maximum: 9)"}


def test_a_reference_that_ends_is_kept() -> None:
    a = {"type": "object", "properties": {"b": {"$ref": "#/$defs/b"}}, "additionalProperties": False}
    schema = {"$ref": "#/$defs/a", "$defs": {"a": a, "b": TEXT}}
    assert plain(schema) == schema


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"a": TEXT}, "additionalProperties": TEXT},
        {"allOf": [TEXT]},
        {"type": "array", "prefixItems": [TEXT]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [TEXT, {"$ref": "#/$defs/a"}]}}},
        {"$ref": "#/$defs/a"},
        {"$ref": "https://example.org/schema"},
        {"properties": {"a": True}},
        {"anyOf": 7},
    ],
)
def test_what_cannot_be_said_is_none(schema: dict) -> None:
    assert plain(schema) is None


NAMES = st.sampled_from("abc")
SCHEMAS = st.recursive(
    st.sampled_from(
        [TEXT, {"type": "integer", "minimum": 3}, {"enum": [1, "x"]}, {"type": ["string", "null"]}]
    ),
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda options: {"oneOf": options}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(
            lambda properties, required: {"type": "object", "properties": properties, "required": required},
            st.dictionaries(NAMES, inner, min_size=1),
            st.lists(NAMES, unique=True),
        ),
    ),
    max_leaves=6,
)
VALUES = st.recursive(
    st.sampled_from([None, 1, 5, "x", "y"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=5,
)


def without(schema: object, *keys: str) -> object:
    if isinstance(schema, dict):
        return {
            ("anyOf" if k == "oneOf" else k): without(v, *keys) for k, v in schema.items() if k not in keys
        }
    return [without(part, *keys) for part in schema] if isinstance(schema, list) else schema


@given(schema=SCHEMAS, value=VALUES)
def test_what_fits_the_plain_schema_fits_the_schema(schema: dict, value: object) -> None:
    made = plain(schema)
    assert made is not None
    json.dumps(made)
    if jsonschema_rs.is_valid(made, value):
        assert jsonschema_rs.is_valid(without(schema, "minimum"), value)
