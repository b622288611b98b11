"""The built-in tools: arithmetic, units, dates, and the caller's own notes and files.

Owns each tool's spec and the text that a model reads as its result. Notes and files are reached by system
calls made as the caller, so a tool may do no more than the agent that called it.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

from msgspec import Struct

from aios.abi import syscalls as sc
from aios.abi.errors import InvalidArgument
from aios.abi.messages import JsonSchema, ToolSpec
from aios.drivers.calculator import calculate
from aios.drivers.units import convert

Arguments = dict[str, Any]
"""They fit the tool's schema, where a whole number may be written `5.0`."""

_MAX_SEARCH = 4096
"""The letters that a search for notes looks at, as `MemorySearch` has it."""

_MAX_JOINED = 100
"""Files put into one."""


class Calls(Protocol):
    """Makes a system call as the process that called the tool."""

    async def __call__(self, call: sc.SystemCall) -> sc.Reply: ...


class ToolContext(Struct, frozen=True):
    """What a built-in tool may reach: the caller's system calls, and the time in seconds since the epoch."""

    calls: Calls
    clock: Callable[[], float] = time.time


class BuiltinTool(Struct, frozen=True):
    """A tool: what a model reads of it, and what runs. `run` raises an error of `aios.abi.errors`."""

    spec: ToolSpec
    run: Callable[[Arguments, ToolContext], Awaitable[str]]


async def _calculate(arguments: Arguments, context: ToolContext) -> str:
    return calculate(arguments["expression"])


async def _convert_units(arguments: Arguments, context: ToolContext) -> str:
    return convert(arguments["value"], arguments["from_unit"], arguments["to_unit"])


async def _add_days(arguments: Arguments, context: ToolContext) -> str:
    try:
        return (_date(arguments["date"]) + timedelta(days=arguments["days"])).isoformat()
    except OverflowError:
        raise InvalidArgument("that is too many days") from None


async def _days_between(arguments: Arguments, context: ToolContext) -> str:
    return f"{(_date(arguments['end']) - _date(arguments['start'])).days} days"


async def _weekday(arguments: Arguments, context: ToolContext) -> str:
    return _date(arguments["date"]).strftime("%A")


async def _current_time(arguments: Arguments, context: ToolContext) -> str:
    return datetime.fromtimestamp(context.clock(), UTC).strftime("%Y-%m-%d %H:%M UTC, %A")


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InvalidArgument(f"'{text}' is not a date such as 2026-03-14") from None


async def _remember(arguments: Arguments, context: ToolContext) -> str:
    note = await context.calls(sc.MemoryAdd(text=arguments["text"], tags=tuple(arguments.get("tags", ()))))
    assert isinstance(note, sc.Note)
    return f"kept as {note.id}"


async def _recall(arguments: Arguments, context: ToolContext) -> str:
    text, limit = arguments["text"][:_MAX_SEARCH], int(arguments.get("limit", 3))
    found = await context.calls(sc.MemorySearch(text=text, limit=limit))
    assert isinstance(found, sc.NoteHits)
    return "\n".join(f"{hit.note.id}: {hit.note.text}" for hit in found.hits) or "nothing found"


async def _update_note(arguments: Arguments, context: ToolContext) -> str:
    await context.calls(sc.MemoryUpdate(note_id=arguments["note_id"], text=arguments["text"]))
    return f"updated {arguments['note_id']}"


async def _forget(arguments: Arguments, context: ToolContext) -> str:
    await context.calls(sc.MemoryRemove(note_id=arguments["note_id"]))
    return f"removed {arguments['note_id']}"


async def _write_file(arguments: Arguments, context: ToolContext) -> str:
    path = arguments["path"]
    entry = await context.calls(sc.StorageWrite(path=path, content=arguments["content"]))
    assert isinstance(entry, sc.FileEntry)
    return f"wrote {path} (version {entry.version})"


async def _append_file(arguments: Arguments, context: ToolContext) -> str:
    path = arguments["path"]
    entry = await context.calls(sc.StorageAppend(path=path, content=arguments["content"]))
    assert isinstance(entry, sc.FileEntry)
    return f"appended to {path} (version {entry.version})"


async def _read_file(arguments: Arguments, context: ToolContext) -> str:
    file = await context.calls(sc.StorageRead(path=arguments["path"]))
    assert isinstance(file, sc.FileContent)
    return file.content or "(empty)"


async def _list_files(arguments: Arguments, context: ToolContext) -> str:
    found = await context.calls(sc.StorageList(folder=arguments.get("folder", "")))
    assert isinstance(found, sc.FileEntries)
    return "\n".join(file.path for file in found.files) or "no files"


async def _search_files(arguments: Arguments, context: ToolContext) -> str:
    found = await context.calls(sc.StorageSearch(text=arguments["text"], mode="keyword"))
    assert isinstance(found, sc.FileHits)
    return "\n".join(hit.file.path for hit in found.hits) or "nothing found"


