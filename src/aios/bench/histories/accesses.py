"""Which nodes of a trie agents refer to and when, as they hold their conversations, some at a time."""

import heapq
import random
from collections.abc import Iterator, Sequence
from itertools import islice

import apsw
from msgspec import Struct

from aios.bench.histories.runs import Run
from aios.kernel.config import MemoryConfig
from aios.kernel.histories import rows
from aios.kernel.histories.book import Key
from aios.kernel.histories.nodes import Text
from aios.kernel.histories.trie import Gone, Grown
from aios.kernel.process import DEFAULT_TENANT

CALL_S = 15.0
"""Between two calls of an agent, in the mean: a model's answer, a tool, a person."""


class Reference(Struct, frozen=True):
    """An agent needs a node, or (`is_new`) has just written all of it."""

    node_id: int
    size: int
    """Bytes as they are kept."""
    by: int
    now: float
    is_new: bool = False


class Growth(Struct, frozen=True):
    """A node has this size now: it grew, or 0, it is no more."""

    node_id: int
    size: int


class End(Struct, frozen=True):
    """An agent makes no more calls."""

    by: int


Event = Reference | Growth | End


def turns_of(runs: Sequence[Run], width: int, seed: int) -> Iterator[tuple[float, int, int]]:
    """When which run (its number) has which turn: `width` of them at a time, each at its own pace."""
    rng, waiting = random.Random(seed), iter(range(len(runs)))
    calls = [(rng.expovariate(1 / CALL_S), number, 0) for number in islice(waiting, width)]
    heapq.heapify(calls)
    num_turns = [len(run.turns()) for run in runs]
    while calls:
        now, number, turn = heapq.heappop(calls)
        yield now, number, turn
        later = now + rng.expovariate(1 / CALL_S)
        if turn + 1 < num_turns[number]:
            heapq.heappush(calls, (later, number, turn + 1))
        elif (following := next(waiting, None)) is not None:
            heapq.heappush(calls, (later, following, 0))


def events_of(connection: apsw.Connection, runs: Sequence[Run], width: int, seed: int) -> list[Event]:
    """Each turn is appended, then read with all before it. The tables are there, and empty."""
    return [event for turn in turns_of(runs, width, seed) for event in _turn(connection, runs, *turn)]


def _turn(
    connection: apsw.Connection, runs: Sequence[Run], now: float, number: int, turn: int
) -> Iterator[Event]:
    key, turns, config = Key(runs[number].agent, rows.MAIN), runs[number].turns(), MemoryConfig()
    written = rows.append(connection, key, DEFAULT_TENANT, turns[turn], now, config)
    own = {node.id for node in written.path}
    for change in written.changes:
        match change:
            case Text(node=node):
                size = len(change.body) + len(change.tail)
                yield Reference(node.id, size, number, now, True) if node.id in own else Growth(node.id, size)
            case Gone(node_id=node_id):
                yield Growth(node_id, 0)
            case Grown(node_id=node_id):
                continue  # What it has grown to is seen when it is read.
    found = rows.find(connection, key, 0, config.max_history_messages)
    assert found is not None
    for text in found.texts:
        yield Reference(text.node.id, len(text.body) + len(text.tail), number, now)
    if turn + 1 == len(turns):
        yield End(number)
