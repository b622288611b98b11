"""The calls `core.*`: the models, and how calls are shared out among them."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from aios.abi.calls.base import Name, Reply, SystemCall
from aios.abi.calls.scheduling import Band


class CoreList(SystemCall, frozen=True):
    """Every core as it stands. Operator only."""


class CoreExplain(SystemCall, frozen=True):
    """Why the generations of a process wait, and why they ran when they did."""

    pid: Annotated[int, Meta(ge=1)] | None = None
    """None for the caller itself."""


class CoreDrain(SystemCall, frozen=True):
    """Empty a core: it takes no new calls, and what it runs goes on elsewhere. Operator only.

    A generation is interrupted at its next token where another core of the same model can go on from its
    snapshot; else it ends where it is. New calls go to other cores, or wait. `NotFound` for no such core.
    """

    core: Name


class CoreUndrain(SystemCall, frozen=True):
    """Let a core take calls again. Operator only. `NotFound` for no such core."""

    core: Name


Health = Literal["ready", "overloaded", "failing", "open", "probing", "exhausted", "misconfigured"]
"""A core answers; has no room for even one call; failed its last call; is left alone for a while after some
failures, and tried again with one; has no quota left at its provider; or is refused there for its key, its
address or its model."""


class RateEntry(Struct, frozen=True):
    """A rate limit as a core's gate keeps it."""

    unit: str
    """`requests`, `tokens`, `input_tokens` or `output_tokens`."""
    per_minute: float
    left: float


class CoreEntry(Struct, frozen=True):
    """A core. Tokens and money are since the kernel's start."""

    name: str
    model: str
    kind: str
    health: Health
    slots: int
    """0 where nobody knows: then `window` is what was found out."""
    window: int
    """How many calls its gate lets in at the same time now."""
    running: int
    waiting: int
    tokens_in_flight: int
    """Prompt and answer tokens that what runs may take."""
    opens_in_s: float | None = None
    """Seconds until its gate may open by time alone; None while it is open, or waits for a call to end."""
    rates: tuple[RateEntry, ...] = ()
    tokens: int = 0
    tokens_per_s: float = 0.0
    failures: int = 0
    spent: float = 0.0
    draining: bool = False
    """Whether it takes no new calls, as it was told to."""
    fault: str = ""
    """What was wrong when it last failed or refused; empty since it has answered."""


class CoreEntries(Reply, frozen=True):
    cores: tuple[CoreEntry, ...]


class CallExplained(Struct, frozen=True):
    """One generation in flight."""

    task: int
    state: Literal["waits", "runs", "is held", "asks"]
    seconds: float
    """In this state."""
    reason: str
    ahead: int = 0
    """Programs (or calls, where the policy orders calls) that would be served before it."""
    key: tuple[float, ...] = ()
    """What the policy orders it by, the smallest first."""


class DecisionExplained(Struct, frozen=True):
    """A slot that one of its generations got."""

    task: int
    core: str
    seconds_ago: float
    reason: str


class Explanation(Reply, frozen=True):
    """A process among the others. Service is in tokens, an answer's counted twice."""

    pid: int
    program: int
    tenant: str
    policy: str
    band: Band
    service: float = 0.0
    waited_s: float = 0.0
    ran_s: float = 0.0
    calls: tuple[CallExplained, ...] = ()
    decisions: tuple[DecisionExplained, ...] = ()
