"""`aios explain`: why the generations of a process wait, and why they ran when they did."""

from typing import TYPE_CHECKING, Annotated

import typer

from aios.cli.connection import open_kernel, settings_of
from aios.cli.output import JsonFlag, execute, print_json, visible

if TYPE_CHECKING:
    from aios.abi.syscalls import Explanation


def explain(
    context: typer.Context,
    pid: Annotated[int, typer.Argument(metavar="PID", min=1, show_default=False)],
    json: JsonFlag = False,
) -> None:
    """Tell why a process waits for a model, or ran when it did.

    \b
    Examples:
      aios explain 12
      aios explain 12 --json
    """

    async def work() -> None:
        from aios.abi.syscalls import CoreExplain, Explanation

        async with open_kernel(settings_of(context)) as kernel:
            found = await kernel.expect(CoreExplain(pid=pid), Explanation)
        if json:
            print_json(found)
        else:
            print("\n".join(map(visible, lines_of(found))))

    execute(work, json=json)


def lines_of(found: "Explanation") -> list[str]:
    """An explanation as people read it."""
    program = "" if found.program == found.pid else f" of program {found.program}"
    lines = [
        f"process {found.pid}{program}: tenant {found.tenant}, band {found.band}, ordered by {found.policy}",
        f"  its program has been given {found.service:,.0f} tokens of service (an answer's count twice), ran "
        f"{found.ran_s:.1f} s and waited {found.waited_s:.1f} s",
    ]
    if not found.calls:
        lines.append("  no generation is in flight")
    for call in found.calls:
        key = f" ({found.policy} orders it by {_key_text(call.key)})" if call.key else ""
        lines.append(f"  call {call.task} {call.state}, for {call.seconds:.1f} s: {call.reason}{key}")
    if found.decisions:
        lines.append("  its latest turns:")
    return lines + [
        f"    {made.seconds_ago:.1f} s ago call {made.task} got core {made.core} {made.reason}"
        for made in reversed(found.decisions)
    ]


def _key_text(key: tuple[float, ...]) -> str:
    return ", ".join(f"{part:g}" for part in key)
