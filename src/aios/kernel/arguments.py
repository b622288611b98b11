"""Checks a tool call's arguments against the tool's JSON Schema, and says what does not fit.

Nothing is coerced, nothing unknown is let through, and a schema may refer to nothing outside itself.
"""

from typing import Any

import jsonschema_rs
from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationErrorKind

from aios.abi.errors import InvalidArgument
from aios.abi.messages import JsonSchema, ToolSpec

_MAX_ERRORS = 3
"""How many faults one sentence names."""
_MAX_FAULT = 300
"""Characters of one fault: it may quote the value."""


class ArgumentCheck:
    """One tool's schema, compiled. `InvalidArgument` when it is no schema."""

    def __init__(self, spec: ToolSpec) -> None:
        self._tool = spec.name
        self._schema = _closed(spec.parameters)
        try:
            # The plain regex engine takes linear time, whatever pattern a tool brings.
            self._validator = Draft202012Validator(
                self._schema, retriever=_refuse, pattern_options=RegexOptions()
            )
        except ValueError as error:
            fault = str(error).partition("\n")[0][:_MAX_FAULT]
            raise InvalidArgument(f"the schema of {spec.name} can't be used: {fault}") from None

    def check(self, arguments: dict[str, Any]) -> None:
        """`InvalidArgument` naming what is wrong, where, and what would be right."""
        try:
            if not self._validator.is_valid(arguments):
                raise InvalidArgument(f"{self._tool}: {self._faults(arguments)}")
        except ValueError as error:  # not JSON data at all, which only a caller in this process can give
            raise InvalidArgument(f"{self._tool}: the arguments are no JSON: {error}") from None

    def _faults(self, arguments: dict[str, Any]) -> str:
        faults = []
        for error in self._validator.iter_errors(arguments):
            faults.append(self._describe(error)[:_MAX_FAULT])
            if len(faults) == _MAX_ERRORS:
                break
        return "; ".join(faults)

    def _describe(self, error: jsonschema_rs.ValidationError) -> str:
        place = _place(error.instance_path)
        match error.kind:
            case ValidationErrorKind.Required(property=name):
                what = name if isinstance(name, str) else str(name)
                return f"{place} needs the key '{what}'" if place else f"the argument '{what}' is missing"
            case ValidationErrorKind.AdditionalProperties(unexpected=names):
                unknown = ", ".join(f"'{name}'" for name in names)
                if place:
                    return f"{place} has the unknown key {unknown}"
                known = ", ".join(self._schema.get("properties", ())) or "none"
                return f"there is no argument {unknown}; the arguments are: {known}"
        return f"{place or 'the arguments'}: {error.message}"


def _closed(schema: JsonSchema) -> JsonSchema:
    """The schema of an arguments object; where it does not say what else may be there, nothing may."""
    return {"type": "object", "properties": {}, "additionalProperties": False, **schema}


def _place(path: list[str | int]) -> str:
    """Where in the arguments, such as `'points[2].x'`; empty for the whole."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"'{text.removeprefix('.')}'" if text else ""


def _refuse(uri: str) -> Any:
    raise ValueError(f"a schema may not refer to {uri}")
