"""Tending shelves: their tails become segments, small segments larger ones, and what is gone is left out.

Decided and made by a reader (`plan`), put in by the writer (`install`), so that no write waits for it. Who
tends is alone: two at a time would undo each other's work, though nothing would be lost.
"""

from collections.abc import Sequence
from itertools import takewhile

import apsw
import numpy as np
from msgspec import Struct

from aios.kernel.shelves import tables
from aios.kernel.shelves.segment import EMPTY, Bools, Document, Segment, build, merge
from aios.kernel.shelves.shelf import Source
from aios.kernel.shelves.terms import MAX_PLACES, tokenizer

FLUSH = 2048
"""What waits since the last segment, in documents of a few lines, that makes another worth it."""
FLUSH_LETTERS = 4 * 1024 * 1024
"""Letters of a new segment, give or take a document."""
CAPACITY = MAX_PLACES
"""Documents of a segment at most."""
MAX_POSTINGS = 8 * 1024 * 1024
"""Of one, give or take what a new one has."""
FEW = 8
"""Small segments, of half the capacity or less, that are too many."""


class Plan(Struct, frozen=True):
    """A segment to be put in the place of others. `kept` is what there must be for it to be right."""

    shelf: str
    kept: tuple[int, ...]
    segment: Segment
    upto: int
    replaced: tuple[int, ...]
    buried: tuple[int, ...]
    """Places among what is gone that nobody needs to know of any more."""


def plan(connection: apsw.Connection, source: Source, shelf: str) -> Plan | None:
    """What is to be done first; None for nothing. Raises `tables.Damaged`."""
    kept = tables.segments_of(connection, shelf)
    covered = max((upto for _, upto in kept), default=0)
    if source.num_waiting(connection, shelf, covered) >= FLUSH:
        return _flush(connection, source, shelf, kept, covered)
    gone = tables.gone_since(connection, shelf, 0)
    if len(kept) < FEW and len(gone) < FLUSH:
        return None
    return _merge(connection, shelf, kept, gone)


def install(connection: apsw.Connection, plan: Plan) -> bool:
    """Do it; whether it was still right."""
    if tuple(id for id, _ in tables.segments_of(connection, plan.shelf)) != plan.kept:
        return False
    tables.delete(connection, plan.replaced)
    tables.insert(connection, plan.shelf, plan.segment, plan.upto)
    places = ((place,) for place in plan.buried)
    connection.executemany("DELETE FROM shelf_gone WHERE place = ?", places)
    return True


def _flush(
    connection: apsw.Connection, source: Source, shelf: str, kept: list[tuple[int, int]], covered: int
) -> Plan:
    taken = _cut(source.changed_since(connection, shelf, covered, FLUSH))
    upto = source.last_stamp(connection, shelf)
    if taken and source.changed_since(connection, shelf, taken[-1].stamp, 1):
        upto = taken[-1].stamp
    segment = build(tokenizer(connection), taken) if taken else EMPTY
    gone = tables.gone_since(connection, shelf, 0)
    buried = tuple(place for place, stamp in gone if covered < stamp <= upto)
    return Plan(shelf, tuple(id for id, _ in kept), segment, upto, (), buried)


def _cut(documents: Sequence[Document]) -> list[Document]:
    num_letters = 0

    def fits(document: Document) -> bool:
        nonlocal num_letters
        num_letters += len(document.text)
        return num_letters - len(document.text) < FLUSH_LETTERS

    return list(takewhile(fits, documents))


def _merge(
    connection: apsw.Connection, shelf: str, kept: list[tuple[int, int]], gone: list[tuple[int, int]]
) -> Plan | None:
    stamps = np.array([stamp for _, stamp in gone], np.int64)
    parts: dict[int, tuple[Segment, Bools]] = {}
    for id, _ in kept:
        segment = tables.load(connection, shelf, id)
        is_alive = np.ones(len(segment), np.bool_)
        is_alive[segment.places_of(stamps)] = False
        parts[id] = segment, is_alive
    chosen = _choose(parts)
    if not chosen:
        return None
    merged = merge(connection, [parts[id] for id in chosen])
    dead: set[int] = set()
    for segment, is_alive in (parts[id] for id in chosen):
        dead.update(segment.columns.stamps[~is_alive].tolist())
    buried = tuple(place for place, stamp in gone if stamp in dead)
    upto = max(upto for id, upto in kept if id in chosen)
    return Plan(shelf, tuple(id for id, _ in kept), merged, upto, tuple(chosen), buried)


def _choose(parts: dict[int, tuple[Segment, Bools]]) -> list[int]:
    """The smallest where too many are small, else those that are more dead than alive."""
    num_alive = {id: int(is_alive.sum()) for id, (_, is_alive) in parts.items()}
    small = [id for id in parts if num_alive[id] <= CAPACITY // 2]
    if len(small) >= FEW and len(chosen := _fitting(parts, num_alive, small)) > 1:
        return chosen
    withered = [id for id, (segment, _) in parts.items() if len(segment) > 2 * num_alive[id]]
    return _fitting(parts, num_alive, withered)


def _fitting(
    parts: dict[int, tuple[Segment, Bools]], num_alive: dict[int, int], candidates: list[int]
) -> list[int]:
    """The smallest of them that fit into one."""
    chosen: list[int] = []
    num_documents = num_postings = 0
    for id in sorted(candidates, key=lambda id: num_alive[id]):
        num_documents += num_alive[id]
        num_postings += parts[id][0].num_postings
        if chosen and (num_documents > CAPACITY or num_postings > MAX_POSTINGS):
            break
        chosen.append(id)
    return chosen
