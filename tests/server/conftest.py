"""A kernel double behind the real servers, and the three ways to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from aios.abi import syscalls as sc
from aios.abi.errors import Internal, NotFound, PermissionDenied, Unauthenticated
from aios.abi.messages import Delta
from aios.kernel.config import Config
from aios.sdk.transport import Http, InProcess, Transport, UnixSocket
from aios.server.app import Address, serving


class KernelDouble:
    """Answers at once what needs no managers; `hang` waits, and what was cancelled is on record."""

    operator_token = "operator-secret"

    def __init__(self) -> None:
        self.seen: list[sc.SystemCall] = []
        self.num_hanging = 0
        self.cancelled: list[sc.SystemCall] = []
        self.killed: list[int] = []
        self.changed = asyncio.Condition()
        self.may_spawn = asyncio.Event()
        self.may_spawn.set()
        self.keys: list[str] = []
        self._pids: dict[str, int] = {}

    def verify(self, token: str) -> None:
        if token != self.operator_token and token not in self._pids:
            raise Unauthenticated("no process has this token")

    async def trap(
        self,
        token: str,
        call: sc.SystemCall,
        *,
        emit: Callable[[Delta], None] | None = None,
        timeout_s: float | None = None,
        key: str = "",
    ) -> sc.Reply:
        self.verify(token)
        self.keys.append(key)
        await self._note(self.seen, call)
        match call:
            case sc.LlmGenerate():
                try:
                    return await self._generate(call, emit)
                except asyncio.CancelledError:
                    await self._note(self.cancelled, call)
                    raise
            case sc.ProcessSpawn():
                await self.may_spawn.wait()
                pid = len(self._pids) + 2
                self._pids[f"token-{pid}"] = pid
                return sc.Spawned(pid=pid, principal=f"{call.agent}.{pid}", token=f"token-{pid}")
            case sc.ProcessKill():
                await self._note(self.killed, call.pid)
                return sc.Done()
            case sc.StorageRead(path="large"):
                # Stored in pieces; each of its bytes is six as JSON.
                return sc.FileContent(call.path, 1, "\x01" * (8 * 1024 * 1024))
            case sc.StorageRead():
                raise NotFound(f"there is no file {call.path}")
            case sc.StorageWrite(path="hang"):
                await self._hang()
                return sc.Done()
            case sc.StorageWrite():
                return sc.FileEntry(call.path, "me", 1, len(call.content), 0.0, 0.0)
            case sc.ToolList():
                raise ValueError("a defect")
            case sc.AccessPending() if token != self.operator_token:
                raise PermissionDenied("the operator only")
            case sc.AccessPending():
                return sc.Approvals(approvals=())
            case sc.ToolRun():
                return sc.ToolOutput("ran")
            case sc.ProcessList():
                return sc.ProcessEntries(processes=())
            case _:
                return sc.Done()

    async def _generate(self, call: sc.LlmGenerate, emit: Callable[[Delta], None] | None) -> sc.LlmAnswer:
        text = call.messages[-1].text
        if text.startswith("flood"):
            assert emit is not None
            for _ in range(int(text.split()[1])):
                emit(Delta("x" * 100_000))
                await asyncio.sleep(0)
        if "hang" in text:
            await self._hang()
        for word in text.split() if emit else ():
            emit(Delta(word, num_tokens=1))
            await asyncio.sleep(0)
        if text.endswith("fail"):
            raise Internal("it failed")
        return sc.LlmAnswer(text)

    async def _hang(self) -> None:
        self.num_hanging += 1
        try:
            async with self.changed:
                self.changed.notify_all()
            await asyncio.Event().wait()
        finally:
            self.num_hanging -= 1

    async def _note(self, where: list[Any], what: Any) -> None:
        where.append(what)
        async with self.changed:
            self.changed.notify_all()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something to be on record; what never comes ends in an error, not in a hang."""
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(is_so)

    def statistics(self) -> dict[str, Any]:
        return {
            "scheduler": {"waiting": 3, "policy": "rr"},
            "cores": [{"name": "nano", "slots": 64, "health": "ok"}],
        }

    def cores(self) -> list[Any]:
        return []


@pytest.fixture
def kernel() -> KernelDouble:
    return KernelDouble()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data=tmp_path, port=0, socket=tmp_path / "s")


@pytest.fixture
async def address(kernel: KernelDouble, config: Config) -> AsyncIterator[Address]:
    async with serving(kernel, config) as served:
        yield served


@pytest.fixture(params=["process", "socket", "http"])
async def transport(request, kernel, config) -> AsyncIterator[Transport]:
    """Each way to the same kernel."""
    if request.param == "process":
        yield InProcess(kernel.trap)
        return
    async with serving(kernel, config) as address:
        way = UnixSocket(address.socket) if request.param == "socket" else Http(address.url)
        yield way
        await way.close()
