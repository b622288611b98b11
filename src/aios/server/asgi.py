"""HTTP by hand where it has to be quick: bodies with a bound, JSON out, errors, and clients that go away."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol

from aios.abi import wire
from aios.abi.errors import AiosError, DeadlineExceeded, TooLarge, Unauthenticated
from aios.server.trap import Trap

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

CALL = "aios.call"
"""Where a request's scope keeps the name of the call that it became."""
CLIENT = "aios.client"
"""Where a request's scope keeps its `Client`."""

_BODY_S = 30.0
"""What a client has to send a body."""
_MAX_DRAINED = 4 * wire.MAX_FRAME
"""A body that is too large is read and dropped up to here, so that its sender comes to read our answer."""


class ClientGone(Exception):
    """The client has closed the connection: nobody waits for an answer."""


class Client(Protocol):
    """Who sent a request."""

    @property
    def has_sent_all(self) -> bool:
        """Whether the request has come wholly."""
        ...

    def watch(self, gone: Callable[[], None]) -> None:
        """Call `gone` when the client closes its connection; soon, where it has already."""
        ...

    def unwatch(self, gone: Callable[[], None]) -> None: ...


def header_of(scope: Scope, name: bytes) -> str:
    """A request header's value; empty where there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


def token_of(scope: Scope) -> str:
    """The bearer token. `Unauthenticated` where there is none."""
    scheme, _, token = header_of(scope, b"authorization").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("give a token: Authorization: Bearer <token>; `aios serve` says where it is")
    return token.strip()


def key_of(scope: Scope) -> str:
    """The idempotency key; empty where there is none."""
    return header_of(scope, b"idempotency-key").strip()


async def admit(kernel: Trap, scope: Scope, receive: Receive) -> tuple[str, bytes]:
    """The caller's token and the body, of which a stranger's is neither waited for nor held."""
    token = token_of(scope)
    kernel.verify(token)
    return token, await read_body(scope, receive)


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body. `TooLarge` over `wire.MAX_FRAME`, and not more than that is ever held."""
    declared = header_of(scope, b"content-length")
    if declared.isdigit() and int(declared) > _MAX_DRAINED:
        raise _too_large()
    client: Client = scope[CLIENT]
    if client.has_sent_all:
        return await _gather(receive)
    try:
        async with asyncio.timeout(_BODY_S):
            return await _gather(receive)
    except TimeoutError:
        raise DeadlineExceeded(f"the body did not come within {_BODY_S:.0f} seconds") from None


async def _gather(receive: Receive) -> bytes:
    body, size = bytearray(), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size <= wire.MAX_FRAME:
            if not (more or body):
                return chunk
            body += chunk
        else:
            body.clear()
        if size > _MAX_DRAINED or (size > wire.MAX_FRAME and not more):
            raise _too_large()
        if not more:
            return bytes(body)


def _too_large() -> TooLarge:
    return TooLarge(f"a body may have {wire.MAX_FRAME} bytes")


async def send_json(send: Send, body: bytes, status: int = 200, headers: Iterable[Header] = ()) -> None:
    """A whole JSON response."""
    fixed = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: AiosError) -> None:
    """`error` with its status and its headers."""
    body = wire.encode({"error": error.to_reply()})
    await send_json(send, body, error.http_status, _headers_of(error))


def _headers_of(error: AiosError) -> list[Header]:
    headers: list[Header] = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, TooLarge):
        headers.append((b"connection", b"close"))
    return headers


class Watch:
    """Cancels the current task when the client goes away: `with Watch(scope): …` raises `ClientGone` then."""

    def __init__(self, scope: Scope) -> None:
        self._client: Client = scope[CLIENT]
        self._is_gone = False

    def __enter__(self) -> "Watch":
        self._work = asyncio.current_task()
        self._client.watch(self._gone)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._client.unwatch(self._gone)
        if self._is_gone and isinstance(error, asyncio.CancelledError):
            assert self._work is not None
            self._work.uncancel()
            raise ClientGone from None

    def _gone(self) -> None:
        self._is_gone = True
        assert self._work is not None
        self._work.cancel()
