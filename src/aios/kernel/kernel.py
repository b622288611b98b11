"""The kernel: boot, the trap, shutdown. Puts the parts together; each owns its own state."""

import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec import structs

from aios.abi.errors import Unavailable
from aios.abi.messages import Delta
from aios.abi.syscalls import CoreEntry, Reply, SystemCall
from aios.drivers.clock import Clock, SystemClock
from aios.drivers.documents.extracting import Allowed, Extractor
from aios.drivers.linefile import LineFile
from aios.drivers.llm import LLMDriver
from aios.drivers.sentences import SentenceModel
from aios.drivers.store import Store
from aios.drivers.toolbox import Calls
from aios.kernel.access import AccessManager
from aios.kernel.approvals import Approvals
from aios.kernel.audit import AuditLog
from aios.kernel.config import Config, CoreConfig, StorageConfig
from aios.kernel.context import ContextManager
from aios.kernel.cores.core import Core, Cores, is_going_on
from aios.kernel.dispatcher import Dispatcher
from aios.kernel.drivers import driver_of
from aios.kernel.effects import Effects
from aios.kernel.explaining import Explainer
from aios.kernel.finding.extracting import Extracting
from aios.kernel.finding.shelving import FileShelves
from aios.kernel.flight import Flight
from aios.kernel.generation import Generations
from aios.kernel.grants import Grants
from aios.kernel.groups import Groups
from aios.kernel.indexing import CoreEmbedder
from aios.kernel.journal import Journal
from aios.kernel.lifecycle import ProcessManager
from aios.kernel.managers import Managers
from aios.kernel.memory import MemoryManager
from aios.kernel.notes.shelving import NoteShelves
from aios.kernel.payers import Payers
from aios.kernel.points import Points
from aios.kernel.process import Caller, Limits, Process, ProcessTable, new_token
from aios.kernel.scheduling.choosing import policy_of, shares
from aios.kernel.scheduling.estimates import Estimates
from aios.kernel.scheduling.learning import Learning
from aios.kernel.scheduling.programs import Programs
from aios.kernel.scheduling.scheduler import Scheduler
from aios.kernel.shelves.embedding import Embedder, Embedding
from aios.kernel.shelves.shelf import Sources
from aios.kernel.shelves.tender import Tender
from aios.kernel.storage import StorageManager
from aios.kernel.tools import ToolManager

MAX_SLOTS = 4096
"""Of a core that does not say how many it has."""


