"""The way over HTTP: one POST a call, server-sent events for a stream. Knows the native interface only."""

from collections.abc import AsyncIterator, Awaitable
from io import BytesIO
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from aios.abi import wire
from aios.abi.errors import (
    AiosError,
    ErrorReply,
    Internal,
    InvalidArgument,
    Overloaded,
    TooLarge,
    Unavailable,
    from_reply,
)
from aios.abi.messages import Delta
from aios.abi.syscalls import Reply, SystemCall
from aios.sdk.repeating import Keys, answered
from aios.sdk.sending import Emit, lost, pack

if TYPE_CHECKING:
    import aiohttp

_CONNECT_S = 10.0
_LARGE = 1024 * 1024
"""Bytes from which on aiohttp wants a body as a file, to send it in pieces."""
_KEEP_S = 30.0
"""Less than the server keeps an idle connection, so that no call is sent into one that is being closed."""
_MAX_CONNECTIONS = 4000
"""Calls beyond wait for one; the server refuses a little later."""


class _Refusal(msgspec.Struct):
    error: ErrorReply


class _StreamEvent(msgspec.Struct):
    delta: Delta | None = None
    reply: Raw = Raw()
    error: ErrorReply | None = None


class Http:
    """A kernel's address, such as `http://127.0.0.1:8000`. No redirects, no proxies, no cookies."""

    lease_s: float | None = 3600.0

    def __init__(self, base_url: str) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise InvalidArgument(f"an address looks like http://127.0.0.1:8000, not {base_url[:200]!r}")
        self._address = base_url.rstrip("/") + "/v1/syscalls"
        self._session: aiohttp.ClientSession | None = None
        self._keys = Keys()

    async def call(
        self,
        token: str,
        call: SystemCall,
        emit: Emit | None = None,
        timeout_s: float | None = None,
        key: str = "",
    ) -> Reply:
        """See `Transport.call`."""
        name, args = pack(call, timeout_s)
        key = key or self._keys.key_for(name)

        def send(emit: Emit | None) -> Awaitable[Reply]:
            return self._send(token, name, args, emit, timeout_s, key)

        return await answered(name, key, emit, send)

    async def _send(
        self, token: str, name: str, args: bytes, emit: Emit | None, timeout_s: float | None, key: str
    ) -> Reply:
        import aiohttp

        body = wire.encode(wire.Request(name, Raw(args), stream=emit is not None, timeout_s=timeout_s))
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        data = body if len(body) < _LARGE else BytesIO(body)
        session = self._session or self._open()
        try:
            async with session.post(
                self._address, data=data, headers=headers, allow_redirects=False
            ) as response:
                return await _answer(name, response, emit)
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(f"no kernel answers at {self._address}: {error}") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise lost(name, str(error) or type(error).__name__) from None

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> "aiohttp.ClientSession":
        import aiohttp

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=_KEEP_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session


async def _answer(name: str, response: "aiohttp.ClientResponse", emit: Emit | None) -> Reply:
    if response.status != 200:
        raise _refusal(response.status, await _body(response))
    if response.content_type != "text/event-stream":
        return wire.decode_reply(name, await _body(response))
    async for event in _events(response):
        if event.error is not None:
            raise from_reply(event.error)
        if event.delta is None:
            return wire.decode_reply(name, event.reply)
        if emit is not None:
            emit(event.delta)
    raise lost(name, "the stream ended before the reply")


def _refusal(status: int, body: bytes) -> AiosError:
    try:
        return from_reply(msgspec.json.decode(body, type=_Refusal).error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        if status == 503:
            return Overloaded("the server has all the calls it can hold", retry_after=1.0)
        return Internal(f"what answers there is no kernel: HTTP {status}")


async def _body(response: "aiohttp.ClientResponse") -> bytes:
    """The whole body. `TooLarge` where it goes on for longer than a reply can be."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > wire.MAX_REPLY:
            raise TooLarge(f"a reply may have {wire.MAX_REPLY} bytes")
    return bytes(body)


async def _events(response: "aiohttp.ClientResponse") -> AsyncIterator[_StreamEvent]:
    """The events of a stream: each is one `data:` line and a blank one."""
    buffer = bytearray()
    async for chunk in response.content.iter_any():
        unseen = max(0, len(buffer) - 1)
        buffer += chunk
        while (end := buffer.find(b"\n\n", unseen)) >= 0:
            yield msgspec.json.decode(bytes(buffer[:end]).removeprefix(b"data:"), type=_StreamEvent)
            del buffer[: end + 2]
            unseen = 0
        if len(buffer) > wire.MAX_REPLY:
            raise TooLarge(f"a reply may have {wire.MAX_REPLY} bytes")
