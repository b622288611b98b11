"""A model behind any OpenAI-compatible chat completions endpoint, always streamed.

Owns one connection pool, its time limits, and the sentence that each failure of the endpoint becomes. Knows
nothing of retries: a failure is a typed error, and whether to try again is the kernel's to decide.
"""

import asyncio
import io
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
from msgspec import Struct

from aios.abi.errors import AiosError, Cancelled, InvalidArgument, Unavailable
from aios.abi.messages import Delta, Message, ToolSpec
from aios.drivers.chat_answer import Answer, decode_chunk
from aios.drivers.chat_request import UNCHANGED, request_body
from aios.drivers.llm import Finished, Generation, Preempted, Snapshot
from aios.drivers.refusals import failure, refusal
from aios.drivers.sse import EventReader

MAX_REFUSAL = 64 * 1024
"""Bytes read of an answer that is no success."""


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
    """From the end of the answer to `[DONE]`, which some never send; usage may come in between."""
    linger_s: float = 0.5
    """After `[DONE]`, for the end of the body: only then can the connection be used again."""
    max_event: int = 8 * 1024 * 1024
    max_stream: int = 64 * 1024 * 1024

    @property
    def whole_s(self) -> float:
        return max(600.0, 5 * self.first_byte_s) if self.total_s is None else self.total_s


class OpenAIDriver:
    """One remote core. See `aios.drivers.llm.LLMDriver` for the protocol that it follows.

    `base_url` is what the official client calls so, such as `http://127.0.0.1:11434/v1`. `fields` gives
    fields of the request the names that this endpoint knows, and an empty name to those that it refuses.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        slots: int = 8,
        window: int = 0,
        limits: Limits | None = None,
        fields: Mapping[str, str] = UNCHANGED,
        use_environment_proxies: bool = False,
    ) -> None:
        """`InvalidArgument` when the URL or the key can't be used. `window` is in tokens, 0 if not known."""
        self._url = _completions_url(base_url)
        self._api_key = _checked_key(api_key)
        self._model = model
        self._slots = slots
        self._window = window
        self._limits = limits or Limits()
        self._fields = dict(fields)
        self._use_environment_proxies = use_environment_proxies
        self._session: aiohttp.ClientSession | None = None
        self._running: set[_Exchange] = set()

    @property
    def model(self) -> str:
        return self._model

    @property
    def snapshot_kind(self) -> Literal["none"]:
        return "none"

    @property
    def window(self) -> int:
        return self._window

    async def start(self) -> None:
        """Make ready. The endpoint is not asked: one that is down now may be up when it is needed."""
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._slots),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_s),
            trust_env=self._use_environment_proxies,
        )

    async def close(self) -> None:
        session, self._session = self._session, None
        for exchange in self._running:
            exchange.stop()
        if session is not None:
            await session.close()

    async def run(
        self,
        job: Generation,
        resume: Snapshot | None,
        emit: Callable[[Delta], None],
        must_yield: Callable[[int], bool],
    ) -> Finished | Preempted:
        if resume is not None:
            raise InvalidArgument("a remote core gives no snapshots, so there is none to go on from")
        if self._session is None:
            raise Unavailable(f"the core of {self._model!r} is not running")
        answer = Answer(job, self._model, emit)
        exchange = _Exchange(answer, self._limits, self._api_key)
        self._running.add(exchange)
        try:
            await exchange.perform(self._session, self._url, request_body(job, self._model, self._fields))
        finally:
            self._running.discard(exchange)
        return answer.finish()

    def drop(self, snapshot: Snapshot) -> None:
        """There are none to forget."""

    async def num_prompt_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int | None:
        return None


