"""Plays a workload against an arm and keeps the records. Uses the running loop's time and no other."""

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any

from aios.bench.schedule.arms import LOST, Arm, Begin, Caller
from aios.bench.schedule.program import Program, Step
from aios.bench.schedule.records import CallRecord, ProgramRecord, Trial, call_record, join
from aios.bench.schedule.workload import Workload, speed_of
from aios.bench.upstream.ledger import merged
from aios.bench.upstream.model import Upstream
from aios.bench.virtual import run_virtual


def virtual_trial(arm: Arm, workload: Workload, seed: int) -> Trial:
    """In virtual time, in this process: the same on any machine."""
    begin = time.perf_counter()
    trial = run_virtual(_trial(arm, workload, seed))
    trial.wall_s = time.perf_counter() - begin
    return trial


async def _trial(arm: Arm, workload: Workload, seed: int) -> Trial:
    loop = asyncio.get_running_loop()
    config = arm.upstream(workload.upstream)
    upstreams = [Upstream(config) for _ in range(workload.replicas)]
    player = Player(loop.time())
    async with arm.opened(upstreams, workload, seed) as begin:
        await player.play(workload.programs, begin)
        report = merged([upstream.report() for upstream in upstreams])
    for upstream in upstreams:
        upstream.close()
    join(player.calls, report, speed_of(config))
    slots = config.slots * workload.replicas
    return Trial(workload.name, arm.name, seed, slots, player.programs, player.calls, report)


class Player:
    """Runs programs and writes down what each of them and of their calls met. `origin` is the run's begin."""

    def __init__(self, origin: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._origin = origin
        self.programs: list[ProgramRecord] = []
        self.calls: list[CallRecord] = []

    async def play(self, programs: Sequence[Program], begin: Begin) -> None:
        """Run all of them, each from its arrival, counted from now."""
        now = self._now()
        async with asyncio.TaskGroup() as group:
            for program in programs:
                at = now + program.arrival_s
                due = None if program.deadline_s is None else at + program.deadline_s
                record = ProgramRecord(program.id, program.tenant, program.kind, at, due)
                self.programs.append(record)
                group.create_task(self._live(program, record, begin))

    def _now(self) -> float:
        return self._loop.time() - self._origin

    async def _live(self, program: Program, record: ProgramRecord, begin: Begin) -> None:
        await asyncio.sleep(record.arrival - self._now())
        try:
            async with begin(program) as call:
                for number, step in enumerate(program.steps):
                    await self._take(step, number, record, call)
            record.state = "done"
        except LOST as error:
            record.state, record.error = "lost", f"{error}: {error.__cause__}"
        record.end = self._now()

    async def _take(self, step: Step, number: int, record: ProgramRecord, call: Caller) -> None:
        """Make a step's calls in parallel, then let its tools work. The first one lost ends the others."""
        calls = [
            self._call(call_record(work, record, self._now()), call(number, work)) for work in step.works
        ]
        if len(calls) == 1:
            await calls[0]
        else:
            await _all(calls)
        if step.gap_s:
            await asyncio.sleep(step.gap_s)

    async def _call(self, record: CallRecord, answer: Awaitable[object]) -> None:
        self.calls.append(record)
        record.is_lost = True
        try:
            await answer
            record.is_lost = False
        finally:
            record.left = self._now()


async def _all(calls: Sequence[Coroutine[Any, Any, None]]) -> None:
    asking = [asyncio.ensure_future(call) for call in calls]
    try:
        await asyncio.gather(*asking)
    finally:
        for one in asking:
            one.cancel()
