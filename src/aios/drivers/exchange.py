"""One request to a remote model and its answer: limits of time and size, and what it means when it fails.

Owns the connection while it lasts: however the exchange ends, by its end, a failure or a cancel, the
connection is closed or given back at once. Knows no wire: whoever reads the events is a `Reading`.
"""

import io
import time
from typing import Protocol

import aiohttp
import msgspec
from msgspec import Struct

from aios.abi.errors import AiosError, Cancelled, Unavailable
from aios.drivers.limits import OnLimits, rate_limits
from aios.drivers.patience import Patience
from aios.drivers.refusals import failure, refusal
from aios.drivers.sse import EventReader

MAX_REFUSAL = 64 * 1024
"""Bytes read of an answer that is no success."""
ONE_PIECE = 512 * 1024
"""Bytes of a request that are handed to the connection at once."""


class Limits(Struct, frozen=True):
    """How long and how much an endpoint may take, in seconds and bytes."""

    connect_s: float = 10.0
    first_byte_s: float = 120.0
    """From the request to the first byte of the answer's body: a busy server queues before it."""
    idle_s: float = 60.0
    """Between two pieces of the answer."""
    total_s: float | None = None
    """For the whole; None for ten minutes, or more where the endpoint may be slow to begin."""
    closing_s: float = 5.0
    """From the end of the answer to the wire's mark of it, which some never send; usage may come between."""
    linger_s: float = 0.5
    """After that mark, for the end of the body: only then can the connection be used again."""
    max_event: int = 8 * 1024 * 1024
    max_stream: int = 64 * 1024 * 1024

    @property
    def whole_s(self) -> float:
        return max(600.0, 5 * self.first_byte_s) if self.total_s is None else self.total_s


class Reading(Protocol):
    """Who reads an answer as it comes: see `aios.drivers.answer.Answer`."""

    @property
    def is_done(self) -> bool: ...

    @property
    def is_complete(self) -> bool: ...

    @property
    def is_empty(self) -> bool: ...

    @property
    def is_cut(self) -> bool: ...

    def add(self, data: bytes) -> bool: ...


class Exchange:
    """One request and its answer: where it stands, and so what it means when it fails there."""

    def __init__(self, answer: Reading, limits: Limits, api_key: str, on_limits: OnLimits) -> None:
        self._answer = answer
        self._limits = limits
        self._api_key = api_key.encode()
        self._on_limits = on_limits
        self._events = EventReader(limits.max_event)
        self._patience = Patience(limits.whole_s, limits.first_byte_s)
        self._num_bytes = 0
        self._refused: AiosError | None = None
        self._is_stopped = False

    async def perform(self, session: aiohttp.ClientSession, url: str, body: bytes) -> None:
        """Fill the answer. Returns once it is whole; raises an error of `aios.abi.errors` and no other."""
        limits = self._limits
        try:
            async with self._patience:
                # aiohttp warns of long bodies in one piece, and is slower with short ones in a file.
                data = body if len(body) < ONE_PIECE else io.BytesIO(body)
                await self._receive(await session.post(url, data=data, allow_redirects=False))
        except aiohttp.ServerTimeoutError:
            raise Unavailable(f"the endpoint did not connect within {limits.connect_s:g} s") from None
        except TimeoutError:
            self._end(self._timed_out())
        except (aiohttp.ClientError, OSError) as error:
            if self._num_bytes:
                self._end("broke off in the middle of its answer")
            else:
                self._end(f"can't be reached: {error or type(error).__name__}")

    def stop(self) -> None:
        """End it now, as cancelled."""
        self._is_stopped = True
        self._patience.wait_at_most(0)

    def _timed_out(self) -> str:
        if self._patience.is_whole_over:
            return f"did not finish within {self._limits.whole_s:g} s"
        if self._num_bytes:
            return f"sent nothing more within {self._limits.idle_s:g} s"
        return f"did not answer within {self._limits.first_byte_s:g} s"

    def _end(self, fault: str) -> None:
        """The stream is over, by `fault`; which is none of the caller's business if the answer is whole."""
        if self._is_stopped:
            raise Cancelled("the core was closed")
        if self._refused is not None:
            raise self._refused
        answer = self._answer
        if answer.is_cut:
            return
        if not (answer.is_complete or (answer.is_done and not answer.is_empty)):
            raise Unavailable(f"the endpoint {fault}")

    async def _receive(self, response: aiohttp.ClientResponse) -> None:
        try:
            self._tell_limits(response)
            if response.status != 200:
                # Its status and headers count even if its body breaks off.
                self._refused = self._refusal(response, b"")
                raise self._refusal(response, await self._read(response, MAX_REFUSAL))
            if response.content_type == "application/json":
                self._take(await self._read(response, self._limits.max_event))
            else:
                await self._follow(response)
            self._end("broke off in the middle of its answer")
        finally:
            # At the end of the body the connection is back in the pool already; before, this closes it.
            response.close()

    def _tell_limits(self, response: aiohttp.ClientResponse) -> None:
        if (told := rate_limits(response.headers, time.time())) is not None:
            self._on_limits(told)

    def _refusal(self, response: aiohttp.ClientResponse, body: bytes) -> AiosError:
        return refusal(response.status, response.headers, self._redacted(body), time.time())

    async def _follow(self, response: aiohttp.ClientResponse) -> None:
        async for piece in response.content.iter_any():
            self._count(piece)
            if self._answer.is_done:
                continue
            for data in self._events.feed(piece):
                self._take(data)
            if self._answer.is_cut:
                return
            if not response.content.is_eof():
                self._hurry()
        for data in self._events.finish():
            self._take(data, is_cut=True)

    async def _read(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        """The body, or its first `limit` bytes."""
        body = bytearray()
        async for piece in response.content.iter_any():
            self._count(piece)
            body += piece
            if len(body) >= limit:
                break
        return bytes(body[:limit])

    def _count(self, piece: bytes) -> None:
        self._num_bytes += len(piece)
        if self._num_bytes > self._limits.max_stream:
            raise Unavailable(f"the endpoint sent more than {self._limits.max_stream} bytes for one answer")
        if not (self._answer.is_done or self._answer.is_complete):
            self._patience.wait_at_most(self._limits.idle_s)

    def _take(self, data: bytes, *, is_cut: bool = False) -> None:
        data = data.strip()
        if self._answer.is_done or not data:
            return
        try:
            if not self._answer.add(data):
                raise failure(self._redacted(data), time.time())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if is_cut:
                return  # half an event; whether the answer was whole before it, `_end` judges
            raise Unavailable(f"the endpoint sent something that is no event of its wire: {error}") from None

    def _hurry(self) -> None:
        """Once the answer is whole, what follows is not waited for long."""
        if self._answer.is_done:
            self._patience.wait_at_most(self._limits.linger_s)
        elif self._answer.is_complete:
            self._patience.wait_at_most(min(self._limits.closing_s, self._limits.idle_s))

    def _redacted(self, text: bytes) -> bytes:
        return text.replace(self._api_key, b"[key]") if self._api_key else text
