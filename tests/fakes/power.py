"""What may be on a disk after the power went: from what was written and flushed (`disk.py`), and chance.

What a flush has covered is there. Of what was written since, each sector may be there or not, in any order,
and a write may be torn in the middle. Of what a failed flush covered, that stays so even after later flushes
work: the system takes it for written (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX
ATC 2020).
"""

from collections.abc import Mapping, Sequence
from random import Random

from fakes.disk import Change

SECTOR = 512

MODES = ("all", "none", "sectors", "writes", "prefix", "first flushed")
"""What is there of what was not flushed: everything (as when only the process died), nothing, any sectors,
any writes, the first of them and one torn, one file's everything and another's nothing."""


class Inode:
    """A file, whatever it is called."""

    def __init__(self, content: bytes = b"") -> None:
        self.flushed = bytearray(content)
        self.unflushed: list[Change] = []

    def flush(self) -> None:
        for change in self.unflushed:
            apply(self.flushed, change)
        self.unflushed.clear()

    def lose(self, rng: Random) -> None:
        """Any part of what is not flushed is on the disk, and the rest never will be."""
        for change in self.unflushed:
            apply_sectors(self.flushed, change, rng)
        self.unflushed.clear()

    def content(self, mode: str, rng: Random) -> bytes:
        content = bytearray(self.flushed)
        changes = self.unflushed
        if mode == "prefix" and changes:
            changes = changes[: rng.randint(1, len(changes))]
            *changes, last = changes
            for change in changes:
                apply(content, change)
            apply(content, torn(last, rng))
        elif mode == "sectors":
            for change in changes:
                apply_sectors(content, change, rng)
        elif mode == "writes":
            for change in changes:
                if rng.random() < 0.5:
                    apply(content, change)
        elif mode == "all" or (mode == "first flushed" and rng.random() < 0.5):
            for change in changes:
                apply(content, change)
        return bytes(content)


class PowerLoss:
    """Follows what was done to a folder that held `files` at first."""

    def __init__(self, changes: Sequence[Change], files: Mapping[str, bytes], seed: int = 0) -> None:
        self._changes = changes
        self._at = 0
        self._rng = Random(seed)
        self._now = {name: Inode(content) for name, content in files.items()}
        self._flushed = dict(self._now)
        """Which files are found by which names after a power loss, if nothing more is flushed."""

    def advance(self, to: int) -> None:
        """Go on to the change number `to`, which has not happened yet."""
        for change in self._changes[self._at : to]:
            self._follow(change)
        self._at = max(to, self._at)

    def files(self, mode: str, rng: Random) -> dict[str, bytes]:
        """What is found in the folder, if the power goes now."""
        found: dict[str, bytes] = {}
        for name in sorted(self._now.keys() | self._flushed.keys()):
            names = self._now if mode == "all" or (mode != "none" and rng.random() < 0.5) else self._flushed
            if inode := names.get(name):
                found[name] = inode.content(mode, rng)
        return found

    def _follow(self, change: Change) -> None:
        kind, name, _, _ = change
        if kind == "create":
            self._now[name] = Inode()
        elif kind == "delete":
            del self._now[name]
        elif kind == "sync":
            self._now[name].flush()
            if self._flushed.get(name) is not self._now[name]:
                # SQLite flushes the folder with the first flush of a new log.
                self._flushed = dict(self._now)
        elif kind == "failed sync":
            self._now[name].lose(self._rng)
        elif kind in ("write", "truncate"):
            self._now[name].unflushed.append(change)


def apply(content: bytearray, change: Change) -> None:
    kind, _, place, data = change
    if kind == "truncate":
        del content[place:]
        return
    if len(content) < place:
        content.extend(bytes(place - len(content)))
    content[place : place + len(data)] = data


def apply_sectors(content: bytearray, change: Change, rng: Random) -> None:
    kind, name, place, data = change
    if kind == "truncate":
        if rng.random() < 0.5:
            apply(content, change)
        return
    at = 0
    while at < len(data):
        end = min(len(data), at + SECTOR - (place + at) % SECTOR)
        if rng.random() < 0.5:
            apply(content, (kind, name, place + at, data[at:end]))
        at = end


def torn(change: Change, rng: Random) -> Change:
    kind, name, place, data = change
    return (kind, name, place, data[: rng.randint(0, len(data))]) if kind == "write" else change
