"""A light OpenAI-compatible server: the upstream of the proxy bench, as cheap as asyncio allows.

Three doors on one port. Under `/v1` every chat call is answered at once; under `/slots/v1` it first holds one
of `SLOTS` slots for `HOLD_S`, and waits its turn where none is free; under `/slow/v1` it holds one of as many
others for `SLOWER` times as long. It reads of a request only where it ends and whether the answer shall be
streamed; a stream's events go out in one piece.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from aios.abi.wire import encode

SLOTS = 64
HOLD_S = 0.05
SLOWER = 10
WORDS = ("It", " shares", " what", " there", " is.")
"""The answer: one token, and so one chunk, each."""

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_STREAMED = re.compile(rb'"stream": ?true')


class Slots:
    """Holds a slot for each call, in the order of arrival."""

    def __init__(self, num_slots: int = SLOTS, hold_s: float = HOLD_S) -> None:
        self._loop = asyncio.get_running_loop()
        self._hold_s = hold_s
        self._num_free = num_slots
        self._waiting: deque[Callable[[], None]] = deque()

    def hold(self, answer: Callable[[], None]) -> None:
        """Call `answer` once a slot was free and has been held for its time."""
        if self._num_free:
            self._num_free -= 1
            self._loop.call_later(self._hold_s, self._end, answer)
        else:
            self._waiting.append(answer)

    def _end(self, answer: Callable[[], None]) -> None:
        self._num_free += 1
        if self._waiting:
            self.hold(self._waiting.popleft())
        answer()


class ChatConnection(asyncio.Protocol):
    """One connection; each of its requests is answered in turn."""

    def __init__(self, slots: Slots, slow: Slots) -> None:
        self._slots = slots
        self._slow = slow
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := _end_of_request(self._unread)) is not None:
            request, self._unread = self._unread[:end], self._unread[end:]
            self._answer(request, STREAM if _STREAMED.search(request) else WHOLE)

    def _answer(self, request: bytes, answer: bytes) -> None:
        if request.startswith(b"POST /slots/"):
            self._slots.hold(partial(self._transport.write, answer))
        elif request.startswith(b"POST /slow/"):
            self._slow.hold(partial(self._transport.write, answer))
        else:
            self._transport.write(answer)


def _end_of_request(data: bytes) -> int | None:
    """Where the first request in `data` ends; None while it is not whole."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    length = _LENGTH.search(data, 0, head + 2)
    end = head + 4 + (int(length[1]) if length else 0)
    return end if len(data) >= end else None


_USAGE = {"prompt_tokens": 12, "completion_tokens": len(WORDS), "total_tokens": 12 + len(WORDS)}


def _whole() -> bytes:
    message = {"role": "assistant", "content": "".join(WORDS)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = encode(_head("chat.completion") | {"choices": [choice], "usage": _USAGE})
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head + body


def _stream() -> bytes:
    deltas: list[dict[str, Any]] = [{"content": word} for word in WORDS]
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunks = [_head("chat.completion.chunk") | {"choices": [choice]} for choice in choices]
    chunks.append(_head("chat.completion.chunk") | {"choices": [], "usage": _USAGE})
    events = b"".join(b"data: " + encode(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(events), events)


def _head(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "upstream"}


WHOLE = _whole()
STREAM = _stream()
