"""An agent's own Python functions as tools: they run here, with the agent, not in the kernel's keeping."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from aios.abi.errors import AiosError, InvalidArgument, ToolFailed
from aios.abi.schema import binder_of, spec_of

Function = Callable[..., Any]


class LocalTool:
    """One function: what a model sees of it, and how its call runs."""

    def __init__(self, function: Function) -> None:
        self.spec = spec_of(function)
        self._function = function
        self._bind = binder_of(function)
        self._required = frozenset(self.spec.parameters["required"])

    async def run(self, arguments: dict[str, Any]) -> str:
        """The function's result as text; JSON where it is not text. A plain function runs in a thread.

        Raises `InvalidArgument` where the arguments do not fit, `ToolFailed` where the function raises.
        """
        missing = self._required - arguments.keys()
        if missing:
            raise InvalidArgument(f"{self.spec.name} needs {', '.join(sorted(missing))}")
        bound = self._bind(arguments)
        try:
            if inspect.iscoroutinefunction(self._function):
                result = await self._function(**bound)
            else:
                result = await asyncio.to_thread(self._function, **bound)
        except AiosError:
            raise
        except Exception as error:
            raise ToolFailed(f"{type(error).__name__}: {error}") from error
        return _text(self.spec.name, result)


def _text(name: str, result: Any) -> str:
    if isinstance(result, str):
        return result
    try:
        return msgspec.json.encode(result).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ToolFailed(f"{name} returned what has no JSON form: {error}") from None
