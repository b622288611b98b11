"""Memory by the frame: bytes kept in mapped regions, so that what they take is known exactly.

A heap that strings of all lengths come into and leave is larger than what is in it, by an amount that nobody
knows. Frames are all alike: one that is free serves any of them, and a region whose frames are all free goes
back to the system. Knows nothing of what is kept.
"""

import heapq
import mmap
from array import array

FRAME = 512
REGION = 1024 * 1024
"""Bytes that are mapped at a time."""

_IN_REGION = REGION // FRAME


class _Region:
    """Frames that are mapped together."""

    __slots__ = ("free", "memory", "num_touched")

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, REGION, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.num_touched = 0
        """The first so many frames were used once, so the system has allotted them."""
        self.free = array("I")
        """The frames among them that are free."""

    @property
    def num_used(self) -> int:
        return self.num_touched - len(self.free)

    @property
    def has_room(self) -> bool:
        return len(self.free) > 0 or self.num_touched < _IN_REGION


class Frames:
    def __init__(self) -> None:
        self._regions: dict[int, _Region] = {}
        self._roomy: list[int] = []
        """A heap of the regions that may have room: the first one fills first, the last one drains."""
        self.num_used = 0

    @property
    def used_bytes(self) -> int:
        return FRAME * self.num_used

    @property
    def touched_bytes(self) -> int:
        """What the system has allotted, with the frames' numbers: more than is used where much has left."""
        num_touched = sum(region.num_touched for region in self._regions.values())
        return (FRAME + array("I").itemsize) * num_touched

    def put(self, data: bytes) -> "array[int]":
        """Keep `data`; the frames it is in."""
        frames = array("I")
        self.append(frames, 0, data)
        return frames

    def append(self, frames: "array[int]", size: int, data: bytes) -> None:
        """Put `data` behind the `size` bytes that are in `frames`, which are made more."""
        done = min(-size % FRAME, len(data))
        if done:
            number, frame = divmod(frames[-1], _IN_REGION)
            at = frame * FRAME + size % FRAME
            self._regions[number].memory[at : at + done] = data[:done]
        taken = self._take(-(-(len(data) - done) // FRAME))
        for frame in taken:
            number, frame = divmod(frame, _IN_REGION)
            part = data[done : done + FRAME]
            self._regions[number].memory[frame * FRAME : frame * FRAME + len(part)] = part
            done += FRAME
        frames.extend(taken)

    def get(self, frames: "array[int]", size: int) -> bytes:
        """The `size` bytes in `frames`."""
        regions, pieces = self._regions, []
        for frame in frames:
            number, frame = divmod(frame, _IN_REGION)
            pieces.append(regions[number].memory[frame * FRAME : frame * FRAME + FRAME])
        return b"".join(pieces)[:size]

    def free(self, frames: "array[int]") -> None:
        for frame in frames:
            number = frame // _IN_REGION
            region = self._regions[number]
            if not region.has_room:
                heapq.heappush(self._roomy, number)
            region.free.append(frame)
            self.num_used -= 1
            if not region.num_used:
                self._give_back(number, region)

    def _take(self, count: int) -> "array[int]":
        """So many frames, those that were used before first."""
        taken = array("I")
        while count:
            number, region = self._first_roomy()
            again = min(count, len(region.free))
            if again:
                taken.extend(region.free[-again:])
                del region.free[-again:]
            new = min(count - again, _IN_REGION - region.num_touched)
            first = number * _IN_REGION + region.num_touched
            taken.extend(range(first, first + new))
            region.num_touched += new
            count -= again + new
        self.num_used += len(taken)
        return taken

    def _first_roomy(self) -> tuple[int, _Region]:
        while self._roomy:
            region = self._regions.get(self._roomy[0])
            if region is not None and region.has_room:
                return self._roomy[0], region
            heapq.heappop(self._roomy)
        number = next(at for at in range(len(self._regions) + 1) if at not in self._regions)
        self._regions[number] = _Region()
        self._roomy.append(number)
        return number, self._regions[number]

    def _give_back(self, number: int, region: _Region) -> None:
        """Unmap a region, unless it is the only one with room: else one might come and go in turn."""
        if not any(other.has_room for other in self._regions.values() if other is not region):
            return
        region.memory.close()
        del self._regions[number]
