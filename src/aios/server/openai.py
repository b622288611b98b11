"""The OpenAI-compatible door: chat completions, plain and streamed, embeddings, and the list of models.

Translation only: one request is one system call, made with the key that the client sent, and a client that
goes away cancels it. What a request leaves open, such as the temperature, is as the kernel has it, not as
OpenAI has it.
"""

import asyncio
import math
import time
from typing import Any

from starlette.routing import BaseRoute, Route

from aios.abi.errors import AiosError, Cancelled, NotFound, TooLarge
from aios.abi.messages import Delta
from aios.abi.syscalls import Embeddings, LlmAnswer, Reply
from aios.abi.wire import MAX_FRAME, encode
from aios.server import openai_embeddings
from aios.server.asgi import Header, Receive, Scope, Send, Watch, admit, send_json, token_of
from aios.server.openai_answer import Chunks, completion, error_body, event
from aios.server.openai_request import Chat, read_request
from aios.server.trap import Trap

MAX_UNREAD = 2 * MAX_FRAME
"""Characters of a stream that its client has not read, beyond which the call is cancelled."""


def routes(kernel: Trap) -> list[BaseRoute]:
    """The routes under `/v1`. Every one needs a key, which is a process's token."""
    models = _Models(kernel)
    return [
        Route("/v1/chat/completions", _Completions(kernel), methods=["POST"]),
        Route("/v1/embeddings", _Embeddings(kernel), methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{model:path}", models, methods=["GET"]),
    ]


class _Completions:
    """`POST /v1/chat/completions`."""

    def __init__(self, kernel: Trap) -> None:
        self._kernel = kernel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            token, body = await admit(self._kernel, scope, receive)
            chat = read_request(body)
            with Watch(scope):
                if chat.is_streamed:
                    await _Stream(self._kernel, token, chat).send_to(send)
                    return
                answer = await self._kernel.trap(token, chat.call)
            assert isinstance(answer, LlmAnswer)
            await send_json(send, encode(completion(chat, answer)))
        except AiosError as error:
            await _send_error(send, error)


class _Embeddings:
    """`POST /v1/embeddings`."""

    def __init__(self, kernel: Trap) -> None:
        self._kernel = kernel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            token, body = await admit(self._kernel, scope, receive)
            wanted = openai_embeddings.read_request(body)
            with Watch(scope):
                reply = await self._kernel.trap(token, wanted.call)
            assert isinstance(reply, Embeddings)
            await send_json(send, encode(openai_embeddings.embeddings(wanted, reply)))
        except AiosError as error:
            await _send_error(send, error)


class _Stream:
    """One streamed answer: chunks as deltas come, then what is left of the answer, or an error."""

    def __init__(self, kernel: Trap, token: str, chat: Chat) -> None:
        self._chunks = Chunks(chat, _model_of(kernel, chat))
        self._unread: asyncio.Queue[Delta | None] = asyncio.Queue()
        self._num_unread = 0
        self._has_begun = False
        self._call = asyncio.ensure_future(kernel.trap(token, chat.call, emit=self._emit))
        self._call.add_done_callback(self._end)

    async def send_to(self, send: Send) -> None:
        """Raises the call's error where no delta came before it: then it can still have its own status."""
        try:
            while (delta := await self._unread.get()) is not None:
                await self._send(send, self._chunks.delta(delta))
                self._num_unread -= len(delta.text)
            await self._send(send, self._rest(), more_body=False)
        finally:
            self._call.cancel()

    def _emit(self, delta: Delta) -> None:
        self._num_unread += len(delta.text)
        self._unread.put_nowait(delta)
        if self._num_unread > MAX_UNREAD:
            self._call.cancel()

    def _end(self, call: asyncio.Future[Reply]) -> None:
        """Wake the sender. An error after the client has gone is nobody's."""
        self._unread.put_nowait(None)
        if not call.cancelled():
            call.exception()

    def _rest(self) -> bytes:
        try:
            if self._call.cancelled():
                raise Cancelled("the stream was not read")
            answer = self._call.result()
        except AiosError as error:
            if not self._has_begun:
                raise
            return event(error_body(error))
        assert isinstance(answer, LlmAnswer)
        return self._chunks.end(answer)

    async def _send(self, send: Send, data: bytes, *, more_body: bool = True) -> None:
        if not self._has_begun:
            self._has_begun = True
            headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": data, "more_body": more_body})


def _model_of(kernel: Trap, chat: Chat) -> str:
    """The model that will answer, as far as that is known before it does."""
    models = {core.model for core in kernel.cores()}
    return models.pop() if chat.call.model is None and len(models) == 1 else chat.model


class _Models:
    """`GET /v1/models` and `GET /v1/models/{model}`."""

    def __init__(self, kernel: Trap) -> None:
        self._kernel = kernel
        self._created = int(time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._kernel.verify(token_of(scope))
            await send_json(send, encode(self._found(scope["path_params"].get("model"))))
        except AiosError as error:
            await _send_error(send, error)

    def _found(self, wanted: str | None) -> dict[str, Any]:
        names = dict.fromkeys(core.model for core in self._kernel.cores())
        if wanted is None:
            return {"object": "list", "data": [self._entry(name) for name in names]}
        if wanted not in names:
            raise NotFound(f"there is no model {wanted[:64]!r}; GET /v1/models names them all")
        return self._entry(wanted)

    def _entry(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "aios"}


async def _send_error(send: Send, error: AiosError) -> None:
    """`error` in the shape of the API."""
    headers: list[Header] = []
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after)))
        headers.append((b"retry-after-ms", b"%d" % math.ceil(error.retry_after * 1000)))
    if isinstance(error, TooLarge):
        headers.append((b"connection", b"close"))
    await send_json(send, encode(error_body(error)), error.http_status, headers)
