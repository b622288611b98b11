"""Looks over the shoulder of a kernel, and tells what is not as it must be.

What is checked is worked out anew from plain facts: which tasks wait and run, what the endpoints saw, what
each call asked. Of the code under test only keys, counters and gates are asked, never a heap or a sum.
"""

from collections.abc import Callable

from aios.abi.messages import Usage
from aios.abi.syscalls import LlmGenerate
from aios.kernel.cores.gate import NEUTRAL, Outcome
from aios.kernel.journal import Event
from aios.kernel.scheduling.scheduler import Resource
from aios.kernel.task import Task
from simulated.books import Books
from simulated.endpoint import number_of
from simulated.facts import Facts, Generation, Violation
from simulated.order import Order
from simulated.places import Places


class Watch:
    """Every rule. `num_timers` tells how many timers of the kernel wait."""

    def __init__(self, facts: Facts, num_timers: Callable[[], int]) -> None:
        self._facts = facts
        self._order = Order(facts)
        self._places = Places(facts, num_timers)
        self._books = Books(facts)
        self._has_stirred = False
        """Whether anything happened to a task since the last look."""
        facts.kernel.journal.subscribe(self._happened)
        facts.scheduler.release = self._release  # type: ignore[method-assign]

    def quiet(self) -> None:
        """A moment is over: check every rule. Raises `Violation` with all that was broken so far."""
        if not self._has_stirred:
            return  # Only tokens have come.
        self._has_stirred = False
        try:
            self._facts.kernel.check()
        except AssertionError as error:
            self._facts.fail(f"check: {error!r} {_where(error)}")
        for rules in (self._places, self._books, self._order):
            rules.check()
        if self._facts.broken:
            raise Violation("\n".join(self._facts.broken[:5]))

    def at_rest(self) -> None:
        """All has ended: check that nothing is left, and every rule."""
        self._places.at_rest()
        self._has_stirred = True
        self.quiet()

    def _release(
        self,
        task: Task,
        held_s: float,
        now: float,
        outcome: Outcome = NEUTRAL,
        usage: Usage | None = None,
        **more: bool,
    ) -> Resource:
        if task.resource in self._facts.endpoints:
            self._books.left(task.resource, outcome)
            self._order.left(task.resource)
        scheduler = self._facts.scheduler
        return type(scheduler).release(scheduler, task, held_s, now, outcome, usage, **more)

    def _happened(self, event: Event) -> None:
        facts = self._facts
        facts.events.append(event)
        self._has_stirred = True
        facts.counts[f"{event.call} {event.kind}"] += 1
        if event.call != "llm.generate":
            return
        if event.kind == "created":
            task = facts.kernel._flight.task(event.task)
            assert isinstance(task.call, LlmGenerate)
            call = facts.calls[number_of(task.call.messages)]
            facts.generations[task.id] = Generation(task, facts.kernel._flight.process_of(task), call)
        elif event.kind == "retried":
            self._order.retried(event.task)
            facts.generations[event.task].call.num_generated = 0
        elif event.kind in ("done", "failed", "cancelled"):
            facts.counts[event.detail or "answered"] += 1
            self._books.ended(facts.generations[event.task], is_done=event.kind == "done")


def _where(error: AssertionError) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}"
