"""From pieces of text to messages: which nodes a reading needs, and what they say.

Knows neither disk nor memory. Large replies are decoded a little at a time, so that the loop can do others'
work between.
"""

import asyncio
import sys
from array import array
from bisect import bisect_right
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from aios.abi.messages import Message
from aios.drivers.packing import unpack
from aios.kernel.histories.nodes import NODE_BYTES, Node, Text

MAX_READ_BYTES = 4 * 1024 * 1024
"""Of messages in one reply, which has to fit a frame of the wire; a single larger one comes alone."""
TURN_BYTES = 256 * 1024
"""Decoded before others have their turn: about half a millisecond."""

_decoder = msgspec.json.Decoder(Message)


class Step(Struct, frozen=True):
    """What of a node a reading needs: the positions from `start` to `end`."""

    node_id: int
    start: int
    end: int


class Piece(Struct, frozen=True):
    """The text of a node: from `start` on packed, from `packed` on plain."""

    start: int
    packed: int
    end: int
    body: bytes
    tail: bytes

    def covers(self, step: Step) -> bool:
        return self.start <= step.start and step.end <= self.end

    def plain(self, start: int, end: int) -> bytes:
        """The text between two positions. Raises `Corrupt`."""
        if start >= self.packed:
            return self.tail[start - self.packed : end - self.packed]
        text = unpack(self.body, self.packed - self.start)
        if end > self.packed:
            text += self.tail
        return text[start - self.start : end - self.start]


def piece_of(text: Text) -> Piece:
    return Piece(text.node.start, text.node.packed, text.node.end, text.body, text.tail)


class Trail:
    """The nodes from below the root to the one that histories end in, with the place where each begins.

    Where a node was split or joined since, it says so no more; the texts that it leads to then do not fit.
    """

    __slots__ = ("_numbers", "num_uses")

    def __init__(self, nodes: Sequence[Node]) -> None:
        """`nodes` begin with the root."""
        self.num_uses = 0
        """Histories that are known to end by it."""
        self._numbers = array("q", [n for node in nodes[1:] for n in (node.id, node.start, node.place)])

    def __len__(self) -> int:
        return len(self._numbers) // 3

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trail) and self._numbers == other._numbers

    __hash__ = None  # type: ignore[assignment]

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + sys.getsizeof(self._numbers)

    @property
    def tip(self) -> int:
        """The id of the last node."""
        return self._numbers[-3]

    def ids(self) -> "array[int]":
        return self._numbers[::3]

    def longer(self, nodes: Sequence[Node]) -> "Trail":
        """With these behind it."""
        trail = Trail((nodes[0], *nodes))
        trail._numbers = self._numbers + trail._numbers
        return trail

    def upper(self, node_id: int) -> "Trail | None":
        """Down to this node; None where it is not on the way."""
        ids = self.ids()
        if node_id not in ids:
            return None
        trail = Trail(())
        trail._numbers = self._numbers[: 3 * ids.index(node_id) + 3]
        return trail

    def span(self, start: int, limit: int, end: int) -> list[Step]:
        """What is needed to read `limit` messages from `start` on, of a history that ends at position `end`.

        Not more than fits one reply, but for the whole of the first message.
        """
        first = bisect_right(range(len(self)), 2 * start, key=self._place) - 1
        last, begin = first + 1, self._start(first)
        while last < len(self) and self._place(last) < 2 * (start + limit):
            too_long = self._start(last) - begin > MAX_READ_BYTES + NODE_BYTES
            if too_long and self._place(last) >= 2 * (start + 1):
                break
            last += 1
        starts = [self._start(at) for at in range(first, last)]
        ends = [*starts[1:], self._start(last) if last < len(self) else end]
        ids = self._numbers[3 * first : 3 * last : 3]
        return [Step(*numbers) for numbers in zip(ids, starts, ends, strict=True)]

    def num_before(self, step: Step) -> int:
        """How many messages end before a step begins."""
        at = bisect_right(range(len(self)), step.start, key=self._start) - 1
        return self._place(at) // 2

    def _start(self, at: int) -> int:
        return self._numbers[3 * at + 1]

    def _place(self, at: int) -> int:
        return self._numbers[3 * at + 2]


async def decode(steps: Sequence[Step], pieces: Sequence[Piece], skip: int, limit: int) -> list[Message]:
    """The messages in these pieces after the first `skip`: `limit`, or as many as one reply holds."""
    messages: list[Message] = []
    parts: list[bytes] = []
    room, turn = MAX_READ_BYTES, TURN_BYTES
    for step, piece in zip(steps, pieces, strict=True):
        *lines, rest = piece.plain(step.start, step.end).split(b"\n")
        if lines:
            lines[0] = b"".join((*parts, lines[0]))
            parts.clear()
        parts.append(rest)
        for line in lines[skip:]:
            room -= len(line)
            if len(messages) == limit or (room < 0 and messages):
                return messages
            messages.append(_decoder.decode(line))
        skip = max(0, skip - len(lines))
        turn -= step.end - step.start
        if turn < 0:
            turn = TURN_BYTES
            await asyncio.sleep(0)
    return messages
