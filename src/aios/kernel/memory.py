"""MEMORY MANAGER: hands each call of the group `memory` to the histories or to the notes.

By the time a call comes here the kernel has checked that its caller may make it.
"""

from typing import Any

from aios.abi import syscalls as sc
from aios.abi.errors import Internal
from aios.drivers.clock import Clock
from aios.drivers.store import Store
from aios.kernel.config import MemoryConfig
from aios.kernel.grants import Grants
from aios.kernel.groups import Groups
from aios.kernel.histories.manager import HistoryCall, HistoryManager
from aios.kernel.notes.manager import NoteCall, NoteManager
from aios.kernel.process import Caller
from aios.kernel.shelves.tender import Tender


class MemoryManager:
    def __init__(
        self,
        store: Store,
        config: MemoryConfig,
        clock: Clock,
        grants: Grants,
        groups: Groups,
        tender: Tender,
    ) -> None:
        self._histories = HistoryManager(store, config, clock)
        self._notes = NoteManager(store, config, clock, grants, groups, tender)

    async def start(self) -> None:
        """Make the tables. Raises what `Store.migrate` raises."""
        await self._histories.start()
        await self._notes.start()

    async def close(self) -> None:
        """Leave what goes on besides calls."""
        await self._notes.close()
        await self._histories.close()

    async def idle(self) -> None:
        """Wait until nothing goes on besides calls."""
        await self._notes.idle()
        await self._histories.idle()

    async def execute(self, caller: Caller, call: sc.SystemCall) -> sc.Reply:
        """Answer one call. Raises what the two managers raise."""
        if isinstance(call, HistoryCall):
            return await self._histories.execute(caller, call)
        if isinstance(call, NoteCall):
            return await self._notes.execute(caller, call)
        raise Internal(f"the memory manager was given a {type(call).__name__}")

    def ended(self, principal: str) -> None:
        """Nothing runs for this principal any more."""
        self._histories.ended(principal)

    def statistics(self) -> dict[str, Any]:
        return {"histories": self._histories.statistics()}

    def check(self) -> None:
        """Assert what must always hold."""
        self._histories.check()
