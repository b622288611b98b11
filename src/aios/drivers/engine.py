"""The embedded core's engine: many generations in one batch, a token each a step, in rows that come and go.

Owns rows, the order of work, interruption and the prefix cache. Free rows take the next run at once, as long
as the keys and values of all that run have room; a prompt is computed a few blocks a step, so that those who
are talking do not stall. It knows no process, no pipe and no event loop: whoever drives it takes `turn`s
while there is work and hands on the events.
"""

import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, assert_never

from msgspec import structs

from aios.abi.errors import AiosError, Internal, InvalidArgument, Overloaded
from aios.drivers.engine_frames import (
    Cancel,
    Command,
    Count,
    Counted,
    Drop,
    EngineStatistics,
    Event,
    Export,
    Failed,
    Load,
    Parked,
    Preempt,
    Progress,
    RunEvent,
    Submit,
)
from aios.drivers.engine_models import load_model
from aios.drivers.engine_prompts import Prompts
from aios.drivers.engine_runs import Run
from aios.drivers.engine_snapshots import Pace, SnapshotStore
from aios.drivers.llm import Generation, Snapshot
from aios.drivers.models.kv_row import BLOCK
from aios.drivers.models.model import Chat, Floats, Model, Row
from aios.drivers.models.prefix_cache import Node, PrefixCache
from aios.drivers.snapshot_files import SnapshotFiles

T = TypeVar("T")

_STOP, _GO_ON = 0.95, 0.80
"""Shares of the room for keys and values: from the first on no run is let in, until below the second."""


@dataclass(slots=True, eq=False)
class _Ticket:
    """A run that waits for rows: made already, or to be taken up from its snapshot."""

    id: int
    job: Generation
    run: Run | None
    resume: Snapshot | None = None
    awaited: Sequence[Node] = ()
    """What the cache has of its prompt."""


