"""Files over HTTP, of any size: `GET`, `PUT` and `DELETE /v1/files/PATH`, and `GET /v1/shared/LINK`.

A body is handed on part by part as it comes, and a file is sent as it is read, so that no more than a part of
it is held here. What else a call may say is in the query, named as in the table; its version is the ETag.
"""

import asyncio
import logging
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import msgspec

from aios.abi import syscalls as sc
from aios.abi import wire
from aios.abi.errors import AiosError, DeadlineExceeded, Internal, InvalidArgument
from aios.server.asgi import (
    CALL,
    ClientGone,
    Header,
    Receive,
    Scope,
    Send,
    Watch,
    header_of,
    key_of,
    send_json,
    token_of,
)
from aios.server.trap import Trap

log = logging.getLogger("aios.server")

PART_BYTES = sc.MAX_PART_BYTES
"""Of a file held at a time: handed on or sent before the next comes."""
PART_S = 120.0
"""What a client has to send or to take so much."""

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_WORDS = {
    "GET": frozenset({"version", "owner"}),
    "PUT": frozenset({"label", "source", "lock", "owner"}),
    "DELETE": frozenset({"deep", "lock", "owner"}),
}
"""What the query may say."""

R = TypeVar("R", bound=sc.Reply)
C = TypeVar("C", bound=sc.SystemCall)
Read = Callable[[int, int, int | None], Awaitable[sc.FileContent]]
"""Reads from a place so many bytes at most, of a version where one is said."""


class _RangeUnsatisfiable(InvalidArgument):
    http_status = 416


class Files:
    """The ASGI application at `/v1/files/PATH`: a process's own files, or with `owner` another's."""

    def __init__(self, kernel: Trap) -> None:
        self._kernel = kernel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = token_of(scope)
        self._kernel.verify(token)
        call = _Caller(self._kernel, token, scope)
        match scope["method"]:
            case "PUT":
                entry = await _put(call, _said(scope), receive)
                await send_json(send, wire.encode(entry), headers=[_etag(entry.version)])
            case "DELETE":
                done = await call(_made(sc.StorageDelete, _said(scope)), sc.Done, key=key_of(scope))
                await send_json(send, wire.encode(done))
            case _:
                await _get(call, _said(scope), send)


class Shared:
    """The ASGI application at `/v1/shared/LINK`. Needs no token: the link is one."""

    def __init__(self, kernel: Trap) -> None:
        self._kernel = kernel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = _Caller(self._kernel, self._kernel.operator_token, scope)
        link = scope["path_params"]["link"]

        async def read(start: int, length: int, version: int | None) -> sc.FileContent:
            return await call(
                _made(sc.StorageOpen, {"link": link, "start": start, "length": length}), sc.FileContent
            )

        await _send(scope, send, read)


class _Caller:
    """Makes the calls of one request."""

    def __init__(self, kernel: Trap, token: str, scope: Scope) -> None:
        self._kernel = kernel
        self._token = token
        self.scope = scope

    async def __call__(self, call: sc.SystemCall, reply: type[R], key: str = "") -> R:
        self.scope[CALL] = sc.ROW_OF[type(call)].name
        with Watch(self.scope):
            answer = await self._kernel.trap(self._token, call, key=key)
        if not isinstance(answer, reply):
            raise Internal(f"the kernel answered {type(answer).__name__} where {reply.__name__} is due")
        return answer

    async def drop(self, upload: sc.Upload) -> None:
        """Have no more of an upload kept, also where its client has gone. Untold, it ends in a day."""
        try:
            await self._kernel.trap(self._token, sc.StorageAbort(upload_id=upload.id))
        except AiosError as error:
            log.info("an upload that was cut off is left to end by itself: %s", error)


# ---- what a request says


def _said(scope: Scope) -> dict[str, Any]:
    """The path and what the query says. Raises `InvalidArgument`."""
    raw = scope["raw_path"].removeprefix(b"/v1/files/")
    try:
        path = unquote_to_bytes(raw).decode()
        query = parse_qsl(scope["query_string"].decode(), True, True, errors="strict")
    except ValueError as error:
        raise InvalidArgument(f"the address is not what a file's can be: {error}") from None
    words = _WORDS["GET" if scope["method"] == "HEAD" else scope["method"]]
    for name, _ in query:
        if name not in words:
            raise InvalidArgument(f"there is no {name!r} here; there is {', '.join(sorted(words))}")
    return {"path": path, **dict(query)}


def _made(kind: type[C], fields: dict[str, Any]) -> C:
    """The call with these fields, which may be texts. Raises `InvalidArgument`."""
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"{sc.ROW_OF[kind].name}: {error}") from None


def _bound(scope: Scope) -> dict[str, Any]:
    """The version that a write is bound to, by `If-Match` or `If-None-Match`. Raises `InvalidArgument`."""
    known, none = header_of(scope, b"if-match"), header_of(scope, b"if-none-match")
    if not known and not none:
        return {}
    if none == "*" and not known:
        return {"if_version": 0}
    number = known.strip('"')
    if none or not number.isdigit():
        raise InvalidArgument('say If-Match: "VERSION" with an ETag, or If-None-Match: * for a new file')
    return {"if_version": number}


# ---- writing


