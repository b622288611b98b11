"""`aios ps`, `kill`, `suspend`, `resume`: the processes of the running kernel."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from aios.cli.connection import open_kernel, settings_of
from aios.cli.each import Outcome, report_and_leave, try_each
from aios.cli.output import JsonFlag, console, execute, print_json, table

if TYPE_CHECKING:
    from aios.abi.syscalls import ProcessEntry, SystemCall

Pids = Annotated[list[int], typer.Argument(metavar="PID", min=1, show_default=False)]

COLUMNS = ("pid", "agent", "principal", "state", "age", "calls", "doing")


def ps(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", "-a", help="Also those that have ended.")] = False,
    json: JsonFlag = False,
) -> None:
    """List the processes and what they do now.

    \b
    Examples:
      aios ps
      aios ps --all --json
    """

    async def work() -> None:
        from aios.abi.syscalls import ProcessEntries, ProcessList

        async with open_kernel(settings_of(context)) as kernel:
            entries = (await kernel.expect(ProcessList(), ProcessEntries)).processes
        shown = [entry for entry in entries if every or entry.state in ("running", "suspended")]
        if json:
            print_json({"processes": shown})
        elif not shown:
            print("no processes; `aios run FILE` starts an agent")
        else:
            console().print(table(COLUMNS, rows_of(shown, time.time())))

    execute(work, json=json)


def rows_of(entries: "Sequence[ProcessEntry]", now: float) -> list[tuple[object, ...]]:
    """Table rows of processes, the ages as of `now` (seconds since the epoch)."""
    return [
        (
            *(str(entry.pid), entry.agent, entry.principal, entry.state),
            *(age_text(now - entry.created), entry.num_calls, entry.waiting),
        )
        for entry in entries
    ]


def age_text(seconds: float) -> str:
    """A span as people say it, such as `3m10s`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def kill(context: typer.Context, pids: Pids, json: JsonFlag = False) -> None:
    """End processes and their children.

    Their calls in flight end as cancelled.

    \b
    Example:
      aios kill 12 13
    """
    from aios.abi.syscalls import ProcessKill

    _for_each(context, [ProcessKill(pid=pid) for pid in pids], "killed", pids, json)


def suspend(context: typer.Context, pids: Pids, json: JsonFlag = False) -> None:
    """Stop scheduling processes for a while.

    Their calls wait; a running generation is interrupted and kept.

    \b
    Example:
      aios suspend 12        and later: aios resume 12
    """
    from aios.abi.syscalls import ProcessSuspend

    _for_each(context, [ProcessSuspend(pid=pid) for pid in pids], "suspended", pids, json)


def resume(context: typer.Context, pids: Pids, json: JsonFlag = False) -> None:
    """Schedule suspended processes again.

    An interrupted generation goes on where it was.

    \b
    Example:
      aios resume 12
    """
    from aios.abi.syscalls import ProcessResume

    _for_each(context, [ProcessResume(pid=pid) for pid in pids], "resumed", pids, json)


def _for_each(
    context: typer.Context, calls: "Sequence[SystemCall]", verb: str, pids: Sequence[int], json: bool
) -> None:
    async def work() -> Outcome:
        async with open_kernel(settings_of(context)) as kernel:
            return await try_each(kernel, zip(pids, calls, strict=True))

    report_and_leave(verb, execute(work, json=json), json=json)
