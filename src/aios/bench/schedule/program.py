"""What a workload is made of: programs, their steps, and how long an upstream takes for a call.

A program is one agent run; a step is the calls it makes in parallel, then the time its tools take.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from aios.bench.upstream.work import Work

WEIGHT_IN = 1.0
WEIGHT_OUT = 2.0
"""What a prompt's and an answer's token count for, as service."""


class Step(Struct, frozen=True):
    """Calls made in parallel, then a tool's time in seconds."""

    works: tuple[Work, ...]
    gap_s: float = 0.0


class Program(Struct, frozen=True):
    """One agent run. Seconds count from the workload's begin; `deadline_s` from the program's arrival."""

    id: int
    arrival_s: float
    steps: tuple[Step, ...]
    tenant: str = "default"
    kind: str = "react"
    deadline_s: float | None = None
    priority: int = 0

    @property
    def works(self) -> Iterator[Work]:
        return (work for step in self.steps for work in step.works)


class Speed(Struct, frozen=True):
    """How long a call holds a slot: seconds for a token of its prompt and one of its answer.

    What an endless cache would hold of a prompt takes no time, so that bounds hold for any cache.
    """

    prefill_s: float
    decode_s: float

    def service_s(self, work: Work) -> float:
        return (work.n_in - work.n_known) * self.prefill_s + work.n_out * self.decode_s

    def work_s(self, programs: Iterable[Program]) -> float:
        """Slot-seconds that all calls need together: W."""
        return sum(self.service_s(work) for program in programs for work in program.works)

    def path_s(self, program: Program) -> float:
        """Service and tool time on the longest chain of `program`: the soonest it can be through."""
        return sum(max(map(self.service_s, step.works), default=0.0) + step.gap_s for step in program.steps)


def service_of(work: Work) -> float:
    """Service of a call, in tokens."""
    return WEIGHT_IN * work.n_in + WEIGHT_OUT * work.n_out


def service_left(program: Program, step: int) -> float:
    """Tokens of service from `step` on, that one included."""
    return sum(service_of(work) for left in program.steps[step:] for work in left.works)
