"""`aios ingest`: a folder of this machine becomes one of the kernel's, to be searched."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aios.cli.connection import open_kernel, settings_of
from aios.cli.files import Owner, readable
from aios.cli.output import EXIT_FAILED, JsonFlag, complain, execute, print_json, visible

if TYPE_CHECKING:
    from aios.sdk.ingesting import Ingested, OnProgress, Progress

MAX_PROBLEMS = 50
"""Told one by one, to people."""


def ingest(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", show_default=False)],
    into: Annotated[
        str | None, typer.Option(metavar="PATH", help="The kernel's folder (default: FOLDER's name).")
    ] = None,
    owner: Owner = None,
    untrusted: Annotated[bool, typer.Option("--untrusted", help="Nobody vouches for their content.")] = False,
    hidden: Annotated[bool, typer.Option("--hidden", help="Also names that begin with a dot.")] = False,
    json: JsonFlag = False,
) -> None:
    """Take a folder of this machine into the kernel's files, and keep it up to date.

    Run it again and only what has changed is written. Links are not followed. What could not be taken in is
    told at the end, and the exit code is 1 then.

    \b
    Examples:
      aios ingest handbook
      aios ingest ~/papers --into kb/papers --untrusted
      aios search travel costs --folder handbook
    """

    async def work() -> "Ingested":
        from aios.sdk.ingesting import ingest as run

        async with open_kernel(settings_of(context)) as kernel:
            with readable(), _shown(json=json) as on_progress:
                return await run(
                    kernel.storage,
                    folder,
                    folder.resolve().name if into is None else into,
                    label="untrusted" if untrusted else "trusted",
                    hidden=hidden,
                    owner=owner,
                    on_progress=on_progress,
                )

    found = execute(work, json=json)
    if json:
        print_json(found)
    else:
        _tell(found)
    if found.problems:
        raise typer.Exit(EXIT_FAILED)


def _tell(found: "Ingested") -> None:
    rate = found.bytes / found.seconds if found.seconds else 0.0
    print(
        f"{visible(found.into) or 'all files'}: {found.written:,} written ({found.bytes:,} bytes, "
        f"{rate / 1e6:.1f} MB/s), {found.unchanged:,} unchanged, {len(found.problems):,} problems, "
        f"in {found.seconds:.1f} s"
    )
    for one in found.problems[:MAX_PROBLEMS]:
        complain(f"{one.path}: {one.why}")
    if len(found.problems) > MAX_PROBLEMS:
        complain(f"… and {len(found.problems) - MAX_PROBLEMS:,} more; --json names all")


@contextmanager
def _shown(*, json: bool) -> "Iterator[OnProgress | None]":
    """How far it is, on a terminal: a bar, files, bytes, bytes a second, and the time that is left."""
    if json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("looking", total=None)

        def on_progress(at: "Progress") -> None:
            files = f"{at.files:,} of {at.all_files:,} files"
            bar.update(task, description=files, total=at.all_bytes, completed=at.bytes)

        yield on_progress