async def _join_files(arguments: Arguments, context: ToolContext) -> str:
    """Files that hold the words, or words like them where none does; never the one that is written."""
    days = arguments.get("days")
    since = None if days is None else max(context.clock() - days * 86_400.0, 0.0)
    mode: sc.SearchMode
    for mode in ("keyword", "meaning"):
        call = sc.StorageSearch(text=arguments["text"], mode=mode, since=since, limit=_MAX_JOINED)
        found = await context.calls(call)
        assert isinstance(found, sc.FileHits)
        files = tuple(
            sc.FileAt(hit.file.path, hit.file.version)
            for hit in found.hits
            if hit.file.path != arguments["to"]
        )
        if files:
            break
    else:
        return "nothing found"
    joined = await context.calls(sc.StorageJoin(files=files, to=arguments["to"]))
    assert isinstance(joined, sc.FileJoin)
    assert joined.file is not None
    names = [f"{part.path} ({part.left_out})" if part.left_out else part.path for part in joined.parts]
    return f"put into {arguments['to']} (version {joined.file.version}): {', '.join(names)}"


async def _file_history(arguments: Arguments, context: ToolContext) -> str:
    found = await context.calls(sc.StorageHistory(path=arguments["path"]))
    assert isinstance(found, sc.FileVersions)
    return "\n".join(f"version {v.version}: {v.verb}, {v.size} bytes" for v in found.versions)


async def _rollback_file(arguments: Arguments, context: ToolContext) -> str:
    path, version = arguments["path"], int(arguments["version"])
    entry = await context.calls(sc.StorageRollback(path=path, version=version))
    assert isinstance(entry, sc.FileEntry)
    return f"{path} is back to version {version} (now version {entry.version})"


async def _delete_file(arguments: Arguments, context: ToolContext) -> str:
    await context.calls(sc.StorageDelete(path=arguments["path"]))
    return f"deleted {arguments['path']}"


_STRING: JsonSchema = {"type": "string"}
_PATH: JsonSchema = {"type": "string", "minLength": 1, "maxLength": 1024}
_TEXT: JsonSchema = {"type": "string", "minLength": 1, "maxLength": 4096}
_NAME: JsonSchema = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[A-Za-z0-9_.:@/\-]+$"}
_TAG: JsonSchema = {"type": "string", "minLength": 1, "maxLength": 64}
_TAGS: JsonSchema = {"type": "array", "items": _TAG, "maxItems": 32}
_COUNT: JsonSchema = {"type": "integer", "minimum": 1, "maximum": 1000}
_VERSION: JsonSchema = {"type": "integer", "minimum": 1}


def _builtin(
    run: Callable[[Arguments, ToolContext], Awaitable[str]],
    description: str,
    required: dict[str, JsonSchema],
    optional: dict[str, JsonSchema] | None = None,
) -> BuiltinTool:
    schema: JsonSchema = {"type": "object", "properties": {**required, **(optional or {})}}
    schema |= {"required": list(required), "additionalProperties": False}
    return BuiltinTool(ToolSpec(run.__name__.removeprefix("_"), description, schema), run)


BUILTIN: tuple[BuiltinTool, ...] = (
    _builtin(_calculate, "work out an arithmetic expression", {"expression": _STRING}),
    _builtin(
        _convert_units,
        "convert a value between units",
        {"value": {"type": "number"}, "from_unit": _STRING, "to_unit": _STRING},
    ),
    _builtin(_add_days, "the date some days after a date", {"date": _STRING, "days": {"type": "integer"}}),
    _builtin(_days_between, "days from one date to another", {"start": _STRING, "end": _STRING}),
    _builtin(_weekday, "the day of the week of a date", {"date": _STRING}),
    _builtin(_current_time, "the date and time now", {}),
    _builtin(_remember, "keep a note", {"text": _TEXT}, {"tags": _TAGS}),
    _builtin(_recall, "find notes kept before", {"text": _STRING}, {"limit": _COUNT}),
    _builtin(_update_note, "replace the text of a note", {"note_id": _NAME, "text": _TEXT}),
    _builtin(_forget, "remove a note", {"note_id": _NAME}),
    _builtin(_write_file, "write a file", {"path": _PATH, "content": _STRING}),
    _builtin(_append_file, "add text to the end of a file", {"path": _PATH, "content": _STRING}),
    _builtin(_read_file, "read a file", {"path": _PATH}),
    _builtin(_list_files, "list files", {}, {"folder": _STRING}),
    _builtin(_search_files, "find files that contain a text", {"text": _TEXT}),
    _builtin(
        _join_files,
        "find files that contain a text, changed in the last days, and put them into one file",
        {"text": _TEXT, "to": _PATH},
        {"days": _COUNT},
    ),
    _builtin(_file_history, "the versions of a file", {"path": _PATH}),
    _builtin(_rollback_file, "bring an earlier version of a file back", {"path": _PATH, "version": _VERSION}),
    _builtin(_delete_file, "delete a file", {"path": _PATH}),
)
"""Every built-in tool, in the order they are listed."""