class _Exchange:
    """One request and its answer: where it stands, and so what it means when it fails there."""

    def __init__(self, answer: Answer, limits: Limits, api_key: str) -> None:
        self._answer = answer
        self._limits = limits
        self._api_key = api_key.encode()
        self._events = EventReader(limits.max_event)
        self._silence = asyncio.timeout(limits.first_byte_s)
        self._num_bytes = 0
        self._refused: AiosError | None = None
        self._is_done = False
        self._is_stopped = False

    async def perform(self, session: aiohttp.ClientSession, url: str, body: bytes) -> None:
        """Fill the answer. Returns once it is whole; raises an error of `aios.abi.errors` and no other."""
        limits = self._limits
        try:
            async with asyncio.timeout(limits.whole_s) as total, self._silence:
                await self._receive(await session.post(url, data=io.BytesIO(body), allow_redirects=False))
        except aiohttp.ServerTimeoutError:
            raise Unavailable(f"the endpoint did not connect within {limits.connect_s:g} s") from None
        except TimeoutError:
            self._end(f"did not finish within {limits.whole_s:g} s" if total.expired() else self._silent())
        except (aiohttp.ClientError, OSError) as error:
            if self._num_bytes:
                self._end("broke off in the middle of its answer")
            else:
                self._end(f"can't be reached: {error or type(error).__name__}")

    def stop(self) -> None:
        """End it now, as cancelled."""
        self._is_stopped = True
        if not self._silence.expired():
            self._wait_at_most(0)

    def _silent(self) -> str:
        if self._num_bytes:
            return f"sent nothing more within {self._limits.idle_s:g} s"
        return f"did not answer within {self._limits.first_byte_s:g} s"

    def _end(self, fault: str) -> None:
        """The stream is over, by `fault`; which is none of the caller's business if the answer is whole."""
        if self._is_stopped:
            raise Cancelled("the core was closed")
        if self._refused is not None:
            raise self._refused
        is_whole = self._answer.is_complete or (self._is_done and not self._answer.is_empty)
        if not is_whole:
            raise Unavailable(f"the endpoint {fault}")

    async def _receive(self, response: aiohttp.ClientResponse) -> None:
        try:
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

    def _refusal(self, response: aiohttp.ClientResponse, body: bytes) -> AiosError:
        return refusal(response.status, response.headers, self._redacted(body), time.time())

    async def _follow(self, response: aiohttp.ClientResponse) -> None:
        async for piece in response.content.iter_any():
            self._count(piece)
            if self._is_done:
                continue
            for data in self._events.feed(piece):
                self._take(data)
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
        if not (self._is_done or self._answer.is_complete):
            self._wait_at_most(self._limits.idle_s)

    def _take(self, data: bytes, *, is_cut: bool = False) -> None:
        if self._is_done or not data.strip():
            return
        if data.strip() == b"[DONE]":
            self._is_done = True
            self._wait_at_most(self._limits.linger_s)
            return
        try:
            chunk = decode_chunk(data)
        except Unavailable:
            if is_cut:
                return  # half an event; whether the answer was whole before it, `_end` judges
            raise
        if chunk.error:
            raise failure(self._redacted(data), time.time())
        self._answer.add(chunk)
        if self._answer.is_complete:
            self._wait_at_most(min(self._limits.closing_s, self._limits.idle_s))

    def _wait_at_most(self, seconds: float) -> None:
        self._silence.reschedule(asyncio.get_running_loop().time() + seconds)

    def _redacted(self, text: bytes) -> bytes:
        return text.replace(self._api_key, b"[key]") if self._api_key else text


def _completions_url(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        host = (parts.hostname or "").encode("idna")
        is_usable = parts.scheme in ("http", "https") and bool(host) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise InvalidArgument("base_url must be an http or https address, such as http://127.0.0.1:11434/v1")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidArgument("base_url must hold no user, password or fragment; keys go in api_key_env")
    return parts._replace(path=parts.path.rstrip("/") + "/chat/completions").geturl()


def _checked_key(api_key: str | None) -> str:
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InvalidArgument("the key of a core must be printable ASCII")
    return key
