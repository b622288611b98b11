"""`aios fsck`: whether all that is stored is what was written."""

from typing import TYPE_CHECKING, Annotated

import typer

from aios.cli.connection import load_config, settings_of
from aios.cli.output import JsonFlag, Unusable, console, errors_told, print_json, table

if TYPE_CHECKING:
    from aios.kernel.checking.found import Problem

COLUMNS = ("kind", "table", "what", "mended")


def fsck(
    context: typer.Context,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make anew what can be: indexes and counters.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Verify all data: pages, every row and blob, references, counters.

    The kernel may go on serving, but not with --repair. What cannot be made anew, such as the text of a
    damaged note, is named and left: reading it is an error, and all else is served.

    \b
    Examples:
      aios fsck
      aios --data /backups/monday fsck --json
    Exit codes: 0 all is well or mended, 1 something is damaged.
    """
    with errors_told(json=json):
        import asyncio

        from aios.kernel.checking.whole import check
        from aios.kernel.checking.whole import repair as mend

        path = load_config(settings_of(context)).data / "aios.db"
        if not path.is_file():
            raise Unusable(f"there is no data at {path.parent}")
        with console(stderr=True).status("verifying") as status:

            def told(table: str) -> None:
                status.update(f"verifying {table}")

            problems = asyncio.run(mend(path, told)) if repair else check(path, told)
    _print(problems, json)
    if any(not problem.is_mended for problem in problems):
        raise typer.Exit(1)


def _print(problems: "list[Problem]", json: bool) -> None:
    if json:
        print_json({"problems": problems})
    elif not problems:
        print("aios: every page, row and blob is what was written")
    else:
        rows = [(one.kind, one.table, one.name, one.is_mended) for one in problems]
        console().print(table(COLUMNS, rows))
