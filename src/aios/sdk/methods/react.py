"""ReAct: ask the model, run the tools it calls, show it the results, until it answers.

Owns the conversation. Knows the kernel's tools and the agent's own Python functions, which run here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from aios.abi.errors import (
    AiosError,
    Cancelled,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from aios.abi.messages import Message, ToolCall, ToolSpec
from aios.sdk.client import Client
from aios.sdk.methods.functions import Function, LocalTool
from aios.sdk.sending import Emit

MayRun = Callable[[ToolCall], Awaitable[bool]]

SYSTEM = "You are a helpful assistant. Use the tools when they help, then answer briefly."


class ReAct:
    """An agent that reasons and acts; one object keeps one conversation over many turns."""

    def __init__(
        self,
        tools: Iterable[Function | str] | None = None,
        system: str = SYSTEM,
        *,
        max_steps: int = 8,
        model: str | None = None,
        temperature: float = 0.0,
        max_tokens: int | None = None,
        on_delta: Emit | None = None,
        may_run: MayRun | None = None,
    ) -> None:
        """`tools` are Python functions, run here, and names of tools of the kernel; None for all of those.

        `max_steps` is how often the model is asked in one turn; the last time it must answer without tools.
        `max_tokens` bounds each answer of the model; None leaves it to the kernel. `on_delta` takes every
        piece of every step as it comes. `may_run` is asked before a tool runs; where it says no, the model
        reads that it was refused.
        """
        if max_steps < 1:
            raise InvalidArgument("max_steps must be at least 1")
        chosen = None if tools is None else list(tools)
        given = [LocalTool(tool) if callable(tool) else tool for tool in chosen or ()]
        self._local = {tool.spec.name: tool for tool in given if isinstance(tool, LocalTool)}
        names = [tool.spec.name if isinstance(tool, LocalTool) else tool for tool in given]
        self._names = None if chosen is None else list(dict.fromkeys(names))
        self._max_steps = max_steps
        self._model = model
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._on_delta = on_delta
        self._may_run = may_run
        self.history: list[Message] = [Message("system", system)] if system else []
        """The conversation so far; a turn that failed is not in it."""

    async def run(self, agent: Client, task: str) -> str:
        """One turn: the model's answer to `task`. Raises what stops the model; a tool's error it reads."""
        specs = await self._specs(agent)
        turn = [*self.history, Message("user", task)]
        for step in range(1, self._max_steps + 1):
            answer = await agent.llm.generate(
                turn,
                tools=specs,
                tool_choice="auto" if step < self._max_steps else "none",
                model=self._model,
                temperature=self._temperature,
                max_tokens=self._max_tokens,
                on_delta=self._on_delta,
            )
            turn.append(answer.to_message())
            if not answer.tool_calls:
                break
            turn += await asyncio.gather(*(self._result(agent, specs, call) for call in answer.tool_calls))
        self.history = turn
        return answer.text

    async def _specs(self, agent: Client) -> list[ToolSpec]:
        """What the model sees: the functions given and the kernel's tools named, in the order given."""
        local = {name: tool.spec for name, tool in self._local.items()}
        if self._names is not None and local.keys() >= set(self._names):
            return list(local.values())
        kernel = {entry.spec.name: entry.spec for entry in (await agent.tools.list()).tools}
        specs = kernel | local
        names = list(kernel) if self._names is None else self._names
        unknown = [name for name in names if name not in specs]
        if unknown:
            raise NotFound(f"the kernel has no tool {unknown[0]!r}; it has {', '.join(kernel)}")
        return [specs[name] for name in names]

    async def _result(self, agent: Client, specs: list[ToolSpec], call: ToolCall) -> Message:
        """The tool's message. An error is for the model to read, unless the process itself has ended."""
        try:
            if self._may_run is not None and not await self._may_run(call):
                raise PermissionDenied("the person said no")
            if call.name in self._local:
                text = await self._local[call.name].run(call.arguments)
            elif call.name not in {spec.name for spec in specs}:
                raise NotFound(f"there is no tool {call.name!r}")
            else:
                text = (await agent.tools.run(call.name, call.arguments)).text
        except (Cancelled, Unauthenticated):
            raise
        except AiosError as error:
            text = f"error: {error.message}"
        return Message("tool", text, tool_call_id=call.id, name=call.name)
