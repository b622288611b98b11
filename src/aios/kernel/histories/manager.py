"""Executes the calls about histories, each as one function that runs in one transaction."""

from aios.abi import syscalls as sc
from aios.drivers.store import Store
from aios.kernel.config import MemoryConfig
from aios.kernel.histories import rows
from aios.kernel.process import Caller

HistoryCall = sc.MemoryAppend | sc.MemoryRead | sc.MemoryClear


class HistoryManager:
    def __init__(self, store: Store, config: MemoryConfig) -> None:
        self._store = store
        self._config = config

    async def start(self) -> None:
        """Make the tables. Raises what `Store.migrate` raises."""
        await self._store.migrate("history", rows.SCHEMA)

    async def execute(self, caller: Caller, call: HistoryCall) -> sc.Reply:
        """Raises what the functions of `rows` raise."""
        owner, limits = caller.principal, self._config
        match call:
            case sc.MemoryAppend(messages=messages):
                most = limits.max_history_messages, limits.max_history_bytes
                return await self._store.write(lambda c: rows.append(c, owner, messages, *most))
            case sc.MemoryRead(start=start, limit=limit):
                return await self._store.read(lambda c: rows.read(c, owner, start, limit))
            case sc.MemoryClear():
                return await self._store.write(lambda c: rows.clear(c, owner))
