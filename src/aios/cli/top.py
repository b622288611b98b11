"""`aios top`: the processes as they change, once a second."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from aios.cli.connection import open_kernel, settings_of
from aios.cli.output import JsonFlag, console, execute, print_json, table
from aios.cli.process import age_text

if TYPE_CHECKING:
    from aios.sdk.agent import Connection

COLUMNS = ("pid", "agent", "state", "age", "calls", "tokens", "switches", "doing")


def top(
    context: typer.Context,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2, max=3600)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, and leave.")] = False,
    json: JsonFlag = False,
) -> None:
    """Watch the processes as they change.

    Ctrl-C leaves. Prints once where stdout is no terminal.

    \b
    Examples:
      aios top --interval 2
      aios top --json
    """

    async def work() -> None:
        async with open_kernel(settings_of(context)) as kernel:
            if json:
                print_json({"processes": await look(kernel)})
            elif once or not sys.stdout.isatty():
                console().print(table(COLUMNS, [row_of(seen) for seen in await look(kernel)]))
            else:
                await _watch(kernel, interval)

    execute(work, json=json)


async def look(kernel: "Connection") -> list[dict[str, object]]:
    """Each living process with what it has used."""
    from aios.abi.errors import NotFound
    from aios.abi.syscalls import ProcessEntries, ProcessList, ProcessUsage, ResourceUsage

    seen: list[dict[str, object]] = []
    for entry in (await kernel.expect(ProcessList(), ProcessEntries)).processes:
        if entry.state not in ("running", "suspended"):
            continue
        try:
            usage = await kernel.expect(ProcessUsage(pid=entry.pid), ResourceUsage)
        except NotFound:  # it ended between the two calls
            continue
        seen.append({"process": entry, "usage": usage})
    return seen


def row_of(seen: dict[str, object]) -> tuple[object, ...]:
    from aios.abi.syscalls import ProcessEntry, ResourceUsage

    entry, usage = seen["process"], seen["usage"]
    assert isinstance(entry, ProcessEntry)
    assert isinstance(usage, ResourceUsage)
    return (
        *(str(entry.pid), entry.agent, entry.state, age_text(time.time() - entry.created), entry.num_calls),
        *(usage.completion_tokens, usage.num_switches, entry.waiting),
    )


async def _watch(kernel: "Connection", interval: float) -> None:
    import asyncio

    from rich.live import Live

    with Live(console=console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(table(COLUMNS, [row_of(seen) for seen in await look(kernel)]), refresh=True)
            await asyncio.sleep(interval)
