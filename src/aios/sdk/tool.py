"""`@aios.tool`: says that a function is a tool, and how it wants to be run.

The decorator only leaves a mark; the function stays as it was. `agent.tools.register(function)` registers it.
"""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from aios.abi.errors import InvalidArgument
from aios.abi.schema import MARK, ToolMark, spec_of

F = TypeVar("F", bound=Callable[..., Any])


@overload
def tool(function: F, /) -> F: ...


@overload
def tool(
    *,
    name: str | None = None,
    timeout_s: float | None = None,
    max_parallel: int | None = None,
    conflicts: tuple[str, ...] = (),
) -> Callable[[F], F]: ...


def tool(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    timeout_s: float | None = None,
    max_parallel: int | None = None,
    conflicts: tuple[str, ...] = (),
) -> Any:
    """Mark a sync or async function as a tool: `@tool`, or `@tool(timeout_s=5)`.

    `timeout_s` is in seconds; `max_parallel` is how many calls may run at once; `conflicts` names tools that
    must not run at the same time. Raises `InvalidArgument` at once where the signature has no JSON Schema.
    """
    if timeout_s is not None and not timeout_s > 0:
        raise InvalidArgument("timeout_s must be more than 0")
    if max_parallel is not None and max_parallel < 1:
        raise InvalidArgument("max_parallel must be at least 1")
    mark = ToolMark(name, timeout_s, max_parallel, conflicts)

    def leave_mark(marked: F) -> F:
        setattr(marked, MARK, mark)
        spec_of(marked)
        return marked

    return leave_mark if function is None else leave_mark(function)
