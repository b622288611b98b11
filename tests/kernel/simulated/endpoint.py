"""What is outside the machine: an endpoint that serves, refuses, fails and hangs by lot.

It keeps books of its own, so that what the kernel counted can be compared with what happened.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from aios.abi.errors import AiosError, ContextOverflow, Exhausted, Overloaded, RateLimited, Unavailable
from aios.abi.messages import Delta, Message, ToolSpec, Usage
from aios.drivers.limits import Bucket, OnLimits, RateLimits, ignore_limits
from aios.drivers.llm import Finished, Generation, Preempted, Snapshot, SnapshotKind

Trouble = Literal["down", "hang", "exhausted", "crowded"]


class Outage(Struct, frozen=True):
    """From `begin` to `end` (virtual seconds) an endpoint serves nobody."""

    begin: float
    end: float
    kind: Trouble


class Move(Struct, frozen=True):
    """From `at` on (virtual seconds) its limits are this share of the first ones."""

    at: float
    share: float


class Plan(Struct, frozen=True, kw_only=True):
    """How an endpoint behaves. Chances are per run, times in seconds."""

    model: str
    capacity: int
    """Calls that it truly bears at once."""
    memory: int = 0
    """Tokens that it bears at once; beyond them the newest run is thrown out. 0 for no such limit."""
    snapshot_kind: SnapshotKind = "state"
    refusal_s: float = 0.05
    prefill_s: float = 0.1
    token_s: float = 0.02
    piece: int = 1
    """Tokens that come at once."""
    failing: float = 0.0
    cutting: float = 0.0
    hanging: float = 0.0
    refusing: float = 0.0
    """For what was asked: too long a prompt."""
    losing: float = 0.0
    """Of snapshots."""
    stop_s: float = 0.0
    """What a cancelled run takes to stop."""
    requests_per_minute: int = 0
    """0 for no such limit."""
    tells: bool = False
    """Its rate limits, in the headers of its answers."""
    retry_after: float | None = None
    outages: tuple[Outage, ...] = ()
    moves: tuple[Move, ...] = ()

    @property
    def most_at_once(self) -> int:
        """Calls that it ever serves at once."""
        return max(int(self.capacity * share) for share in (1.0, *(move.share for move in self.moves)))


class Call:
    """One generation as the world sees it: what it asks for, and what became of it."""

    def __init__(self, id: int, num_in: int, num_out: int, *, streams: bool) -> None:
        self.id = id
        self.band = self.priority = 0
        """What it is entitled to."""
        self.num_in = num_in
        self.num_out = num_out
        """Tokens of its answer, if nobody cuts it off."""
        self.streams = streams
        self.delivered: list[str] = []
        self.num_generated = 0
        """Since it was last begun."""
        self.num_failures = 0
        self.usage: Usage | None = None
        """Of its answer, once an endpoint gave one."""
        self.is_told_off = False
        """An endpoint refused it for what it asked."""

    @property
    def text(self) -> str:
        """The prompt: four characters for each token, so that the kernel's estimate is always right."""
        return f"{self.id} ".ljust(4 * self.num_in, ".")

    def answer(self, begin: int, end: int) -> str:
        return "".join(f"{self.id}.{place} " for place in range(begin, end))


def number_of(messages: Sequence[Message]) -> int:
    """The number of the call that has this prompt."""
    return int(messages[0].text.partition(" ")[0])


class Run:
    """A call being served."""

    def __init__(self, call: Call, position: int) -> None:
        self.call = call
        self.begin = self.position = position
        """Tokens of the answer that there were as it began, and that there are."""

    @property
    def num_tokens(self) -> int:
        return self.call.num_in + self.position


