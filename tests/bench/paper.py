"""A schedule on paper: programs on slots, calls taken in the order of a key, no slot idle while one waits."""

import heapq
import itertools
from collections.abc import Callable, Sequence

from aios.bench.schedule.program import Program, Speed

Key = Callable[[Program, int], float]
"""What is smallest goes first, of the calls that wait: the program, and which step the call belongs to."""


def on_paper(programs: Sequence[Program], speed: Speed, slots: int, key: Key) -> dict[int, float]:
    """When each program ends."""
    order = itertools.count()
    events: list = [(program.arrival_s, next(order), program, 0, None) for program in programs]
    heapq.heapify(events)
    ready: list = []
    missing: dict[int, int] = {}
    ends: dict[int, float] = {}
    while events:
        now, _, program, step, work = heapq.heappop(events)
        if work is not None:
            slots += 1
            missing[program.id] -= 1
            if not missing[program.id]:
                after = now + program.steps[step].gap_s
                heapq.heappush(events, (after, next(order), program, step + 1, None))
        elif step == len(program.steps):
            ends[program.id] = now
        else:
            missing[program.id] = len(program.steps[step].works)
            for due in program.steps[step].works:
                heapq.heappush(ready, (key(program, step), next(order), program, step, due))
        while slots and ready and not (events and events[0][0] == now):
            slots -= 1
            _, _, chosen, its_step, due = heapq.heappop(ready)
            heapq.heappush(events, (now + speed.service_s(due), next(order), chosen, its_step, due))
    return ends
