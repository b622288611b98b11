"""`aios mount` and `aios unmount`: directories of this machine among the kernel's files."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from aios.cli.connection import open_kernel, settings_of
from aios.cli.files import Owner
from aios.cli.output import EXIT_FAILED, JsonFlag, Unusable, complain, console, execute, print_json, table

if TYPE_CHECKING:
    from aios.abi.syscalls import MountEntries, MountEntry
    from aios.sdk.agent import Connection

COLUMNS = ("folder", "of", "directory", "may", "state", "files", "waits", "problems")
POLL_S = 0.2
"""Between two looks at how far a mount is."""


def mount(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", show_default=False)] = None,
    folder: Annotated[str | None, typer.Argument(metavar="FOLDER", show_default=False)] = None,
    write: Annotated[bool, typer.Option("--write", help="Changes go to the directory, too.")] = False,
    owner: Owner = None,
    json: JsonFlag = False,
) -> None:
    """Have a folder of the kernel's files follow a directory of this machine.

    NAME is that of a directory in [[mounts]] of the configuration. The command ends when all of it has been
    taken in; later changes follow by themselves. Without arguments, list what is mounted and what may be.
    What is left out is told, and the exit code is 1 then.

    \b
    Examples:
      aios mount
      aios mount handbook kb/handbook
      aios mount notes notes --write --owner alice
    """
    from aios.abi.syscalls import MountEntry

    if (name is None) != (folder is None):
        raise typer.BadParameter("say both, NAME and FOLDER, or neither")

    async def work() -> "MountEntry | MountEntries":
        async with open_kernel(settings_of(context)) as kernel:
            if name is None or folder is None:
                return await kernel.storage.mounts(owner=owner)
            made = await kernel.storage.mount(name, folder, write, owner=owner)
            with _shown(json=json) as on_progress:
                return await _taken_in(kernel, made, on_progress)

    found = execute(work, json=json)
    if json:
        print_json(found)
    if not isinstance(found, MountEntry):
        if not json:
            _list(found)
        return
    if not json:
        _tell(found)
    if found.num_problems or found.why:
        raise typer.Exit(EXIT_FAILED)


def unmount(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", show_default=False)],
    keep: Annotated[bool, typer.Option("--keep", help="Keep the files, as the kernel's own.")] = False,
    owner: Owner = None,
    json: JsonFlag = False,
) -> None:
    """End a mount. The directory stays as it is; of the kernel's files the versions stay.

    \b
    Examples:
      aios unmount kb/handbook
      aios unmount notes --keep --owner alice
    """

    async def work() -> None:
        async with open_kernel(settings_of(context)) as kernel:
            done = await kernel.storage.unmount(folder, keep=keep, owner=owner)
        if json:
            print_json(done)
        else:
            print(f"{folder}: unmounted")

    execute(work, json=json)


async def _taken_in(
    kernel: "Connection", made: "MountEntry", on_progress: "Callable[[MountEntry], None]"
) -> "MountEntry":
    """How it is when all has been taken in, or cannot be."""
    import asyncio

    while True:
        mounts = (await kernel.storage.mounts(owner=made.owner)).mounts
        entry = next((one for one in mounts if one.folder == made.folder), None)
        if entry is None:
            raise Unusable(f"'{made.folder}' was unmounted meanwhile")
        on_progress(entry)
        if entry.state != "scanning":
            return entry
        await asyncio.sleep(POLL_S)


def _tell(entry: "MountEntry") -> None:
    print(f"{entry.folder}: {entry.files:,} files ({entry.bytes:,} bytes) of '{entry.name}', {entry.state}")
    if entry.why:
        complain(entry.why)
    for one in entry.problems:
        complain(f"{one.path}: {one.why}")
    if entry.num_problems > len(entry.problems):
        complain(f"… and {entry.num_problems - len(entry.problems):,} more")
    if entry.unwatched:
        complain(f"changes are found only now and then: {entry.unwatched}")


def _list(found: "MountEntries") -> None:
    if found.mounts:
        console().print(table(COLUMNS, map(_row, found.mounts)))
        for one in found.mounts:
            if one.why:
                complain(f"{one.folder}: {one.why}")
            for left in one.unsaved:
                complain(f"{one.folder}/{left.path} is not in the directory yet: {left.why}")
    else:
        print("nothing is mounted")
    names = [f"{one.name} ({'write' if one.write else 'read'})" for one in found.lent]
    print(f"may be mounted: {', '.join(names) or 'nothing; [[mounts]] in aios.toml lends a directory'}")


def _row(one: "MountEntry") -> tuple[object, ...]:
    may = "write" if one.write else "read"
    return one.folder, one.owner, one.name, may, one.state, one.files, one.waiting, one.num_problems


@contextmanager
def _shown(*, json: bool) -> "Iterator[Callable[[MountEntry], None]]":
    """How far it is, on a terminal."""
    if json or not sys.stderr.isatty():
        yield lambda entry: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("looking", total=None)

        def on_progress(at: "MountEntry") -> None:
            files = f"{at.files:,} of {at.all_files:,} files"
            bar.update(task, description=files, total=at.all_files or None, completed=at.files)

        yield on_progress
