"""Executes the calls about histories: on disk first, then in memory what is known to be on disk.

What is in memory is read without the disk; what a reading needs besides is brought in. Writes come to memory
in the order in which they were committed, and what was read from disk while one was under way is answered but
not kept: so what memory says of a history is what the disk does.
"""

import asyncio
from collections.abc import Callable, Sequence

import apsw

from aios.abi import syscalls as sc
from aios.abi.errors import OutcomeUnknown
from aios.drivers.clock import Clock
from aios.drivers.store import Manner, Store
from aios.kernel.config import MemoryConfig
from aios.kernel.histories import book, rows
from aios.kernel.histories.blocks import Blocks
from aios.kernel.histories.book import Key, Row
from aios.kernel.histories.handles import Handle, Handles
from aios.kernel.histories.nodes import Node, Text
from aios.kernel.histories.packer import Packer
from aios.kernel.histories.reading import Piece, Step, Trail, decode, piece_of
from aios.kernel.histories.rows import Written
from aios.kernel.histories.schema import STEPS
from aios.kernel.histories.traffic import Traffic
from aios.kernel.histories.trie import Gone, Grown
from aios.kernel.process import Caller

HistoryCall = (
    sc.MemoryAppend | sc.MemoryRead | sc.MemoryClear | sc.MemoryFork | sc.MemoryHistories | sc.MemoryPin
)

Work = Callable[[apsw.Connection], Written]
ReplyOf = Callable[[Written], sc.Reply]


