"""Agents: what one is, and how it lives as a process of the kernel.

An agent is an async function of an `Agent` and its task, a class made with an `Agent` that has an async
`run(task)`, or an object with an async `run(agent, task)`. Owns the runs it started; where they run (here,
on this event loop) is no business of the kernel, which sees a process that makes system calls.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol, TypedDict, TypeVar, Unpack, overload

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError, Conflict, InvalidArgument, NotFound
from aios.sdk.client import Client
from aios.sdk.transport import Transport

MARK = "__aios_agent__"
"""The attribute in which `@aios.agent` leaves the agent's name."""


class AgentObject(Protocol):
    """An agent that outlives one task, such as `ReAct`, which keeps its conversation."""

    async def run(self, agent: "Agent", task: str) -> str: ...


Program = Callable[["Agent", str], Awaitable[str]] | type[Any] | AgentObject
P = TypeVar("P", bound=Program)


@overload
def agent(program: P, /) -> P: ...


@overload
def agent(*, name: str) -> Callable[[P], P]: ...


def agent(program: Any = None, /, *, name: str | None = None) -> Any:
    """Mark a function or class as an agent: `@agent`, or `@agent(name="writer")`."""

    def leave_mark(marked: P) -> P:
        setattr(marked, MARK, name or name_of(marked))
        return marked

    return leave_mark if program is None else leave_mark(program)


def is_marked(program: object) -> bool:
    """Whether `@aios.agent` has marked it."""
    return hasattr(program, MARK)


def name_of(program: object) -> str:
    """The agent's name: the decorator's, else its function's or class's own."""
    own = getattr(program, "__name__", None) or type(program).__name__
    return str(getattr(program, MARK, None) or re.sub(r"[^A-Za-z0-9_.\-]+", "", own) or "agent")


class Standing(TypedDict, total=False):
    """What may be said of an agent's process when it is spawned; see `ProcessSpawn`."""

    principal: str | None
    """Whose memory and files it has; only the operator may choose one."""
    tenant: str | None
    """On whose account it runs; only the operator may choose one."""
    hints: sc.Hints
    budget: sc.Budget | None


class Run:
    """An agent at work. Awaiting it gives its result or raises what it raised."""

    def __init__(self, agent: "Agent", work: asyncio.Task[str]) -> None:
        self.agent = agent
        self.pid = agent.pid
        self._work = work

    def __await__(self) -> Generator[Any, None, str]:
        return self._work.__await__()

    def cancel(self) -> None:
        """Stop it where it is; its process is killed."""
        self._work.cancel()


class Spawner(Client):
    """A client that can run agents, each as a process that is a child of its own."""

    def __init__(self, transport: Transport, token: str) -> None:
        super().__init__(transport, token)
        self._works: set[asyncio.Task[str]] = set()

    async def run(
        self, program: Program, task: str = "", *, name: str | None = None, **standing: Unpack[Standing]
    ) -> str:
        """Run an agent to its end and return its result. Raises what the agent raises, unchanged."""
        return await (await self.spawn(program, task, name=name, **standing))

    async def spawn(
        self, program: Program, task: str = "", *, name: str | None = None, **standing: Unpack[Standing]
    ) -> Run:
        """Start an agent and go on. Its process exits with its result, or is killed when it raises."""
        chosen = name or name_of(program)
        spawned = await self.process.spawn(chosen, lease_s=self.transport.lease_s, **standing)
        child = Agent(self.transport, spawned, chosen)
        work = asyncio.create_task(self._live(child, program, task), name=f"{chosen} {spawned.pid}")
        self._works.add(work)
        work.add_done_callback(self._works.discard)
        await _begun(work)
        return Run(child, work)

    async def end_runs(self) -> None:
        """Stop every agent that was spawned here and still runs."""
        works = list(self._works)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    async def _live(self, child: "Agent", program: Program, task: str) -> str:
        try:
            result = await _start(program, child, task)
            await child.end_runs()
            await child.process.exit(result)
        except BaseException as error:
            error.add_note(f"in agent {child.name}, process {child.pid}")
            await child.end_runs()
            await self._kill(child.pid, error)
            raise
        return result

    async def _kill(self, pid: int, error: BaseException) -> None:
        """What ended the agent matters more than what goes wrong now; that becomes a note on it."""
        try:
            with contextlib.suppress(NotFound, Conflict):
                await self.process.kill(pid)
        except AiosError as failure:
            error.add_note(f"process {pid} could not be killed: {failure.message}")


class Agent(Spawner):
    """A process of the kernel, in the hands of its program."""

    def __init__(self, transport: Transport, spawned: sc.Spawned, name: str) -> None:
        super().__init__(transport, spawned.token)
        self.pid = spawned.pid
        self.principal = spawned.principal
        """Whose memory and files it has."""
        self.name = name


class Connection(Spawner):
    """A kernel, as whoever's token this is; where it is, its user need not know."""

    async def close(self) -> None:
        """Stop the agents that still run, then give up the connection."""
        await self.end_runs()
        await self.transport.close()


async def _begun(work: asyncio.Task[str]) -> None:
    """Let it take its first step: cancelled before that it would not run at all, nor kill its process."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        work.cancel()
        raise


async def _start(program: Program, agent: Agent, task: str) -> str:
    if isinstance(program, type):
        result = await program(agent).run(task)
    elif callable(program):
        result = await program(agent, task)
    else:
        result = await program.run(agent, task)
    if not isinstance(result, str):
        raise InvalidArgument(f"agent {agent.name} returned {type(result).__name__}; an agent returns text")
    return result