class Endpoint:
    """An `LLMDriver`. `on_arrival` is told of each run as it begins."""

    def __init__(self, name: str, plan: Plan, draw: random.Random, calls: dict[int, Call]) -> None:
        self.name = name
        self.plan = plan
        self.model = plan.model
        self.snapshot_kind = plan.snapshot_kind
        self.window = 0
        self.on_limits: OnLimits = ignore_limits
        self.on_arrival: Callable[[Endpoint, Call, Snapshot | None], None] = lambda *arrival: None
        self._draw = draw
        self._calls = calls
        self.running: list[Run] = []
        """Oldest first."""
        self.snapshots: dict[str, int] = {}
        """How far the answers of interrupted runs are."""
        self.silent_since: float | None = None
        self.is_healed = False
        self._hung: set[asyncio.Future[None]] = set()
        self._num_snapshots = 0
        self._level = float(plan.requests_per_minute)
        self._filled_at = 0.0

    async def start(self) -> None: ...

    async def close(self) -> None:
        self.heal()

    def heal(self) -> None:
        """From here on all is well, but for the limits it has."""
        self.is_healed = True
        for hung in self._hung:
            if not hung.done():
                hung.set_exception(Unavailable(f"endpoint {self.name} was healed"))

    async def num_prompt_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
        return len(messages[0].text) // 4

    def drop(self, snapshot: Snapshot) -> None:
        self.snapshots.pop(snapshot.handle, None)

    async def run(
        self,
        job: Generation,
        resume: Snapshot | None,
        emit: Callable[[Delta], None],
        must_yield: Callable[[int], bool],
    ) -> Finished | Preempted:
        call = self._calls[number_of(job.messages)]
        run = Run(call, 0 if resume is None else self.snapshots.pop(resume.handle))
        self.running.append(run)
        self.on_arrival(self, call, resume)
        try:
            await self._admit()
            if resume is not None and self._lot() < self.plan.losing:
                raise Unavailable(f"endpoint {self.name} has lost {resume.handle}")
            outcome = await self._serve(run, job, emit, must_yield)
        except (Overloaded, Unavailable) as error:
            self._failed(call, error)
            raise
        except ContextOverflow:
            call.is_told_off = True
            raise
        except asyncio.CancelledError:
            if self.plan.stop_s and not self.is_healed:
                await asyncio.sleep(self.plan.stop_s)
            raise
        finally:
            self.running.remove(run)
        if isinstance(outcome, Finished):
            call.usage = outcome.usage
            self.silent_since = None
        return outcome

    # ---- letting in

    async def _admit(self) -> None:
        """Raise what it refuses a call with, if it does, once it has made up its mind."""
        refusal = self._refusal(_now())
        if refusal is not None:
            await asyncio.sleep(self.plan.refusal_s)
            if isinstance(refusal, RateLimited):
                self._tell()
            raise refusal
        lot, plan = self._lot(), self.plan
        if lot < plan.hanging or self._trouble() == "hang":
            await self._hang()
        if lot < plan.hanging + plan.failing:
            await asyncio.sleep(plan.refusal_s)
            raise Unavailable(f"endpoint {self.name} failed")
        if lot < plan.hanging + plan.failing + plan.refusing:
            raise ContextOverflow(f"endpoint {self.name} takes no such prompt")

    async def _hang(self) -> None:
        hung: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hung.add(hung)
        try:
            await hung
        finally:
            self._hung.discard(hung)

    def _lot(self) -> float:
        """What decides whether a trouble comes; 1, which no chance is above, once all is well."""
        return 1.0 if self.is_healed else self._draw.random()

    def _refusal(self, now: float) -> AiosError | None:
        wait_s = self.plan.retry_after
        trouble = self._trouble()
        if trouble == "down":
            return Unavailable(f"endpoint {self.name} is down", retry_after=wait_s)
        if trouble == "exhausted":
            return Exhausted(f"endpoint {self.name} has no quota left")
        if trouble == "crowded" or len(self.running) > max(1, int(self._share(now) * self.plan.capacity)):
            return Overloaded(f"endpoint {self.name} is full", retry_after=wait_s)
        if self.plan.requests_per_minute and not self._take_request(now):
            return RateLimited(f"endpoint {self.name} had too many", retry_after=wait_s)
        return None

    def _trouble(self) -> Trouble | None:
        now = _now()
        for outage in self.plan.outages:
            if outage.begin <= now < outage.end and not self.is_healed:
                return outage.kind
        return None

    def _share(self, now: float) -> float:
        """What its limits are now, of the first ones."""
        return next((move.share for move in reversed(self.plan.moves) if move.at <= now), 1.0)

    # ---- its rate

    def _most(self, now: float) -> float:
        return self._share(now) * self.plan.requests_per_minute

    def _fill_up(self, now: float) -> None:
        most = self._most(now)
        self._level = min(most, self._level + (now - self._filled_at) * most / 60)
        self._filled_at = now

    def _take_request(self, now: float) -> bool:
        self._fill_up(now)
        if self._level < 1 - 1e-9:
            return False
        self._level -= 1
        return True

    def _tell(self) -> None:
        if self.plan.requests_per_minute and self.plan.tells:
            now = _now()
            self._fill_up(now)
            most = self._most(now)
            reset_s = (most - self._level) * 60 / most
            self.on_limits(RateLimits({"requests": Bucket(most, float(int(self._level)), reset_s)}))

    # ---- serving

    async def _serve(
        self, run: Run, job: Generation, emit: Callable[[Delta], None], must_yield: Callable[[int], bool]
    ) -> Finished | Preempted:
        call, plan = run.call, self.plan
        await asyncio.sleep(plan.prefill_s)
        self._tell()
        end = min(call.num_out, job.sampling.max_tokens or call.num_out)
        is_cut = self._lot() < plan.cutting
        cut_at = self._draw.randint(run.begin, end) if is_cut else end
        while run.position < end:
            if is_cut and run.position >= cut_at:
                raise Unavailable(f"endpoint {self.name} broke off")
            number = min(plan.piece, end - run.position)
            await asyncio.sleep(number * plan.token_s)
            self._make_room(run, number)
            call.num_generated += number
            self.silent_since = None
            emit(Delta(call.answer(run.position, run.position + number), num_tokens=number))
            run.position += number
            may_stop = self.snapshot_kind != "none" and run.position < end
            if may_stop and must_yield(run.position - run.begin):
                return Preempted(self._snapshot(run))
        reason = "stop" if end == call.num_out else "length"
        return Finished(call.answer(0, end), (), reason, Usage(call.num_in, end), self.model)

    def _make_room(self, run: Run, number: int) -> None:
        """Raise where there is no memory for so many more tokens, and nobody came later than this run."""
        num_tokens = sum(one.num_tokens for one in self.running) + number
        if not self.plan.memory or num_tokens <= self.plan.memory or run is not self.running[-1]:
            return
        if len(self.running) == 1:
            raise ContextOverflow(f"endpoint {self.name} bears {self.plan.memory} tokens")
        raise Overloaded(f"endpoint {self.name} is out of memory")

    def _snapshot(self, run: Run) -> Snapshot:
        self._num_snapshots += 1
        handle = f"{self.name}/{run.call.id}/{self._num_snapshots}"
        self.snapshots[handle] = run.position
        return Snapshot(self.snapshot_kind, handle, run.position, 100 * run.position)

    def _failed(self, call: Call, error: AiosError) -> None:
        if self.silent_since is None:
            self.silent_since = _now()
        call.num_failures += isinstance(error, Unavailable) and not isinstance(error, Exhausted)


def _now() -> float:
    return asyncio.get_running_loop().time()
