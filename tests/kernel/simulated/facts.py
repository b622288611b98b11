"""What is known of a history from outside the kernel, and what was found wrong."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from aios.kernel.cores.circuit import MOST_FAILURES
from aios.kernel.cores.gate import Outcome
from aios.kernel.journal import Event
from aios.kernel.kernel import Kernel
from aios.kernel.process import Process
from aios.kernel.task import Task
from simulated.endpoint import Call, Endpoint


class Violation(AssertionError):
    """A rule was broken."""


class Generation(NamedTuple):
    """A call for a model in the kernel, and in the world."""

    task: Task
    process: Process
    call: Call


class Health:
    """Whether a core can serve, told by the outcomes of its slices alone."""

    def __init__(self) -> None:
        self.num_failures = 0
        self.is_exhausted = False

    @property
    def is_sound(self) -> bool:
        return self.num_failures < MOST_FAILURES and not self.is_exhausted

    def learn(self, outcome: Outcome) -> None:
        if outcome.kind == "done":
            self.num_failures, self.is_exhausted = 0, False
        elif outcome.kind == "failed":
            self.num_failures += 1
        elif outcome.kind == "exhausted":
            self.is_exhausted = True


class Facts:
    """Plain facts: of the code under test only what waits, runs and is held is asked."""

    def __init__(self, kernel: Kernel, endpoints: dict[str, Endpoint], calls: dict[int, Call]) -> None:
        self.kernel = kernel
        self.scheduler = kernel._scheduler
        self.endpoints = endpoints
        self.calls = calls
        """All generations ever asked for, by their numbers."""
        self.generations: dict[int, Generation] = {}
        """The same, by their tasks."""
        self.health = {name: Health() for name in endpoints}
        self.events: list[Event] = []
        self.counts: Counter[str] = Counter()
        """What happened how often: shows what a history reaches."""
        self.broken: list[str] = []

    @property
    def now(self) -> float:
        return self.kernel._clock.now()

    def fail(self, text: str) -> None:
        """A rule was broken."""
        self.broken.append(f"at {self.now:.6f}: {text}")

    def is_gone(self, pid: int) -> bool:
        """Whether a process has ended, or the kernel with all of them."""
        process = self.kernel._processes.find(pid)
        return process is None or process.has_ended or not self.kernel._is_running

    def waiting(self) -> Iterator[Task]:
        """The generations that wait in a queue."""
        for queue in self.scheduler._queues.values():
            for task in queue.tasks():
                if task.demand is not None:
                    yield task
