"""Who is reading from disk what another may be writing: so that nothing older is kept than was written."""

from collections.abc import Iterator
from contextlib import contextmanager


class _Owner:
    """Of one owner: what is under way, and how many writes were ever begun."""

    __slots__ = ("num_begun", "num_reading", "num_writing")

    def __init__(self) -> None:
        self.num_reading = self.num_writing = self.num_begun = 0


class Read:
    """A reading from disk. `is_current` says whether no write was under way at any time of it."""

    __slots__ = ("_begun", "_owner")

    def __init__(self, owner: _Owner) -> None:
        self._owner = owner
        self._begun = -1 if owner.num_writing else owner.num_begun

    @property
    def is_current(self) -> bool:
        return self._owner.num_begun == self._begun


class Traffic:
    """Reads and writes under way, by owner."""

    def __init__(self) -> None:
        self._owners: dict[str, _Owner] = {}

    def __len__(self) -> int:
        return len(self._owners)

    @contextmanager
    def reading(self, name: str) -> Iterator[Read]:
        owner = self._owners.setdefault(name, _Owner())
        owner.num_reading += 1
        try:
            yield Read(owner)
        finally:
            owner.num_reading -= 1
            self._leave(name, owner)

    @contextmanager
    def writing(self, name: str) -> Iterator[None]:
        owner = self._owners.setdefault(name, _Owner())
        owner.num_writing += 1
        owner.num_begun += 1
        try:
            yield
        finally:
            owner.num_writing -= 1
            self._leave(name, owner)

    def _leave(self, name: str, owner: _Owner) -> None:
        if not owner.num_reading and not owner.num_writing:
            del self._owners[name]
