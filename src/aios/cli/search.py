"""`aios search`: files and notes, by their words or by what is like them."""

import re
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from aios.cli.connection import open_kernel, settings_of
from aios.cli.files import Owner, day
from aios.cli.output import JsonFlag, Unusable, console, execute, print_json, table

if TYPE_CHECKING:
    from aios.abi.syscalls import FileGroup, FileHit, GroupBy, NoteHit

Mode = StrEnum("Mode", "both keyword meaning")
"""The same as a call's, which is imported late."""
By = StrEnum("By", "folder kind label day week month meaning")
SHOWN_LETTERS = 200
"""Of a text found, in the table."""
COLUMNS = ("found", "changed", "score", "what it says")

_AGE = re.compile(r"(\d+)([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def search(
    context: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(metavar="WORDS", show_default=False)] = None,
    folder: Annotated[str, typer.Option(metavar="FOLDER", help="Only files in it or below it.")] = "",
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="Only files of it, such as md, text/html, text/*.")
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="Changed since a day (2026-11-01), or 30m, 12h, 7d, 2w ago.")
    ] = "",
    mode: Annotated[Mode, typer.Option(help="What is compared.")] = Mode.both,
    group_by: Annotated[By | None, typer.Option(help="Put what is alike together.")] = None,
    limit: Annotated[int, typer.Option(help="Files, notes or groups at most.", min=1, max=1000)] = 10,
    owner: Owner = None,
    json: JsonFlag = False,
) -> None:
    """Find files and notes by words, the best first; without words what was changed last.

    Notes are in no folder and of no kind: asked for these, or for groups, only files are looked at.

    \b
    Examples:
      aios search travel costs
      aios search --folder handbook --since 7d
      aios search pricing --group-by week --json
    """
    text = " ".join(words or ())
    asked: dict[str, Any] = {"limit": limit, "mode": mode.value, "owner": owner}

    async def work() -> dict[str, Sequence[Any]]:
        asked["since"] = _moment(since) if since else None
        async with open_kernel(settings_of(context)) as kernel:
            if group_by is not None:
                by = cast("GroupBy", group_by.value)
                grouped = await kernel.storage.group(by, text, folder=folder, kind=kind, **asked)
                return {"groups": grouped.groups}
            files = await kernel.storage.search(text, folder=folder, kind=kind, **asked)
            if folder or kind:
                return {"files": files.hits}
            return {"files": files.hits, "notes": (await kernel.memory.search(text, **asked)).hits}

    found = execute(work, json=json)
    if json:
        print_json(found)
    elif not any(found.values()):
        print("nothing found")
    elif group_by is not None:
        _show_groups(found["groups"])
    else:
        rows = [*map(_file, found["files"]), *map(_note, found.get("notes", ()))]
        console().print(table(COLUMNS, [row[:-1] for row in sorted(rows, key=lambda row: -row[-1])]))


def _show_groups(groups: "Sequence[FileGroup]") -> None:
    rows = [
        (one.name, one.num_files, one.bytes, ", ".join(hit.file.path for hit in one.best)) for one in groups
    ]
    console().print(table(("group", "files", "bytes", "best"), rows))


def _file(hit: "FileHit") -> tuple[Any, ...]:
    return hit.file.path, day(hit.file.modified), f"{hit.score:.2f}", _short(hit.snippet), hit.score


def _note(hit: "NoteHit") -> tuple[Any, ...]:
    note = hit.note
    return f"note {note.id}", day(note.updated), f"{hit.score:.2f}", _short(note.text), hit.score


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}…"


def _moment(text: str) -> float:
    """Seconds since the epoch. Raises `Unusable`."""
    if age := _AGE.fullmatch(text):
        return time.time() - int(age[1]) * _SECONDS[age[2]]
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d"))
    except (ValueError, OverflowError):
        raise Unusable(
            f"--since takes a day such as 2026-11-01, or an age such as 7d, not {text!r}"
        ) from None
