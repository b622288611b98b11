"""Interrupted runs of the engine and the keys and values they need to go on.

Owns the memory of snapshots, under a budget. A prompt's full blocks are shared with the prefix cache and with
each other; only what comes after them is copied. Beyond the budget, what would be computed again the fastest
leaves memory: to disk, where writing and reading take less time than that, else for good. That is no loss but
of time: the same job with the same seed gives the same tokens again, so its run is replayed.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from aios.abi.errors import AiosError, Conflict, Corrupt
from aios.drivers.engine_frames import Moved
from aios.drivers.engine_runs import Run
from aios.drivers.llm import Generation, Snapshot
from aios.drivers.models.kv_row import BLOCK
from aios.drivers.models.prefix_cache import Node, PrefixCache
from aios.drivers.snapshot_files import Described, SnapshotFiles, name_of, prompt_digest

NewRun = Callable[[int, Generation], Run]
"""Makes a run that has not begun."""


class Pace:
    """How long things take on this machine, as measured: to decide what costs less."""

    def __init__(self) -> None:
        self._s_per_unit: dict[str, float] = {}

    def took(self, what: str, seconds: float, num_units: float) -> None:
        """So many units of this work were done; the last dozen or so count."""
        if num_units > 0:
            now = seconds / num_units
            self._s_per_unit[what] = now + 0.9 * (self._s_per_unit.get(what, now) - now)

    def seconds(self, what: str, num_units: float) -> float | None:
        """What so many would take; None where that has not been seen."""
        each = self._s_per_unit.get(what)
        return None if each is None else each * num_units


class SnapshotStore:
    """Parked runs by handle. Handles of another engine process mean nothing here."""

    def __init__(
        self,
        cache: PrefixCache,
        max_bytes: int,
        files: SnapshotFiles | None,
        identity: str,
        pace: Pace,
    ) -> None:
        self._cache, self._files, self._identity, self._pace = cache, files, identity, pace
        self._max_bytes = max_bytes
        self._kept: dict[str, Run] = {}
        self._on_disk: dict[str, str] = {}
        """Names of files, by handle."""
        self._epoch = os.urandom(6).hex()
        self._made = 0
        self._tail_bytes = 0
        self.num_swapped = self.num_dropped = 0
        self.refusal = ""
        """Why the last file could not be used; empty where none was refused."""
        self._reason = ""
        self._moved: list[Moved] = []

    def __len__(self) -> int:
        return len(self._kept) + len(self._on_disk)

    @property
    def num_bytes(self) -> int:
        """Bytes held in memory, blocks that several share counted once."""
        return self._tail_bytes + self._cache.pinned_bytes

    @property
    def disk_bytes(self) -> int:
        return 0 if self._files is None else self._files.num_bytes

    def park(self, run: Run) -> Snapshot:
        """Keep a run that has left its rows. Others go where the budget asks for it, the cheapest first."""
        assert run.tails
        before = self.num_bytes
        self._made += 1
        handle = f"{self._epoch}-{self._made}"
        self._kept[handle] = run
        self._tail_bytes += _tail_bytes(run)
        self._cache.pin(run.nodes)
        snapshot = Snapshot("state", handle, run.branches.num_tokens, self.num_bytes - before)
        while self.num_bytes > self._max_bytes:
            self._move_out(min(self._kept, key=lambda handle: self._kept[handle].branches.num_tokens))
        return snapshot

    def take(self, handle: str, job: Generation, new_run: NewRun) -> Run | None:
        """The run, whose snapshot is used up by this; None where there is none that can be used."""
        run = self._kept.pop(handle, None)
        if run is not None:
            self._tail_bytes -= _tail_bytes(run)
            self._cache.unpin(run.nodes)
            return run
        name = self._on_disk.pop(handle, None)
        return None if name is None else self._read(name, job, new_run)

    def find(self, job: Generation, new_run: NewRun) -> Run | None:
        """A run of the same job that another engine left on disk."""
        name = name_of(self._identity, job)
        if self._files is None or name not in self._files:
            return None
        return self._read(name, job, new_run)

    def num_positions(self, handle: str) -> int:
        """Keys and values of a run that is in memory; 0 of another."""
        run = self._kept.get(handle)
        return 0 if run is None else run.num_positions

    def drop(self, handle: str) -> None:
        """Forget a run."""
        run = self._kept.pop(handle, None)
        if run is not None:
            self._tail_bytes -= _tail_bytes(run)
            self._cache.unpin(run.nodes)
        name = self._on_disk.pop(handle, None)
        if name is not None and self._files is not None:
            self._files.drop(name)

    def export(self, handle: str) -> None:
        """Have a run on disk, where the engine of another core finds it, and no longer here."""
        if self._on_disk.pop(handle, None) is not None:
            return
        run = self._kept.get(handle)
        if run is not None and self._files is not None:
            self._write(run)
        self.drop(handle)

    def save(self) -> None:
        """Write all that shall outlive this engine to disk."""
        for run in self._kept.values():
            if run.job.is_kept:
                self._write(run)

    def told(self) -> list[Moved]:
        """What had to leave memory since this was last asked, and why it went where it went."""
        moved, self._moved = self._moved, []
        return moved

    def check(self) -> None:
        """The sums are what they say."""
        assert self._tail_bytes == sum(map(_tail_bytes, self._kept.values()))
        nodes = {node for run in self._kept.values() for node in run.nodes}
        assert self._cache.pinned_bytes == sum(node.num_bytes for node in nodes)

    def _move_out(self, handle: str) -> None:
        run = self._kept[handle]
        if self._is_worth_writing(run) and self._write(run):
            self.drop(handle)
            self._on_disk[handle] = name_of(self._identity, run.job)
            self.num_swapped += 1
        else:
            self.drop(handle)
            self.num_dropped += 1
        self._moved.append(Moved(handle, self._reason))

    def _is_worth_writing(self, run: Run) -> bool:
        """Whether writing and reading takes less time than computing again."""
        if self._files is None:
            self._reason = "dropped: there is no disk for snapshots"
            return False
        num_bytes = _tail_bytes(run) + sum(node.num_bytes for node in run.nodes)
        swap_s = 2 * (self._pace.seconds("disk", num_bytes) or 0.0)
        prompt_s = self._pace.seconds("prompt", len(run.prompt)) or 0.0
        again_s = prompt_s + (self._pace.seconds("token", run.branches.num_tokens) or 0.0)
        said = f"to disk and back {swap_s * 1e3:.1f} ms, computing it again {again_s * 1e3:.1f} ms"
        self._reason = f"{'swapped' if swap_s <= again_s else 'dropped'}: {said}"
        return swap_s <= again_s

    def _write(self, run: Run) -> bool:
        assert self._files is not None
        arrays: list[NDArray[Any]] = [*_values(run.nodes), *run.tails]
        described = Described(
            self._identity,
            BLOCK,
            prompt_digest(run.prompt),
            run.length,
            len(run.nodes),
            run.branches.state(),
            arrays[0].dtype.str,
            tuple(array.shape for array in arrays),
        )
        began = time.perf_counter()
        try:
            self._files.write(name_of(self._identity, run.job), described, arrays)
        except AiosError as error:
            self._reason = f"dropped: {error.message}"
            return False
        self._pace.took("disk", time.perf_counter() - began, sum(array.nbytes for array in arrays))
        return True

    def _read(self, name: str, job: Generation, new_run: NewRun) -> Run | None:
        assert self._files is not None
        try:
            found = self._files.take(name)
        except (Corrupt, Conflict) as error:
            self.refusal = error.message
            return None
        if found is None:
            return None
        described, arrays = found
        run = new_run(0, job)
        if (described.block, described.prompt) != (BLOCK, prompt_digest(run.prompt)):
            self.refusal = "the snapshot is of the same messages in other tokens or blocks"
            return None
        run.unshown = run.branches.resume(described.branches)
        run.length = described.length
        run.nodes = self._restored(run, arrays[: described.num_blocks])
        run.tails = arrays[described.num_blocks :]
        run.num_cached = len(run.prompt)
        return run

    def _restored(self, run: Run, blocks: Sequence[NDArray[Any]]) -> list[Node]:
        node, nodes = self._cache.root(run.job.scope), []
        for index, values in enumerate(blocks):
            tokens = run.prompt[index * BLOCK : (index + 1) * BLOCK]
            node = self._cache.find(node, tokens) or self._cache.add(node, tokens, values)
            nodes.append(node)
        return nodes


def _tail_bytes(run: Run) -> int:
    return sum(tail.nbytes for tail in run.tails)


def _values(nodes: Sequence[Node]) -> list[NDArray[Any]]:
    return [node.values for node in nodes if node.values is not None]
