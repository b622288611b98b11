"""A kernel that answers by a script, the real servers before it, and the official client to them."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openai
from msgspec import Struct

from aios.abi.errors import Unauthenticated
from aios.abi.messages import Delta
from aios.abi.syscalls import LlmAnswer, LlmGenerate, Reply, SystemCall
from aios.kernel.config import Config
from aios.server.app import serving

Emit = Callable[[Delta], None]
Answering = Callable[[LlmGenerate, Emit], Awaitable[LlmAnswer]] | LlmAnswer | Exception
"""What `llm.generate` does: runs a function, answers so, or fails so."""


class Core(Struct):
    name: str
    model: str


class ScriptedKernel:
    """The trap alone: knows one token, and keeps what was asked."""

    def __init__(self, answer: Answering, *, token: str = "key-1") -> None:
        self.operator_token = token
        self.asked: list[SystemCall] = []
        self._answer = answer

    def verify(self, token: str) -> None:
        if token != self.operator_token:
            raise Unauthenticated("the kernel gave no such token")

    async def trap(
        self,
        token: str,
        call: SystemCall,
        *,
        emit: Emit | None = None,
        timeout_s: float | None = None,
        key: str = "",
    ) -> Reply:
        self.verify(token)
        self.asked.append(call)
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
async def served(kernel: ScriptedKernel) -> AsyncIterator[str]:
    """The address of a server of `kernel`."""
    with TemporaryDirectory() as folder:
        config = Config(data=Path(folder), port=0, socket=Path(folder, "s"))
        async with serving(kernel, config) as address:
            yield address.url


def official_client(url: str, key: str) -> openai.AsyncOpenAI:
    """The openai client for a server at `url`, without certificates: they take longer to load than a test."""
    plain = openai.DefaultAsyncHttpxClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, http_client=plain)
