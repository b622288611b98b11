"""What the scheduler knows of those that call: tenants, their programs, and each call's demand on the cores.

Data and sums only. Service is in tokens, those of an answer counted twice (the weights of VTC, arXiv
2401.00588, section 3).
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

WEIGHT_IN = 1.0
WEIGHT_OUT = 2.0
CHARGED_AT_ONCE = 16
"""Tokens of an answer: often enough for fair shares, seldom enough to cost nothing."""

_AHEAD = 64
"""Tokens, or a quarter of what has come: expected of an answer that goes on beyond what was expected."""

MAX_DECISIONS = 8
"""Of one program, that can be explained afterwards."""


class Line(Protocol):
    """Where the programs of a tenant wait, or the calls of a program."""

    def line_up(self) -> None:
        """Take the place that its counter or key gives now: it may have fallen."""
        ...


class Lengths(Protocol):
    """Of answers alike."""

    @property
    def likely(self) -> int | None:
        """The tokens that such an answer hardly exceeds; None while too few are known."""
        ...

    def add(self, num_tokens: int) -> None:
        """One ended well after so many tokens."""
        ...


class Decision(NamedTuple):
    """That a call got a slot: when, where, and over whom. Times are seconds of the kernel's clock."""

    at: float
    task: int
    core: str
    waited_s: float
    """Since its creation, or since it was interrupted."""
    num_left: int
    """Calls that went on waiting there."""
    key: tuple[float, ...]
    """By which it was the first: the policy's own."""


class Prefixes(NamedTuple):
    """What one conversation begins with."""

    ends: Sequence[tuple[int, int]]
    """A hash of each beginning, and its characters, the shortest first."""
    num_common: int
    """Characters before its first answer: other conversations may begin so, too."""


class Tenant:
    """On whose account programs run. `counter` is its service over its weight; the smallest goes first."""

    __slots__ = ("counter", "is_listed", "name", "num_waiting", "service", "shares", "weight")

    def __init__(self, name: str, weight: float) -> None:
        self.name = name
        self.weight = weight
        self.counter = 0.0
        self.service = 0.0
        """All it was ever given."""
        self.num_waiting = 0
        self.is_listed = False
        """Among the busy ones of `Fairness`."""
        self.shares: list[Line] = []
        """Where its programs wait."""


class Program:
    """One agent's run: a process and all its children."""

    __slots__ = (
        "agent",
        "arrived",
        "decisions",
        "due",
        "finish",
        "id",
        "lines",
        "mark",
        "num_running",
        "num_waiting",
        "order",
        "path",
        "path_mark",
        "ran_s",
        "service",
        "steps",
        "tenant",
        "waited_s",
        "waits_since",
        "work",
    )

    def __init__(self, id: int, agent: str, tenant: Tenant, order: int, arrived: float) -> None:
        self.id = id
        self.agent = agent
        """Of which kind it is: programs of one kind are taken to behave alike."""
        self.tenant = tenant
        self.order = order
        """Rises with the arrival of programs."""
        self.arrived = arrived
        self.service = 0.0
        """What it has attained: of finished calls, and of running ones so far."""
        self.mark = 0.0
        """The service it had when it was last promoted."""
        self.path_mark = 0.0
        """The longest chain it had then."""
        self.ran_s = 0.0
        """Seconds that its calls held a slot since then."""
        self.waited_s = 0.0
        """Seconds that any of its calls waited since then."""
        self.waits_since: float | None = None
        self.num_waiting = self.num_running = 0
        self.path = 0.0
        """The service on the longest chain of its finished calls."""
        self.steps: list[float] = []
        """The service of its finished calls, oldest first."""
        self.finish: float | None = None
        """When it would end under ideal fair sharing, in virtual time; None while nobody asked."""
        self.work: float | None = None
        """All the service it says it needs."""
        self.decisions: deque[Decision] = deque(maxlen=MAX_DECISIONS)
        self.due = math.inf
        """By when all of it should be done."""
        self.lines: dict[Line, None] = {}
        """Where its calls wait, if they wait as one lane."""

    def waited(self, now: float) -> float:
        """Seconds it has waited since its last promotion."""
        return self.waited_s + (0.0 if self.waits_since is None else now - self.waits_since)

    def queued(self, now: float) -> None:
        """One of its calls waits."""
        self.num_waiting += 1
        if self.waits_since is None:
            self.waits_since = now

    def unqueued(self, now: float) -> None:
        """One of its calls no longer waits."""
        self.num_waiting -= 1
        if not self.num_waiting and self.waits_since is not None:
            self.waited_s += now - self.waits_since
            self.waits_since = None

    def started(self) -> None:
        self.num_running += 1

    def stopped(self, held_s: float) -> None:
        """One of its calls gave up its slot after `held_s` seconds."""
        self.num_running -= 1
        self.ran_s += held_s

    def line_up(self) -> None:
        """What it needs or has been given is another now: each of its lanes takes its place again."""
        for line in self.lines:
            line.line_up()

    def promote(self, now: float) -> None:
        """Count service and waiting from here."""
        self.mark, self.path_mark = self.service, self.path
        self.ran_s = self.waited_s = 0.0
        if self.waits_since is not None:
            self.waits_since = now


