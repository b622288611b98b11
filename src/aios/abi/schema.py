"""A function as a tool: its spec from signature and docstring, and JSON arguments back into its types.

Owns the mapping from Python annotations to JSON Schema (done by msgspec, references written out) and the mark
that `@aios.tool` leaves on a function. Knows nothing of where the function will run.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct

from aios.abi.errors import InvalidArgument
from aios.abi.messages import JsonSchema, ToolSpec
from aios.abi.syscalls import Name

MARK = "__aios_tool__"
"""The attribute in which a decorated function carries its `ToolMark`."""

_DEFINITIONS = "#/$defs/"
_ARGS_HEADING = re.compile(r"^\s*(Args|Arguments|Parameters):\s*$")
_OTHER_HEADING = re.compile(r"^\s*[A-Z][A-Za-z ]*:\s*$")
_ARG_LINE = re.compile(r"^\s+\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.+)$")
_PARAM_FIELD = re.compile(r"^\s*:param\s+(?:[^:]*\s)?(\w+):\s*(.+)$")


class ToolMark(Struct, frozen=True):
    """What `@aios.tool` says of a function; None where it says nothing. `timeout_s` is in seconds."""

    name: str | None = None
    timeout_s: float | None = None
    max_parallel: int | None = None
    conflicts: tuple[str, ...] = ()


def mark_of(function: Callable[..., Any]) -> ToolMark:
    """What the decorator said; nothing for a plain function."""
    mark = getattr(function, MARK, None)
    return mark if isinstance(mark, ToolMark) else ToolMark()


def spec_of(function: Callable[..., Any], name: str | None = None) -> ToolSpec:
    """The function as a model sees it. `name` overrides the decorator's and the function's own.

    Raises `InvalidArgument` naming the parameter whose annotation has no JSON form.
    """
    own_name: str = getattr(function, "__name__", "")
    chosen = name or mark_of(function).name or own_name
    try:
        msgspec.convert(chosen, Name)
    except msgspec.ValidationError:
        raise InvalidArgument(f"{chosen!r} can't be a tool's name; use letters, digits and _") from None
    summary, notes = _read_docstring(inspect.getdoc(function) or "")
    properties: dict[str, JsonSchema] = {}
    required: list[str] = []
    for parameter, annotation in _parameters(function):
        schema = _schema_of(parameter, annotation)
        if parameter.name in notes:
            schema["description"] = notes[parameter.name]
        properties[parameter.name] = schema
        if parameter.default is parameter.empty:
            required.append(parameter.name)
    parameters = {"type": "object", "properties": properties, "required": required}
    return ToolSpec(chosen, summary, parameters | {"additionalProperties": False})


def binder_of(function: Callable[..., Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function that turns checked JSON arguments into keyword arguments of the annotated types.

    What it returns raises `InvalidArgument` where a value passes the schema but not the type (no real date).
    """
    types = {parameter.name: annotation for parameter, annotation in _parameters(function)}

    def bind(arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            return {name: msgspec.convert(value, types[name]) for name, value in arguments.items()}
        except msgspec.ValidationError as error:
            raise InvalidArgument(f"arguments do not fit: {error}") from None
        except KeyError as error:
            raise InvalidArgument(f"there is no argument {error}") from None

    return bind


def schema_of(kind: type[Struct]) -> JsonSchema:
    """What a struct looks like as JSON, references written out: for answers that are to be one."""
    schema = msgspec.json.schema(kind)
    definitions = schema.pop("$defs", {})
    written: JsonSchema = _write_out(schema, definitions, kind.__name__, ())
    return written


def _parameters(function: Callable[..., Any]) -> list[tuple[inspect.Parameter, Any]]:
    try:
        signature = inspect.signature(function)
        hints = get_type_hints(function, include_extras=True)
    except (TypeError, ValueError, NameError, AttributeError) as error:
        raise InvalidArgument(f"the signature can't be read: {error}") from None
    found = []
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise InvalidArgument(f"parameter {str(parameter)!r} can't be given by name; name each parameter")
        if parameter.name not in hints:
            raise InvalidArgument(f"parameter {parameter.name!r} has no annotation; say its type")
        found.append((parameter, hints[parameter.name]))
    return found


def _schema_of(parameter: inspect.Parameter, annotation: Any) -> JsonSchema:
    try:
        msgspec.json.Decoder(annotation)
        schema = msgspec.json.schema(annotation)
    except TypeError:
        shown = inspect.formatannotation(annotation)
        raise InvalidArgument(
            f"parameter {parameter.name!r} has the type {shown}, which has no JSON form; use str, int, "
            "float, bool, list, dict, Literal, Enum, Optional, a dataclass or a TypedDict"
        ) from None
    definitions = schema.pop("$defs", {})
    written: JsonSchema = _write_out(schema, definitions, parameter.name, ())
    if parameter.default is None:
        return _without_null(written)
    return written


def _write_out(schema: Any, definitions: JsonSchema, name: str, within: tuple[str, ...]) -> Any:
    """The schema without references and titles: a model reads it where it stands."""
    if isinstance(schema, list):
        return [_write_out(item, definitions, name, within) for item in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = reference.removeprefix(_DEFINITIONS)
        if target in within:
            raise InvalidArgument(f"parameter {name!r} has a type that contains itself")
        return _write_out(definitions[target], definitions, name, (*within, target))
    written = {key: _write_out(value, definitions, name, within) for key, value in schema.items()}
    if isinstance(written.get("title"), str):
        del written["title"]
    return written


def _without_null(schema: JsonSchema) -> JsonSchema:
    """What defaults to None is left out, so None need not be offered besides."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if not options:
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return rest | (options[0] if len(options) == 1 else {"anyOf": options})


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The first paragraph, and what is said of each argument (the Args section, or `:param name:` lines)."""
    lines = text.splitlines()
    summary = " ".join(line.strip() for line in _first_paragraph(lines))
    notes: dict[str, str] = {}
    in_args, last = False, ""
    for line in lines:
        if _ARGS_HEADING.match(line):
            in_args, last = True, ""
        elif _OTHER_HEADING.match(line):
            in_args = False
        elif found := _PARAM_FIELD.match(line) or (_ARG_LINE.match(line) if in_args else None):
            last = found[1]
            notes[last] = found[2].strip()
        elif in_args and last and line.strip():
            notes[last] += " " + line.strip()
    return summary, notes


def _first_paragraph(lines: list[str]) -> list[str]:
    paragraph: list[str] = []
    for line in lines:
        if not line.strip() or _ARGS_HEADING.match(line) or _PARAM_FIELD.match(line):
            break
        paragraph.append(line)
    return paragraph
