"""A function as a tool spec: types, docstrings, what is refused, and arguments back into types."""

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, Optional, TypedDict

import pytest
from msgspec import Meta

from aios.abi.errors import InvalidArgument
from aios.abi.schema import binder_of, mark_of, spec_of
from aios.sdk.tool import tool


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int = 0


class Label(TypedDict):
    text: str


class Tree:
    """Has no JSON form."""


@dataclass
class Endless:
    inner: Optional["Endless"] = None


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (dict, {"type": "object"}),
        (list, {"type": "array"}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (Colour, {"enum": ["blue", "red"]}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Annotated[int, Meta(ge=1)], {"type": "integer", "minimum": 1}),
        (Label, {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}),
        (Any, {}),
    ],
)
def test_annotation_becomes_schema(annotation, schema):
    def example(value):
        return value

    example.__annotations__["value"] = annotation
    parameters = spec_of(example).parameters
    assert parameters["properties"]["value"] == schema
    assert parameters["required"] == ["value"]
    assert parameters["additionalProperties"] is False


def test_nested_types_are_written_out():
    def draw(points: list[Point]) -> None: ...

    items = spec_of(draw).parameters["properties"]["points"]["items"]
    assert items["properties"] == {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}}
    assert items["required"] == ["x"]


def test_defaults_make_arguments_optional_and_none_is_not_offered():
    def find(text: str, limit: int = 10, folder: str | None = None) -> str: ...

    parameters = spec_of(find).parameters
    assert parameters["required"] == ["text"]
    assert parameters["properties"]["folder"] == {"type": "string"}


def test_docstring_in_both_styles():
    def google(city: str, days: int = 1) -> str:
        """Tell the weather
        of a city.

        More that a model need not read.

        Args:
            city: where, such as Paris
                or London
            days (int): how many days

        Returns:
            text: a forecast
        """

    def sphinx(city: str) -> str:
        """Tell the weather.

        :param str city: where
        """

    spec = spec_of(google)
    assert spec.description == "Tell the weather of a city."
    assert spec.parameters["properties"]["city"]["description"] == "where, such as Paris or London"
    assert spec.parameters["properties"]["days"]["description"] == "how many days"
    assert spec_of(sphinx).description == "Tell the weather."
    assert spec_of(sphinx).parameters["properties"]["city"]["description"] == "where"


def test_what_has_no_json_form_is_refused_by_name():
    def takes_object(good: str, tree: Tree) -> str: ...
    def takes_anything(*values: int) -> str: ...
    def takes_untyped(value) -> str: ...
    def takes_unknown(value: "Missing") -> str: ...  # noqa: F821
    def takes_endless(value: Endless) -> str: ...

    with pytest.raises(InvalidArgument, match=r"'tree' has the type .*Tree"):
        spec_of(takes_object)
    with pytest.raises(InvalidArgument, match="values"):
        spec_of(takes_anything)
    with pytest.raises(InvalidArgument, match="'value' has no annotation"):
        spec_of(takes_untyped)
    with pytest.raises(InvalidArgument, match="Missing"):
        spec_of(takes_unknown)
    with pytest.raises(InvalidArgument, match="contains itself"):
        spec_of(takes_endless)
    with pytest.raises(InvalidArgument, match="lambda"):
        spec_of(lambda: None)


def test_arguments_come_back_in_their_types():
    def plan(when: date, where: Point, colour: Colour, weight: float) -> None: ...

    bound = binder_of(plan)({"when": "2026-03-14", "where": {"x": 1}, "colour": "red", "weight": 3})
    assert bound == {"when": date(2026, 3, 14), "where": Point(1), "colour": Colour.RED, "weight": 3.0}
    with pytest.raises(InvalidArgument, match="arguments do not fit"):
        binder_of(plan)({"when": "yesterday"})
    with pytest.raises(InvalidArgument, match="'who'"):
        binder_of(plan)({"who": 1})


def test_decorator_marks_and_leaves_the_function_as_it_was():
    @tool
    def plain(text: str) -> str:
        return text

    @tool(name="shout", timeout_s=2, max_parallel=3, conflicts=("whisper",))
    def loud(text: str) -> str:
        return text.upper()

    assert plain("a") == "a"
    assert mark_of(plain).name is None
    assert spec_of(loud).name == "shout"
    assert spec_of(loud, name="cry").name == "cry"
    assert (mark_of(loud).timeout_s, mark_of(loud).max_parallel) == (2, 3)
    with pytest.raises(InvalidArgument, match="no annotation"):

        @tool
        def bad(text): ...

    with pytest.raises(InvalidArgument, match="timeout_s"):
        tool(timeout_s=0)
    with pytest.raises(InvalidArgument, match="max_parallel"):
        tool(max_parallel=0)
