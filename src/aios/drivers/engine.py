"""The embedded core's engine: many generations in one batch, a token each a step, in rows that come and go.

Owns rows, the order of work, interruption and the prefix cache. A free row takes the next run at once; a
prompt is computed a few blocks a step, so that those who are talking do not stall. It knows no process, no
pipe and no event loop: whoever drives it takes `turn`s while there is work and hands on the events.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, assert_never

import numpy as np

from aios.abi.errors import AiosError, InvalidArgument, Overloaded
from aios.drivers.engine_frames import (
    Cancel,
    Command,
    Count,
    Counted,
    Drop,
    EngineStatistics,
    Event,
    Failed,
    Load,
    Parked,
    Preempt,
    Progress,
    RunEvent,
    Submit,
)
from aios.drivers.engine_models import load_model
from aios.drivers.engine_prompts import UNREADABLE, Prompts
from aios.drivers.engine_snapshots import Run, SnapshotStore
from aios.drivers.llm import Generation, Snapshot
from aios.drivers.models.kv_row import BLOCK
from aios.drivers.models.model import Chat, Floats, Model, Row
from aios.drivers.models.prefix_cache import PrefixCache, key_after


class Engine:
    """One model with `slots` rows. Not for two threads at once."""

    def __init__(
        self,
        decoder: Model[Any],
        chat: Chat,
        *,
        model: str,
        slots: int,
        cache_bytes: int,
        snapshot_bytes: int,
    ) -> None:
        self._decoder, self._model, self._slots = decoder, model, slots
        self._prompts = Prompts(chat, model, self.window)
        self._cache = PrefixCache(cache_bytes)
        self._snapshots = SnapshotStore(self._cache, snapshot_bytes)
        self._free = [decoder.new_row() for _ in range(slots)]
        self._waiting: deque[Run] = deque()
        self._running: dict[int, Run] = {}
        silent = [
            token for token in range(chat.vocab_size) if not chat.surface(token) and token not in chat.spoken
        ]
        self._never = np.array([*silent, *range(chat.vocab_size, decoder.config.vocab_size)])
        self._steps = self._tokens = self._prefilled = self._cached = self._switches = self._replays = 0

    @classmethod
    def load(cls, command: Load) -> "Engine":
        """Read model and tokenizer. `Unavailable` where they are missing or do not go together."""
        return cls(
            *load_model(command),
            model=command.model,
            slots=command.slots,
            cache_bytes=command.cache_bytes,
            snapshot_bytes=command.snapshot_bytes,
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
                self._snapshots.take(handle)
            case Load():
                return [Failed(0, InvalidArgument("a model is loaded already").to_reply())]
            case _:
                assert_never(command)
        return []

    def step(self) -> list[RunEvent]:
        """One token for each run that has its prompt, and some blocks of the prompts of the others."""
        events: list[RunEvent] = []
        self._steps += 1
        self._admit()
        talking = [run for run in self._running.values() if run.next_token >= 0]
        reading = [run for run in self._running.values() if run.next_token < 0]
        if talking:
            self._decode(talking, events)
        self._prefill(reading, events)
        return events

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
        )

    def check(self) -> None:
        """Every row is free or has one run, and the stores' sums hold."""
        rows = [*self._free, *(run.row for run in self._running.values())]
        assert None not in rows
        assert len({id(row) for row in rows}) == len(rows) == self._slots
        self._cache.check()
        self._snapshots.check()

    def _begin(self, command: Submit | Count) -> list[RunEvent]:
        try:
            if isinstance(command, Count):
                return [Counted(command.run, len(self._prompts.encode(command.messages, command.tools)))]
            self._submit(command.run, command.job, command.resume)
        except AiosError as error:
            return [Failed(command.run, error.to_reply())]
        return []

    def _submit(self, run_id: int, job: Generation, resume: Snapshot | None) -> None:
        # First of all: a snapshot is used up by going on from it, even where there is no room to.
        run = self._snapshots.take(resume.handle) if resume is not None else None
        if len(self._running) + len(self._waiting) >= 2 * self._slots:
            raise Overloaded(f"the model has {self._slots} slots, and as many calls wait for them already")
        if run is None:
            run = self._prompts.run(run_id, job)
        if resume is not None and run.tail is None:
            # The snapshot is gone, so the run starts over and shows what comes after it.
            run.replayed = resume.num_tokens
            self._replays += 1
        run.id, run.slice_tokens, run.leaving = run_id, 0, False
        self._waiting.append(run)

    def _preempt(self, run_id: int) -> list[RunEvent]:
        run = self._running.get(run_id)
        if run is None:  # it ended before it heard
            return []
        if run.next_token >= 0 and run.answer.num_tokens > run.replayed:
            return [self._park(run)]
        run.leaving = True
        return []

    def _cancel(self, run_id: int) -> None:
        if run_id in self._running:
            self._release(self._running[run_id])
        self._waiting = deque(run for run in self._waiting if run.id != run_id)

    def _admit(self) -> None:
        while self._free and self._waiting:
            run = self._waiting.popleft()
            run.enter_row(self._free.pop())
            self._running[run.id] = run

    def _decode(self, runs: Sequence[Run], events: list[RunEvent]) -> None:
        rows = [run.row for run in runs if run.row is not None]
        tokens = [run.next_token for run in runs]
        logits = self._decoder.decode(rows, tokens, [run.length for run in runs])
        logits[:, self._never] = -np.inf
        for run, row_logits in zip(runs, logits, strict=True):
            run.length += 1
            self._choose(run, row_logits, events)

    def _prefill(self, runs: Sequence[Run], events: list[RunEvent]) -> None:
        # More at once when many wait: each block then delays those who talk, but a burst gets in sooner.
        blocks = 2 + len(runs) // 4
        for run in runs:
            while blocks and run.next_token < 0 and run.row is not None:
                blocks -= self._prefill_block(run, run.row, events)

    def _prefill_block(self, run: Run, row: Row, events: list[RunEvent]) -> int:
        """Fill the next block of a prompt; 1 if it had to be computed, 0 if the cache had it."""
        tokens = run.prompt[run.length : run.length + BLOCK]
        last = run.length + len(tokens) == len(run.prompt)
        key = key_after(run.key, tokens) if len(tokens) == BLOCK else None
        block = self._cache.find(key) if key else None
        logits = None
        if block is not None and not last:
            row.put(run.length, block.values)
            run.answer.cached_tokens += BLOCK
            self._cached += BLOCK
        else:
            logits = self._decoder.prefill(row, tokens, run.length, last=last)
            self._prefilled += len(tokens)
        if key is not None:
            run.key = key
            run.blocks.append(block or self._cache.add(key, row.copy(run.length, run.length + BLOCK)))
        run.length += len(tokens)
        if logits is None:
            return int(block is None)
        logits[self._never] = -np.inf
        self._choose(run, logits, events)
        return 1

    def _choose(self, run: Run, logits: Floats, events: list[RunEvent]) -> None:
        try:
            token = run.answer.choose(logits)
            deltas = run.answer.add(token)
        except AiosError as error:
            self._fail(run, error, events)
            return
        except UNREADABLE as error:
            self._fail(run, InvalidArgument(f"a tool's parameters are no JSON Schema: {error!r}"), events)
            return
        run.next_token = token
        self._tokens += 1
        ended = run.answer.finish_reason is not None
        if run.answer.num_tokens <= run.replayed and not ended:
            return
        run.slice_tokens += 1
        finished = run.answer.finished(self._model) if ended else None
        events.append(Progress(run.id, run.slice_tokens, tuple(deltas), finished))
        if ended:
            self._release(run)
        elif run.leaving:
            events.append(self._park(run))

    def _fail(self, run: Run, error: AiosError, events: list[RunEvent]) -> None:
        self._release(run)
        events.append(Failed(run.id, error.to_reply()))

    def _park(self, run: Run) -> Parked:
        del self._running[run.id]
        self._free.append(run.leave_row())
        self._switches += 1
        return Parked(run.id, self._snapshots.park(run))

    def _release(self, run: Run) -> None:
        assert run.row is not None
        del self._running[run.id]
        self._free.append(run.row)
        run.row = None
