"""The OpenAI-compatible door: chat completions, plain and streamed, and the list of models.

Translation only: one request is one system call, made with the key that the client sent, and a client that
goes away cancels it. What a request leaves open, such as the temperature, is as the kernel has it, not as
OpenAI has it.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from aios.abi.errors import AiosError, NotFound, TooLarge, Unauthenticated
from aios.abi.messages import Delta
from aios.abi.syscalls import LlmAnswer, ProcessUsage, Reply
from aios.abi.wire import MAX_FRAME, encode
from aios.server.openai_answer import Chunks, completion, error_body, event
from aios.server.openai_request import Chat, read_request
from aios.server.trap import Trap

MAX_DISCARDED = 4 * MAX_FRAME
"""Bytes of a body beyond the limit that are read and thrown away, so that its sender still hears why."""


def routes(kernel: Trap) -> list[Route]:
    """The routes under `/v1`. Every one needs a key, which is a process's token."""
    models = _OpenAIShape(_Models(kernel))
    return [
        Route("/v1/chat/completions", _OpenAIShape(_Completions(kernel)), methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{model:path}", models, methods=["GET"]),
    ]


class _OpenAIShape:
    """Turns the errors of `app` into answers that an OpenAI client understands."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except AiosError as error:
            await _refusal(error)(scope, receive, send)


class _Completions:
    """`POST /v1/chat/completions`."""

    def __init__(self, kernel: Trap) -> None:
        self._kernel = kernel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        token = _token(request)
        chat = read_request(await _body(request))
        if chat.is_streamed:
            await self._stream(token, chat, receive, send)
            return
        async with _while_connected(receive, self._kernel.trap(token, chat.call)) as call:
            await asyncio.wait({call})
            if call.cancelled():
                raise ClientDisconnect
            answer = call.result()
        assert isinstance(answer, LlmAnswer)
        await _json(completion(chat, answer))(scope, receive, send)

    async def _stream(self, token: str, chat: Chat, receive: Receive, send: Send) -> None:
        # It holds no more than one answer: deltas wait here for a client that reads slowly.
        deltas: asyncio.Queue[Delta | None] = asyncio.Queue()
        events = _Events(send)
        chunks = Chunks(chat)
        answering = self._kernel.trap(token, chat.call, emit=deltas.put_nowait)
        async with _while_connected(receive, answering) as call:
            call.add_done_callback(lambda _: deltas.put_nowait(None))
            while (delta := await deltas.get()) is not None:
                await events.write(chunks.delta(delta))
            if call.cancelled():
                raise ClientDisconnect
            try:
                answer = call.result()
            except AiosError as error:
                if not events.have_begun:
                    raise
                await events.write(event(error_body(error)))
            else:
                assert isinstance(answer, LlmAnswer)
                await events.write(chunks.end(answer))
        await events.close()


class _Events:
    """An answer as server-sent events. It begins with the first: before that, an error has a status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.have_begun = False

    async def write(self, data: bytes) -> None:
        if not data:
            return
        if not self.have_begun:
            self.have_begun = True
            headers = [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"cache-control", b"no-store"),
            ]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def close(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})


class _Models:
    """`GET /v1/models` and `GET /v1/models/{model}`."""

    def __init__(self, kernel: Trap) -> None:
        self._kernel = kernel
        self._created = int(time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        # The kernel alone knows whose a token is, so it is asked for something that every process may know.
        await self._kernel.trap(_token(request), ProcessUsage())
        models = [self._entry(name) for name in dict.fromkeys(core.model for core in self._kernel.cores())]
        wanted = request.path_params.get("model")
        if wanted is None:
            await _json({"object": "list", "data": models})(scope, receive, send)
            return
        for model in models:
            if model["id"] == wanted:
                await _json(model)(scope, receive, send)
                return
        raise NotFound(f"there is no model {wanted[:64]!r}; GET /v1/models names them all")

    def _entry(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "aios"}


@asynccontextmanager
async def _while_connected(
    receive: Receive, work: Coroutine[Any, Any, Reply]
) -> AsyncIterator[asyncio.Task[Reply]]:
    """`work` as a task: cancelled as soon as the client goes away, and over when the block is left."""
    call = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(receive))
    gone.add_done_callback(lambda _: call.cancel())
    try:
        yield call
    finally:
        gone.cancel()
        call.cancel()
        await asyncio.wait({gone, call})
        if not call.cancelled():
            call.exception()  # looked at, so that asyncio does not report it when nobody is left to be told


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(
            "there is no API key; send `Authorization: Bearer KEY`, where the key is a process's token"
            " (`aios call process.spawn agent=NAME durable=true` makes one)"
        )
    return token.strip()


async def _body(request: Request) -> bytes:
    """The whole body. `TooLarge` when it passes the limit; no more than that is held."""
    body = bytearray()
    num_discarded = 0
    async for piece in request.stream():
        if len(body) <= MAX_FRAME:
            body += piece
        else:
            num_discarded += len(piece)
        if num_discarded > MAX_DISCARDED:
            break
    if len(body) > MAX_FRAME:
        raise TooLarge(f"a request may have {MAX_FRAME} bytes, this one has more")
    return bytes(body)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(value), status, headers, media_type="application/json")


def _refusal(error: AiosError) -> Response:
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
        headers["retry-after-ms"] = str(math.ceil(error.retry_after * 1000))
    if isinstance(error, TooLarge):
        headers["connection"] = "close"
    return _json(error_body(error), error.http_status, headers)
