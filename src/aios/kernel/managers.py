"""Which manager executes a call, by its group. The dispatcher knows managers by these few verbs only."""

from functools import partial
from typing import Any, Protocol

from msgspec import Struct

from aios.abi import syscalls as sc
from aios.abi.errors import Internal
from aios.kernel.effects import FREES, Effects
from aios.kernel.process import Caller, Process
from aios.kernel.task import Task


class Manager(Protocol):
    """Executes the calls of a group, and is given no others."""

    async def execute(self, caller: Caller, call: Any) -> sc.Reply: ...


class Files(Manager, Protocol):
    """Executes storage calls. `bind` says what exactly a person is asked about: this version of a thing."""

    async def bind(self, caller: Caller, call: sc.SystemCall) -> sc.SystemCall: ...


class Tools(Manager, Protocol):
    """Executes tool calls. The first of a queue that cannot run now is passed over with its queue.

    `ended` is told what `started` gave.
    """

    def queue_of(self, call: sc.ToolRun, caller: Caller) -> str: ...

    def can_start(self, call: sc.ToolRun, caller: Caller) -> bool: ...

    def started(self, call: sc.ToolRun, caller: Caller) -> Any: ...

    def ended(self, started: Any) -> None: ...


class Control(Protocol):
    """Executes the calls that steer the kernel itself: at once, holding no slot."""

    async def execute(self, process: Process, call: sc.SystemCall) -> sc.Reply: ...


class Generator(Protocol):
    """Runs generations, a slice at a time: None says that one was interrupted."""

    async def run_slice(self, task: Task) -> sc.Reply | None: ...


class Managers(Struct, frozen=True):
    """One executor for each group, and what sees to the effects of them all."""

    effects: Effects
    llm: Generator
    context: Manager
    memory: Manager
    storage: Files
    tool: Tools
    core: Control
    access: Control
    process: Control

    async def bind(self, task: Task, process: Process) -> sc.SystemCall:
        """The call of a task as a person is asked about it; see `Files.bind`."""
        return (
            await self.storage.bind(process.caller, task.call) if task.row.group == "storage" else task.call
        )

    async def execute(self, task: Task, process: Process) -> sc.Reply | None:
        """One slice of a task. None: it was interrupted and waits again."""
        if task.key or type(task.call) in FREES:
            return await self.effects.execute(task, process, partial(self._execute, task, process))
        return await self._execute(task, process)

    async def _execute(self, task: Task, process: Process) -> sc.Reply | None:
        match task.row.group:
            case "llm":
                return await self.llm.run_slice(task)
            case "context":
                return await self.context.execute(process.caller, task.call)
            case "memory":
                return await self.memory.execute(process.caller, task.call)
            case "storage":
                return await self.storage.execute(process.caller, task.call)
            case "tool":
                return await self.tool.execute(process.caller, task.call)
            case "core":
                return await self.core.execute(process, task.call)
            case "access":
                return await self.access.execute(process, task.call)
            case "process":
                return await self.process.execute(process, task.call)
            case group:
                raise Internal(f"no manager serves the group {group!r}")
