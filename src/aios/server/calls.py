"""`POST /v1/syscalls`: one system call a request; its deltas as server-sent events where it streams."""

import asyncio

import msgspec
from msgspec import Raw, Struct

from aios.abi import wire
from aios.abi.errors import AiosError, Cancelled, ErrorReply, InvalidArgument
from aios.abi.messages import Delta
from aios.abi.syscalls import Reply, SystemCall
from aios.server.asgi import CALL, Receive, Scope, Send, Watch, admit, key_of, send_json
from aios.server.trap import Trap

MAX_UNREAD = 2 * wire.MAX_FRAME
"""Bytes of a stream that its client has not read, beyond which the call is cancelled."""


class CallBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What is posted. Whose call it is, only the token says."""

    call: str
    args: Raw = Raw(b"{}")
    timeout_s: float | None = None
    stream: bool = False


class _StreamEvent(Struct, omit_defaults=True):
    delta: Delta | None = None
    reply: Raw = Raw()
    error: ErrorReply | None = None


_bodies = msgspec.json.Decoder(CallBody)


class SystemCalls:
    """An ASGI application. Its errors are the guard's to answer."""

    def __init__(self, kernel: Trap) -> None:
        self._kernel = kernel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token, sent = await admit(self._kernel, scope, receive)
        body = _decode(sent)
        call = wire.decode_call(body.call, body.args)
        scope[CALL] = body.call
        with Watch(scope):
            if body.stream:
                await _Stream(self._kernel, token, call, body.timeout_s, key_of(scope)).send_to(send)
                return
            reply = await self._kernel.trap(token, call, timeout_s=body.timeout_s, key=key_of(scope))
        await send_json(send, wire.encode(reply))


def _decode(body: bytes) -> CallBody:
    try:
        return _bodies.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f'send {{"call": "group.verb", "args": {{…}}}}: {error}') from None


class _Stream:
    """One streaming call: deltas as they come, then the reply or the error as the last event."""

    def __init__(self, kernel: Trap, token: str, call: SystemCall, timeout_s: float | None, key: str) -> None:
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._news = asyncio.Event()
        trap = kernel.trap(token, call, emit=self._emit, timeout_s=timeout_s, key=key)
        self._reply = asyncio.ensure_future(trap)
        self._reply.add_done_callback(self._end)

    async def send_to(self, send: Send) -> None:
        """Raises the call's error where no delta came before it: then it still can have its own status."""
        try:
            await self._news.wait()
            if self._reply.done() and not self._unsent:
                self._reply.result()
            headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while not self._reply.done() or self._unsent:
                await self._news.wait()
                self._news.clear()
                await send({"type": "http.response.body", "body": self._take(), "more_body": True})
            await send({"type": "http.response.body", "body": self._last()})
        finally:
            self._reply.cancel()

    def _emit(self, delta: Delta) -> None:
        event = _event(_StreamEvent(delta=delta))
        self._unsent.append(event)
        self._unsent_bytes += len(event)
        self._news.set()
        if self._unsent_bytes > MAX_UNREAD:
            self._reply.cancel()

    def _end(self, reply: asyncio.Future[Reply]) -> None:
        """Wake the sender. An error after the client has gone is nobody's."""
        self._news.set()
        if not reply.cancelled():
            reply.exception()

    def _take(self) -> bytes:
        events, self._unsent, self._unsent_bytes = self._unsent, [], 0
        return b"".join(events)

    def _last(self) -> bytes:
        try:
            return _event(_StreamEvent(reply=Raw(wire.encode(self._reply.result()))))
        except AiosError as error:
            return _event(_StreamEvent(error=error.to_reply()))
        except asyncio.CancelledError:
            return _event(_StreamEvent(error=Cancelled("the stream was not read").to_reply()))


def _event(event: _StreamEvent) -> bytes:
    return b"data: " + wire.encode(event) + b"\n\n"
