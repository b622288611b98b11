"""`aios cores`: each core's room, limits, queue, health, speed and spend; and the presets there are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from aios.cli.connection import open_kernel, settings_of
from aios.cli.output import JsonFlag, console, execute, print_json, table, visible

if TYPE_CHECKING:
    from aios.abi.syscalls import CoreEntry

COLUMNS = ("core", "model", "health", "runs", "of", "wait", "limits", "tok/s", "tokens", "fails", "spent")
PRESET_COLUMNS = ("preset", "wire", "address", "key in")


def cores(
    context: typer.Context,
    presets: Annotated[
        bool, typer.Option("--presets", help="List the providers whose defaults are known.")
    ] = False,
    drain: Annotated[
        list[str] | None,
        typer.Option("--drain", metavar="CORE", help="Give a core no new calls; move what it runs."),
    ] = None,
    undrain: Annotated[
        list[str] | None, typer.Option("--undrain", metavar="CORE", help="Give a core calls again.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show each core: how many calls it runs and bears, who waits, its limits, speed and spend.

    `of` is what its gate lets in at once now; `?` before it where that is being found out. A drained core
    takes no new calls: what it runs goes on at another core of its model, or ends there if there is none.

    \b
    Examples:
      aios cores
      aios cores --json
      aios cores --presets
      aios cores --drain gpu0
    """
    if presets:
        _print_presets(json)
        return

    async def work() -> None:
        from aios.abi.syscalls import CoreDrain, CoreEntries, CoreList, CoreUndrain, Done

        async with open_kernel(settings_of(context)) as kernel:
            for name in drain or ():
                await kernel.expect(CoreDrain(core=name), Done)
            for name in undrain or ():
                await kernel.expect(CoreUndrain(core=name), Done)
            entries = (await kernel.expect(CoreList(), CoreEntries)).cores
        if json:
            print_json({"cores": entries})
        else:
            console().print(table(COLUMNS, rows_of(entries)))
            for line in faults_of(entries):
                print(visible(line))

    execute(work, json=json)


def rows_of(entries: "Sequence[CoreEntry]") -> list[tuple[object, ...]]:
    """Table rows of cores."""
    return [
        (
            *(entry.name, entry.model, health_text(entry), entry.running),
            *(f"{'' if entry.slots else '?'}{entry.window}", entry.waiting, limits_text(entry)),
            *(round(entry.tokens_per_s), entry.tokens, entry.failures, entry.spent),
        )
        for entry in entries
    ]


def faults_of(entries: "Sequence[CoreEntry]") -> list[str]:
    """What is wrong with those that are not well."""
    unwell = (entry for entry in entries if entry.health != "ready" and entry.fault)
    return [f"{entry.name}: {entry.fault}" for entry in unwell]


def health_text(entry: "CoreEntry") -> str:
    """Its health, until when its gate is shut, and whether it is drained."""
    health = entry.health if entry.opens_in_s is None else f"{entry.health}, {entry.opens_in_s:.1f} s"
    return f"{health}, drained" if entry.draining else health


def limits_text(entry: "CoreEntry") -> str:
    """What is left of each rate limit, and what it lets in by the minute."""
    return ", ".join(
        f"{rate.left:,.0f} of {rate.per_minute:,.0f} {rate.unit.replace('_', ' ')}/min"
        for rate in entry.rates
    )


def _print_presets(json: bool) -> None:
    from aios.drivers.presets import PRESETS

    if json:
        print_json({"presets": PRESETS})
        return
    rows = [
        (name, known.kind, known.base_url or known.form, known.api_key_env)
        for name, known in sorted(PRESETS.items())
    ]
    console().print(table(PRESET_COLUMNS, rows))
