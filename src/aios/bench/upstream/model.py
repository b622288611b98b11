"""A model server's behaviour without a model: how long calls take, which are turned away, which die.

Owns slots, memory and the queue. Uses the running loop's time and no other, so it is the same behind HTTP
(`server.py`) and in process on virtual time (`bench/virtual.py`).

Work is counted at full speed: a call that ran for a second while twice as many ran as there are slots
(possible under `memory` only) has done half a second of it. The server's clock `_full_s` counts what a call
that always runs would have done; a call's own is the part of it while it held a slot.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable

from msgspec import structs

from aios.bench.upstream.config import Stage, UpstreamConfig
from aios.bench.upstream.ledger import Ledger, Outcome, Record, Report
from aios.bench.upstream.prefixes import PrefixCache
from aios.bench.upstream.quota import Quota
from aios.bench.upstream.refusing import (
    Broken,
    Refused,
    failed,
    out_of_memory,
    over_rate,
    too_many_at_once,
    unavailable,
)
from aios.bench.upstream.work import Work

__all__ = ["Broken", "Call", "Refused", "Report", "Stage", "Upstream", "UpstreamConfig", "Work"]

_NEARLY = 1e-9
"""Seconds by which work may fall short of what is asked and count as done."""


class Call:
    """One try of a call, from its arrival to its end."""

    __slots__ = ("alarm", "cut_s", "done_s", "doom", "held", "mark", "num_tokens", "record", "work")

    def __init__(self, work: Work, record: Record, cut_s: float) -> None:
        self.work = work
        """What is to be done: of its prompt, once it has begun, only what no cache holds."""
        self.record = record
        self.cut_s = cut_s
        """Work after which its connection breaks; more than it needs where it does not."""
        self.done_s = 0.0
        """Work done, as of the server's clock `mark`."""
        self.mark = 0.0
        self.num_tokens = 0
        """Of its answer, so far."""
        self.held = 0
        """Tokens it has in memory."""
        self.alarm: asyncio.Future[None] | None = None
        """What it waits for while it works, or while it waits for a slot."""
        self.doom: Broken | None = None
        """Why it dies, once that is decided."""


def never(num_tokens: int) -> bool:
    """Don't stop."""
    return False


