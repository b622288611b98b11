"""`aios demo`: many agents share one model, drawn as they go, and a table at the end."""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from aios.cli.output import JsonFlag, console, execute, print_json, table, visible
from aios.cli.policy import Policy, PolicyOption

if TYPE_CHECKING:
    from rich.console import RenderableType

    from aios.abi.syscalls import CoreEntry
    from aios.bench.demo import Demo
    from aios.bench.runner import Run

FRAME_S = 0.1
LINE_S = 3.0
"""Between two lines of progress where nothing can be drawn."""
AGENTS_SHOWN = 8
ANSWERS_SHOWN = 5
BAR_CELLS = 24
NEVER_INTERRUPT = ("fifo", "program_fifo")
TIMES = ("mean", "p50", "p90", "p99")


def demo(
    agents: Annotated[int, typer.Option(help="How many agents.", min=1, max=10_000)] = 50,
    policy: PolicyOption = Policy.rr,
    quantum: Annotated[int, typer.Option(help="Tokens a turn.", min=1)] = 32,
    seed: Annotated[int, typer.Option(help="Of the tasks: the same seed, the same tasks.", min=0)] = 0,
    json: JsonFlag = False,
) -> None:
    """Watch agents share one model through the kernel.

    Each agent gets a task of its own and solves it with the embedded model and real tools: notes,
    files, arithmetic, dates, and tools made up for it. What happened is checked. Nothing is
    downloaded, and all is kept in a temporary folder.

    \b
    Examples:
      aios demo
      aios demo --agents 200 --policy fifo
      aios demo --agents 50 --quantum 8 --seed 7 --json
    """

    async def work() -> None:
        from aios.bench.demo import prepared

        async with prepared(agents, policy.value, quantum, seed) as prepared_demo:
            await _watched(prepared_demo)
            if json:
                print_json(prepared_demo.report())
            else:
                _print_result(prepared_demo)

    execute(work, json=json)


async def _watched(demo: "Demo") -> None:
    """Run it, and show how far it is on stderr: drawn on a terminal, else a line now and then."""
    import asyncio

    show = _draw if sys.stderr.isatty() else _print_lines
    showing = asyncio.create_task(show(demo))
    try:
        await demo.run()
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing


async def _print_lines(demo: "Demo") -> None:
    import asyncio

    while True:
        await asyncio.sleep(LINE_S)
        print(progress_line(demo), file=sys.stderr, flush=True)


async def _draw(demo: "Demo") -> None:
    import asyncio

    from rich.live import Live

    with Live(console=console(stderr=True), auto_refresh=False, transient=True) as live:
        while True:
            live.update(picture(demo), refresh=True)
            await asyncio.sleep(FRAME_S)


def progress_line(demo: "Demo") -> str:
    """How far it is, in one line."""
    counted = demo.statistics()
    ended = sum(run.has_ended for run in demo.runs)
    solved = sum(run.verdict.solved for run in demo.runs)
    return (
        f"{demo.wall_s:6.1f} s  {ended}/{len(demo.runs)} agents ended, {solved} solved  "
        f"{counted['tokens']} tokens ({counted['tokens'] / demo.wall_s:.0f}/s)  "
        f"{counted['context_switches']} switches"
    )


def picture(demo: "Demo") -> "RenderableType":
    """The whole state at one look: counts, the cores, and some of the agents at work."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    ended = sum(run.has_ended for run in demo.runs)
    working = [run for run in demo.runs if run.state == "running"]
    columns = ("agent", "kind", "does", "its task")
    return Group(
        Text(title_of(demo), style="bold"),
        ProgressBar(total=len(demo.runs), completed=ended),
        Text(progress_line(demo)),
        *(Text(core_line(core)) for core in demo.cores()),
        table(columns, [agent_row(run) for run in working[:AGENTS_SHOWN]]) if working else Text(""),
    )


def title_of(demo: "Demo") -> str:
    scheduler = demo.scheduler
    turns = "" if scheduler.policy in NEVER_INTERRUPT else f", {scheduler.quantum} tokens a turn"
    return f"AIOS: {len(demo.runs)} agents share one model ({scheduler.policy}{turns})"


def core_line(core: "CoreEntry") -> str:
    """A core's rows in use, as a bar and in numbers."""
    used = round(BAR_CELLS * core.running / max(core.slots, core.running, 1))
    bar = "█" * used + "░" * (BAR_CELLS - used)
    return f"core {core.name} {bar} {core.running} of {core.slots} rows, {core.waiting} calls wait"


def agent_row(run: "Run") -> tuple[str, str, str, str]:
    turn = min(len(run.answers), len(run.task.turns) - 1)  # all are answered while it is being judged
    return run.name, run.task.kind, run.doing, _short(run.task.turns[turn].user, 38)


def _short(text: str, width: int) -> str:
    line = visible(" ".join(text.split()))
    return line if len(line) <= width else line[: width - 1] + "…"


def _print_result(demo: "Demo") -> None:
    from aios.bench.demo import by_kind

    report, out = demo.report(), console()
    out.print(f"[bold]{title_of(demo)}[/bold]")
    out.print(table(("kind", "agents", "solved"), by_kind(demo.runs)))
    columns = ("of the model's calls", "mean", "p50", "p90", "p99")
    spans = (("waiting, ms", report.waiting_ms), ("turnaround, ms", report.turnaround_ms))
    out.print(table(columns, [(name, *(round(times[key]) for key in TIMES)) for name, times in spans]))
    out.print(
        f"{report.finished} of {report.agents} agents finished, {report.solved} solved their task, "
        f"in {report.wall_s:.1f} s\n"
        f"{report.tokens:,} tokens, {report.tokens_per_s:,.0f} a second; "
        f"{report.context_switches:,} context switches; {sum(report.syscalls.values()):,} system calls\n"
    )
    for run in demo.runs[:ANSWERS_SHOWN]:
        _print_answer(run)
    for failed in report.unsolved[:ANSWERS_SHOWN]:
        print(f"not solved: {failed['agent']} ({failed['kind']}): {_short(failed['reason'], 200)}")


def _print_answer(run: "Run") -> None:
    """What one agent was asked and said; the last turn of several."""
    mark = "solved" if run.verdict.solved else "not solved"
    print(f"{run.name}, {run.task.kind}, {mark}")
    if run.answers:
        print(f"  asked: {_short(run.task.turns[len(run.answers) - 1].user, 70)}")
        print(f"  said:  {_short(run.answers[-1], 70)}")
