"""The calls `core.*`: every core as it stands, and why generations of a process wait, or ran when they did.

Only looks: what changes something is passed on. Sentences are made from what the scheduler and the gates
know.
"""

import math
from collections.abc import Callable

from aios.abi import syscalls as sc
from aios.abi.errors import Internal, NotFound
from aios.abi.syscalls import BANDS
from aios.drivers.clock import Clock
from aios.drivers.llm import Mover
from aios.kernel.config import Config
from aios.kernel.context import ContextManager
from aios.kernel.cores.core import Core, Cores
from aios.kernel.flight import Flight
from aios.kernel.payers import Payers
from aios.kernel.process import Process, ProcessTable
from aios.kernel.program import Decision
from aios.kernel.scheduling.scheduler import Resource, Scheduler
from aios.kernel.task import Task


class Explainer:
    """Executes `core.*`. Who may ask was decided before (access.py)."""

    def __init__(
        self,
        flight: Flight,
        scheduler: Scheduler,
        cores: Cores,
        processes: ProcessTable,
        payers: Payers,
        context: ContextManager,
        config: Config,
        clock: Clock,
    ) -> None:
        self._flight = flight
        self._scheduler = scheduler
        self._cores = cores
        self._processes = processes
        self._payers = payers
        self._context = context
        self._policy = config.scheduler.policy
        self._clock = clock
        self.on_drain: Callable[[str, bool], None] = lambda core, is_draining: None
        """Told which core is to take no new calls any more, or takes them again."""

    async def execute(self, process: Process, call: sc.SystemCall) -> sc.Reply:
        """Answer one call of the group `core`."""
        match call:
            case sc.CoreList():
                return sc.CoreEntries(tuple(self.entry(core) for core in self._cores))
            case sc.CoreExplain(pid=pid):
                return self._explain(process if pid is None else self._processes.get(pid))
            case sc.CoreDrain(core=name) | sc.CoreUndrain(core=name):
                if name not in self._scheduler.resources or self._scheduler.resources[name].gate is None:
                    raise NotFound(f"there is no core {name!r}")
                self.on_drain(name, isinstance(call, sc.CoreDrain))
                return sc.Done()
        raise Internal(f"the explainer was given a {type(call).__name__}")

    def entry(self, core: Core) -> sc.CoreEntry:
        """A core as it stands now."""
        now = self._clock.now()
        gate = core.gate.statistics(now)
        resource = self._scheduler.resources.get(core.name)
        waits_s = gate.opens_at - now
        return sc.CoreEntry(
            name=core.name,
            model=core.model,
            kind=core.config.kind,
            health=gate.health,
            slots=gate.slots,
            window=gate.window,
            running=gate.running,
            waiting=resource.num_waiting if resource else 0,
            tokens_in_flight=gate.tokens,
            opens_in_s=round(waits_s, 3) if 0 < waits_s < math.inf else None,
            rates=tuple(
                sc.RateEntry(bucket.name, round(bucket.per_minute, 1), round(bucket.remaining, 1))
                for bucket in gate.buckets
            ),
            tokens=core.num_tokens,
            tokens_per_s=round(core.rate(now), 1),
            failures=core.num_failures,
            spent=core.spent,
            draining=resource is not None and resource.is_draining,
            fault=core.fault.message if core.fault is not None else "",
        )

    def _explain(self, process: Process) -> sc.Explanation:
        now = self._clock.now()
        program = self._scheduler.programs.find(process.program)
        tasks = [task for task in self._flight.tasks_of(process) if isinstance(task.call, sc.LlmCall)]
        decisions = () if program is None else tuple(self._decided(one, now) for one in program.decisions)
        return sc.Explanation(
            pid=process.pid,
            program=process.program,
            tenant=process.tenant,
            policy=self._policy,
            band=process.hints.band or BANDS[0],
            service=0.0 if program is None else round(program.service, 1),
            waited_s=0.0 if program is None else round(program.waited(now), 3),
            ran_s=0.0 if program is None else round(program.ran_s, 3),
            calls=tuple(self._call(task, now) for task in tasks),
            decisions=decisions,
        )

    def _call(self, task: Task, now: float) -> sc.CallExplained:
        if task.resource is not None:
            seconds = now - task.slice_began
            return sc.CallExplained(task.id, "runs", seconds, f"it has a slot of core {task.resource}")
        seconds = now - task.waits_since
        if task.approval is not None and task.queue is None:
            return sc.CallExplained(task.id, "asks", seconds, "a person has to agree first")
        if task.is_held:
            return sc.CallExplained(task.id, "is held", seconds, "its process is suspended")
        if task.queue is None:
            reason = "it waits for running calls on the same budget to give back what they hold"
            return sc.CallExplained(task.id, "waits", seconds, reason)
        ahead = self._scheduler.ahead_of(task, now)
        key = self._scheduler.key_of(task, now)
        reason = self._why(task, ahead, now) + self._kept(task)
        return sc.CallExplained(task.id, "waits", seconds, reason, ahead, key)

    def _kept(self, task: Task) -> str:
        """What there is of it to go on from, and where."""
        kept = self._context.kept(task.id)
        if kept is None:
            return ""
        driver, num_tokens = self._cores[kept.core].driver, kept.snapshot.num_tokens
        place = driver.place_of(kept.snapshot) if isinstance(driver, Mover) else "kept as text"
        return f"; its state after {num_tokens} tokens on core {kept.core} is {place}"

    def _why(self, task: Task, ahead: int, now: float) -> str:
        assert task.queue is not None
        served_by = self._scheduler.resources_of(task.queue)
        doors = "; ".join(self._door(resource, task, now) for resource in served_by)
        if not ahead:
            return f"it is the next, and {doors}"
        return f"{ahead} go before it by {self._policy}, and {doors}"

    def _door(self, resource: Resource, task: Task, now: float) -> str:
        """What keeps this call out of a core now."""
        assert task.demand is not None
        gate = self._cores[resource.name].gate.statistics(now)
        opens_at = self._cores[resource.name].gate.opens_at(now, task.demand.num_tokens, task.demand)
        name, opens_in = f"core {resource.name}", _seconds(opens_at - now)
        if resource.is_draining:
            return f"{name} is being drained and takes no new calls"
        if gate.health == "exhausted":
            return f"{name} has no quota left at its provider{opens_in}"
        if gate.health == "misconfigured":
            return f"{name} is refused for its key, address or model{opens_in}"
        if gate.health in ("open", "probing"):
            return f"{name} fails and is left alone{opens_in}"
        if gate.running >= gate.window:
            return f"{name} runs {gate.running} calls, all that it bears now"
        if opens_at == math.inf:
            return f"{name} has no room for its tokens until a call ends"
        if opens_at > now:
            used_up = ", ".join(bucket.name for bucket in gate.buckets if bucket.remaining < 1)
            return f"{name} is at its rate limit{f' of {used_up}' if used_up else ''}{opens_in}"
        better_until = self._scheduler.better_elsewhere_until(task, resource)
        if better_until > now:
            left = f"{name} would have to read what core {task.demand.home} has cached, and is left"
            return left + _seconds(better_until - now)
        return f"{name} has room"

    def _decided(self, decision: Decision, now: float) -> sc.DecisionExplained:
        key = ", ".join(f"{part:g}" for part in decision.key)
        reason = f"after {decision.waited_s:.3f} s of waiting, as the first by {self._policy} ({key})"
        if decision.num_left:
            reason += f"; {decision.num_left} calls went on waiting"
        return sc.DecisionExplained(decision.task, decision.core, round(now - decision.at, 3), reason)


def _seconds(opens_in: float) -> str:
    return f", until {opens_in:.1f} s from now" if 0 < opens_in < math.inf else ""
