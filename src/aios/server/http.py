"""One HTTP connection: uvicorn's, with bounds on how long and how large a request's head may be.

It tells a request's handler that the client has gone, without a task that waits for it, and sends the head of
an answer together with the first piece of its body.
"""

import asyncio
from collections.abc import Callable
from itertools import chain

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from aios.server.asgi import CLIENT

HEAD_S = 10.0
"""What a client has to send the head of a request."""
MAX_HEAD = 64 * 1024
MAX_CONNECTIONS = 5000
"""More are closed unheard; a little earlier, uvicorn answers each request with 503."""


class HttpConnection(HttpToolsProtocol):
    """A timer runs while a head is due: on a new connection, and once a byte of the next request has come.

    To the handlers of its requests it is their `Client`.
    """

    _deadline: asyncio.TimerHandle | None = None
    _is_in_head = True
    _head_bytes = 0
    """Of a head that is not whole; but for what came together with the end of the request before it."""
    _watching: Callable[[], None] | None = None
    """Of the one request that is being handled."""
    _is_lost = False

    @property
    def has_sent_all(self) -> bool:
        return self._is_in_head

    def watch(self, gone: Callable[[], None]) -> None:
        self._watching = gone
        if self._is_lost:
            self.loop.call_soon(self._tell)

    def unwatch(self, gone: Callable[[], None]) -> None:
        self._watching = None

    def _tell(self) -> None:
        if self._watching is not None:
            self._watching()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._await_head()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(error)
        self._is_lost = True
        self._tell()

    def data_received(self, data: bytes) -> None:
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_bytes > MAX_HEAD:
            self.send_400_response("The head of the request is too large.")
        elif self.cycle is None or self.cycle.response_complete:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        self._is_in_head, self._head_bytes = False, 0
        if len(self.url) + sum(map(len, chain.from_iterable(self.headers))) > MAX_HEAD:
            raise ValueError("the head is too large")  # the parser's caller answers it with 400
        self.scope[CLIENT] = self  # type: ignore[literal-required]
        super().on_headers_complete()
        self.cycle.transport = _Joined(self.cycle)

    def on_message_complete(self) -> None:
        self._is_in_head = True
        super().on_message_complete()

    def _await_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Joined(asyncio.Transport):
    """The transport of one answer: its head waits for what comes next, and both go out in one piece.

    Alone, a head costs a system call more, and wakes a client that can do nothing with it.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head: bytes | None = None

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:  # type: ignore[override]
        if self._head is None and self._may_wait():
            self._head = data
        else:
            self._transport.write(self._head + data if self._head else data)
            self._head = b""

    def close(self) -> None:
        if self._head:
            self._transport.write(self._head)
        self._transport.close()

    def _may_wait(self) -> bool:
        """What comes before the answer is no head of it, and to HEAD nothing comes after the head."""
        return self._cycle.response_started and self._cycle.scope["method"] != "HEAD"
