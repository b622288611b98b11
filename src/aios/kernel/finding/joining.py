"""Texts of files put together into one, each under a heading that says what it is.

What is joined is versions, which never change: reading them and writing the whole may be two transactions.
"""

from datetime import UTC, datetime

import apsw
from msgspec import Struct, structs

from aios.abi.errors import NotFound, TooLarge
from aios.abi.syscalls import FileAt, FileJoin, JoinedFile, Label, StorageJoin
from aios.kernel.files import entries, locks, reading, states, texts
from aios.kernel.files.asking import Asking
from aios.kernel.files.changing import Change, check_version
from aios.kernel.files.states import State
from aios.kernel.files.tables import MICROSECONDS
from aios.kernel.files.writing import live_version

MAX_BYTES = 32 * 1024 * 1024
"""Of the whole, as it is in memory at once."""
NO_TEXT = "it is no text in UTF-8, and none was taken out of it"
MAX_SOURCE = 512
"""Letters of what a version says about where it came from."""


class Joined(Struct, frozen=True):
    """The whole, and what is answered about it before it is written."""

    content: bytes
    reply: FileJoin


def read(connection: apsw.Connection, asking: Asking, call: StorageJoin) -> Joined:
    """Raises `NotFound`, `TooLarge` or `Corrupt`."""
    content = bytearray(f"# {' '.join(call.title.split())}\n\n".encode() if call.title.strip() else b"")
    parts: list[JoinedFile] = []
    label: Label = "trusted"
    for wanted in call.files:
        state = _state(connection, asking.owner, wanted)
        _check_room(len(content) + state.size, call)
        text = _text(connection, asking.owner, wanted.path, state)
        if text is None:
            parts.append(JoinedFile(wanted.path, state.version, left_out=NO_TEXT))
            continue
        content += _heading(wanted.path, state).encode()
        parts.append(JoinedFile(wanted.path, state.version, len(content), len(text)))
        content += text if text.endswith(b"\n") or not text else text + b"\n"
        content += b"\n"
        label = "untrusted" if "untrusted" in (label, state.label) else label
    _check_room(len(content), call)
    if all(part.left_out for part in parts):
        raise NotFound("none of these files is text, so there is nothing to join")
    whole = bytes(content[:-1])
    return Joined(whole, FileJoin(tuple(parts), len(whole), label))


def write(connection: apsw.Connection, asking: Asking, call: StorageJoin, joined: Joined) -> FileJoin:
    """`asking` is about the caller's own tree and brings the whole. Raises what a write raises."""
    locks.check(connection, asking, call.to, call.lock)
    file = entries.find(connection, asking.owner, call.to)
    check_version(call.to, live_version(file), call.if_version)
    change = Change(connection, asking)
    source = _source(joined.reply.parts)
    new = change.write(file, asking.content, "write", label=joined.reply.label, source=source)
    change.close()
    return structs.replace(joined.reply, file=new.entry)


def _state(connection: apsw.Connection, owner: str, wanted: FileAt) -> State:
    file = entries.find(connection, owner, wanted.path)
    if wanted.version is None and file.deleted:
        raise entries.absent(wanted.path)
    return states.with_content(connection, file, wanted.version or file.version)


def _check_room(num_bytes: int, call: StorageJoin) -> None:
    if num_bytes > MAX_BYTES:
        raise TooLarge(f"'{call.to}' would have more than {MAX_BYTES} bytes: join fewer files at once")


def _text(connection: apsw.Connection, owner: str, path: str, state: State) -> bytes | None:
    """What was taken out of a document, as long as it is its newest version; else the content itself."""
    kept = texts.extracted(connection, entries.find(connection, owner, path), state.version)
    if kept is not None:
        return kept.encode()
    data = reading.part(connection, path, state, 0, state.size).data
    if b"\0" in data:
        return None
    try:
        data.decode()
    except UnicodeDecodeError:
        return None
    return data


def _heading(path: str, state: State) -> str:
    then = datetime.fromtimestamp(state.moment / MICROSECONDS, UTC)
    return f"## {path} (version {state.version}, {then:%Y-%m-%d %H:%M} UTC)\n\n"


def _source(parts: tuple[JoinedFile, ...]) -> str:
    names = [f"{part.path}@{part.version}" for part in parts if not part.left_out]
    plural = "file" if len(names) == 1 else "files"
    whole = f"join of {len(names)} {plural}: {', '.join(names)}"
    return whole if len(whole) <= MAX_SOURCE else f"{whole[: MAX_SOURCE - 1]}…"
