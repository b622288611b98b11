"""A generation in the engine: its prompt, its branches, and the rows that they are computed in.

Owns how branches and rows belong together. It decides nothing: which run is computed when is the engine's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aios.abi.messages import Delta, Usage
from aios.drivers.engine_branches import Branches
from aios.drivers.llm import Finished, Generation
from aios.drivers.models.kv_row import BLOCK
from aios.drivers.models.model import KeysValues, Row
from aios.drivers.models.prefix_cache import Node


@dataclass(slots=True, eq=False)
class Run:
    """It holds rows while it runs, and none while it waits or is parked."""

    id: int
    job: Generation
    prompt: Sequence[int]
    branches: Branches
    num_shown: int = 0
    """Tokens that an earlier life has already shown."""
    rows: list[Row] = field(default_factory=list)
    """Of the live branches, in their order; one while the prompt is being computed."""
    length: int = 0
    """Positions of the rows that are filled."""
    nodes: list[Node] = field(default_factory=list)
    """The prompt's full blocks, as far as they are computed."""
    tails: list[KeysValues] = field(default_factory=list)
    """Of a run without rows that has begun: what comes after the full blocks, for each branch."""
    num_cached: int = 0
    """Tokens of the prompt that needed no work."""
    unshown: list[Delta] = field(default_factory=list)
    """What an earlier life had shown, and is to be shown again."""
    slice_tokens: int = 0
    is_leaving: bool = False
    """It was told to yield while there was nothing yet to go on from."""

    @property
    def is_talking(self) -> bool:
        """Whether its prompt is computed."""
        return self.length >= len(self.prompt)

    @property
    def num_rows(self) -> int:
        """Rows that it may come to need at the same time."""
        return self.branches.width

    @property
    def num_positions(self) -> int:
        """Keys and values that it holds, or will as soon as it runs."""
        return max(self.length, len(self.prompt)) * max(1, len(self.rows), len(self.tails))

    def enter(self, row: Row, more: Callable[[], Row]) -> None:
        """Begin in a row, or go on as in the rows that were left; `more` gives those of further branches."""
        self.rows = [row, *(more() for _ in self.tails[1:])]
        for each, tail in zip(self.rows, self.tails, strict=False):
            each.reserve(self.length, 0)
            for index, node in enumerate(self.nodes):
                assert node.values is not None
                each.put(index * BLOCK, node.values)
            each.put(len(self.nodes) * BLOCK, tail)
        self.tails = []

    def leave(self) -> list[Row]:
        """Copy what is needed out of the rows, which are then free for others."""
        rows, self.rows = self.rows, []
        start = len(self.nodes) * BLOCK
        self.tails = [row.copy(start, self.length) for row in rows]
        return rows

    def follow(self, parents: Sequence[int], more: Callable[[], Row]) -> list[Row]:
        """Give each live branch its row, from where the one of `parents` stands; rows that are left over."""
        before, self.rows = self.rows, []
        spare = [row for place, row in enumerate(before) if place not in parents]
        used: set[int] = set()
        for place in parents:
            if place not in used:
                used.add(place)
                self.rows.append(before[place])
                continue
            # A row of this run has the prompt already.
            start, row = (len(self.prompt), spare.pop()) if spare else (0, more())
            row.reserve(self.length, start)
            row.put(start, before[place].copy(start, self.length))
            self.rows.append(row)
        return spare

    def finished(self, model: str) -> Finished:
        """The whole answer, when its branches are over."""
        first, *others = self.branches.choices()
        usage = Usage(len(self.prompt), self.branches.num_tokens, self.num_cached)
        return Finished(
            first.text, first.tool_calls, first.finish_reason, usage, model, first.logprobs, tuple(others)
        )