class Upstream:
    """Make it on the loop whose time it uses; its time begins then."""

    def __init__(self, config: UpstreamConfig) -> None:
        self.config = config
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time()
        self._full_s = 0.0
        self._slots = config.slots
        self._running: dict[Call, None] = {}
        """In the order in which they got their slots."""
        self._waiting: deque[Call] = deque()
        self._held = 0
        self._cache = PrefixCache(config.cache_tokens)
        self._tries: Counter[int] = Counter()
        self._quota = Quota(config.rpm, config.tpm, config.burst_s, self._at)
        self.ledger = Ledger(self._at, config.slots)
        stages = config.stages if config.mode == "shift" else ()
        self._timers = [self._loop.call_later(stage.at_s, self._shift, stage.slots) for stage in stages]

    async def serve(
        self,
        work: Work,
        emit: Callable[[int], None],
        must_yield: Callable[[int], bool] = never,
        paused: Call | None = None,
        *,
        on_let_in: Callable[[], None] = lambda: None,
    ) -> Call | None:
        """Answer a call: `emit` takes the number of tokens in each piece. None once the answer is whole.

        `on_let_in` is called when a server would send the head of its answer: the call is in, but may queue.
        `must_yield` is asked after each piece but the last, with the tokens since this very begin; where it
        says True the call gives up its slot and is returned, to be gone on with as `paused`, or given to
        `forget`. Raises `Refused` when it is turned away, `Broken` when it dies later. Cancelling abandons
        it.
        """
        call = self._arrived(work) if paused is None else paused
        outcome: Outcome = "abandoned"
        try:
            if paused is not None:
                self._refuse_above_slots(work)
            on_let_in()
            await self._enter(call)
            is_whole = await self._generate(call, emit, must_yield)
            if is_whole:
                outcome = "done"
                self._cache.keep(work)
            else:
                outcome = "open"
        except Broken as broken:
            outcome = "killed" if broken.body else "broken"
            raise
        finally:
            self._leave(call)
            if outcome != "open":
                self.ledger.ended(self._loop.time(), call.record, outcome)
        if is_whole:
            return None
        call.record.num_pauses += 1
        return call

    def forget(self, paused: Call) -> None:
        """An interrupted call will not be gone on with: what went into it is wasted."""
        self.ledger.ended(self._loop.time(), paused.record, "abandoned")

    def headers(self) -> dict[str, str]:
        """The rate headers of an answer that begins now; none where no limit is, or none is told."""
        return self._quota.headers(self._loop.time()) if self.config.tells else {}

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def report(self) -> Report:
        """The ledger as it stands now."""
        self._tally()
        for call in self._running:
            self._advance(call)
        return self.ledger.report(self._at)

    def close(self) -> None:
        """Change no more."""
        for timer in self._timers:
            timer.cancel()

    # ---- the door

    def _arrived(self, work: Work) -> Call:
        """A new try is let in, or turned away."""
        self._tries[work.id] += 1
        is_error, cut_s = self._draw_failure(work)
        if is_error:
            raise self._refusal(work, "error", failed())
        self._refuse_above_slots(work)
        self._charge(work)
        return Call(work, self.ledger.let_in(self._loop.time(), work), cut_s)

    def _refuse_above_slots(self, work: Work) -> None:
        if self._is_out:
            raise self._refusal(work, "outage", unavailable() if self.config.outage == "503" else Broken())
        if self._is_full:
            raise self._refusal(work, "slots", too_many_at_once(self._slots))

    def _charge(self, work: Work) -> None:
        """Take what a call costs out of the quota; a rejected one costs too, under `burn`."""
        now = self._loop.time()
        name, wait_s = self._quota.lacking(now, work)
        if wait_s == 0:
            self._quota.take(now, work)
            return
        if self.config.mode == "burn":
            self._quota.take(now, work, self.config.burn_share)
            name, wait_s = self._quota.lacking(now, work)
        raise self._refusal(work, name, over_rate(name, wait_s, self.headers(), tells=self.config.tells))

    def _refusal(self, work: Work, reason: str, refusal: Refused | Broken) -> Refused | Broken:
        self.ledger.refused(self._loop.time(), work, reason)
        return refusal

    @property
    def _is_out(self) -> bool:
        return self.config.mode == "shift" and self._slots == 0

    @property
    def _is_full(self) -> bool:
        """Whether a call that comes now is one too many. A limit of 0 under `rate` and `burn` is none."""
        if self.config.mode in ("memory", "engine") or not self._slots:
            return False
        return len(self._running) >= self._slots

    def _draw_failure(self, work: Work) -> tuple[bool, float]:
        """Whether this try fails at once, and the work after which it is cut off."""
        config = self.config
        if not config.error_share and not config.cut_share:
            return False, float("inf")
        draw = random.Random(f"{config.seed}/{work.id}/{self._tries[work.id]}")
        is_error = draw.random() < config.error_share
        is_cut = draw.random() < config.cut_share
        return is_error, draw.random() * config.service_s(work) if is_cut else float("inf")

    async def _enter(self, call: Call) -> None:
        """Hold a slot from here on."""
        if self.config.mode == "engine" and (self._waiting or len(self._running) >= self._slots):
            call.alarm = self._loop.create_future()
            self._tally()
            self._waiting.append(call)
            self._stands()
            await call.alarm
        else:
            self._begin(call)

    def _begin(self, call: Call) -> None:
        self._tally()
        if call.record.began_s is None:
            self._look_up(call)
        call.mark = self._full_s
        self._running[call] = None
        self.ledger.began(self._at, call.record)
        self._stands()

    def _look_up(self, call: Call) -> None:
        call.record.n_hit = num_held = self._cache.take(call.work)
        if num_held:
            call.work = structs.replace(call.work, n_in=call.work.n_in - num_held)

    def _leave(self, call: Call) -> None:
        """Give back what it holds, wherever it stands. Harmless when it holds nothing."""
        self._tally()
        if call in self._running:
            self._advance(call)
            del self._running[call]
            self._held -= call.held
            call.held = 0
        elif call in self._waiting:
            self._waiting.remove(call)
        while self._waiting and len(self._running) < self._slots:
            successor = self._waiting.popleft()
            self._begin(successor)
            _wake(successor)
        self._stands()

    # ---- work

    async def _generate(
        self, call: Call, emit: Callable[[int], None], must_yield: Callable[[int], bool]
    ) -> bool:
        """Work until the answer is whole, or until told to stop: whether it is whole."""
        begin, needed_s = call.num_tokens, self.config.service_s(call.work)
        while True:
            await self._work(call, min(needed_s, call.cut_s))
            if call.done_s >= call.cut_s - _NEARLY:
                raise Broken
            new = self._num_tokens(call) - call.num_tokens
            call.num_tokens += new
            self._hold(call)
            if new:
                emit(new)
            if call.done_s >= needed_s - _NEARLY:
                return True
            if new and must_yield(call.num_tokens - begin):
                return False

    async def _work(self, call: Call, end_s: float) -> None:
        """Let the time of one piece pass, but not beyond `end_s` of the call's work."""
        config = self.config
        piece_s = end_s - call.done_s
        if config.tick_s:
            piece_s = min(piece_s, self._tick_s(call))
        call.alarm = self._loop.create_future()
        timer = self._loop.call_later(piece_s / self._speed, _wake, call)
        try:
            await call.alarm
        finally:
            timer.cancel()
            self._tally()
            self._advance(call)
        if call.doom is not None:
            raise call.doom

    def _tick_s(self, call: Call) -> float:
        """Work until the next piece: the first one comes with the first token."""
        config = self.config
        prefill_left_s = call.work.n_in * config.prefill_s_per_token - call.done_s
        if config.mode != "memory" and prefill_left_s > -_NEARLY:
            return prefill_left_s + config.decode_s_per_token
        return config.tick_s

    def _advance(self, call: Call) -> None:
        """Put down to the call's account what it has done since it was last looked at."""
        if call in self._running:
            worked_s = self._full_s - call.mark
            call.mark = self._full_s
            call.done_s += worked_s
            call.record.slot_s += worked_s

    def _num_tokens(self, call: Call) -> int:
        """Tokens of the answer there are by now."""
        config, work = self.config, call.work
        decoding_s = call.done_s - work.n_in * config.prefill_s_per_token
        num = int((decoding_s + _NEARLY) / config.decode_s_per_token)
        return min(max(num, 0), work.n_out)

    # ---- memory

    def _hold(self, call: Call) -> None:
        """Take memory for what has been read and written by now; where there is none, the youngest die."""
        config, work = self.config, call.work
        if config.mode != "memory":
            return
        read = work.n_in
        if config.prefill_s_per_token:
            read = min(read, int((call.done_s + _NEARLY) / config.prefill_s_per_token))
        held = read + call.num_tokens
        self._held += held - call.held
        call.held = held
        while self._held > config.memory_tokens:
            youngest = next(reversed(self._running))
            self._kill(youngest, out_of_memory())
        if call.doom is not None:
            raise call.doom

    def _kill(self, call: Call, doom: Broken) -> None:
        """End a call that runs. Its slot and memory are free at once."""
        call.doom = doom
        self._leave(call)
        _wake(call)

    # ---- time and change

    @property
    def _speed(self) -> float:
        """Of each call, where 1 is full."""
        num_running = len(self._running)
        if self.config.mode != "memory" or num_running <= self._slots:
            return 1.0
        return self._slots / num_running

    def _tally(self) -> None:
        """Bring the server's clock up to now. Before anything changes that the speed depends on."""
        now = self._loop.time()
        self._full_s += (now - self._at) * self._speed
        self._at = now

    def _stands(self) -> None:
        """Tell the ledger what has changed, as of the last tally: a real loop's time has gone on since."""
        num_running = len(self._running)
        busy = num_running * self._speed
        self.ledger.stands(self._at, num_running, len(self._waiting), busy, self._slots)

    def _shift(self, slots: int) -> None:
        self._tally()
        self._slots = slots
        self._stands()
        if slots == 0:
            for call in tuple(self._running):
                self._kill(call, Broken())


def _wake(call: Call) -> None:
    if call.alarm is not None and not call.alarm.done():
        call.alarm.set_result(None)
