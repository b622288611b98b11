"""Arms: who stands between the agents and the upstream. Nobody, with one of the usual ways to try again; the
engine's own queue; or the kernel here, under each of its policies.

An arm is opened over an upstream in this process; over the wire see `wire.py`. What an arm gives is a way to
run one program: a context whose value makes its calls.
"""

import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol

from msgspec import Struct, structs

from aios.abi.errors import AiosError
from aios.abi.messages import Message
from aios.abi.syscalls import Hints
from aios.bench.schedule.program import Program, service_left
from aios.bench.schedule.workload import Workload
from aios.bench.upstream.direct import Direct, InProcess, Lost, Retries, Spread
from aios.bench.upstream.model import Upstream, UpstreamConfig
from aios.bench.upstream.work import CHARS_PER_TOKEN, Work, prompt_of
from aios.bench.virtual import UpstreamDriver, virtual_kernel
from aios.drivers.llm import SnapshotKind
from aios.kernel.config import Config, CoreConfig, RetryConfig, SchedulerConfig, TenantConfig
from aios.sdk import transport
from aios.sdk.client import Client

LOST = (Lost, AiosError)
"""What ends a program as lost."""

Caller = Callable[[int, Work], Awaitable[object]]
"""Makes one call of a program: the number of its step, and its work. Raises one of `LOST`."""

Begin = Callable[[Program], AbstractAsyncContextManager[Caller]]
"""Begins a program; it is over when the context ends."""

CORE = "upstream"


class Arm(Protocol):
    @property
    def name(self) -> str: ...

    def upstream(self, config: UpstreamConfig) -> UpstreamConfig:
        """The workload's upstream as this arm has it."""
        ...

    def opened(
        self, upstreams: Sequence[Upstream], workload: Workload, seed: int
    ) -> AbstractAsyncContextManager[Begin]: ...


class DirectArm(Struct, frozen=True):
    """Agents on their own. `queues`: the engine has a queue of its own and turns nobody away.

    Of several replicas they take one by chance, or each the one that its conversation began on.
    """

    name: str
    retries: Retries
    queues: bool = False
    is_sticky: bool = False

    def upstream(self, config: UpstreamConfig) -> UpstreamConfig:
        return structs.replace(config, mode="engine") if self.queues else config

    @asynccontextmanager
    async def opened(
        self, upstreams: Sequence[Upstream], workload: Workload, seed: int
    ) -> AsyncIterator[Begin]:
        replicas = Spread([InProcess(upstream) for upstream in upstreams], seed, is_sticky=self.is_sticky)
        yield beginning(Direct(replicas, self.retries, seed))


def beginning(direct: Direct) -> Begin:
    @asynccontextmanager
    async def begin(program: Program) -> AsyncIterator[Caller]:
        yield lambda step, work: direct.call(work)

    return begin


Told = Literal["nothing", "limits"]
Says = Literal["nothing", "steps", "work"]
"""What agents say of what is left of them: its steps, or its work, as only an oracle could."""


class KernelArm(Struct, frozen=True):
    """The kernel here. `told` is whether its configuration has the upstream's limits."""

    name: str
    scheduler: SchedulerConfig
    told: Told = "limits"
    says: Says = "nothing"
    can_interrupt: bool = False
    is_forgetful: bool = False
    """Whether each call looks like a new conversation, so that nothing can be known of caches."""
    data: Path | None = None
    """Where it keeps what it learns; None for a folder that ends with it."""

    def upstream(self, config: UpstreamConfig) -> UpstreamConfig:
        return config

    @asynccontextmanager
    async def opened(
        self, upstreams: Sequence[Upstream], workload: Workload, seed: int
    ) -> AsyncIterator[Begin]:
        snapshots: SnapshotKind = "state" if self.can_interrupt else "none"
        core = core_config(workload.upstream, self.told)
        cores = [structs.replace(core, name=f"{CORE}-{number}") for number in range(len(upstreams))]
        drivers = {
            core.name: UpstreamDriver(upstream, model=CORE, snapshot_kind=snapshots)
            for core, upstream in zip(cores, upstreams, strict=True)
        }
        with tempfile.TemporaryDirectory(prefix="aios-schedule-", dir=memory_folder()) as folder:
            config = self.config(self.data or Path(folder), cores, workload, seed)
            async with virtual_kernel(config, drivers) as kernel:
                yield self.beginning(transport.InProcess(kernel.trap), kernel.operator_token)

    def config(self, data: Path, cores: Sequence[CoreConfig], workload: Workload, seed: int) -> Config:
        tenants = {name: TenantConfig(weight=weight) for name, weight in workload.weights.items()}
        return Config(
            data=data, seed=seed, cores=tuple(cores), scheduler=self.scheduler, tenants=tenants, retry=PATIENT
        )

    def beginning(self, way: transport.Transport, token: str) -> Begin:
        """Each program is a process, spawned by whoever's token this is."""
        operator = Client(way, token)

        @asynccontextmanager
        async def begin(program: Program) -> AsyncIterator[Caller]:
            hints = Hints(deadline_s=program.deadline_s, priority=program.priority or None)
            spawned = await operator.process.spawn(program.kind, tenant=program.tenant, hints=hints)
            client = Client(way, spawned.token)
            try:
                yield lambda step, work: client.llm.generate(
                    self._messages(program, step, work),
                    max_tokens=limit_of(work),
                    hints=self._hints(program, step),
                )
            finally:
                with suppress(AiosError):
                    await client.process.exit()

        return begin

    def _messages(self, program: Program, step: int, work: Work) -> list[Message]:
        """The conversation so far, and what is asked now."""
        if not work.conversation:
            return [Message("user", prompt_of(work))]
        messages = conversation(program, step, work)
        return [Message("system", f"call {work.id}"), *messages] if self.is_forgetful else messages

    def _hints(self, program: Program, step: int) -> Hints:
        match self.says:
            case "steps":
                return Hints(steps_left=len(program.steps) - step)
            case "work":
                return Hints(work_left=service_left(program, step))
            case _:
                return Hints()


def conversation(program: Program, step: int, work: Work) -> list[Message]:
    """The system prompt, what was said in the steps before, and the newest question."""
    messages = [Message("system", f"kind {work.kind} ".ljust(CHARS_PER_TOKEN * work.n_shared, "."))]
    n_before = work.n_shared
    for earlier in program.steps[:step]:
        said = earlier.works[0]
        answer = Message("assistant", "word" * said.n_out)
        messages += [Message("user", prompt_of(said, n_before)), answer]
        n_before = said.num_tokens
    return [*messages, Message("user", prompt_of(work, n_before))]


def memory_folder() -> str | None:
    """A file system without a disk behind it, so that no run waits for one; None where there is none."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


PATIENT = RetryConfig(max_attempts=20, give_up_s=3600.0)
"""An outage or a full upstream shall not end a call: agents wait for as long as it takes."""


def core_config(config: UpstreamConfig, told: Told, **wire: Any) -> CoreConfig:
    """The upstream in the kernel's configuration; `wire` is how to reach it, where it must be reached."""
    if told == "nothing":
        return CoreConfig(name=CORE, model=CORE, slots=0, **wire)
    return CoreConfig(
        name=CORE,
        model=CORE,
        slots=0 if config.mode in ("rate", "burn", "memory") and not config.slots else config.slots,
        tokens_in_flight=config.memory_tokens,
        requests_per_minute=config.rpm,
        tokens_per_minute=config.tpm,
        **wire,
    )


def limit_of(work: Work) -> int:
    """What an agent asks for at most: it does not know what will come, but the next power of two."""
    return 1 << max(5, (work.n_out - 1).bit_length())
