"""The tools that a task makes up, as Python functions that an agent can be given."""

import inspect
from collections.abc import Callable
from typing import Any, Literal

from aios.abi.messages import JsonSchema
from aios.bench.tasks.invented import Invented
from aios.sdk.tool import tool


def function_of(invented: Invented) -> Callable[..., Any]:
    """An async function with the signature, name and description of the made-up tool."""

    async def run(**arguments: Any) -> str:
        return invented.run({name: _plain(value) for name, value in arguments.items()})

    schema = invented.spec.parameters
    required = schema["required"]
    types = {name: _type_of(field) for name, field in schema["properties"].items()}
    run.__annotations__ = types | {"return": str}
    run.__doc__ = invented.spec.description
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [_parameter(name, kind, name in required) for name, kind in types.items()]
    )
    return tool(name=invented.spec.name)(run)


def _parameter(name: str, kind: Any, required: bool) -> inspect.Parameter:
    default = inspect.Parameter.empty if required else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _type_of(schema: JsonSchema) -> Any:
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    match schema["type"]:
        case "integer":
            return int
        case "number":
            return float
        case "boolean":
            return bool
        case "array":
            return list[_type_of(schema["items"])]  # type: ignore[misc]
        case _:
            return str


def _plain(value: Any) -> Any:
    """A whole number is the same number whether it came as 5 or 5.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