class Engine:
    """One model with `slots` rows. Not for two threads at once.

    `kv_tokens` bounds the positions of keys and values that rows hold at the same time, 0 for as many as the
    rows can; `files` takes the snapshots that memory has no room for.
    """

    def __init__(
        self,
        decoder: Model[Any],
        chat: Chat,
        *,
        model: str,
        slots: int,
        cache_bytes: int,
        snapshot_bytes: int,
        kv_tokens: int = 0,
        files: SnapshotFiles | None = None,
    ) -> None:
        self._decoder, self._model, self._slots = decoder, model, slots
        self._kv_tokens = kv_tokens or slots * self.window
        self._prompts = Prompts(chat, model, self.window)
        self._cache = PrefixCache(cache_bytes)
        self._pace = Pace()
        self._snapshots = SnapshotStore(self._cache, snapshot_bytes, files, decoder.identity, self._pace)
        self._free: list[Row] = [decoder.new_row() for _ in range(slots)]
        self._waiting: deque[_Ticket] = deque()
        self._running: dict[int, Run] = {}
        self._is_full = False
        self._steps = self._tokens = self._prefilled = self._cached = self._switches = self._replays = 0
        self._restored = 0

    @classmethod
    def load(cls, command: Load) -> "Engine":
        """Read model and tokenizer. `Unavailable` where they are missing or do not go together."""
        decoder, chat = load_model(command)
        files = None
        if command.snapshot_folder and command.disk_bytes:
            files = SnapshotFiles(Path(command.snapshot_folder), decoder.identity, command.disk_bytes)
        return cls(
            decoder,
            chat,
            model=command.model,
            slots=command.slots,
            cache_bytes=command.cache_bytes,
            snapshot_bytes=command.snapshot_bytes,
            kv_tokens=command.kv_tokens,
            files=files,
        )

    @property
    def window(self) -> int:
        return self._decoder.config.max_position_embeddings

    @property
    def is_busy(self) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._running or self._waiting)

    def turn(self, commands: Sequence[Command]) -> list[Event]:
        """Obey, then take a step if there is work: what came of it, and how things stand after it."""
        events: list[Event] = [event for command in commands for event in self.obey(command)]
        if self.is_busy:
            events += self.step()
        events += self._snapshots.told()
        return [*events, self.statistics()] if events else []

    def obey(self, command: Command) -> list[RunEvent]:
        """Do what a command says; what there is to say about it at once."""
        match command:
            case Submit() | Count():
                return self._begin(command)
            case Preempt(run):
                return self._preempt(run)
            case Cancel(run):
                self._cancel(run)
            case Drop(handle):
                self._snapshots.drop(handle)
            case Export(run, handle):
                self._snapshots.export(handle)
                return [Counted(run, 0)]
            case Load():
                return [Failed(0, InvalidArgument("a model is loaded already").to_reply())]
            case _:
                assert_never(command)
        return []

    def step(self) -> list[RunEvent]:
        """One token for each run that has its prompt, and some blocks of the prompts of the others."""
        events: list[RunEvent] = []
        self._steps += 1
        self._relieve()
        self._admit(events)
        talking = [run for run in self._running.values() if run.is_talking]
        reading = [run for run in self._running.values() if not run.is_talking]
        if talking:
            self._decode(talking, events)
        self._prefill(reading, events)
        return events

    def save(self) -> None:
        """Write to disk what shall outlive this engine: it is about to end."""
        for run in [run for run in self._running.values() if run.is_talking]:
            self._park(run)
        self._snapshots.save()

    def statistics(self) -> EngineStatistics:
        return EngineStatistics(
            steps=self._steps,
            tokens=self._tokens,
            prefilled_tokens=self._prefilled,
            cached_tokens=self._cached,
            switches=self._switches,
            replays=self._replays,
            running=len(self._running),
            waiting=len(self._waiting),
            snapshots=len(self._snapshots),
            snapshot_bytes=self._snapshots.num_bytes,
            cache_bytes=self._cache.num_bytes,
            kv_tokens=self._num_positions(),
            swapped=self._snapshots.num_swapped,
            dropped=self._snapshots.num_dropped,
            restored=self._restored,
            disk_bytes=self._snapshots.disk_bytes,
            last_refused=self._snapshots.refusal,
        )

    def check(self) -> None:
        """Every row is free or has one run, and the stores' sums hold."""
        rows = [*self._free, *(row for run in self._running.values() for row in run.rows)]
        assert len({id(row) for row in rows}) == len(rows) == self._slots
        assert all(len(run.rows) == max(1, len(run.branches.live)) for run in self._running.values())
        self._cache.check()
        self._snapshots.check()

    # ---- coming in

    def _begin(self, command: Submit | Count) -> list[RunEvent]:
        events: list[RunEvent] = []

        def begin() -> None:
            if isinstance(command, Submit):
                self._submit(command.run, command.job, command.resume)
            else:
                num_tokens = len(self._prompts.encode(command.messages, command.tools))
                events.append(Counted(command.run, num_tokens))

        _attempt(command.run, begin, events)
        return events

    def _submit(self, run_id: int, job: Generation, resume: Snapshot | None) -> None:
        if len(self._running) + len(self._waiting) >= 2 * self._slots:
            if resume is not None:  # A snapshot is used up by going on from it, even where there is no room.
                self._snapshots.drop(resume.handle)
            raise Overloaded(f"the model has {self._slots} slots, and as many calls wait for them already")
        if job.sampling.width > self._slots:
            what = "answers" if job.sampling.beams is None else "beams"
            raise InvalidArgument(f"{job.sampling.width} {what} at once; {self._model} takes {self._slots}")
        if resume is not None:
            self._waiting.append(_Ticket(run_id, job, None, resume))
            return
        run = self._prompts.run(run_id, job)
        ticket = _Ticket(run_id, job, run, awaited=tuple(self._cache.path(job.scope, run.prompt)))
        self._cache.expect(ticket.awaited, 1)
        self._waiting.append(ticket)

    def _admit(self, events: list[RunEvent]) -> None:
        """Let runs in, in their order, as long as there are rows and room for what they hold."""
        while self._waiting and (self._may_admit() or not self._running):
            ticket = self._waiting[0]
            reserved = sum(run.num_rows - len(run.rows) for run in self._running.values())
            if ticket.job.sampling.width > len(self._free) - reserved:
                return
            if self._running and self._num_positions() + self._needed(ticket) > _STOP * self._kv_tokens:
                return
            self._waiting.popleft()
            run = _attempt(ticket.id, partial(self._take_up, ticket), events)
            if run is None:
                continue
            run.enter(self._free.pop(), self._free.pop)
            self._running[run.id] = run

    def _may_admit(self) -> bool:
        share = self._num_positions() / self._kv_tokens
        self._is_full = share > _STOP or (self._is_full and share >= _GO_ON)
        return not self._is_full

    def _num_positions(self) -> int:
        return sum(run.num_positions for run in self._running.values())

    def _needed(self, ticket: _Ticket) -> int:
        """Positions that a run will hold from its first step on; 0 where that is not known."""
        if ticket.resume is not None:
            return self._snapshots.num_positions(ticket.resume.handle)
        return 0 if ticket.run is None else ticket.run.num_positions

    def _take_up(self, ticket: _Ticket) -> Run:
        """The run of a ticket: as it was made, from its snapshot, or from what another engine left of it."""
        self._cache.expect(ticket.awaited, -1)
        ticket.awaited = ()
        resume, num_shown, run = ticket.resume, 0, None
        if resume is not None:
            num_shown = resume.num_tokens
            run = self._snapshots.take(resume.handle, ticket.job, self._prompts.run)
        if run is None and (resume is not None or ticket.job.is_kept):
            run = self._snapshots.find(ticket.job, self._prompts.run)
            self._restored += run is not None
        if run is not None and num_shown:
            # What came after that is not known to be shown, and would be lost.
            run = run if run.branches.num_tokens <= num_shown else None
        if run is None and resume is not None:
            # The snapshot is gone, so the run starts over and shows what comes after it.
            run = self._prompts.run(ticket.id, ticket.job)
            self._replays += 1
        if run is None:
            assert ticket.run is not None
            run = ticket.run
        if num_shown:
            run.unshown = []
        run.id, run.num_shown = ticket.id, num_shown
        run.slice_tokens, run.is_leaving = 0, False
        return run

    def _relieve(self) -> None:
        """Have the runs that came last wait again, while what is held is more than there is room for."""
        while len(self._running) > 1 and self._num_positions() > self._kv_tokens:
            run = next((run for run in reversed(self._running.values()) if run.is_talking), None)
            if run is None:
                return
            self._switches += 1
            resume = self._parked_to_wait(self._leave(run))
            self._waiting.appendleft(_Ticket(run.id, run.job, None, resume))

    def _parked_to_wait(self, run: Run) -> Snapshot:
        """The snapshot of a run that nobody has interrupted, with what of it has really been shown."""
        snapshot = self._snapshots.park(run)
        num_shown = 0 if run.unshown else max(run.num_shown, snapshot.num_tokens)
        return structs.replace(snapshot, num_tokens=num_shown)

    # ---- going on

    def _decode(self, runs: Sequence[Run], events: list[RunEvent]) -> None:
        branches = [branch for run in runs for branch in run.branches.live]
        rows = [row for run in runs for row in run.rows]
        lengths = [run.length for run in runs for _ in run.rows]
        began = time.perf_counter()
        logits = self._decoder.decode(rows, [branch.token for branch in branches], lengths)
        self._pace.took("token", time.perf_counter() - began, len(rows))
        start = 0
        for run in runs:
            stop = start + len(run.rows)
            run.length += 1
            self._grow(run, logits[start:stop], events)
            start = stop

    def _prefill(self, runs: Sequence[Run], events: list[RunEvent]) -> None:
        # More at once when many wait: each block then delays those who talk, but a burst gets in sooner.
        blocks = 2 + len(runs) // 4
        for run in runs:
            while blocks and not run.is_talking:
                blocks -= self._prefill_block(run, run.rows[0], events)

    def _prefill_block(self, run: Run, row: Row, events: list[RunEvent]) -> int:
        """Fill the next block of a prompt; 1 if it had to be computed, 0 if the cache had it."""
        tokens = run.prompt[run.length : run.length + BLOCK]
        last = run.length + len(tokens) == len(run.prompt)
        before = run.nodes[-1] if run.nodes else self._cache.root(run.job.scope)
        node = self._cache.find(before, tokens) if len(tokens) == BLOCK else None
        logits = None
        if node is not None and node.values is not None and not last:
            row.put(run.length, node.values)
            run.num_cached += BLOCK
            self._cached += BLOCK
        else:
            began = time.perf_counter()
            logits = self._decoder.prefill(row, tokens, run.length, last=last)
            self._pace.took("prompt", time.perf_counter() - began, len(tokens))
            self._prefilled += len(tokens)
        is_new = node is None
        if len(tokens) == BLOCK:
            stop = run.length + BLOCK
            run.nodes.append(node or self._cache.add(before, tokens, row.copy(run.length, stop)))
        run.length += len(tokens)
        if logits is None:
            return int(is_new)
        self._cache.touch(run.nodes)
        self._grow(run, logits[None], events)
        return 1

    def _grow(self, run: Run, logits: Floats, events: list[RunEvent]) -> None:
        num_before = run.branches.num_tokens
        grown = _attempt(run.id, partial(run.branches.grow, [*logits]), events)
        if grown is None:
            self._release(run)
            return
        deltas, parents = grown
        num_new = run.branches.num_tokens - num_before
        self._tokens += num_new
        if not run.branches.is_over:
            self._free += run.follow(parents, self._free.pop)
        if run.branches.num_tokens <= run.num_shown and not run.branches.is_over:
            return
        run.slice_tokens += num_new
        if run.unshown:
            deltas, run.unshown = [*run.unshown, *deltas], []
        finished = run.finished(self._model) if run.branches.is_over else None
        events.append(Progress(run.id, run.slice_tokens, tuple(deltas), finished))
        if finished is not None:
            self._release(run)
        elif run.is_leaving:
            events.append(self._parked(run))

    # ---- leaving

    def _preempt(self, run_id: int) -> list[RunEvent]:
        run = self._running.get(run_id)
        if run is None:
            return self._preempt_waiting(run_id)
        if run.is_talking and run.branches.num_tokens > run.num_shown and not run.unshown:
            return [self._parked(run)]
        run.is_leaving = True
        return []

    def _preempt_waiting(self, run_id: int) -> list[RunEvent]:
        """Of a run that waits with a snapshot this is the answer; others have ended, or not begun."""
        for ticket in self._waiting:
            if ticket.id == run_id and ticket.resume is not None:
                self._waiting.remove(ticket)
                return [Parked(run_id, ticket.resume)]
        return []

    def _cancel(self, run_id: int) -> None:
        if run_id in self._running:
            self._release(self._running[run_id])
        for ticket in [ticket for ticket in self._waiting if ticket.id == run_id]:
            self._waiting.remove(ticket)
            self._cache.expect(ticket.awaited, -1)
            if ticket.resume is not None:
                self._snapshots.drop(ticket.resume.handle)

    def _parked(self, run: Run) -> Parked:
        self._switches += 1
        return Parked(run.id, self._park(run))

    def _park(self, run: Run) -> Snapshot:
        return self._snapshots.park(self._leave(run))

    def _leave(self, run: Run) -> Run:
        del self._running[run.id]
        self._free += run.leave()
        return run

    def _release(self, run: Run) -> None:
        del self._running[run.id]
        self._free += run.rows
        run.rows = []


def _attempt(run_id: int, work: Callable[[], T], events: list[RunEvent]) -> T | None:
    """What `work` for a run comes to; None where it failed, which is among the `events` then."""
    try:
        return work()
    except AiosError as error:
        events.append(Failed(run_id, error.to_reply()))
    except Exception as error:  # noqa: BLE001 - a defect ends its own call: all others go on
        told = f"the engine failed at this call ({type(error).__name__}); the log says more"
        trace = "".join(traceback.format_exception(error))
        events.append(Failed(run_id, Internal(told).to_reply(), trace))
    return None
