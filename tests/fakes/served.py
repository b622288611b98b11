"""A kernel that answers by a script, and routes served over real HTTP on loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from msgspec import Struct
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from uvicorn.server import ServerState

from aios.abi.errors import Unauthenticated
from aios.abi.messages import Delta
from aios.abi.syscalls import LlmAnswer, LlmGenerate, ProcessUsage, Reply, ResourceUsage, SystemCall

Emit = Callable[[Delta], None]
Answering = Callable[[LlmGenerate, Emit], Awaitable[LlmAnswer]]


class Core(Struct):
    name: str
    model: str


class ScriptedKernel:
    """The trap alone: knows one token, answers `llm.generate` with `answer`, and keeps what was asked."""

    def __init__(self, answer: Answering | LlmAnswer | Exception, *, token: str = "key-1") -> None:
        self.operator_token = token
        self.asked: list[SystemCall] = []
        self._answer = answer

    async def trap(
        self, token: str, call: SystemCall, *, emit: Emit | None = None, timeout_s: float | None = None
    ) -> Reply:
        if token != self.operator_token:
            raise Unauthenticated("the kernel gave no such token")
        self.asked.append(call)
        if isinstance(call, ProcessUsage):
            return ResourceUsage(1, {})
        assert isinstance(call, LlmGenerate)
        if isinstance(self._answer, Exception):
            raise self._answer
        if isinstance(self._answer, LlmAnswer):
            return self._answer
        return await self._answer(call, emit or (lambda delta: None))

    def cores(self) -> Sequence[Core]:
        return [Core("a", "nano"), Core("b", "nano"), Core("c", "org/big:7b")]

    def statistics(self) -> dict[str, Any]:
        return {}


@asynccontextmanager
async def serving(routes: Sequence[BaseRoute]) -> AsyncIterator[str]:
    """The address of a server of `routes`; uvicorn's own protocol, without its loop of waiting."""
    config = uvicorn.Config(Starlette(routes=list(routes)), log_config=None, lifespan="off", ws="none")
    config.load()
    state = ServerState()
    listening = socket.create_server(("127.0.0.1", 0))

    def connected() -> asyncio.Protocol:
        protocol = config.http_protocol_class
        assert not isinstance(protocol, str)
        return protocol(config=config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(connected, sock=listening)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            await asyncio.wait(state.tasks)
