"""The append-only story of every task, and the numbers that are read from it.

Keeps the newest events in memory, tells subscribers of each, and counts. Knows no task, only what it is told.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct

from aios.abi.messages import Usage

EventKind = Literal["created", "started", "preempted", "retried", "asked", "done", "failed", "cancelled"]


class Event(Struct, frozen=True, omit_defaults=True):
    """Something that happened to a task. `at` is seconds of the kernel's clock; `detail` an error's code."""

    at: float
    kind: EventKind
    task: int
    pid: int
    call: str
    detail: str = ""


Subscriber = Callable[[Event], None]


class Journal:
    """`max_events` are kept in memory, and the times of the newest `max_samples` generations."""

    def __init__(self, max_events: int, max_samples: int) -> None:
        self.events: deque[Event] = deque(maxlen=max_events)
        self.num_settled: Counter[str] = Counter()
        """Settled calls, by name."""
        self.num_failed: Counter[str] = Counter()
        """Calls that were refused, failed or cancelled, by the error's code."""
        self.num_preempted = 0
        self.num_retried = 0
        self.prompt_tokens = self.completion_tokens = self.cached_tokens = 0
        self._waiting: deque[float] = deque(maxlen=max_samples)
        self._turnaround: deque[float] = deque(maxlen=max_samples)
        self._subscribers: list[Subscriber] = []

    def record(self, at: float, kind: EventKind, task: int, pid: int, call: str, detail: str = "") -> None:
        """Add an event."""
        event = Event(at, kind, task, pid, call, detail)
        self.events.append(event)
        for subscriber in self._subscribers:
            subscriber(event)

    def settled(self, call: str, error_code: str) -> None:
        """Count a call that ended; an empty `error_code` means well."""
        self.num_settled[call] += 1
        if error_code:
            self.num_failed[error_code] += 1

    def generated(self, waiting_s: float, turnaround_s: float, usage: Usage) -> None:
        """Take in the times and tokens of a generation that ended well."""
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.cached_tokens += usage.cached_tokens
        self._waiting.append(waiting_s)
        self._turnaround.append(turnaround_s)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` with each event from now on, until what this returns is called."""
        self._subscribers = [*self._subscribers, subscriber]

        def unsubscribe() -> None:
            self._subscribers = [one for one in self._subscribers if one is not subscriber]

        return unsubscribe

    def statistics(self) -> dict[str, Any]:
        """Calls by group, tokens, and the times of generations in milliseconds."""
        groups: Counter[str] = Counter()
        for name, number in self.num_settled.items():
            groups[name.partition(".")[0]] += number
        return {
            "syscalls": dict(groups),
            "errors": dict(self.num_failed),
            "tokens": self.completion_tokens,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "context_switches": self.num_preempted,
            "retries": self.num_retried,
            "waiting_ms": percentiles_ms(self._waiting),
            "turnaround_ms": percentiles_ms(self._turnaround),
        }


def percentiles_ms(seconds: deque[float]) -> dict[str, float]:
    """Mean and percentiles (nearest rank) of some times, in milliseconds; zeros where there are none."""
    ordered = sorted(seconds)
    count = len(ordered)
    if not count:
        return {"mean": 0.0, "p50": 0.0, "p90": 0.0, "p99": 0.0}

    def rank(percent: int) -> float:
        return round(1000 * ordered[max(0, -(-percent * count // 100) - 1)], 3)

    return {"mean": round(1000 * sum(ordered) / count, 3), "p50": rank(50), "p90": rank(90), "p99": rank(99)}
