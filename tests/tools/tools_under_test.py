"""A tool manager with a clock moved by hand, and the callers that tests make calls as."""

import asyncio
from pathlib import Path

import psutil

from aios.abi import syscalls as sc
from aios.drivers.clock import ManualClock
from aios.kernel.config import ToolConfig
from aios.kernel.process import Caller
from aios.kernel.tools import ToolManager

SAMPLES = Path(__file__).parent / "samples.py"
ALICE = Caller(2, "alice", "agent")
BOB = Caller(3, "bob", "agent")
ADMIN = Caller(1, "operator", "operator")


class Tools:
    """A manager and the few things that tests do with it."""

    def __init__(self, config: ToolConfig = ToolConfig(), protected: tuple[Path, ...] = ()) -> None:  # noqa: B008
        self.clock = ManualClock()
        self.calls_made: list[tuple[Caller, sc.SystemCall]] = []
        self.manager = ToolManager(config, self.clock, self._calls_of, protected=protected)

    def _calls_of(self, caller: Caller):
        async def make(call: sc.SystemCall) -> sc.Reply:
            self.calls_made.append((caller, call))
            assert isinstance(call, sc.MemoryAdd)
            return sc.Note("n1", call.text, call.tags, caller.principal, 0.0, 0.0)

        return make

    async def register(self, function: str, caller: Caller = ALICE, **settings) -> sc.ToolEntry:
        call = sc.ToolRegister(source=f"{SAMPLES}:{function}", **settings)
        entries = await self.manager.execute(caller, call)
        assert isinstance(entries, sc.ToolEntries)
        return entries.tools[0]

    async def call(self, name: str, caller: Caller = ALICE, **arguments) -> str:
        output = await self.manager.execute(caller, sc.ToolRun(name=name, arguments=arguments))
        assert isinstance(output, sc.ToolOutput)
        return output.text

    async def names(self, caller: Caller) -> set[str]:
        entries = await self.manager.execute(caller, sc.ToolList())
        assert isinstance(entries, sc.ToolEntries)
        return {entry.spec.name for entry in entries.tools}


def descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


async def until(condition) -> None:
    """Wait until another process has done something, which nobody announces."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
