"""Runs made-up tasks on a real kernel: one process and one ReAct agent each, then the judge on what happened.

The files and notes that a task starts with are made by system calls of its agent. Built-in tools are the
kernel's, made-up ones are functions of the agent's own. Shared by the demo and the benches.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from aios.abi.errors import AiosError
from aios.abi.messages import Delta, Message
from aios.bench.invented import function_of
from aios.bench.tasks import KINDS, Outcome, Task, Verdict, generate, judge, play_gold
from aios.bench.tasks.task import CLOCK, Runner
from aios.drivers.clock import SystemClock
from aios.drivers.llm import LLMDriver
from aios.drivers.toolbox import BUILTIN, ToolContext
from aios.kernel.config import Config
from aios.kernel.kernel import Kernel
from aios.sdk.agent import Agent, Connection
from aios.sdk.methods.react import ReAct
from aios.sdk.transport import InProcess

Drivers = Mapping[str, LLMDriver] | None
State = Literal["waiting", "running", "finished", "failed"]

MAX_TOKENS = 256
"""Of one answer; no right one is nearly as long. A model that has lost the thread is stopped there."""


class TaskClock(SystemClock):
    """The day and minute at which tasks play; spans are real."""

    def time(self) -> float:
        return CLOCK


class Run:
    """One agent and its task: what it does now, and what came of it."""

    def __init__(self, index: int, task: Task) -> None:
        self.name = f"agent-{index}"
        self.task = task
        self.state: State = "waiting"
        self.doing = ""
        self.answers: list[str] = []
        self.history: list[Message] = []
        self.tool_calls: list[list[tuple[str, dict[str, Any]]]] = []
        """What the model called in each turn."""
        self.verdict = Verdict(False, "it has not run")

    @property
    def has_ended(self) -> bool:
        return self.state in ("finished", "failed")

    async def work(self, agent: Agent, _: str) -> str:
        """The agent's program: make what is there before, hold the conversation, and be judged."""
        self.state = "running"
        await _make_things(agent, self.task)
        made_up = {tool.spec.name: function_of(tool) for tool in self.task.invented}
        tools = [made_up.get(name, name) for name in self.task.tools]
        react = ReAct(tools, self.task.system, max_tokens=MAX_TOKENS, on_delta=self._see)
        for turn in self.task.turns:
            self.doing, begin = "thinking", len(react.history)
            self.answers.append(await react.run(agent, turn.user))
            self.history = react.history
            self.tool_calls.append(_calls_in(react.history[begin:]))
        self.doing = ""
        files, notes = await _things(agent)
        self.verdict = _judge(self.task, Outcome(files, notes, self.tool_calls, self.answers))
        return "\n".join(self.answers)

    def _see(self, delta: Delta) -> None:
        self.doing = delta.tool_call.name if delta.tool_call else "answering"


def mixed_tasks(num_tasks: int, seed: int) -> list[Task]:
    """Held-out tasks of every kind in turn, the same for the same seed.

    Made-up tools and longer conversations come more often than once in a round: they are the hard part.
    """
    kinds = [*KINDS, *["invented"] * 6, *["turns"] * 3]
    return [generate(seed + index, "heldout", kinds[index % len(kinds)]) for index in range(num_tasks)]


@asynccontextmanager
async def booted(config: Config, drivers: Drivers = None) -> AsyncIterator[tuple[Kernel, Connection]]:
    """A kernel that plays tasks, and the operator's connection to it; `drivers` as `Kernel` takes them."""
    async with Kernel(config, drivers=drivers, clock=TaskClock()) as kernel:
        connection = Connection(InProcess(kernel.trap), kernel.operator_token)
        try:
            yield kernel, connection
        finally:
            await connection.close()


async def run_all(
    connection: Connection,
    runs: Sequence[Run],
    concurrency: int | None = None,
    ended: Callable[[Run], None] = lambda run: None,
) -> None:
    """Run every agent to its end, at most `concurrency` at a time, and tell `ended` of each.

    An agent that fails says so in its verdict; the others go on.
    """
    room = asyncio.Semaphore(concurrency or len(runs))

    async def one(run: Run) -> None:
        async with room:
            await _run(connection, run)
        ended(run)

    async with asyncio.TaskGroup() as group:
        for run in runs:
            group.create_task(one(run))


async def _run(connection: Connection, run: Run) -> None:
    try:
        await connection.run(run.work, name=run.name)
        run.state = "finished"
    except AiosError as error:
        run.state = "failed"
        run.verdict = Verdict(False, f"{error.code}: {error.message}")
    run.doing = ""


async def _make_things(agent: Agent, task: Task) -> None:
    for path, versions in task.files.items():
        for content in versions:
            await agent.storage.write(path, content)
    for note in task.notes:
        await agent.memory.add(note)


async def _things(agent: Agent) -> tuple[dict[str, str], list[tuple[str, ...]]]:
    """The agent's files by path, and its notes with their tags."""
    entries = (await agent.storage.list()).files
    files = {entry.path: (await agent.storage.read(entry.path)).content for entry in entries}
    return files, [(hit.note.text, *hit.note.tags) for hit in (await agent.memory.search(limit=1000)).hits]


def _calls_in(messages: Sequence[Message]) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for message in messages for call in message.tool_calls]


def perfect(task: Task) -> tuple[list[Message], Outcome, list[tuple[str, ...]]]:
    """A perfect assistant's conversation, what comes of it in memory, and the facts of each answer."""
    builtin = {tool.spec.name: tool.run for tool in BUILTIN}
    return play_gold(task, Runner(builtin, lambda world: ToolContext(world, lambda: world.clock)))


def _judge(task: Task, outcome: Outcome) -> Verdict:
    _, gold, facts = perfect(task)
    return judge(task, outcome, gold, facts)
