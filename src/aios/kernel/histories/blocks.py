"""The part of the tries that is in memory: each owner's block, and what of it leaves when it is full.

What is in memory is there on disk as well, so an entry leaves by being forgotten. An entry belongs to the
block of the owner whose histories use it; one that several owners' do is in nobody's block, and counts for
the whole only. Bytes are those that the process really takes: text is in frames, whose number is known, and
of the objects besides the most count that ever were, for the interpreter seldom gives their memory back. So
that text and objects do not grow by turns, each has a part of the whole to itself.

Owns what is in memory of nodes; knows no disk. It lives on the event loop: no method waits.
"""

import sys
from array import array
from collections.abc import Iterable
from itertools import islice

from aios.kernel.histories.frames import FRAME, Frames
from aios.kernel.histories.lruk import NEVER, Queue, rank, refer
from aios.kernel.histories.nodes import Text
from aios.kernel.histories.reading import Piece
from aios.kernel.histories.trie import Grown

HIGH = 0.8
"""Share of a block, or of the whole, beyond which entries leave."""
LOW = 0.7
"""Share that they leave down to."""
TEXT_PARTS, ENTRY_PARTS = 6, 1
"""Of the eight parts of the whole: for text, and for the objects of nodes; `handles` has the last one."""
PARTS = 8


class Block:
    """What of one owner's is in memory."""

    __slots__ = ("entries", "num_bytes", "owner")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.entries: set[Entry] = set()
        self.num_bytes = 0
        """Of text."""

    @property
    def size(self) -> int:
        return self.num_bytes + ENTRY_BYTES * len(self.entries)


class Entry:
    """A node that is in memory: its text as it is kept on disk, and when it was used."""

    __slots__ = (
        *("block", "body_size", "by", "end", "frames", "id", "last"),
        *("packed", "previous", "size", "start"),
    )

    def __init__(self, node_id: int, block: Block) -> None:
        self.id = node_id
        self.block = block
        self.start = self.packed = self.end = self.body_size = self.size = 0
        self.frames = _NO_FRAMES
        self.by = 0
        self.last = self.previous = NEVER

    @property
    def text_size(self) -> int:
        """As it is kept."""
        return self.body_size + self.end - self.packed


_NO_FRAMES: "array[int]" = array("I")

NUMBER = 32
"""What the interpreter takes for a whole number or for one with a fraction."""
SLOT = 96
"""About what a dictionary or a set takes for one more, which is between a third and two thirds full."""
_OBJECT_BYTES = sys.getsizeof(Entry(0, Block(""))) + sys.getsizeof(_NO_FRAMES) + 10 * NUMBER + SLOT
ENTRY_BYTES = _OBJECT_BYTES + 2 * SLOT
"""What an entry takes besides its frames and their numbers."""
RETAINED_BYTES = sys.getsizeof((0, 0, 0, 0)) + 4 * NUMBER
"""What is remembered of one that left."""
BLOCK_BYTES = sys.getsizeof(Block("")) + sys.getsizeof(set()) + SLOT + NUMBER
MIN_RETAINED = 64
SLICE_BYTES = 1024 * 1024
"""That leave at once: about a millisecond's work."""


