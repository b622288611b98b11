"""A process's own view of the kernel: `agent.memory.add(…)`, `agent.storage.write(…)`, a stub for each call.

Owns the joining of all groups and the face of tools; knows a transport and a token, not what is behind.
"""

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from aios.abi import syscalls as sc
from aios.abi.errors import Internal, InvalidArgument
from aios.abi.schema import ToolMark, mark_of
from aios.sdk.files import Files
from aios.sdk.generation import Llm
from aios.sdk.sending import Emit
from aios.sdk.stubs import Access, Context, Core, Memory, Process, Stubs
from aios.sdk.transport import Transport

R = TypeVar("R", bound=sc.Reply)


class Client:
    """System calls as the process whose token this is."""

    def __init__(self, transport: Transport, token: str) -> None:
        if not (token and token.isascii() and token.isprintable()):
            raise InvalidArgument(
                "a token is a text of printable ASCII characters, as process.spawn gives it"
            )
        self.transport = transport
        self._token = token
        self.llm = Llm(self.expect)
        self.context = Context(self.expect)
        self.memory = Memory(self.expect)
        self.storage = Files(self.expect)
        self.tools = Tools(self.expect)
        self.access = Access(self.expect)
        self.core = Core(self.expect)
        self.process = Process(self.expect)

    async def call(
        self,
        call: sc.SystemCall,
        *,
        on_delta: Emit | None = None,
        timeout_s: float | None = None,
        key: str = "",
    ) -> sc.Reply:
        """Any system call. `DeadlineExceeded` when the kernel has not done it in `timeout_s` seconds.

        Made again with the same idempotency `key`, a call takes effect once and is answered the same.
        """
        return await self.transport.call(self._token, call, on_delta, timeout_s, key)

    async def expect(
        self,
        call: sc.SystemCall,
        reply: type[R],
        *,
        on_delta: Emit | None = None,
        timeout_s: float | None = None,
        key: str = "",
    ) -> R:
        """`call`, whose reply has the type that the table says."""
        answer = await self.transport.call(self._token, call, on_delta, timeout_s, key)
        if not isinstance(answer, reply):
            raise Internal(f"the kernel answered {type(answer).__name__} where {reply.__name__} is due")
        return answer


class Tools(Stubs):
    """The kernel's tools, and one's own in the kernel's keeping."""

    async def list(self) -> sc.ToolEntries:
        return await self._call(sc.ToolList(), sc.ToolEntries)

    async def call(self, name: str, /, **arguments: Any) -> sc.ToolOutput:
        """Run a tool with these arguments."""
        return await self.run(name, arguments)

    async def run(
        self, name: str, arguments: dict[str, Any], *, timeout_s: float | None = None
    ) -> sc.ToolOutput:
        """Run a tool, as a model asks for it: the arguments are one JSON object."""
        return await self._call(
            sc.ToolRun(name=name, arguments=arguments), sc.ToolOutput, timeout_s=timeout_s
        )

    async def register(
        self,
        source: str | Callable[..., Any],
        *,
        name: str | None = None,
        timeout_s: float | None = None,
        max_parallel: int | None = None,
        conflicts: Sequence[str] | None = None,
    ) -> sc.ToolEntries:
        """Offer a function as a tool: itself, `package.module:function` or `/path/file.py:function`.

        What is not said here is taken from `@aios.tool`, then from the table. The kernel imports the function
        in a process of its own: it must be at the top of a module that the kernel's machine has.
        """
        mark = ToolMark() if isinstance(source, str) else mark_of(source)
        given: dict[str, Any] = {
            "name": mark.name if name is None else name,
            "timeout_s": mark.timeout_s if timeout_s is None else timeout_s,
            "max_parallel": mark.max_parallel if max_parallel is None else max_parallel,
            "conflicts": tuple(mark.conflicts if conflicts is None else conflicts),
        }
        place = source if isinstance(source, str) else source_of(source)
        said = {key: value for key, value in given.items() if value is not None}
        return await self._call(sc.ToolRegister(source=place, **said), sc.ToolEntries)

    async def unregister(self, name: str) -> sc.Done:
        return await self._call(sc.ToolUnregister(name=name), sc.Done)


def source_of(function: Callable[..., Any]) -> str:
    """Where another process finds `function`. `InvalidArgument` where none can, as with a nested one."""
    name = getattr(function, "__qualname__", "")
    module = sys.modules.get(getattr(function, "__module__", ""))
    if not inspect.isfunction(function) or not name.isidentifier() or module is None:
        raise InvalidArgument(
            f"{name or function!r} can't be a tool: only a named function at a module's top can"
        )
    file = inspect.getsourcefile(function)
    if _is_packaged(module):
        return f"{module.__name__}:{name}"
    if file is None:
        raise InvalidArgument(f"{name} has no file that another process could import")
    return f"{Path(file).resolve()}:{name}"


def _is_packaged(module: ModuleType) -> bool:
    """Whether its name says where it is. The kernel may not have the folder of a lone file on its path."""
    return hasattr(module, "__path__") or (module.__spec__ is not None and "." in module.__name__)
