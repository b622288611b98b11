"""The least HTTP/1.1 that an upstream needs: requests in, whole answers or chunked streams out.

On a bare asyncio protocol with httptools, because what the server takes of a small machine its clients lack.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import httptools

JSON = "application/json"
STREAM = "text/event-stream; charset=utf-8"
MAX_BODY = 64 * 1024 * 1024

Handler = Callable[[str, bytes, "Answer"], Awaitable[None]]
"""Answers a request, given its path and body. Cancelled when the client goes away."""


class Answer:
    """The answer to one request: whole, or begun, carried on with events, and ended."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.has_begun = False

    def whole(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.has_begun = True
        fields = {"content-type": JSON, "content-length": str(len(body)), **(headers or {})}
        self._transport.write(_head(status, fields) + body)

    def begin(self, headers: Mapping[str, str]) -> None:
        self.has_begun = True
        self._transport.write(_head(200, {"content-type": STREAM, "transfer-encoding": "chunked", **headers}))

    def event(self, data: bytes) -> None:
        """One or more events, as they go over the wire."""
        self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self, data: bytes) -> None:
        """The last events."""
        self._transport.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))

    def cut(self) -> None:
        """Break the connection off."""
        self._transport.abort()


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n".encode()


class Connection(asyncio.Protocol):
    """One connection; its requests are answered one after the other."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._parser = httptools.HttpRequestParser(self)
        self._path = ""
        self._body = bytearray()
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._task: asyncio.Task[None] | None = None

    # ---- of the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    # ---- of the parser

    def on_url(self, url: bytes) -> None:
        self._path = url.decode("ascii", "replace").partition("?")[0]

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > MAX_BODY:
            self._transport.abort()

    def on_message_complete(self) -> None:
        self._waiting.append((self._path, bytes(self._body)))
        self._body.clear()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._answer_all())

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                path, body = self._waiting.popleft()
                await self._handler(path, body, Answer(self._transport))
        except BaseException:
            # Ended from inside, or by a defect: the client shall not wait for the rest.
            self._transport.abort()
            raise
        finally:
            self._task = None
