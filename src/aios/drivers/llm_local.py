"""The embedded core: a small model that ships in the package, run by an engine in a process of its own.

Owns the engine's life and which call each event belongs to. It knows nothing of tokens or weights. An engine
that dies fails its calls with `Unavailable`, `Severed` where a part of an answer was there; the next call
starts another, after a pause that grows with each death. Snapshots that died with it are replayed by the new
one: the same job gives the same tokens. A call that goes on from one has waited its turn already, and waits
out such a pause too.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aios.abi.errors import AiosError, Cancelled, Unavailable, from_reply
from aios.abi.messages import Delta, Message, ToolSpec
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
    Moved,
    Parked,
    Preempt,
    Progress,
    Ready,
    RunEvent,
    Submit,
    Torch,
)
from aios.drivers.engine_link import EngineLink, InlineLink, ProcessLink
from aios.drivers.limits import OnLimits, ignore_limits
from aios.drivers.llm import Finished, Generation, Preempted, Severed, Snapshot, SnapshotKind

log = logging.getLogger(__name__)

EMBEDDED_MODEL = Path(__file__).parent / "models" / "nano"
_MIB = 1 << 20
_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


@dataclass(slots=True, eq=False)
class _Flight:
    """A call whose events are awaited."""

    done: "asyncio.Future[Finished | Preempted | int]"
    emit: Callable[[Delta], None]
    must_yield: Callable[[int], bool]
    num_before: int = 0
    """Tokens of earlier slices,"""
    num_shown: int = 0
    """and of this one."""
    leaving: bool = False


class EmbeddedDriver:
    """An `LLMDriver` for a model folder: `config.json`, `model.safetensors`, `tokenizer.model`.

    With `torch` for a model in the files of Hugging Face's transformers, a folder or a name on their hub.

    `inline` runs the engine in this process, where it blocks the loop: for tests, which then can ask after
    every single token. With a `snapshot_folder`, snapshots may take `disk_bytes` there.
    """

    def __init__(
        self,
        folder: Path | str = EMBEDDED_MODEL,
        *,
        torch: Torch | None = None,
        model: str = "nano",
        slots: int = 64,
        cache_bytes: int = 256 * _MIB,
        snapshot_bytes: int = 1024 * _MIB,
        kv_tokens: int = 0,
        snapshot_folder: Path | None = None,
        disk_bytes: int = 0,
        inline: bool = False,
    ) -> None:
        self._load = Load(
            str(folder),
            model,
            slots,
            cache_bytes,
            snapshot_bytes,
            kv_tokens,
            "" if snapshot_folder is None else str(snapshot_folder),
            disk_bytes,
            torch,
        )
        self._inline = inline
        self._link: EngineLink | None = None
        self._starting = asyncio.Lock()
        self._flights: dict[int, _Flight] = {}
        self._ids = itertools.count(1)
        self._window = 0
        self._statistics = EngineStatistics()
        self._moved: dict[str, str] = {}
        """Why snapshots are no longer in memory, by handle."""
        self._deaths = 0
        self._not_before = 0.0
        self._closed = asyncio.Event()
        self.on_limits: OnLimits = ignore_limits

    @property
    def model(self) -> str:
        return self._load.model

    @property
    def snapshot_kind(self) -> SnapshotKind:
        return "state"

    @property
    def window(self) -> int:
        return self._window

    @property
    def engine_pid(self) -> int | None:
        """The process that runs the engine now; None where none does."""
        return self._link.pid if self._link is not None else None

    async def start(self) -> None:
        await self._ready_link()

    async def close(self) -> None:
        self._closed.set()
        self._fail_all(Cancelled("the core was closed"))
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def run(
        self,
        job: Generation,
        resume: Snapshot | None,
        emit: Callable[[Delta], None],
        must_yield: Callable[[int], bool],
    ) -> Finished | Preempted:
        link = await (self._ready_link() if resume is None else self._link_to_resume(resume))
        run_id = next(self._ids)
        flight = self._take_off(run_id, emit, must_yield, 0 if resume is None else resume.num_tokens)
        try:
            link.send(Submit(run_id, job, resume))
            outcome = await flight.done
        except asyncio.CancelledError:
            self._leave(run_id, flight.done)
            raise
        finally:
            del self._flights[run_id]
        assert not isinstance(outcome, int)
        return outcome

    async def _link_to_resume(self, resume: Snapshot) -> EngineLink:
        """The engine's link, for a call that waited its turn already. Raises `Severed`."""
        try:
            await self._wait_out_pause()
            link = await self._ready_link()
        except Unavailable as error:
            raise Severed(error.message, resume) from error
        self._moved.pop(resume.handle, None)
        return link

    def drop(self, snapshot: Snapshot) -> None:
        self._moved.pop(snapshot.handle, None)
        self._send(Drop(snapshot.handle))

    def place_of(self, snapshot: Snapshot) -> str:
        """See `Mover`."""
        return self._moved.get(snapshot.handle, "kept in memory")

    async def move_out(self, snapshot: Snapshot) -> None:
        """See `Mover`."""
        self._moved.pop(snapshot.handle, None)
        link = self._link
        if link is None:
            return
        run_id = next(self._ids)
        flight = self._take_off(run_id, lambda delta: None, lambda num_tokens: False)
        try:
            link.send(Export(run_id, snapshot.handle))
            with suppress(AiosError):  # It died, and its snapshots with it.
                await flight.done
        finally:
            del self._flights[run_id]

    async def num_prompt_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int | None:
        link = await self._ready_link()
        run_id = next(self._ids)
        flight = self._take_off(run_id, lambda delta: None, lambda num_tokens: False)
        try:
            link.send(Count(run_id, tuple(messages), tuple(tools)))
            outcome = await flight.done
        finally:
            del self._flights[run_id]
        assert isinstance(outcome, int)
        return outcome

    def statistics(self) -> EngineStatistics:
        """What the engine last said of itself; it says it with every step."""
        return self._statistics

    def _take_off(
        self,
        run_id: int,
        emit: Callable[[Delta], None],
        must_yield: Callable[[int], bool],
        num_before: int = 0,
    ) -> _Flight:
        flight = _Flight(asyncio.get_running_loop().create_future(), emit, must_yield, num_before)
        self._flights[run_id] = flight
        return flight

    def _leave(self, run_id: int, done: "asyncio.Future[Finished | Preempted | int]") -> None:
        """Nobody awaits this run any more: end it, or drop what has just come of it."""
        if done.cancelled():
            self._send(Cancel(run_id))
        elif done.exception() is None and isinstance(outcome := done.result(), Preempted):
            self.drop(outcome.snapshot)

    def _send(self, command: Command) -> None:
        if self._link is not None:
            self._link.send(command)

    async def _ready_link(self) -> EngineLink:
        async with self._starting:
            if self._link is None and not self._closed.is_set():
                await self._adopt(await self._new_link())
            if self._link is None:
                raise Cancelled("the core was closed")
            return self._link

    async def _adopt(self, link: EngineLink) -> None:
        if self._closed.is_set():  # while it was starting
            await link.close()
        else:
            self._link = link

    def _pause(self) -> float:
        """Seconds before an engine may be started again."""
        return self._not_before - asyncio.get_running_loop().time()

    async def _wait_out_pause(self) -> None:
        while self._link is None and not self._closed.is_set() and (pause := self._pause()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), pause)

    async def _new_link(self) -> EngineLink:
        if (pause := self._pause()) > 0:
            raise Unavailable("the engine died; it is started again soon", retry_after=pause)
        make = InlineLink if self._inline else ProcessLink
        link = make(self._on_events, self._on_end)
        try:
            ready: Ready = await link.start(self._load)
        except AiosError:
            self._count_death()
            raise
        self._window = ready.window
        return link

    def _on_end(self, error: AiosError) -> None:
        self._link = None
        self._moved.clear()
        self._count_death()
        for run_id, flight in self._flights.items():
            if flight.num_before + flight.num_shown and not flight.done.done():
                flight.done.set_exception(Severed(error.message, self._lost(run_id, flight)))
        self._fail_all(error)

    def _lost(self, run_id: int, flight: _Flight) -> Snapshot:
        """A snapshot of which nothing is left but how much was shown: an engine runs its job again."""
        handle = f"lost-{run_id}"
        self._moved[handle] = "lost with its engine, to be computed again"
        return Snapshot("state", handle, flight.num_before + flight.num_shown, 0)

    def _count_death(self) -> None:
        """The first death may be chance: the engine is started again at once. More and more rarely after."""
        self._deaths += 1
        if self._deaths > 1:
            pause = min(_PAUSE_S * 2 ** (self._deaths - 2), _LONGEST_PAUSE_S)
            self._not_before = asyncio.get_running_loop().time() + pause

    def _fail_all(self, error: AiosError) -> None:
        for flight in self._flights.values():
            if not flight.done.done():
                flight.done.set_exception(type(error)(error.message, retry_after=error.retry_after))

    def _on_events(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, EngineStatistics):
                self._statistics = event
                continue
            if isinstance(event, Moved):
                self._moved[event.handle] = event.reason
                continue
            assert not isinstance(event, Ready)
            flight = self._flights.get(event.run)
            if flight is not None and not flight.done.done():
                self._guarded(flight, event)
            elif isinstance(event, Parked):
                self.drop(event.snapshot)  # nobody waits for it any more

    def _guarded(self, flight: _Flight, event: RunEvent) -> None:
        try:
            self._on_event(flight, event)
        except Exception as error:  # noqa: BLE001 - the caller's own; the other calls go on
            flight.done.set_exception(error)
            self._send(Cancel(event.run))

    def _on_event(self, flight: _Flight, event: RunEvent) -> None:
        match event:
            case Progress():
                self._on_progress(flight, event)
            case Parked(_, snapshot):
                flight.done.set_result(Preempted(snapshot))
            case Failed(_, error, trace):
                if trace:
                    log.error("%s\n%s", error.message, trace)
                flight.done.set_exception(from_reply(error))
            case Counted(_, num_tokens):
                flight.done.set_result(num_tokens)

    def _on_progress(self, flight: _Flight, progress: Progress) -> None:
        flight.num_shown = progress.num_tokens
        for delta in progress.deltas:
            flight.emit(delta)
        if progress.finished is not None:
            self._deaths = 0
            flight.done.set_result(progress.finished)
        elif not flight.leaving and flight.must_yield(progress.num_tokens):
            flight.leaving = True
            self._send(Preempt(progress.run))
