"""CONTEXT MANAGER: the snapshots of interrupted generations, and fitting a conversation into a window.

Keeps at most one snapshot for each task, and only while the task lives. What is in it is the driver's.
"""

from collections.abc import Callable

from msgspec import Struct

from aios.abi.errors import ContextOverflow
from aios.drivers.llm import Snapshot


class Kept(Struct, frozen=True):
    """A snapshot, the core whose driver made it, and how that driver forgets it."""

    snapshot: Snapshot
    core: str
    drop: Callable[[Snapshot], None]


class ContextManager:
    """`max_bytes` is what snapshots may take together: over it nothing more is interrupted."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: dict[int, Kept] = {}
        self.num_bytes = 0

    @property
    def has_room(self) -> bool:
        return self.num_bytes < self._max_bytes

    def keep(self, task: int, snapshot: Snapshot, core: str, drop: Callable[[Snapshot], None]) -> None:
        """Take over the snapshot of an interrupted task."""
        assert task not in self._kept, f"task {task} has a snapshot already"
        self._kept[task] = Kept(snapshot, core, drop)
        self.num_bytes += snapshot.num_bytes

    def kept(self, task: int) -> Kept | None:
        """What is kept of the task; None when any core can start it."""
        return self._kept.get(task)

    def take(self, task: int) -> Kept | None:
        """The task's snapshot, to go on from: it is used once, and no longer kept here."""
        kept = self._kept.pop(task, None)
        if kept is not None:
            self.num_bytes -= kept.snapshot.num_bytes
        return kept

    def drop(self, task: int) -> None:
        """Forget a task's snapshot, if it has one."""
        kept = self.take(task)
        if kept is not None:
            kept.drop(kept.snapshot)

    def check(self, tasks: set[int]) -> None:
        """Assert that what is kept belongs to `tasks`, those that live."""
        assert set(self._kept) <= tasks, f"snapshots of ended tasks: {set(self._kept) - tasks}"
        assert self.num_bytes == sum(kept.snapshot.num_bytes for kept in self._kept.values())

    def statistics(self) -> dict[str, int]:
        return {"snapshots": len(self._kept), "snapshot_bytes": self.num_bytes}


def fit(num_prompt_tokens: int, max_tokens: int, window: int) -> int:
    """The most tokens of the answer that still fit. `ContextOverflow` when there is no room for any."""
    room = window - num_prompt_tokens
    if room < 1:
        raise ContextOverflow(
            f"the prompt takes {num_prompt_tokens} tokens and the window is {window} for prompt and answer: "
            "shorten the conversation or offer fewer tools"
        )
    return min(max_tokens, room)