class HistoryManager:
    def __init__(self, store: Store, config: MemoryConfig, clock: Clock) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._blocks = Blocks(config.history_block_bytes, config.history_memory_bytes)
        self._handles = Handles(self._blocks, config.history_memory_bytes)
        self._packer = Packer(store)
        self._traffic = Traffic()
        self._writes: set[asyncio.Task[Written]] = set()
        self._next: asyncio.Handle | None = None
        self.num_hits = self.num_misses = 0
        """Nodes that readings needed, and found in memory or not."""

    async def start(self) -> None:
        """Make the tables. Raises what `Store.migrate` raises."""
        await self._store.migrate("history", STEPS)

    async def close(self) -> None:
        """Finish the writes under way."""
        await self._written()
        if self._next is not None:
            self._next.cancel()
        await self._packer.close()

    async def idle(self) -> None:
        """Wait until nothing goes on besides calls."""
        await self._written()
        await self._packer.idle()

    async def execute(self, caller: Caller, call: HistoryCall) -> sc.Reply:
        """Raises what the functions of `rows` raise."""
        match call:
            case sc.MemoryAppend(history=name, owner=owner):
                return await self._append(caller, Key(owner or caller.principal, name), call)
            case sc.MemoryRead(history=name, owner=owner):
                return await self._read(Key(owner or caller.principal, name), call.start, call.limit)
            case sc.MemoryClear(history=name, owner=owner):
                return await self._clear(Key(owner or caller.principal, name), call.start)
            case sc.MemoryFork(history=name, owner=owner):
                return await self._fork(caller, Key(owner or caller.principal, name), call)
            case sc.MemoryHistories(owner=owner):
                return await self._list(owner or caller.principal, call.after, call.limit)
            case sc.MemoryPin(history=name, owner=owner):
                return await self._pin(Key(owner or caller.principal, name), call.pinned)

    def ended(self, owner: str) -> None:
        """Nothing runs for `owner` any more."""
        self._blocks.ended(owner)

    def statistics(self) -> dict[str, int]:
        return {
            **self._blocks.statistics(),
            "bytes": self._blocks.num_bytes + self._handles.num_bytes,
            "histories": len(self._handles),
            "hits": self.num_hits,
            "misses": self.num_misses,
        }

    def check(self) -> None:
        """Assert that what is counted is what is there."""
        self._blocks.check()
        self._handles.check()

    # ---- the calls

    async def _append(self, caller: Caller, key: Key, call: sc.MemoryAppend) -> sc.Reply:
        tenant, now, config = caller.tenant, self._clock.time(), self._config
        return await self._write(
            key, lambda c: rows.append(c, key, tenant, call.messages, now, config), _length
        )

    async def _fork(self, caller: Caller, source: Key, call: sc.MemoryFork) -> sc.Reply:
        to, tenant = Key(caller.principal, call.to), caller.tenant
        now, config = self._clock.time(), self._config
        known = self._handles.get(source)
        return await self._write(
            to,
            lambda c: rows.fork(c, source, call.at, to, tenant, now, config),
            _length,
            known.trail if known else None,
        )

    async def _clear(self, key: Key, start: int) -> sc.Reply:
        now = self._clock.time()
        return await self._write(key, lambda c: rows.clear(c, key, start, now), _done)

    async def _pin(self, key: Key, is_pinned: bool) -> sc.Reply:
        return await self._write(key, lambda c: rows.pin(c, key, is_pinned, self._config), _done)

    async def _list(self, owner: str, after: str, limit: int) -> sc.HistoryEntries:
        found = await self._store.read(lambda c: book.listed(c, owner, after, limit))
        return sc.HistoryEntries(tuple(map(_entry, found)))

    async def _read(self, key: Key, start: int, limit: int) -> sc.History:
        handle, pieces = self._handles.get(key), None
        if handle is not None:
            steps = handle.trail.span(start, limit, handle.num_bytes) if start < handle.num_messages else []
            pieces = await self._pieces(key, steps)
        if handle is None or pieces is None:
            handle, steps, pieces = await self._fetch(key, start, limit)
        if handle is None:
            return sc.History(0)
        if not steps:
            return sc.History(handle.num_messages)
        skip = start - handle.trail.num_before(steps[0])
        messages = await decode(steps, pieces, skip, min(limit, handle.num_messages - start))
        return sc.History(handle.num_messages, tuple(messages))

    # ---- reading

    async def _pieces(self, key: Key, steps: Sequence[Step]) -> list[Piece] | None:
        """The text of these nodes; None where a node is not what the trail says any more."""
        found = self._in_memory(key, steps)
        missing = [at for at, piece in enumerate(found) if piece is None]
        if missing:
            ids = [steps[at].node_id for at in missing]
            texts = await self._store.read(lambda connection: rows.texts(connection, ids))
            for at, text in zip(missing, texts, strict=True):
                found[at] = None if text is None else piece_of(text)
            self._keep(key, [text for text in texts if text is not None])
        pieces = [piece for piece, step in zip(found, steps, strict=True) if piece and piece.covers(step)]
        return pieces if len(pieces) == len(steps) else None

    async def _fetch(self, key: Key, start: int, limit: int) -> tuple[Handle | None, list[Step], list[Piece]]:
        """A history, and the text of it that a reading needs, all from one state of the disk."""
        with self._traffic.reading(key.owner) as reading:
            found = await self._store.read(lambda connection: rows.find(connection, key, start, limit))
            if found is None:
                return None, [], []
            if reading.is_current:
                self._handles.put(key, found.row, found.trail)
        self._in_memory(key, found.steps)
        self._keep(key, found.texts)
        handle = Handle(found.trail, found.row.num_messages, found.row.num_bytes, found.row.is_pinned)
        return handle, found.steps, [piece_of(text) for text in found.texts]

    def _in_memory(self, key: Key, steps: Sequence[Step]) -> list[Piece | None]:
        """What of these nodes is in memory; they count as used."""
        now, by = self._clock.now(), hash(key)
        found = [self._blocks.read(step.node_id, key.owner, by, now) for step in steps]
        for at, (step, piece) in enumerate(zip(steps, found, strict=True)):
            if piece is not None and not piece.covers(step):
                self._blocks.drop(step.node_id)
                found[at] = None
        num_missing = found.count(None)
        self.num_hits += len(found) - num_missing
        self.num_misses += num_missing
        return found

    def _keep(self, key: Key, texts: Sequence[Text]) -> None:
        """Bring in what was read from disk."""
        now, by = self._clock.now(), hash(key)
        for text in texts:
            if text.node.id not in self._blocks:
                self._blocks.put(text, key.owner, by, now)
                self._make_room(key.owner)

    # ---- writing

    async def _write(self, key: Key, work: Work, reply: ReplyOf, trail: Trail | None = None) -> sc.Reply:
        """Change a history. What was committed comes to memory even if nobody waits for it any more.

        `trail` is a way on which its end may lie, besides its own.
        """
        commit = self._commit(key, work, reply, trail, self._store.manner())
        task = asyncio.get_running_loop().create_task(commit)
        self._writes.add(task)
        task.add_done_callback(self._settled)
        return reply(await asyncio.shield(task))

    async def _written(self) -> None:
        await asyncio.gather(*self._writes, return_exceptions=True)

    def _settled(self, task: "asyncio.Task[Written]") -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # It was raised where the write is awaited, if anyone still does.

    async def _commit(
        self, key: Key, work: Work, reply: ReplyOf, trail: Trail | None, manner: Manner
    ) -> Written:
        with self._traffic.writing(key.owner):
            try:
                with self._store.writing(manner):
                    written = await self._store.write(work, reply=reply)
            except OutcomeUnknown:
                self._handles.drop_all(key.owner)
                raise
            self._apply(key, written, trail)
        return written

    def _apply(self, key: Key, written: Written, trail: Trail | None) -> None:
        """Have memory know what was committed."""
        now, by = self._clock.now(), hash(key)
        own = {node.id for node in written.path}
        for change in written.changes:
            match change:
                case Text(node=node):
                    if node.id in own:
                        self._blocks.put(change, key.owner, by, now)
                    else:
                        self._blocks.replace(change)
                case Grown():
                    self._blocks.grow(change, key.owner, by, now)
                case Gone(node_id=node_id):
                    self._blocks.drop(node_id)
            self._make_room(key.owner)
        self._follow(key, written, trail)

    def _follow(self, key: Key, written: Written, trail: Trail | None) -> None:
        """Keep what is known of the history from now on, where the way to its end is known."""
        old = self._handles.get(key)
        row, known = written.row, old.trail if old else trail
        way = None
        if row is not None:
            way = _grown(known, written.path) if written.path else known and known.upper(row.node)
        if row is None or way is None:
            self._handles.drop(key)
        else:
            self._handles.put(key, row, way)

    def _make_room(self, owner: str | None) -> None:
        self._packer.add(self._blocks.make_room(owner, self._clock.now()))
        if self._blocks.is_emptying and self._next is None:
            self._next = asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """More are to leave, but others had their turn between."""
        self._next = None
        self._make_room(None)


def _length(written: Written) -> sc.Reply:
    return sc.History(written.row.num_messages if written.row else 0)


def _entry(found: Row | str) -> sc.HistoryEntry:
    if isinstance(found, str):
        return sc.HistoryEntry(found, 0, 0, False, 0.0, 0.0, damaged=True)
    pinned, created, updated = found.is_pinned, found.created, found.updated
    return sc.HistoryEntry(found.name, found.num_messages, found.num_bytes, pinned, created, updated)


def _done(_: Written) -> sc.Reply:
    return sc.Done()


def _grown(trail: Trail | None, path: Sequence[Node]) -> Trail | None:
    """The way to the end of a history that grew along `path`; None where the way there is not known."""
    if path[0].parent is None:
        return Trail(path)
    if trail is None or trail.tip != path[0].id:
        return None
    return trail.longer(path) if len(path) > 1 else trail
