"""Schemas as the model reads them, and the values that it writes, in the types that the schemas ask for."""

from typing import Any

import pytest

from aios.abi.messages import JsonSchema, ToolSpec
from aios.drivers.models.schema_text import choices_of, read_value, tool_line

NULL = {"type": "null"}


class Compared(str):
    """A text that counts how often one like it is compared."""

    num = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Compared.num += 1
        return str.__eq__(self, other)


def line(**fields: Any) -> str:
    return tool_line(ToolSpec("f", "", {"type": "object", "properties": fields, "required": list(fields)}))


def test_a_tool_of_many_arguments_is_read_in_one_pass() -> None:
    names = [f"argument{n}" for n in range(300)]
    Compared.num = 0
    fields: dict[str, JsonSchema] = {Compared(name): {} for name in names}
    schema = {"properties": fields, "required": [Compared(name) for name in names]}
    assert tool_line(ToolSpec("f", "", schema)).count("?") == 0
    assert Compared.num < 10 * len(names)


def test_what_json_can_not_carry_stays_text() -> None:
    for text in ('{"a":"\\ud800"}', '{"a":NaN}', '{"a":1e999}', '{"a":' * 100_000, "7"):
        assert read_value([" " + text], {"type": "object"}) == text
    for text in ("1e999", "-1e999"):
        assert read_value([" " + text], {"type": "number"}) == text


@pytest.mark.parametrize(
    ("schema", "items", "value"),
    [
        ({"anyOf": [{"type": "array", "items": {"type": "integer"}}, NULL]}, [" 1", " 2"], [1, 2]),
        ({"type": ["array", "null"], "items": {"type": "integer"}}, [" 1"], [1]),
        ({"type": "array", "items": [{"type": "integer"}, {"type": "string"}]}, [" 1", " x"], ["1", "x"]),
        ({"type": "array", "items": True}, [" x"], ["x"]),
        ({"const": 5}, [" 5"], 5),
        ({"const": None}, [" null"], None),
        ({"enum": [5, "5"]}, [" 5"], 5),
        ({"type": "array", "items": {"const": 5}}, [" 5"], [5]),
        (True, [" 5"], "5"),
        ({"type": "object"}, [' {"a": 1}'], {"a": 1}),
        ({"type": "number"}, [" 1e3"], 1000.0),
    ],
)
def test_a_value_gets_the_type_its_schema_asks_for(schema: Any, items: list[str], value: Any) -> None:
    found = read_value(items, schema)
    assert (found, type(found)) == (value, type(value))


def test_a_schema_that_is_true_says_nothing() -> None:
    assert line(a=True, b={"type": "array", "items": [{"type": "integer"}]}) == "f (a: any, b: [any])"
    anything: Any = True
    assert choices_of(anything) is None


def test_a_list_that_may_be_null_is_shown_as_an_array() -> None:
    assert line(a={"anyOf": [{"type": "array", "items": {"type": "integer"}}, NULL]}) == "f (a: array)"