class _Level:
    """How full a part of the whole is: whether entries are leaving, from the high mark on to the low one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.is_emptying = False

    def excess(self, used: int) -> int:
        """The bytes that are to be won now."""
        self.is_emptying = self.is_emptying or used > HIGH * self._limit
        if not self.is_emptying:
            return 0
        return max(0, min(used - int(LOW * self._limit), max(SLICE_BYTES, used - self._limit)))

    def left(self, used: int, entries: list[Entry]) -> None:
        """These have; none can where all are pinned."""
        self.is_emptying = bool(entries) and used > LOW * self._limit


class Blocks:
    """All blocks. `block_bytes` bounds each owner's, `memory_bytes` the whole."""

    def __init__(self, block_bytes: int, memory_bytes: int) -> None:
        self._block_bytes = block_bytes
        self._text = _Level(memory_bytes * TEXT_PARTS // PARTS)
        self._objects = _Level(memory_bytes * ENTRY_PARTS // PARTS)
        self._entries: dict[int, Entry] = {}
        self._blocks: dict[str, Block] = {}
        self._shared = Block("")
        """Used by histories of several owners."""
        self._queue: Queue[Entry] = Queue()
        self._frames = Frames()
        self._retained: dict[int, tuple[int, float, float, bool]] = {}
        """Of entries that left: by whom and when they were used, and whether by several owners."""
        self._pins: dict[int, int] = {}
        self._most = [0, 0, 0]
        """The most entries, retained ones and blocks that ever were."""
        self.num_evicted = 0
        """Entries that left for want of room."""

    @property
    def num_bytes(self) -> int:
        """What all of it takes of the process's memory."""
        entries, retained, blocks = self._most
        objects = _OBJECT_BYTES * entries + RETAINED_BYTES * retained + BLOCK_BYTES * blocks
        tables = sum(map(sys.getsizeof, (self._entries, self._retained, self._queue)))
        return self._frames.touched_bytes + objects + tables

    def __contains__(self, node_id: int) -> bool:
        return node_id in self._entries

    def read(self, node_id: int, owner: str, by: int, now: float) -> Piece | None:
        """The text of a node, used by a history of `owner`; None where it is not in memory."""
        entry = self._entries.get(node_id)
        if entry is None:
            return None
        self._refer(entry, owner, by, now)
        text = self._frames.get(entry.frames, entry.text_size)
        body, tail = text[: entry.body_size], text[entry.body_size :]
        return Piece(entry.start, entry.packed, entry.end, body, tail)

    def put(self, text: Text, owner: str, by: int, now: float) -> None:
        """Bring in a node as it now is, used by a history of `owner`."""
        entry = self._entries.get(text.node.id)
        if entry is None:
            entry = self._enter(text.node.id, owner)
        self._fill(entry, text)
        self._refer(entry, owner, by, now)

    def replace(self, text: Text) -> None:
        """Have a node be what it now is, where it is in memory: others' histories use it, as before."""
        if (entry := self._entries.get(text.node.id)) is not None:
            self._fill(entry, text)

    def grow(self, grown: Grown, owner: str, by: int, now: float) -> None:
        """Add text to a node, where it is in memory."""
        entry = self._entries.get(grown.node_id)
        if entry is None:
            return
        if entry.end != grown.at:  # It was brought in as it had been before.
            self._leave(entry)
            return
        self._frames.append(entry.frames, entry.text_size, grown.text)
        entry.end += len(grown.text)
        self._weigh(entry)
        self._refer(entry, owner, by, now)

    def drop(self, node_id: int) -> None:
        """Forget a node, where it is in memory."""
        if (entry := self._entries.get(node_id)) is not None:
            self._leave(entry)

    def ended(self, owner: str) -> None:
        """Nothing runs for `owner` any more: what its histories used once goes first."""
        if (block := self._blocks.get(owner)) is not None:
            self._queue.leave(sorted(block.entries, key=lambda entry: entry.last))

    def pin(self, node_ids: Iterable[int]) -> None:
        """Have these stay until they are unpinned as often."""
        for node_id in node_ids:
            self._pins[node_id] = self._pins.get(node_id, 0) + 1
            if (entry := self._entries.get(node_id)) is not None:
                self._queue.remove(entry)

    def unpin(self, node_ids: Iterable[int]) -> None:
        for node_id in node_ids:
            self._pins[node_id] -= 1
            if self._pins[node_id]:
                continue
            del self._pins[node_id]
            if (entry := self._entries.get(node_id)) is not None:
                self._queue.touched(entry)

    def make_room(self, owner: str | None, now: float) -> list[int]:
        """Have the coldest leave where the block of `owner`, or the whole, is nearly full.

        Of the whole not all at once: as long as `is_emptying`, it is to be called again. Answers those that
        are not packed on disk.
        """
        leaving: list[Entry] = []
        block = self._blocks.get(owner) if owner is not None else None
        if block is not None and block.size > HIGH * self._block_bytes:
            leaving += self._evict(self._coldest_of(block, block.size - LOW * self._block_bytes, now))
        if excess := self._text.excess(self._frames.used_bytes):
            leaving += self._evict(self._queue.coldest(excess, now))
            self._text.left(self._frames.used_bytes, leaving)
        if excess := self._objects.excess(ENTRY_BYTES * len(self._entries)):
            leaving += self._evict(self._queue.coldest(sys.maxsize, now, excess // ENTRY_BYTES + 1))
            self._objects.left(ENTRY_BYTES * len(self._entries), leaving)
        return [entry.id for entry in leaving if entry.packed < entry.end]

    @property
    def is_emptying(self) -> bool:
        """Whether more are to leave."""
        return self._text.is_emptying or self._objects.is_emptying

    def statistics(self) -> dict[str, int]:
        return {
            "text_bytes": self._frames.used_bytes,
            "nodes": len(self._entries),
            "evicted": self.num_evicted,
        }

    def check(self) -> None:
        """Assert that what is counted is what is there."""
        entries = set(self._entries.values())
        assert self._frames.num_used == sum(len(entry.frames) for entry in entries)
        assert set(self._queue) == {entry for entry in entries if entry.id not in self._pins}
        for block in (*self._blocks.values(), self._shared):
            assert block.entries == {entry for entry in entries if entry.block is block}
            assert block.num_bytes == sum(entry.size for entry in block.entries)
            assert block.entries or block is self._shared

    # ---- one entry

    def _enter(self, node_id: int, owner: str) -> Entry:
        by, last, previous, is_shared = self._retained.pop(node_id, (0, NEVER, NEVER, False))
        block = self._shared if is_shared else self._block(owner)
        entry = self._entries[node_id] = Entry(node_id, block)
        entry.by, entry.last, entry.previous = by, last, previous
        block.entries.add(entry)
        self._count(0, len(self._entries))
        return entry

    def _refer(self, entry: Entry, owner: str, by: int, now: float) -> None:
        if entry.block is not self._shared and entry.block is not self._blocks.get(owner):
            self._take_out(entry)  # Another owner's history uses it, too.
            self._put_into(entry, self._shared)
        if entry.last == NEVER:
            entry.by, entry.last = by, now
        refer(entry, by, now)
        if entry.id not in self._pins:
            self._queue.touched(entry)

    def _put_into(self, entry: Entry, block: Block) -> None:
        entry.block = block
        block.entries.add(entry)
        block.num_bytes += entry.size

    def _take_out(self, entry: Entry) -> None:
        block = entry.block
        block.entries.discard(entry)
        block.num_bytes -= entry.size
        if not block.entries and block is not self._shared:
            del self._blocks[block.owner]

    def _leave(self, entry: Entry) -> None:
        self._frames.free(entry.frames)
        self._queue.remove(entry)
        del self._entries[entry.id]
        self._take_out(entry)

    def _coldest_of(self, block: Block, num_bytes: float, now: float) -> list[Entry]:
        """Of one block. It has few enough to sort them."""
        chosen: list[Entry] = []
        for entry in sorted(block.entries, key=lambda entry: rank(entry, now)):
            if num_bytes <= 0:
                break
            if entry.id not in self._pins:
                chosen.append(entry)
                num_bytes -= entry.size + ENTRY_BYTES
        return chosen

    def _evict(self, leaving: list[Entry]) -> list[Entry]:
        for entry in leaving:
            self._retained[entry.id] = (entry.by, entry.last, entry.previous, entry.block is self._shared)
            self._leave(entry)
        self.num_evicted += len(leaving)
        excess = max(0, len(self._retained) - len(self._entries) - MIN_RETAINED)
        for node_id in list(islice(self._retained, excess)):
            del self._retained[node_id]
        self._count(1, len(self._retained))
        return leaving

    def _fill(self, entry: Entry, text: Text) -> None:
        self._frames.free(entry.frames)
        entry.start, entry.packed, entry.end = text.node.start, text.node.packed, text.node.end
        entry.frames, entry.body_size = self._frames.put(text.body + text.tail), len(text.body)
        self._weigh(entry)

    def _weigh(self, entry: Entry) -> None:
        size = len(entry.frames) * FRAME
        entry.block.num_bytes += size - entry.size
        entry.size = size

    def _block(self, owner: str) -> Block:
        block = self._blocks.get(owner)
        if block is None:
            block = self._blocks[owner] = Block(owner)
            self._count(2, len(self._blocks))
        return block

    def _count(self, kind: int, count: int) -> None:
        self._most[kind] = max(self._most[kind], count)
