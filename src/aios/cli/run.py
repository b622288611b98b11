"""`aios run`: an agent, started in this process, on the running kernel or on one of its own."""

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aios.abi.errors import AiosError
from aios.cli.connection import any_kernel, settings_of
from aios.cli.output import JsonFlag, execute, print_json, visible

if TYPE_CHECKING:
    from aios.sdk.agent import Connection, Program


class AgentFailed(AiosError):
    """The agent's own code raised."""

    code = "agent_failed"


def run(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="TARGET", show_default=False)],
    task: Annotated[str, typer.Argument(metavar="TASK", show_default=False)] = "",
    own_kernel: Annotated[bool, typer.Option("--own-kernel", help="Use a kernel in this process.")] = False,
    show_traceback: Annotated[bool, typer.Option("--traceback", help="Show where it failed.")] = False,
    json: JsonFlag = False,
) -> None:
    """Run an agent on a task, and print its result.

    TARGET is MODULE:NAME, FILE.py, FILE.py:NAME, or react, the built-in agent with the kernel's tools.
    Of a file, the only thing marked with @aios.agent is meant where no name is given. The agent runs in
    this process: on the kernel that is running, else on a kernel started for it alone. A terminal shows
    on stderr what it says and which tools it calls, as it goes. Ctrl-C ends it.

    \b
    Examples:
      aios run react "What is 12% of 80?"
      aios run examples/react.py "How many days until 2027-01-01?"
      aios run mypackage.agents:Researcher "Compare these two" --json
    """

    async def work() -> None:
        from aios.cli.target import load
        from aios.cli.watch import Watched

        program = load(target)
        async with any_kernel(settings_of(context), own=own_kernel) as kernel:
            if _has_audience() and not json:
                kernel.transport = Watched(kernel.transport, sys.stderr)
            result = await _run(kernel, program, task, show_traceback)
        if json:
            print_json({"result": result})
        else:
            print(visible(result))

    execute(work, json=json)


def _has_audience() -> bool:
    return sys.stderr.isatty()


async def _run(kernel: "Connection", program: "Program", task: str, show_traceback: bool) -> str:
    """The agent's result. `AgentFailed` where its own code raised."""
    try:
        return await kernel.run(program, task)
    except AiosError:
        raise
    except Exception as error:
        if show_traceback:
            traceback.print_exception(error)
        raise AgentFailed(_where(error)) from error


def _where(error: Exception) -> str:
    """What an agent raised, and the last line of its own code that led there."""
    ours = str(Path(__file__).parent.parent)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith((ours, "<"))]
    said = f"{type(error).__name__}: {error}"
    return f"{said} ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else said
