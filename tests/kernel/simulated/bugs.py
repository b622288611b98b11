"""Bugs to be planted in the kernel, so that the simulation shows that it finds what it is there for.

Each is a small change of real code, as a slip could make it; `planted` puts one in for as long as it is open.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from aios.abi.errors import Cancelled, Overloaded
from aios.kernel import lifecycle
from aios.kernel.config import PolicyName
from aios.kernel.context import ContextManager
from aios.kernel.cores.bucket import RateBucket
from aios.kernel.cores.circuit import Circuit
from aios.kernel.cores.gate import Gate
from aios.kernel.cores.room import Room
from aios.kernel.dispatcher import Dispatcher
from aios.kernel.flight import Flight
from aios.kernel.generation import Generations
from aios.kernel.payers import Payers
from aios.kernel.process import ProcessTable
from aios.kernel.scheduling.lanes import Lanes
from aios.kernel.scheduling.policies import RoundRobin, _Levels
from aios.kernel.scheduling.runqueue import RunQueue
from aios.kernel.scheduling.scheduler import Scheduler
from aios.kernel.tools import ToolManager

Method = Callable[..., Any]


class Bug(NamedTuple):
    """What is changed."""

    owner: Any
    attribute: str
    spoil: Callable[[Method], Method]
    """What becomes of the original."""
    shown_by: str
    """A pattern of what the watch says of it: it must be found for what it does."""
    policy: PolicyName | None = None
    """The only one under which it shows; None for any."""


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    original = getattr(bug.owner, bug.attribute)
    setattr(bug.owner, bug.attribute, bug.spoil(original))
    try:
        yield
    finally:
        setattr(bug.owner, bug.attribute, original)


# ---- how code is spoilt


def _instead(value: Any) -> Callable[[Method], Method]:
    return lambda original: lambda *arguments, **options: value


def _release_forgets_yielding(release: Method) -> Method:
    def spoilt(self: Scheduler, task: Any, *arguments: Any, **options: Any) -> Any:
        was_yielding = task.is_yielding
        resource = release(self, task, *arguments, **options)
        resource.num_yielding += was_yielding
        return resource

    return spoilt


def _leave_forgets_cancelled(leave: Method) -> Method:
    def spoilt(self: Gate, now: float, reserved: int, used: int | None, outcome: Any, *rest: Any) -> None:
        if outcome.kind != "neutral":
            leave(self, now, reserved, used, outcome, *rest)

    return spoilt


def _never_first(add: Method) -> Method:
    return lambda self, task, now, first=False: add(self, task, now)


def _interrupted_first(put_back: Method) -> Method:
    return lambda self, task, first: put_back(self, task, first=True)


def _no_refund(settle: Method) -> Method:
    def spoilt(self: Payers, task: Any, usage: Any) -> None:
        if usage is None and task.hold is not None:
            task.hold = None
        else:
            settle(self, task, usage)

    return spoilt


def _no_timer_after_a_failed_probe(await_opening: Method) -> Method:
    def spoilt(self: Dispatcher, core: Any) -> None:
        if core.gate._circuit._num_rests < 2:
            await_opening(self, core)

    return spoilt


def _discard_forgets_the_tenant(discard: Method) -> Method:
    def spoilt(self: RunQueue, task: Any, now: float) -> None:
        tenant = task.demand.program.tenant
        discard(self, task, now)
        if self._fairness is not None:
            tenant.num_waiting += 1

    return spoilt


def _gives_nothing(original: Method) -> Method:
    def spoilt(*arguments: Any, **options: Any) -> None:
        original(*arguments, **options)

    return spoilt


def _emitted_is_forgotten(failed: Method) -> Method:
    def spoilt(self: Dispatcher, task: Any, error: Any, resource: Any) -> None:
        task.has_emitted = False
        failed(self, task, error, resource)

    return spoilt


def _without_the_first(let_go: Method) -> Method:
    return lambda self, pid: let_go(self, pid)[1:]


def _settled_twice(settle: Method) -> Method:
    def spoilt(self: Dispatcher, task: Any, outcome: Any) -> None:
        settle(self, task, outcome)
        if isinstance(outcome, Cancelled):
            settle(self, task, outcome)

    return spoilt


def _upside_down(original: Method) -> Method:
    """With the bands in the wrong order."""

    def spoilt(self: RunQueue, *arguments: Any, **options: Any) -> Any:
        self._bands.reverse()
        try:
            return original(self, *arguments, **options)
        finally:
            self._bands.reverse()

    return spoilt


def _deadline_stays(settle: Method) -> Method:
    def spoilt(self: Flight, task: Any, outcome: Any) -> None:
        task.deadline = None
        settle(self, task, outcome)

    return spoilt


def _not_of_the_settled(interrupt: Method) -> Method:
    def spoilt(self: Generations, task: Any, *arguments: Any) -> None:
        if not task.is_settled:
            interrupt(self, task, *arguments)

    return spoilt


def _overload_costs_a_try(failed: Method) -> Method:
    def spoilt(self: Dispatcher, task: Any, error: Any, resource: Any) -> None:
        task.attempts += isinstance(error, Overloaded)
        failed(self, task, error, resource)

    return spoilt


def _nested_is_held(wait: Method) -> Method:
    def spoilt(self: Scheduler, task: Any, *arguments: Any, **options: Any) -> None:
        is_nested, task.is_nested = task.is_nested, False
        wait(self, task, *arguments, **options)
        task.is_nested = is_nested

    return spoilt


def _never(original: Method) -> Method:
    def spoilt(*arguments: Any) -> float:
        original(*arguments)
        return float("inf")

    return spoilt


IDLE = "stands idle while"

BUGS: dict[str, Bug] = {
    # The order of calls.
    "the lowest band goes first": Bug(RunQueue, "take", _upside_down, r"core-\d took .* before"),
    "the highest band makes room": Bug(
        RunQueue, "newest_of_lowest_band", _upside_down, "had to make room|others would have made room"
    ),
    "a retried call goes to the end of its lane": Bug(
        Lanes, "add", _never_first, "before an older one of its lane"
    ),
    "an interrupted call keeps its turn": Bug(
        Dispatcher, "_put_back", _interrupted_first, "served twice while|before an older one", "rr"
    ),
    "one program has all the turns": Bug(
        RoundRobin, "key", lambda _: lambda self, head, now, turn: (head.program,), "served twice while", "rr"
    ),
    "nobody sees that a program starves": Bug(_Levels, "changes_at", _never, r"took .* before", "plas"),
    "a child asks for more than its parent has": Bug(
        lifecycle, "_bounded", lambda _: lambda asked, parent: asked, "has band"
    ),
    # Slots and queues.
    "a released call goes on counting as yielding": Bug(
        Scheduler, "release", _release_forgets_yielding, "check: .* Scheduler.check"
    ),
    "a slot that is left wakes nobody": Bug(Scheduler, "release", _gives_nothing, IDLE),
    "what a call kept out is forgotten": Bug(Scheduler, "kept_out", _instead([]), IDLE),
    "a discarded call goes on counting for its tenant": Bug(
        RunQueue, "discard", _discard_forgets_the_tenant, "tenant .* counts"
    ),
    "an evicted call is not settled": Bug(Scheduler, "submit", _gives_nothing, "is in 0 places"),
    "a resumed process loses a call": Bug(Scheduler, "let_go", _without_the_first, "is in 0 places"),
    "a suspended process's tool is held": Bug(Scheduler, "_wait", _nested_is_held, "is held, and"),
    "an ended process leaves its calls": Bug(
        Dispatcher, "end_process", _instead(None), "check: .* Flight.check"
    ),
    "an ended process leaves its children": Bug(
        ProcessTable, "_alive_from", lambda _: lambda self, process: [process], "lives on without"
    ),
    "tools that conflict run together": Bug(
        ToolManager, "can_start", _instead(True), "runs beside one|runs \\d times"
    ),
    # A call's end.
    "a call is retried after a delta": Bug(
        Dispatcher, "_failed", _emitted_is_forgotten, "after a part of its answer was delivered"
    ),
    "a cancelled call is settled twice": Bug(Dispatcher, "_settle", _settled_twice, "KeyError"),
    "a settled call's deadline stays": Bug(Flight, "settle", _deadline_stays, "timers wait, where"),
    "a settled call's snapshot stays": Bug(
        ContextManager, "drop", _instead(None), "check: .* ContextManager.check"
    ),
    "a call ended as it stops leaves its snapshot": Bug(
        Generations, "_interrupt", _not_of_the_settled, "snapshots that nobody knows", "rr"
    ),
    "a snapshot goes to any core": Bug(ContextManager, "kept", _instead(None), "internal|KeyError"),
    # Gates.
    "a cancelled call never leaves the gate": Bug(
        Gate, "leave", _leave_forgets_cancelled, "check: .* Scheduler.check"
    ),
    "tokens in flight are not looked at": Bug(Room, "has_room", _instead(True), "tokens in flight at"),
    "the rate of requests is not counted": Bug(RateBucket, "take", _instead(None), "times a minute"),
    "no timer after a failed probe": Bug(
        Dispatcher, "_await_opening", _no_timer_after_a_failed_probe, "no timer fills"
    ),
    "a core is never seen to be well again": Bug(Circuit, "succeeded", _instead(None), r"core-\d is "),
    "a stand-in serves beside a sound core": Bug(Scheduler, "_may_draw", _instead(True), "was not for it"),
    "an overload costs a try": Bug(Dispatcher, "_failed", _overload_costs_a_try, "it was tried|only no room"),
    # Budgets.
    "a cancelled call's hold is not refunded": Bug(Payers, "settle", _no_refund, "holds for"),
    "a budget is not asked while tokens stream": Bug(Payers, "may_go_on", _instead(True), r"spent .* of"),
    "nobody waits for a budget again": Bug(Payers, "_retry", _instead(None), "waits for a budget"),
    "a budget's time is not looked at": Bug(Payers, "ends", _never, "time was over"),
}
