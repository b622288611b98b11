"""What is in memory of histories besides their text: how long each is, and the way to its end."""

import sys
from typing import NamedTuple

from aios.kernel.histories.blocks import NUMBER, PARTS, SLOT, Blocks
from aios.kernel.histories.book import Key, Row
from aios.kernel.histories.reading import Trail


class Handle(NamedTuple):
    """A history as it is on disk. Those that end in one node have one trail."""

    trail: Trail
    num_messages: int
    num_bytes: int
    is_pinned: bool


HANDLE_BYTES = sys.getsizeof((0, 0, 0, 0)) + sys.getsizeof(("", "")) + 2 * NUMBER
"""What a handle takes besides its name, its trail and its place: itself, its key, two numbers."""


class Handles:
    """The least recently used leave when all take more than their share of the memory; pinned ones stay."""

    def __init__(self, blocks: Blocks, memory_bytes: int) -> None:
        self._blocks = blocks
        self._most = memory_bytes // PARTS
        self._handles: dict[Key, Handle] = {}
        self._trails: dict[int, Trail] = {}
        """By the nodes that they lead to: the newest where there are several."""
        self._num_bytes = self._most_bytes = 0
        """That they take, and that they ever took: the interpreter seldom gives it back."""

    @property
    def num_bytes(self) -> int:
        """What all of it takes of the process's memory."""
        return self._most_bytes + sys.getsizeof(self._handles) + sys.getsizeof(self._trails)

    def __len__(self) -> int:
        return len(self._handles)

    def get(self, key: Key) -> Handle | None:
        handle = self._handles.pop(key, None)
        if handle is not None:
            self._handles[key] = handle
        return handle

    def put(self, key: Key, row: Row, trail: Trail) -> None:
        """Keep what is known of a history, in place of what was."""
        trail = self._use(trail)  # Before the old one is dropped, which it may be.
        self.drop(key)
        key = Key(sys.intern(key.owner), key.name)
        self._handles[key] = Handle(trail, row.num_messages, row.num_bytes, row.is_pinned)
        self._num_bytes += _size(key)
        if row.is_pinned:
            self._blocks.pin(trail.ids())
        self._most_bytes = max(self._most_bytes, self._num_bytes)
        if self._num_bytes + SLOT * len(self._handles) > self._most:
            self._make_room()

    def drop(self, key: Key) -> None:
        handle = self._handles.pop(key, None)
        if handle is None:
            return
        self._num_bytes -= _size(key)
        if handle.is_pinned:
            self._blocks.unpin(handle.trail.ids())
        self._leave(handle.trail)

    def drop_all(self, owner: str) -> None:
        for key in [key for key in self._handles if key.owner == owner]:
            self.drop(key)

    def check(self) -> None:
        """Assert that what is counted is what is there."""
        trails = {id(handle.trail): handle.trail for handle in self._handles.values()}
        num_bytes = sum(map(_size, self._handles)) + sum(map(_trail_size, trails.values()))
        assert self._num_bytes == num_bytes
        assert sum(trail.num_uses for trail in trails.values()) == len(self._handles)
        assert all(trails.get(id(trail)) is trail for trail in self._trails.values())

    def _use(self, trail: Trail) -> Trail:
        """The trail, or one like it that others use already."""
        known = self._trails.get(trail.tip)
        if known is not None and known == trail:
            trail = known
        if not trail.num_uses:
            self._trails[trail.tip] = trail
            self._num_bytes += _trail_size(trail)
        trail.num_uses += 1
        return trail

    def _leave(self, trail: Trail) -> None:
        trail.num_uses -= 1
        if trail.num_uses:
            return
        self._num_bytes -= _trail_size(trail)
        if self._trails.get(trail.tip) is trail:
            del self._trails[trail.tip]

    def _make_room(self) -> None:
        left = self._num_bytes + SLOT * len(self._handles) - self._most * 7 // 8
        leaving = []
        for key, handle in self._handles.items():
            if left <= 0:
                break
            if not handle.is_pinned:
                leaving.append(key)
                left -= _size(key) + SLOT
        for key in leaving:
            self.drop(key)


def _size(key: Key) -> int:
    return HANDLE_BYTES + sys.getsizeof(key.name)


def _trail_size(trail: Trail) -> int:
    return sys.getsizeof(trail) + NUMBER