async def _put(call: _Caller, said: dict[str, Any], receive: Receive) -> sc.FileEntry:
    """What fits one part is written at once; more becomes an upload, which is seen when it is whole."""
    said |= _bound(call.scope)
    _made(sc.StorageWrite, {**said, "content": ""})
    parts = _parts(receive)
    first = await anext(parts)
    second = await anext(parts, None)
    key = key_of(call.scope)
    if second is None:
        content = {"content": b64encode(first).decode(), "encoding": "base64"}
        return await call(_made(sc.StorageWrite, {**said, **content}), sc.FileEntry, key)
    if key:
        raise InvalidArgument(f"over {PART_BYTES} bytes a key is not taken: bind the write with If-Match")
    return await _uploaded(call, said, first, second, parts)


async def _uploaded(
    call: _Caller, said: dict[str, Any], first: bytes, second: bytes, parts: AsyncIterator[bytes]
) -> sc.FileEntry:
    where: dict[str, Any] = {name: said[name] for name in ("path", "owner") if name in said}
    upload = await call(_made(sc.StorageUpload, where), sc.Upload)
    try:
        size = 0
        for part in (first, second):
            size = await _handed_on(call, upload, size, part)
        async for part in parts:
            size = await _handed_on(call, upload, size, part)
        commit = {**said, "upload_id": upload.id, "size": size}
        return await call(_made(sc.StorageCommit, commit), sc.FileEntry)
    except (AiosError, ClientGone, asyncio.CancelledError):
        await call.drop(upload)
        raise


async def _handed_on(call: _Caller, upload: sc.Upload, start: int, part: bytes) -> int:
    await call(sc.StoragePart(upload_id=upload.id, start=start, data=part), sc.Upload)
    return start + len(part)


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    """The body in parts of `PART_BYTES`, the last one shorter, also where it is empty."""
    buffer, more = bytearray(), True
    while more:
        try:
            async with asyncio.timeout(PART_S):
                while more and len(buffer) <= PART_BYTES:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    buffer += message.get("body", b"")
                    more = message.get("more_body", False)
        except TimeoutError:
            raise DeadlineExceeded(f"{PART_BYTES} bytes did not come within {PART_S:.0f} seconds") from None
        while len(buffer) > PART_BYTES:
            yield bytes(buffer[:PART_BYTES])
            del buffer[:PART_BYTES]
    yield bytes(buffer)


# ---- reading


async def _get(call: _Caller, said: dict[str, Any], send: Send) -> None:
    async def read(start: int, length: int, version: int | None) -> sc.FileContent:
        wanted = said if version is None else {**said, "version": version}
        part = {"start": start, "length": length, "as_bytes": True}
        return await call(_made(sc.StorageRead, {**wanted, **part}), sc.FileContent)

    await _send(call.scope, send, read)


async def _send(scope: Scope, send: Send, read: Read) -> None:
    """A file or one range of it. Browsers are told to keep it and not to look into it."""
    asked = header_of(scope, b"range")
    opened = await read(0, 1 if asked or scope["method"] == "HEAD" else PART_BYTES, None)
    tag = _etag(opened.version)
    if header_of(scope, b"if-range") not in ("", tag[1].decode()):
        asked = ""
    begin, end, is_part = _span(asked, opened.size)
    name = quote(opened.path.rpartition("/")[2], safe="")
    headers = [
        tag,
        (b"content-type", b"application/octet-stream"),
        (b"content-disposition", f"attachment; filename*=UTF-8''{name}".encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"accept-ranges", b"bytes"),
        (b"content-length", str(end - begin).encode()),
        (b"aios-label", opened.label.encode()),
    ]
    if is_part:
        headers.append((b"content-range", f"bytes {begin}-{end - 1}/{opened.size}".encode()))
    await send({"type": "http.response.start", "status": 206 if is_part else 200, "headers": headers})
    if scope["method"] != "HEAD":
        async for data in _pieces(opened, read, begin, end):
            await _taken(send, {"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _pieces(opened: sc.FileContent, read: Read, begin: int, end: int) -> AsyncIterator[bytes]:
    """The bytes from `begin` to `end`, those first that have been read already."""
    place = begin
    if begin == 0 and opened.end <= end:
        yield opened.data
        place = opened.end
    while place < end:
        found = await read(place, min(PART_BYTES, end - place), opened.version)
        yield found.data
        place = found.end


async def _taken(send: Send, message: dict[str, Any]) -> None:
    try:
        async with asyncio.timeout(PART_S):
            await send(message)
    except TimeoutError:
        raise ClientGone from None


def _span(asked: str, size: int) -> tuple[int, int, bool]:
    """Where the bytes asked for begin and end, and whether they are a range. Raises `_RangeUnsatisfiable`.

    What is no single range of bytes is passed over, as HTTP has it, and the whole file is sent.
    """
    found = _RANGE.fullmatch(asked.replace(" ", ""))
    if found is None or not any(found.groups()):
        return 0, size, False
    first, last = found.groups()
    if first:
        begin, end = int(first), min(int(last) + 1 if last else size, size)
    else:
        begin, end = max(0, size - int(last)), size
    if begin >= size or (last and first and int(last) < begin):
        raise _RangeUnsatisfiable(f"the file has {size} bytes; there is no {asked[:100]!r} in it")
    return begin, end, True


def _etag(version: int) -> Header:
    return b"etag", f'"{version}"'.encode()
