"""`aios put`, `get`, `ls`: files between this machine and the kernel's."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aios.cli.connection import open_kernel, settings_of
from aios.cli.output import JsonFlag, Unusable, console, execute, print_json, table

if TYPE_CHECKING:
    from aios.abi.syscalls import FileEntry

Owner = Annotated[str | None, typer.Option(metavar="NAME", help="In whose tree (default: the caller's own).")]

COLUMNS = ("path", "bytes", "version", "modified", "label")


def put(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    path: Annotated[str | None, typer.Argument(metavar="PATH", show_default=False)] = None,
    owner: Owner = None,
    untrusted: Annotated[bool, typer.Option("--untrusted", help="Nobody vouches for its content.")] = False,
    json: JsonFlag = False,
) -> None:
    """Copy a file of this machine into the kernel, as a new version.

    Without PATH it keeps its name. It is seen when all of it has come.

    \b
    Examples:
      aios put report.pdf
      aios put today.md notes/today.md --owner alice
    """

    async def work() -> None:
        async with open_kernel(settings_of(context)) as kernel:
            with readable():
                entry = await kernel.storage.put(
                    path or file.name,
                    file,
                    label="untrusted" if untrusted else "trusted",
                    owner=owner,
                    on_progress=_progress,
                )
        if json:
            print_json(entry)
        else:
            print(f"{entry.path}: version {entry.version}, {entry.size:,} bytes")

    execute(work, json=json)


def get(
    context: typer.Context,
    path: Annotated[str, typer.Argument(metavar="PATH", show_default=False)],
    file: Annotated[Path | None, typer.Argument(metavar="FILE", show_default=False)] = None,
    version: Annotated[int | None, typer.Option(help="As it was in this version.", min=1)] = None,
    owner: Owner = None,
    json: JsonFlag = False,
) -> None:
    """Copy a file of the kernel to this machine, where it replaces FILE.

    Without FILE it keeps its name, in this folder.

    \b
    Examples:
      aios get notes/today.md
      aios get notes/today.md old.md --version 3
    """
    target = file or Path(path.rpartition("/")[2])

    async def work() -> None:
        async with open_kernel(settings_of(context)) as kernel:
            with readable():
                found = await kernel.storage.get(
                    path, target, version=version, owner=owner, on_progress=_progress
                )
        if json:
            print_json(found)
        else:
            print(f"{target}: version {found.version} of {path}, {found.size:,} bytes")

    execute(work, json=json)


def ls(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", show_default=False)] = "",
    deep: Annotated[bool, typer.Option("--deep", help="Also what is in folders below.")] = False,
    owner: Owner = None,
    json: JsonFlag = False,
) -> None:
    """List what is in a folder of the kernel's files.

    \b
    Examples:
      aios ls
      aios ls notes --deep --owner alice
    """

    async def work() -> None:
        files: list[FileEntry] = []
        folders: list[str] = []
        async with open_kernel(settings_of(context)) as kernel:
            after: str | None = ""
            while after is not None:
                page = await kernel.storage.list(folder, after=after, deep=deep, owner=owner)
                files += page.files
                folders += page.folders
                after = page.next or None
        if json:
            print_json({"files": files, "folders": folders})
        elif files or folders:
            console().print(table(COLUMNS, _rows(files, folders)))
        else:
            print("no files; `aios put FILE` makes one")

    execute(work, json=json)


def _rows(files: "list[FileEntry]", folders: list[str]) -> list[tuple[object, ...]]:
    return [(f"{folder}/", None, None, "", "") for folder in folders] + [
        (file.path, file.size, file.version, day(file.modified), "damaged" if file.damaged else file.label)
        for file in files
    ]


def day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


@contextmanager
def readable() -> Iterator[None]:
    """A file of this machine that can't be used is told in one line, too."""
    try:
        yield
    except OSError as error:
        raise Unusable(f"{error.filename}: {error.strerror}") from None


def _progress(done: int, of: int) -> None:
    """How far it is, on one line of a terminal."""
    if sys.stderr.isatty() and of:
        end = "\n" if done >= of else ""
        print(f"\r{100 * done // of:3} % of {of:,} bytes", end=end, file=sys.stderr, flush=True)
