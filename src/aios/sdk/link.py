"""One connection to the kernel's socket: frames out, frames in, each answer to the call that has its id.

Knows ids and frames; not tokens, nor when to connect again. What cuts it ends every call on it, typed.
"""

import asyncio

from msgspec import Raw, Struct

from aios.abi import wire
from aios.abi.errors import AiosError, Unavailable, from_reply
from aios.abi.messages import Delta
from aios.abi.syscalls import Reply
from aios.sdk.sending import Emit, lost


class _Waiting(Struct, eq=False):
    """A call on its way."""

    name: str
    reply: asyncio.Future[Reply]
    emit: Emit | None
    answered: bool = False


class Link(asyncio.Protocol):
    """`closed` says why the connection ended; None while it stands."""

    def __init__(self) -> None:
        self.closed: str | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._num_calls = 0
        self._frames = wire.FrameReader(wire.MAX_REPLY)
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._transport: asyncio.Transport

    async def call(
        self, token: str, name: str, args: bytes, emit: Emit | None, timeout_s: float | None, key: str
    ) -> Reply:
        """See `Transport.call`. Waits while the kernel reads slower than we write."""
        await self._can_write.wait()
        if self.closed is not None:
            raise Unavailable(f"the connection to the kernel was lost: {self.closed}")
        self._num_calls += 1
        call_id = self._num_calls
        request = wire.Request(name, Raw(args), call_id, token, emit is not None, timeout_s, key)
        frame = wire.frame(request)
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = _Waiting(name, reply, emit)
        self._transport.write(frame)
        try:
            return await reply
        finally:
            self._forget(call_id)

    def close(self) -> None:
        self._end("closed here")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                self._take(wire.decode_response(body))
        except AiosError as error:
            self._end(error.message)

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(str(error or "the kernel closed it"))

    def _take(self, response: wire.Response) -> None:
        if response.id == 0 and response.error is not None:
            self._end(response.error.message)
            return
        waiting = self._waiting.get(response.id)
        if waiting is None or waiting.reply.done():
            return
        if response.delta is not None:
            _emit(waiting, response.delta)
        else:
            waiting.answered = True
            _settle(waiting, response)

    def _forget(self, call_id: int) -> None:
        """Tell the kernel that nobody waits any more, unless the answer has come or cannot."""
        waiting = self._waiting.pop(call_id)
        if not waiting.answered and self.closed is None:
            self._transport.write(wire.frame(wire.Request("", id=call_id, cancel=True)))

    def _end(self, reason: str) -> None:
        if self.closed is not None:
            return
        self.closed = reason
        self._can_write.set()
        self._transport.close()
        for waiting in self._waiting.values():
            if not waiting.reply.done():
                waiting.reply.set_exception(lost(waiting.name, reason))


def _emit(waiting: _Waiting, delta: Delta) -> None:
    if waiting.emit is None:
        return
    try:
        waiting.emit(delta)
    except Exception as error:  # noqa: BLE001 - the caller's own code: it fails its call, not its neighbours'
        waiting.reply.set_exception(error)


def _settle(waiting: _Waiting, response: wire.Response) -> None:
    if response.error is not None:
        waiting.reply.set_exception(from_reply(response.error))
        return
    try:
        waiting.reply.set_result(wire.decode_reply(waiting.name, response.reply))
    except AiosError as error:
        waiting.reply.set_exception(error)
