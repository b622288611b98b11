"""`aios bench`: measure, and print the table with its floors, or one JSON object."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aios.cli.output import EXIT_UNUSABLE, JsonFlag, complain, console, errors_told, print_json, table

if TYPE_CHECKING:
    from aios.bench.report import Result

BENCHES = {
    "overhead": "system calls a second in process, over the socket, over HTTP, chat calls through the kernel",
    "engine": "tokens a second at batch 1, 8, 64, beside the matrix products alone and transformers",
    "context": "10,000 interrupted generations, what an interruption costs, and a kernel that is killed",
    "cache": "how much of prompts the prefix cache finds, beside an endless one and beside Belady's",
    "constrained": "2,000 answers by JSON Schemas and tool calls: share that fit, speed beside free text",
    "scale": "50 to 10,000 agents in one process: wall time, time per agent, memory",
    "memory": "how small histories are, and who leaves memory first; how fast notes are, and whether found",
    "storage": "file writes a second by 50 agents beside the store's floor, and growth to 100,000 files",
    "schedule": "policies against agents on their own and the engine's queue, each beside what none can beat",
    "model": "1,000 held-out tasks, each by an agent with the real tools: share solved, by kind",
}


def bench(
    name: Annotated[str | None, typer.Argument(metavar="NAME", show_default=False)] = None,
    list_benches: Annotated[bool, typer.Option("--list", help="Say what there is to measure.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Rougher, in a minute or two.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.", min=0)] = 0,
    failures: Annotated[
        Path | None, typer.Option(metavar="FILE", help="model: write transcripts of unsolved tasks here.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="schedule: write ledgers, tables and plots here.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="schedule: this experiment; may be repeated.")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(metavar="N", help="schedule: of what is run for three seeds, so many.", min=1),
    ] = None,
    wire: Annotated[bool, typer.Option("--wire", help="schedule: over the wire, too, in real time.")] = False,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="schedule: on the embedded model, too, in real time.")
    ] = False,
    embedding: Annotated[
        str, typer.Option(metavar="model:FOLDER", help="memory: find notes by this model, too.")
    ] = "",
    json: JsonFlag = False,
) -> None:
    """Measure this version on this machine.

    Progress goes to stderr.

    \b
    Examples:
      aios bench --list
      aios bench overhead --quick
      aios bench model --quick --failures failed.txt
      aios bench scale --json > scale.json
      aios bench schedule --only heavy --only fair --out results
    """
    if list_benches:
        _print_list(json)
        return
    if name not in BENCHES:
        complain(f"there is no bench {name!r}; there are: {', '.join(BENCHES)}")
        raise typer.Exit(EXIT_UNUSABLE)
    from aios.bench.report import environment

    with errors_told(json=json):
        if name == "schedule":
            result = _schedule(quick, seed, out, only or (), seeds, wire=wire, embedded=embedded)
        else:
            result = _measure(name, quick, seed, failures, embedding)
    where = environment()
    if json:
        print_json({"rows": result.rows, "goals": result.goals, "environment": where})
    else:
        _print_result(name, result, where)


def _measure(name: str, quick: bool, seed: int, failures: Path | None, embedding: str) -> "Result":
    match name:
        case "overhead":
            from aios.bench import overhead

            return overhead.run(quick, seed, _say)
        case "engine":
            from aios.bench import engine
            from aios.bench.report import as_result

            return as_result(engine.run(quick))
        case "context":
            from aios.bench import context

            return context.run(quick, seed, _say)
        case "cache":
            from aios.bench import cache
            from aios.bench.report import as_result

            return as_result(cache.run(quick, seed))
        case "constrained":
            from aios.bench import constrained
            from aios.bench.report import as_result

            return as_result(constrained.run(quick, seed))
        case "scale":
            from aios.bench import scale

            return scale.run(quick, seed, _say)
        case "memory":
            from aios.bench import memory

            return memory.run(quick, seed, _say, embedding)
        case "storage":
            from aios.bench import storage

            return storage.run(quick, seed, _say)
        case _:
            from aios.bench import model

            return model.run(quick, seed, _say, failures)


def _schedule(
    quick: bool,
    seed: int,
    out: Path | None,
    only: Sequence[str],
    num_seeds: int | None,
    *,
    wire: bool,
    embedded: bool,
) -> "Result":
    from aios.bench.schedule import runner

    return runner.run(quick, seed, _say, out, only, wire=wire, embedded=embedded, num_seeds=num_seeds)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_list(json: bool) -> None:
    if json:
        print_json(BENCHES)
        return
    width = max(map(len, BENCHES)) + 2
    for name, about in BENCHES.items():
        print(f"{name:{width}}{about}")


def _print_result(name: str, result: "Result", where: dict[str, Any]) -> None:
    columns = list(dict.fromkeys(column for row in result.rows for column in row))
    out = console()
    out.print(table(columns, [[row.get(column) for column in columns] for row in result.rows], title=name))
    goals = [(key, goal.value, goal.bound, goal.quick) for key, goal in result.goals.items()]
    out.print(table(("goal", "value", "bound", "quick"), goals))
    print(f"{where['cpu']}, {where['cores']} cores, Python {where['python']}", end=", ")
    print(f"commit {where['commit'] or 'unknown'}")
