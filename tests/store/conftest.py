"""A store in a fresh folder, and its managers on a clock that stands still."""

from pathlib import Path

import pytest

from aios.abi import syscalls as sc
from aios.drivers.clock import ManualClock, SystemClock
from aios.drivers.documents.extracting import Extractor
from aios.drivers.store import Store
from aios.kernel.audit import AuditLog
from aios.kernel.config import MemoryConfig, StorageConfig
from aios.kernel.finding.extracting import Extracting
from aios.kernel.finding.shelving import FileShelves
from aios.kernel.grants import Grants
from aios.kernel.groups import Groups
from aios.kernel.memory import MemoryManager
from aios.kernel.notes.shelving import NoteShelves
from aios.kernel.process import Caller
from aios.kernel.shelves.embedding import Embedder, Embedding
from aios.kernel.shelves.shelf import Sources
from aios.kernel.shelves.tender import Tender
from aios.kernel.storage import StorageManager


class Agent:
    """Makes calls of one principal."""

    def __init__(self, managers: "Managers", principal: str) -> None:
        self._managers = managers
        self._caller = Caller(1, principal)

    async def __call__(self, call: sc.SystemCall) -> sc.Reply:
        is_memory = type(call).__name__.startswith("Memory")
        manager = self._managers.memory if is_memory else self._managers.storage
        return await manager.execute(self._caller, call)


class Managers:
    def __init__(
        self,
        store: Store,
        memory: MemoryConfig,
        storage: StorageConfig,
        embedder: Embedder | None = None,
    ) -> None:
        self.store = store
        self.clock = ManualClock()
        self.audit = AuditLog(store, self.clock)
        self.groups = Groups(store, self.audit, 100)
        self.grants = Grants(store, self.audit, 100)
        sources = Sources({"notes": NoteShelves(), "files": FileShelves()})
        embedding = None if embedder is None else Embedding(store, sources, self.clock, embedder)
        self.tender = Tender(store, sources, memory.max_index_bytes, embedding)
        self.memory = MemoryManager(store, memory, self.clock, self.grants, self.groups, self.tender)
        self.extracting = Extracting(store, self.clock, Extractor(SystemClock()))
        self.extracting.on_text = self.tender.changed
        self.storage = StorageManager(store, storage, self.clock, self.tender, self.extracting)

    def agent(self, principal: str = "alice") -> Agent:
        return Agent(self, principal)

    async def __aenter__(self) -> "Managers":
        await self.store.start()
        for part in (self.audit, self.groups, self.grants):
            await part.start()
        await self.tender.start()
        await self.memory.start()
        await self.storage.start()
        await self.extracting.start()
        await self.tender.begin()
        return self

    async def __aexit__(self, *exit: object) -> None:
        await self.memory.close()
        await self.extracting.close()
        await self.tender.close()
        await self.store.close()


def managers_at(
    path: Path,
    memory: MemoryConfig | None = None,
    storage: StorageConfig | None = None,
    embedder: Embedder | None = None,
) -> Managers:
    store = Store(path / "aios.db")
    return Managers(store, memory or MemoryConfig(), storage or StorageConfig(), embedder)


@pytest.fixture
def at():
    """Makes managers over the data in a folder."""
    return managers_at


@pytest.fixture
async def managers(tmp_path):
    async with managers_at(tmp_path) as managers:
        yield managers


@pytest.fixture
def agent(managers):
    return managers.agent()
