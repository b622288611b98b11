"""One connection to the kernel's socket: its calls in flight, and what ends with it.

Owns the order of bytes on the wire and their bounds. It always reads, so that a cancel and a client's end are
seen at once, and refuses what is over its bounds; only a client that does not read its answers is not read
from either. Answers wait for such a client; deltas can't, and too many of them end the connection.
"""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from functools import partial

from msgspec import Raw

from aios.abi import syscalls as sc
from aios.abi import wire
from aios.abi.errors import (
    AiosError,
    Cancelled,
    Conflict,
    Internal,
    NotFound,
    OutcomeUnknown,
    Overloaded,
)
from aios.abi.messages import Delta
from aios.server.trap import Trap

log = logging.getLogger("aios.server")

MAX_CALLS = 4096
"""Calls in flight on one connection; more are refused."""
MAX_CALL_BYTES = 64 * 1024 * 1024
"""What the calls in flight on one connection may have had on the wire; more are refused."""
MAX_UNREAD = 2 * wire.MAX_FRAME
"""Bytes of deltas written while the client does not read, beyond which it is given up."""
_HIGH_WATER = 256 * 1024
_BATCH = 64 * 1024


class Connection(asyncio.Protocol):
    """`ended` is called once, when all that the connection began has ended."""

    def __init__(self, kernel: Trap, ended: Callable[["Connection"], None]) -> None:
        self._kernel = kernel
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._frames = wire.FrameReader()
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._call_bytes = 0
        self._spawning: set[int] = set()
        self._spawned = _Spawned()
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._unread_bytes = 0
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._is_lost = False
        self._transport: asyncio.Transport
        self._ending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        if not _is_same_user(transport.get_extra_info("socket")):
            log.warning("another user's process tried to connect")
            transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                self._take(body)
        except AiosError as error:  # from here on nobody knows where a frame begins
            self._write(_refusal(0, error))
            self._flush()
            self._transport.close()

    def pause_writing(self) -> None:
        self._can_write.clear()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._unread_bytes = 0
        self._can_write.set()
        self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_lost = True
        self._can_write.set()
        self.cancel_calls()
        self._ending = self._loop.create_task(self._end())

    def cancel_calls(self) -> None:
        """End what is in flight; each call is answered where somebody still listens."""
        for call_id in self._calls:
            self._cancel(call_id)

    async def close(self) -> None:
        """Cancel what is in flight, and end the connection once all answers have gone out."""
        self.cancel_calls()
        await asyncio.gather(*self._calls.values(), return_exceptions=True)
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        self._transport.abort()

    def _take(self, body: bytes) -> None:
        try:
            request = wire.decode_request(body)
        except AiosError as error:
            self._write(_refusal(0, error))
            return
        if request.cancel:
            self._cancel(request.id)
            return
        try:
            self._start(request, len(body))
        except AiosError as error:
            self._write(_refusal(request.id, error))

    def _start(self, request: wire.Request, num_bytes: int) -> None:
        if request.id in self._calls:
            raise Conflict(f"call {request.id} is in flight already; give each call an id of its own")
        if len(self._calls) >= MAX_CALLS or (self._calls and self._call_bytes + num_bytes > MAX_CALL_BYTES):
            raise Overloaded("too many calls in flight on this connection", retry_after=1.0)
        call = wire.decode_call(request.call, request.args)
        running = self._loop.create_task(self._run(request, call))
        self._calls[request.id] = running
        if isinstance(call, sc.ProcessSpawn):
            self._spawning.add(request.id)
        self._call_bytes += num_bytes
        running.add_done_callback(partial(self._settle, request.id, request.call, num_bytes))

    async def _run(self, request: wire.Request, call: sc.SystemCall) -> None:
        emit = partial(self._emit, request.id) if request.stream else None
        try:
            reply = await self._kernel.trap(
                request.token, call, emit=emit, timeout_s=request.timeout_s, key=request.key
            )
            self._spawned.saw(request.token, call, reply)
            answer = wire.frame(wire.Response(request.id, Raw(wire.encode(reply))), wire.MAX_REPLY)
        except AiosError as error:
            answer = _refusal(request.id, error)
        except Exception:
            log.exception("%s failed", request.call)
            answer = _refusal(request.id, Internal(f"{request.call} failed; the kernel's log says more"))
        while not self._can_write.is_set():
            await self._can_write.wait()
        self._write(answer)

    def _cancel(self, call_id: int) -> None:
        """End a call. A spawn goes on: cut off, it could leave a process that nobody knows."""
        running = self._calls.get(call_id)
        if running is not None and call_id not in self._spawning:
            running.cancel()

    def _settle(self, call_id: int, name: str, num_bytes: int, ended: asyncio.Task[None]) -> None:
        del self._calls[call_id]
        self._spawning.discard(call_id)
        self._call_bytes -= num_bytes
        if ended.cancelled():
            self._write(_refusal(call_id, _cut_off(name)))

    def _emit(self, call_id: int, delta: Delta) -> None:
        event = wire.frame(wire.Event(call_id, delta), wire.MAX_REPLY)
        self._write(event)
        if self._can_write.is_set():
            return
        self._unread_bytes += len(event)
        if self._unread_bytes > MAX_UNREAD:
            log.warning("a client that does not read its answers is given up")
            self._transport.abort()

    def _write(self, frame: bytes) -> None:
        """Frames of one turn of the loop go out together."""
        if self._is_lost:
            return
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append(frame)
        self._batch_bytes += len(frame)
        if self._batch_bytes > _BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._batch or self._is_lost:
            return
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        self._transport.write(b"".join(batch))

    async def _end(self) -> None:
        """What was begun here ends: the calls, then the processes."""
        await asyncio.gather(*self._calls.values(), return_exceptions=True)
        for pid in self._spawned.pids:
            try:
                await self._kernel.trap(self._kernel.operator_token, sc.ProcessKill(pid=pid))
            except (NotFound, Conflict):
                continue  # it has ended already
            except AiosError as error:
                log.warning("process %d of a lost connection could not be killed: %s", pid, error.message)
        self._ended(self)


def _is_same_user(connection: socket.socket) -> bool:
    """Whether this user runs the other end. Where the system can't tell, the socket file's mode has to do."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return bool(uid == os.getuid())


class _Spawned:
    """The processes that live as long as the connection they were spawned over."""

    def __init__(self) -> None:
        self.pids: dict[int, str] = {}
        self._by_token: dict[str, int] = {}

    def saw(self, token: str, call: sc.SystemCall, reply: sc.Reply) -> None:
        """Learn from a call that took effect."""
        match call, reply:
            case sc.ProcessSpawn(durable=False, lease_s=None), sc.Spawned():
                self.pids[reply.pid] = reply.token
                self._by_token[reply.token] = reply.pid
            case sc.ProcessExit(), _:
                self.pids.pop(self._by_token.pop(token, 0), None)
            case sc.ProcessKill(), _:
                self._by_token.pop(self.pids.pop(call.pid, ""), None)
            case _:
                pass


def _cut_off(name: str) -> AiosError:
    """What a call becomes that is ended from outside; the kernel lets a write finish that has begun."""
    if wire.may_have_effect(name):
        return OutcomeUnknown(f"{name} was ended on its way and may have taken effect")
    return Cancelled("the call was cancelled")


def _refusal(call_id: int, error: AiosError) -> bytes:
    return wire.frame(wire.Response(call_id, error=error.to_reply()))