class Demand:
    """One call: what it asks of a core, and what it has been given."""

    __slots__ = (
        "band",
        "charge_at",
        "due",
        "expected",
        "home",
        "is_wary",
        "key",
        "lengths",
        "limit_out",
        "max_out",
        "num_chars",
        "num_in",
        "num_out",
        "num_reserved",
        "num_settled",
        "path",
        "prefixes",
        "priority",
        "program",
        "service",
        "steps_left",
        "work_left",
    )

    def __init__(
        self,
        program: Program,
        num_chars: int,
        num_in: int,
        max_out: int,
        limit_out: int | None,
        lengths: Lengths,
    ) -> None:
        self.program = program
        self.num_chars = num_chars
        self.num_in = num_in
        """Tokens of the prompt, estimated until the core has counted them."""
        self.max_out = max_out
        """The most tokens its answer is expected to take."""
        self.limit_out = limit_out
        """The most that it asked for."""
        self.lengths = lengths
        """Of answers like its own."""
        self.is_wary = False
        """It was refused for want of room: all that it may need is kept for it from then on."""
        self.prefixes: Prefixes | None = None
        """What its conversation begins with, where there are several cores."""
        self.home = ""
        """The core that had what is its alone cached when it began to wait; empty where none had."""
        self.num_out = 0
        self.charge_at = CHARGED_AT_ONCE
        """The number of its answer's tokens at which they are charged next."""
        self.key: tuple[float, ...] = ()
        """By which it was taken from its queue."""
        self.expected = 0.0
        """The service it was expected to need when it got its slot."""
        self.num_reserved = 0
        """Tokens that the gate of its core keeps for it while it runs."""
        self.num_settled = 0
        """Tokens that gates have counted as used, of its slices so far."""
        self.band = 1
        self.priority = 0
        self.due = math.inf
        self.steps_left: int | None = None
        self.work_left: float | None = None
        self.path = program.path
        """The service on the longest chain of calls before it."""
        self.service = 0.0
        """What it has been given so far."""

    @property
    def num_tokens(self) -> int:
        """The most it may come to."""
        return self.num_in + self.max_out

    @property
    def num_now(self) -> int:
        """What it has in a core's memory."""
        return self.num_in + self.num_out

    @property
    def num_more(self) -> int:
        """What its answer will hardly exceed, beyond what has come by now."""
        likely = self.lengths.likely
        most = self.max_out if likely is None or self.is_wary else likely
        if self.num_out:
            most = max(most, self.num_out + max(_AHEAD, self.num_out // 4))
        if self.limit_out is not None:
            most = min(most, self.limit_out)
        return max(0, most - self.num_out)

    def begin_again(self, num_out: int = 0) -> None:
        """What there was of its answer is lost, but for so many tokens of it."""
        self.num_out = num_out
        self.charge_at = num_out + CHARGED_AT_ONCE
