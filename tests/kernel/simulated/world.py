"""Who calls: processes of several tenants, and every call they make, with its answer."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError
from aios.abi.messages import Delta, Message, Sampling
from aios.abi.syscalls import BANDS, Budget, Hints
from aios.drivers.toolbox import Calls
from aios.kernel.kernel import Kernel
from simulated.agents import Agent, Asked, entitled
from simulated.endpoint import Call
from simulated.facts import Facts
from simulated.scenario import Scenario
from simulated.verdicts import why_not

GONE = {"unauthenticated", "cancelled", "unavailable", "not_found", "conflict", "outcome_unknown"}
"""How a call fails whose process, or kernel, has ended."""

Answering = Callable[[], Awaitable[sc.Reply]]


class World:
    """All agents, and all that they ask of the kernel."""

    def __init__(self, kernel: Kernel, scenario: Scenario, seed: int, facts: Facts) -> None:
        self.kernel = kernel
        self.scenario = scenario
        self.draw = random.Random(f"world {seed}")
        self.facts = facts
        self.agents: list[Agent] = []
        self.asking: dict[int, asyncio.Task[None]] = {}
        """The generations that are waited for, by the numbers of their calls."""

    def living(self) -> list[Agent]:
        return [agent for agent in self.agents if not self.facts.is_gone(agent.pid)]

    # ---- time

    async def pause(self, most_s: float) -> None:
        """Wait for up to `most_s`."""
        await self.wait(self.draw.uniform(0, most_s))

    async def wait(self, seconds: float) -> None:
        """Wait, until a moment on the grid where there is one."""
        now, grid_s = asyncio.get_running_loop().time(), self.scenario.grid_s
        if grid_s and seconds:
            seconds = math.ceil((now + seconds) / grid_s) * grid_s - now
        await asyncio.sleep(seconds)

    # ---- any call

    async def trap(self, agent: Agent | None, call: sc.SystemCall) -> sc.Reply | None:
        """A call of an agent, or of the operator. None where it could not be made."""
        token = self.kernel.operator_token if agent is None else agent.token
        return await self.answered(self.kernel.trap(token, call))

    async def answered(self, answering: Awaitable[sc.Reply]) -> sc.Reply | None:
        try:
            return await answering
        except AiosError as error:
            was_full = (
                error.code == "overloaded" and "wait for" in error.message
            )  # Judged as it was submitted.
            if error.code not in GONE and not was_full:
                self.facts.fail(f"a call was answered with {error!r}")
            return None

    async def spawn(
        self, parent: Agent | None, tenant: str, calls: Calls | None = None, *, may_use_tools: bool = True
    ) -> Agent | None:
        """A new process; by the system calls of a tool, where they are given."""
        draw = self.draw
        call = sc.ProcessSpawn(
            agent=draw.choice(("reader", "writer")),
            tenant=tenant if parent is None else None,
            hints=self.hints(),
            budget=self.budget() if draw.random() < self.scenario.budgeted else None,
            lease_s=draw.choice((None, None, None, 20.0)),
        )
        spawned = await (self.trap(parent, call) if calls is None else self.answered(calls(call)))
        if not isinstance(spawned, sc.Spawned):
            return None
        agent = Agent(spawned, tenant, may_use_tools=may_use_tools)
        agent.entitle(call, parent)
        self.agents.append(agent)
        return agent

    def hints(self) -> Hints:
        draw = self.draw
        return Hints(
            band=draw.choice((None, None, None, *BANDS)),
            priority=draw.choice((None, None, -10, 5)),
            deadline_s=draw.choice((None, None, 1.0, 30.0)),
            steps_left=draw.choice((None, 1, 5)),
            work_left=draw.choice((None, None, 50.0, 1000.0)),
        )

    def budget(self) -> Budget:
        draw = self.draw
        return draw.choice(
            (
                Budget(tokens=draw.choice((40, 60, 120))),
                Budget(tokens=draw.choice((300, 1000))),
                Budget(calls=draw.choice((1, 5, 20))),
                Budget(money=draw.choice((0.05, 0.5))),
                Budget(wall_s=draw.choice((2.0, 10.0))),
            )
        )

    # ---- generations

    def ask(self, agent: Agent, timeout_s: float | None = None) -> "asyncio.Task[None]":
        """Begin a generation; what comes of it is judged."""
        if timeout_s is None and self.draw.random() < self.scenario.timed:
            timeout_s = self.draw.choice((0.1, 1.0, 10.0))
        asked = self._make(agent, timeout_s, streams=self.draw.random() < 0.4)

        def deliver(delta: Delta) -> None:
            asked.call.delivered.append(delta.text)

        emit = deliver if asked.call.streams else None
        return self._begin(
            asked, lambda: self.kernel.trap(agent.token, asked.generate, emit=emit, timeout_s=timeout_s)
        )

    def ask_by(self, agent: Agent, calls: Calls) -> "asyncio.Task[None]":
        """Begin a generation that a tool makes for `agent`, by the system calls it was given."""
        asked = self._make(agent, None, streams=False)
        return self._begin(asked, lambda: calls(asked.generate))

    def _make(self, agent: Agent, timeout_s: float | None, *, streams: bool) -> Asked:
        draw = self.draw
        num_in, num_out = draw.choice((2, 5, 20)), draw.choice(self.scenario.lengths)
        call = self.facts.calls[len(self.facts.calls) + 1] = Call(
            len(self.facts.calls) + 1, num_in, num_out, streams=streams
        )
        generate = sc.LlmGenerate(
            messages=(Message("user", call.text),),
            model=draw.choice((None, None, *(plan.model for plan in self.scenario.plans.values()))),
            sampling=Sampling(max_tokens=draw.choice((num_out, num_out, 2 * num_out, 400))),
            hints=self.hints(),
            budget=self.budget() if draw.random() < 0.5 * self.scenario.budgeted else Budget(),
        )
        call.band, call.priority = entitled(agent, generate.hints)
        return Asked(agent, call, generate, self.facts.now, timeout_s)

    def _begin(self, asked: Asked, answering: Answering) -> "asyncio.Task[None]":
        number = asked.call.id
        task = self.asking[number] = asyncio.create_task(self._judge(asked, answering))
        task.add_done_callback(lambda _: self.asking.pop(number))
        return task

    async def _judge(self, asked: Asked, answering: Answering) -> None:
        call = asked.call
        try:
            answer = await answering()
        except asyncio.CancelledError:
            return
        except AiosError as error:
            if reason := why_not(asked, error, self.facts):
                self.facts.fail(f"call {call.id} was answered with {error!r}: {reason}")
            return
        assert isinstance(answer, sc.LlmAnswer)
        expected = call.answer(0, call.num_out)
        if answer.text != expected or (call.streams and "".join(call.delivered) != expected):
            self.facts.fail(f"call {call.id} was answered {answer.text!r}, by deltas {call.delivered!r}")
