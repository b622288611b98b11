"""Histories on a store, and agents that use them."""

from aios.abi import syscalls as sc
from aios.abi.messages import Message
from aios.drivers.clock import ManualClock
from aios.kernel.histories.manager import HistoryManager
from aios.kernel.process import DEFAULT_TENANT, Caller


class Agent:
    """Makes calls of one principal."""

    def __init__(self, manager, principal, tenant=DEFAULT_TENANT):
        self._manager = manager
        self._caller = Caller(1, principal, tenant=tenant)

    async def __call__(self, call):
        return await self._manager.execute(self._caller, call)

    async def append(self, *texts, **fields):
        """Messages of a user with these texts."""
        messages = tuple(Message("user", text) for text in texts)
        return await self(sc.MemoryAppend(messages=messages, **fields))

    async def texts(self, **fields):
        """What a history says, read in as many replies as it takes."""
        texts = []
        while True:
            reply = await self(sc.MemoryRead(start=len(texts), **fields))
            texts += [message.text for message in reply.messages]
            if len(texts) >= reply.num_messages:
                return texts
            assert reply.messages


class Histories:
    """A manager on a store, which can be left for another as if the kernel had been started anew."""

    def __init__(self, store, config):
        self.store = store
        self.config = config
        self.clock = ManualClock()

    async def start(self, config=None):
        self.config = config or self.config
        self.manager = HistoryManager(self.store, self.config, self.clock)
        await self.manager.start()

    def agent(self, principal="alice", tenant=DEFAULT_TENANT):
        return Agent(self.manager, principal, tenant)

    async def all(self, query, *values):
        return await self.store.read(lambda c: c.execute(query, values).fetchall())

    async def change(self, query, *values):
        await self.store.write(lambda c: c.execute(query, values).fetchall())
