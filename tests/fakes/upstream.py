"""An OpenAI-compatible endpoint that fails on order: real sockets on loopback, bytes sent exactly as told.

It answers each request with the next of its `Script`s, so a test decides every byte, where the pieces are
cut, and how the connection ends. It keeps what it was asked.
"""

import asyncio
import json
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Literal, Self

from msgspec import Struct

Ending = Literal["finish", "cut", "reset", "hang"]
"""How an answer ends: as it should, closed too early, reset, or never."""


class Script(Struct, frozen=True):
    """One answer. `pieces` are sent one by one; a `status` of 0 says nothing at all and hangs or closes."""

    pieces: tuple[bytes, ...] = ()
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/event-stream"),)
    ending: Ending = "finish"


class Asked(Struct, frozen=True):
    """What one request was."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Upstream:
    """The endpoint. Use as `async with Upstream(script, …) as upstream`."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = deque(scripts)
        self.asked: list[Asked] = []
        self.num_connections = 0
        self.was_left = asyncio.Event()
        """Set when a client closes a connection in the middle of an answer."""
        self.has_begun = asyncio.Event()
        """Set when an answer's pieces are out and it hangs."""
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(ConnectionError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the endpoint goes down
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                self.asked.append(await _read_request(reader))
            except asyncio.IncompleteReadError:
                return
            if not await self._answer(self._script_for(self.asked[-1]), reader, writer):
                return

    def _script_for(self, asked: Asked) -> Script:
        return self.scripts.popleft() if len(self.scripts) > 1 else self.scripts[0]

    async def _answer(
        self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Play a script; whether the connection goes on."""
        if script.status:
            writer.write(_head(script))
            for piece in script.pieces:
                # An empty chunk would end the body.
                if piece:
                    writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    await writer.drain()
        if script.ending == "hang":
            self.has_begun.set()
            with suppress(ConnectionError):  # what the client had not read yet makes its end a reset
                await reader.read()
            self.was_left.set()
        elif script.ending == "reset":
            writer.transport.abort()
        elif script.ending == "finish":
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            return True
        return False


def _head(script: Script) -> bytes:
    headers = (*script.headers, ("Transfer-Encoding", "chunked"))
    lines = (f"HTTP/1.1 {script.status} Whatever", *(f"{name}: {value}" for name, value in headers))
    return "\r\n".join((*lines, "", "")).encode()


async def _read_request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Asked(first.split()[1], headers, json.loads(body))


# ---- what such an endpoint says


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk of an answer."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "big-1", "choices": [choice], **more}


def call_piece(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    """A delta that holds a piece of a tool call; `name` and `id` where it is the first one."""
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return {"tool_calls": [{"index": index, "function": function, **more}]}


def usage(prompt: int, completion: int, cached: int = 0) -> dict[str, Any]:
    """The last chunk, with what the answer took."""
    details = {"cached_tokens": cached}
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "prompt_tokens_details": details}
    return {"model": "big-1", "choices": [], "usage": counts}


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def stream(*values: Any, done: bool = True, ending: Ending = "finish") -> Script:
    """An answer of one event for each value, and `[DONE]`."""
    events = tuple(event(value) for value in values)
    return Script(pieces=events + ((event(b"[DONE]"),) if done else ()), ending=ending)


def text_stream(words: Iterable[str], finish_reason: str = "stop") -> Script:
    """A plain answer, with usage."""
    words = list(words)
    values = [chunk({"role": "assistant", "content": word}) for word in words]
    return stream(*values, chunk({}, finish_reason), usage(7, len(words), 2))


def refusal(status: int, body: Any, **headers: str) -> Script:
    """An answer that is no success; header names are written with `_` for `-`."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Script(pieces=(sent,), status=status, headers=(("Content-Type", "application/json"), *named))