class Kernel:
    """A kernel over one data folder. `async with Kernel(config) as kernel:` boots it and shuts it down.

    `drivers` are LLM drivers made already, by core name: the cores are those then, with the slots and limits
    that the configuration has for their names.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        drivers: Mapping[str, LLMDriver] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.config = config = config or Config.load()
        self._clock = clock = clock or SystemClock()
        self.operator_token = ""
        """Of the operator's process. Known once the kernel has booted."""
        self.journal = Journal(config.journal.max_events, config.journal.max_samples)
        self._flight = Flight(clock, self.journal, config.processes.max_calls)
        self._store = Store(config.data / "aios.db", reserve_bytes=config.store.reserve_bytes)
        self._effects = Effects(self._store, clock, config.store.max_keys, config.store.key_s)
        self.audit = AuditLog(self._store, clock)
        self._processes = ProcessTable(_limits(config), clock, self._on_end)
        self._grants = Grants(self._store, self.audit, config.access.max_grants)
        self._groups = Groups(self._store, self.audit, config.access.max_groups)
        self._lifecycle = ProcessManager(
            self._processes, self._store, self.audit, clock, self._effects.new_token
        )
        self._cores = Cores(_cores(config, drivers))
        sources = Sources({"notes": NoteShelves(), "files": FileShelves()})
        embedder = self._embedder()
        self._tender = Tender(
            self._store,
            sources,
            config.memory.max_index_bytes,
            None if embedder is None else Embedding(self._store, sources, clock, embedder),
        )
        self._memory = MemoryManager(
            self._store, config.memory, clock, self._grants, self._groups, self._tender
        )
        self._extracting = Extracting(
            self._store, clock, Extractor(clock, [config.data], _allowed(config.storage))
        )
        self._storage = StorageManager(
            self._store,
            config.storage,
            clock,
            self._tender,
            self._extracting,
            lent=config.mounts,
            protected=[config.data],
        )
        self._points = Points(self._store, config.context, clock)
        self._tools = ToolManager(config.tools, clock, self._calls_of, protected=[config.data])
        self._extracting.on_text = self._tender.changed
        self._context = ContextManager(config.context.max_snapshot_bytes + config.context.max_disk_bytes)
        self._learning = Learning(Estimates(), self._store)
        self._programs = Programs(
            {name: tenant.weight for name, tenant in config.tenants.items()}, self._learning
        )
        self._scheduler = Scheduler(
            policy_of(config.scheduler, self._programs),
            self._programs,
            config.scheduler.max_waiting,
            is_shared=shares(config.scheduler),
        )
        self._payers = Payers(
            {name: tenant.budget for name, tenant in config.tenants.items()},
            {core.name: core.config for core in self._cores},
            self._processes,
            self._store,
            clock,
        )
        self._dispatcher = self._make_dispatcher()
        self._lifecycle.on_suspend = self._dispatcher.suspend_process
        self._lifecycle.on_resume = self._dispatcher.resume_process
        self._parts = AsyncExitStack()
        """What has been started, to be closed in the opposite order."""
        self._is_running = False

    async def trap(
        self,
        token: str,
        call: SystemCall,
        *,
        emit: Callable[[Delta], None] | None = None,
        timeout_s: float | None = None,
        key: str = "",
    ) -> Reply:
        """The one door: answer a system call of the process that `token` was given to.

        `emit` takes the deltas of a streaming call, on the kernel's loop. Raises errors of `aios.abi.errors`,
        such as `DeadlineExceeded` after `timeout_s` seconds. Cancelling the awaiting task ends the call.

        Calls with the same idempotency `key` take effect once and are answered the same: made again with it,
        one that came to `OutcomeUnknown` is answered with what became of it. Reads and generations ignore it.
        """
        return await self._dispatcher.call(self._caller(token), call, emit, timeout_s, key=key)

    def verify(self, token: str) -> None:
        """Raise `Unauthenticated` unless a living process has `token`: the first thing `trap` does."""
        self._caller(token)

    def _caller(self, token: str) -> Process:
        if not self._is_running:
            raise Unavailable("the kernel is not running")
        return self._processes.authenticate(token)

    # ---- boot and shutdown

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Boot. Raises `Conflict` when another kernel has the data, `Unavailable` when a core can't start."""
        async with AsyncExitStack() as parts:
            await self._store.start()
            parts.push_async_callback(self._store.close)
            if self.config.journal.file:
                parts.callback(self._write_journal())
            await self.audit.start()
            await self._groups.start()
            await self._grants.start()
            await self._learning.start()
            parts.push_async_callback(self._learning.close)
            await self._payers.start()
            parts.push_async_callback(self._payers.close)
            parts.push_async_callback(self._tender.close)
            await self._tender.start()
            parts.push_async_callback(self._memory.close)
            await self._memory.start()
            parts.push_async_callback(self._storage.close)
            await self._storage.start()
            parts.push_async_callback(self._extracting.close)
            await self._extracting.start()
            await self._points.start()
            parts.push_async_callback(self._cores.close)
            await self._cores.start(self._clock)
            parts.push_async_callback(self._tools.close)
            await self._tools.start()
            parts.callback(self._processes.close)
            self.operator_token = _operator_token(self.config.data)
            await self._effects.start(self.operator_token)
            await self._lifecycle.start(self.operator_token)
            self._add_resources()
            parts.push_async_callback(self._dispatcher.close)
            self._parts = parts.pop_all()
        self._is_running = True
        await self._tender.begin()

    async def close(self) -> None:
        """Shut down: every call in flight ends as cancelled, then what they used is closed."""
        if not self._is_running:
            return
        self._is_running = False
        await self._parts.aclose()

    def _embedder(self) -> Embedder | None:
        """What turns texts into vectors for the index; None where it goes by letters alone."""
        kind, _, name = self.config.memory.embedding.partition(":")
        if kind == "model":
            return SentenceModel(Path(name).expanduser())
        if kind == "core":
            return CoreEmbedder(name, self._cores[name].model, self._ask, lambda: self.operator_token)
        return None

    async def _ask(self, token: str, call: SystemCall, timeout_s: float | None) -> Reply:
        return await self.trap(token, call, timeout_s=timeout_s)

    def _write_journal(self) -> Callable[[], None]:
        """Write the journal to its file, too, until what this returns is called."""
        config = self.config.journal
        file = LineFile(self.config.data / config.file, config.max_file_bytes, self._clock)
        unsubscribe = self.journal.subscribe(lambda event: file.append(msgspec.json.encode(event)))

        def stop() -> None:
            unsubscribe()
            file.flush()

        return stop

    def _add_resources(self) -> None:
        scheduler, config = self._scheduler, self.config
        for core in self._cores:
            scheduler.add_resource(core.name, core.config.slots or MAX_SLOTS, gate=core.gate)
        for queue, cores in self._cores.queues().items():
            stand_ins = self._cores.stand_ins(queue, cores)
            scheduler.add_queue(queue, cores, is_going_on=is_going_on(queue), stand_ins=stand_ins)
        for name, num_slots in (
            ("context", config.memory.max_parallel),
            ("memory", config.memory.max_parallel),
            ("storage", config.storage.max_parallel),
        ):
            scheduler.add_resource(name, num_slots)
            scheduler.add_queue(name, [name])
        scheduler.add_resource("tool", config.tools.max_parallel, is_selective=True)
        scheduler.add_queue("tool", ["tool"])

    def _make_dispatcher(self) -> Dispatcher:
        config, clock = self.config, self._clock
        approvals = Approvals(clock, config.access.approval_s, config.access.max_pending)
        access = AccessManager(
            clock,
            self.audit,
            self._grants,
            self._groups,
            approvals,
            self._processes,
            config.access,
        )
        generations = Generations(
            self._cores,
            self._context,
            self._scheduler,
            self.journal,
            clock,
            self._payers,
            self._flight,
            self._effects,
            max_answer_tokens=config.context.max_answer_tokens,
            fit=config.context.fit,
            seed=config.seed,
        )
        explainer = Explainer(
            self._flight,
            self._scheduler,
            self._cores,
            self._processes,
            self._payers,
            self._context,
            config,
            clock,
        )
        managers = Managers(
            self._effects,
            generations,
            self._points,
            self._memory,
            self._storage,
            self._tools,
            explainer,
            access,
            self._lifecycle,
        )
        dispatcher = Dispatcher(
            config.retry,
            clock,
            self.journal,
            self._flight,
            self._scheduler,
            access,
            approvals,
            self.audit,
            self._context,
            self._cores,
            managers,
            self._payers,
        )
        generations.on_broke = dispatcher.end
        explainer.on_drain = dispatcher.drain
        self._explainer = explainer
        return dispatcher

    def _on_end(self, process: Process) -> None:
        self._dispatcher.end_process(process)
        self._programs.ended(process)
        self._payers.ended(process)
        self._storage.process_ended(process.pid)
        if not self._processes.is_alive(process.principal):
            self._tools.forget_owner(process.principal)
            self._memory.ended(process.principal)

    def _calls_of(self, caller: Caller) -> Calls:
        """System calls made as a caller, for the tools it runs."""

        async def call(call: SystemCall) -> Reply:
            return await self._dispatcher.call(self._processes.get(caller.pid), call, is_nested=True)

        return call

    # ---- looking

    def cores(self) -> list[CoreEntry]:
        """Every LLM core as it stands."""
        return [self._explainer.entry(core) for core in self._cores]

    async def idle(self) -> None:
        """Wait until what its managers do besides calls is done, such as tending indexes."""
        await self._memory.idle()
        await self._storage.idle()
        await self._extracting.idle()
        await self._tender.idle()

    @property
    def is_storing(self) -> bool:
        """Whether its store has reads or writes out, which threads work on."""
        return self._store.statistics()["waiting"] > 0

    def statistics(self) -> dict[str, Any]:
        """Numbers since the boot: calls, tokens, times of generations, and what is held now."""
        return {
            **self.journal.statistics(),
            "processes": self._processes.num_alive,
            "in_flight": len(self._flight),
            "resources": self._scheduler.statistics(),
            "context": self._context.statistics(),
            "tools": self._tools.statistics(),
            "store": self._store.statistics(),
            "memory": self._memory.statistics(),
            "vectors": self._tender.statistics(),
            "spending": self._payers.statistics(),
            "cores": [structs.asdict(core) for core in self.cores()],
        }

    def check(self) -> None:
        """Assert what must always hold; for tests and whenever in doubt."""
        self._dispatcher.check()
        self._payers.check()
        self._tools.check()
        self._memory.check()


def _limits(config: Config) -> Limits:
    limits = config.processes
    return Limits(
        max_processes=limits.max_processes,
        max_ended=limits.max_ended,
        max_mail=limits.max_mail,
        max_mail_bytes=limits.max_mail_bytes,
    )


def _allowed(storage: StorageConfig) -> Allowed:
    return Allowed(
        storage.max_document_bytes,
        storage.max_document_letters,
        storage.document_s,
        storage.document_memory_bytes,
    )


def _cores(config: Config, drivers: Mapping[str, LLMDriver] | None) -> list[Core]:
    if drivers is None:
        return [Core(core, driver_of(core, config)) for core in config.cores]
    known = {core.name: core for core in config.cores}
    return [Core(known.get(name, CoreConfig(name=name)), driver) for name, driver in drivers.items()]


def _operator_token(data: Path) -> str:
    """The operator's token, kept in the data folder for its owner's eyes only; made on the first boot."""
    path = data / "operator.token"
    try:
        if token := path.read_text("ascii").strip():
            return token
        path.unlink()
    except FileNotFoundError:
        pass
    token = new_token()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
    return token
