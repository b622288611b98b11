"""Histories against a dictionary of lists: whatever is done, in whatever order, they say the same."""

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from aios.abi import syscalls as sc
from aios.abi.errors import Conflict, NotFound, QuotaExceeded
from aios.abi.messages import Message
from aios.kernel.config import MemoryConfig
from aios.kernel.histories import nodes, trie
from aios.kernel.histories.rows import lines_of

NUM_EXAMPLES = int(os.environ.get("AIOS_HISTORY_EXAMPLES", "60"))

OWNERS = ("alice", "bob")
NAMES = ("main", "b", "c")
TEXTS = (
    *("yes", "no", "maybe\nlater", "é" * 9),
    "shared beginning " * 8 + "one",
    "shared beginning " * 8 + "two",
    "shared beginning " * 40 + "far",
    "shared beginning " * 40 + "away",
    "0123456789" * 100,
)

owners, names = st.sampled_from(OWNERS), st.sampled_from(NAMES)
texts = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=6)
places = st.integers(0, 12)
operations = st.one_of(
    *2 * [st.tuples(st.just("append"), owners, names, texts)],
    st.tuples(st.just("read"), owners, names, places, st.integers(1, 5)),
    st.tuples(st.just("fork"), owners, names, owners, names, places),
    st.tuples(st.just("clear"), owners, names, st.one_of(st.just(0), places)),
    st.tuples(st.just("pin"), owners, names, st.booleans()),
    st.tuples(st.sampled_from(("evict", "restart", "end")), owners),
)

SMALL = {"NODE_BYTES": 1024, "SHARED_BYTES": 64, "PACK_BYTES": 128}


class Both:
    """The histories, and the lists that they should be."""

    def __init__(self, histories, tenant):
        self._histories = histories
        self._tenant = tenant
        self.lists = {}

    def key(self, owner, name):
        return f"{self._tenant}.{owner}", name

    def agent(self, owner):
        return self._histories.agent(f"{self._tenant}.{owner}", self._tenant)

    async def do(self, verb, owner, *rest):
        await getattr(self, verb)(owner, *rest)

    async def append(self, owner, name, texts):
        reply = await self.agent(owner).append(*texts, history=name)
        self.lists.setdefault(self.key(owner, name), []).extend(texts)
        assert reply.num_messages == len(self.lists[self.key(owner, name)])

    async def read(self, owner, name, start, limit):
        reply = await self.agent(owner)(sc.MemoryRead(history=name, start=start, limit=limit))
        expected = self.lists.get(self.key(owner, name), [])
        assert reply.num_messages == len(expected)
        assert [message.text for message in reply.messages] == expected[start : start + limit]

    async def fork(self, owner, name, source_owner, source, at):
        expected = self.lists.get(self.key(source_owner, source))
        at = min(at, len(expected or ())) or None
        call = sc.MemoryFork(to=name, history=source, at=at, owner=self.key(source_owner, "")[0])
        try:
            reply = await self.agent(owner)(call)
        except NotFound:
            assert expected is None
        except Conflict:
            assert self.key(owner, name) in self.lists
        else:
            self.lists[self.key(owner, name)] = expected[:at]
            assert reply.num_messages == len(expected[:at])

    async def clear(self, owner, name, start):
        await self.agent(owner)(sc.MemoryClear(history=name, start=start))
        kept = self.lists.pop(self.key(owner, name), [])[:start]
        if kept:
            self.lists[self.key(owner, name)] = kept

    async def pin(self, owner, name, pinned):
        try:
            await self.agent(owner)(sc.MemoryPin(history=name, pinned=pinned))
        except NotFound:
            assert self.key(owner, name) not in self.lists

    async def evict(self, owner):
        self._histories.clock.advance(1000)
        blocks = self._histories.manager._blocks
        blocks._evict(blocks._queue.coldest(2000, self._histories.clock.now()))

    async def restart(self, owner):
        await self._histories.manager.close()
        await self._histories.start()

    async def end(self, owner):
        self._histories.manager.ended(self.key(owner, "")[0])

    async def check(self):
        """Reading each whole finds what it should, and so it does from disk alone."""
        for _ in range(2):
            for (owner, name), expected in self.lists.items():
                agent = self._histories.agent(owner, self._tenant)
                assert await agent.texts(history=name) == expected
            await self.restart("")

    def least_bytes(self):
        """What it takes to keep each message once that has the same before it."""
        beginnings = {tuple(found[:at]) for found in self.lists.values() for at in range(1, len(found) + 1)}
        return sum(len(lines_of([Message("user", beginning[-1])])) for beginning in beginnings)


@settings(max_examples=NUM_EXAMPLES)
@given(steps=st.lists(operations, max_size=40))
async def test_histories_are_lists(histories, monkeypatch, steps):
    for name, size in SMALL.items():
        for module in (nodes, trie):
            monkeypatch.setattr(module, name, size, raising=False)
    await histories.start(MemoryConfig(history_block_bytes=20_000, history_memory_bytes=40_000))
    number = getattr(histories, "number", 0)
    histories.number = number + 1
    both = Both(histories, f"t{number}")
    for step in steps:
        try:
            await both.do(*step)
        except QuotaExceeded:  # Of what may be pinned.
            assert step[0] in ("pin", "append")
        histories.manager.check()
    await both.check()
    await check_disk(histories, both)
    for owner, name in both.lists:
        await histories.agent(owner)(sc.MemoryClear(history=name))
    assert await histories.all("SELECT count(*) FROM history_nodes WHERE parent IS NOT NULL") == [(0,)]
    assert await histories.all("SELECT count(*) FROM history_totals") == [(0,)]


async def check_disk(histories, both):
    """What is kept is no more than needed, all in order, and counted."""
    rows = await histories.all(
        "SELECT id, parent, start, end, (SELECT count(*) FROM history_nodes WHERE parent = n.id), "
        "(SELECT max(num_bytes) FROM histories WHERE node = n.id), "
        "(SELECT min(num_bytes) FROM histories WHERE node = n.id) FROM history_nodes n"
    )
    by_id = {row[0]: row for row in rows}
    total = 0
    for _, parent, start, end, num_below, last, first in rows:
        if parent is None:
            assert last is None
            continue
        total += end - start
        assert start == by_id[parent][3]
        assert start < end
        if num_below == 0:
            assert last == end
        if last is not None:
            assert start < first <= last <= end
    assert total <= both.least_bytes()
    counted = await histories.all("SELECT owner, num_histories, num_bytes, pinned_bytes FROM history_totals")
    found = await histories.all(
        "SELECT owner, count(*), sum(num_bytes), sum(CASE is_pinned WHEN 1 THEN num_bytes + 2048 ELSE 0 END) "
        "FROM histories GROUP BY owner"
    )
    assert sorted(counted) == sorted(found)
