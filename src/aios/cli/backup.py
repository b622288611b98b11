"""`aios backup`: the data of a kernel, copied while it serves."""

import os
from pathlib import Path
from typing import Annotated

import typer

from aios.cli.connection import load_config, settings_of
from aios.cli.output import JsonFlag, Unusable, console, errors_told, print_json


def backup(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DEST", show_default=False)],
    json: JsonFlag = False,
) -> None:
    """Copy all data into the new folder DEST.

    The kernel may go on serving: the copy is of one moment, and every checksum in it is verified before this
    says that it is done. It is a data folder: `aios --data DEST serve` runs on it, and to restore it, stop
    the kernel and put it in the place of the old one. It holds the operator's token.

    \b
    Examples:
      aios backup /backups/monday
      aios fsck && aios backup /backups/monday --json
    """
    with errors_told(json=json):
        from aios.drivers.backup import copy
        from aios.kernel.checking.whole import check

        source = load_config(settings_of(context)).data
        if not (source / "aios.db").is_file():
            raise Unusable(f"there is no data at {source}")
        _make(folder)
        with console(stderr=True).status("copying") as status:
            size = copy(
                source / "aios.db",
                folder / "aios.db",
                lambda done, all: status.update(f"copying: {done:,} of {all:,} pages"),
            )
            status.update("verifying")
            problems = check(folder / "aios.db", lambda table: status.update(f"verifying {table}"))
        _copy_token(source, folder)
    if json:
        print_json({"folder": str(folder), "bytes": size, "problems": problems})
    else:
        print(
            f"aios: {size:,} bytes in {folder}, every checksum verified" if not problems else _warning(folder)
        )
    if problems:
        raise typer.Exit(1)


def _warning(folder: Path) -> str:
    return f"aios: {folder} holds the data as it is, and that is damaged; `aios fsck` says what"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Unusable(f"{folder} is not empty; a backup gets a folder of its own")
    except OSError as error:
        raise Unusable(f"{folder} cannot be made: {error.strerror}") from None


def _copy_token(source: Path, folder: Path) -> None:
    """With it the agents' tokens and the operator's stay what they are."""
    token = source / "operator.token"
    if token.is_file():
        descriptor = os.open(folder / "operator.token", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(token.read_text("ascii"))
