"""One system call in flight: its states, its times, its one reply. Decides nothing."""

import asyncio
from collections.abc import Callable
from enum import Enum

from aios.abi.errors import AiosError, Internal
from aios.abi.messages import Delta, Usage
from aios.abi.syscalls import Fitted, Reply, Row, SystemCall
from aios.drivers.clock import Timer
from aios.drivers.llm import Generation
from aios.kernel.budget import Hold
from aios.kernel.program import Demand

Emit = Callable[[Delta], None]
"""Takes the deltas of a streaming call."""


class State(Enum):
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Task:
    """A call from its creation to its end. Times are seconds of the kernel's clock."""

    __slots__ = (
        "approval",
        "asked",
        "attempts",
        "call",
        "created",
        "deadline",
        "demand",
        "due",
        "emit",
        "extra",
        "first_run",
        "fitted",
        "future",
        "has_emitted",
        "hold",
        "id",
        "is_held",
        "is_nested",
        "is_yielding",
        "job",
        "key",
        "must_stop",
        "num_prompts",
        "num_switches",
        "ordinal",
        "owner",
        "pid",
        "program",
        "queue",
        "resource",
        "row",
        "run",
        "running_s",
        "settled_at",
        "slice_began",
        "state",
        "timer",
        "waits_since",
    )

    def __init__(
        self,
        id: int,
        pid: int,
        program: int,
        ordinal: int,
        row: Row,
        call: SystemCall,
        created: float,
        emit: Emit | None = None,
    ) -> None:
        self.id = id
        """Rises with the time of creation."""
        self.pid = pid
        self.program = program
        self.ordinal = ordinal
        """The number of the call among its process's own."""
        self.row = row
        self.call = call
        """Bound to the version of its object where a person is asked about it; `asked` is as it was made."""
        self.asked = call
        self.created = created
        self.emit = emit
        self.owner: str | None = None
        """Whose things it touches, where not the caller's: such a call is authorized again when it starts."""
        self.approval: str | None = None
        """The approval it waits for or was given."""
        self.demand: Demand | None = None
        """What it asks of a core; None where it asks none."""
        self.hold: Hold | None = None
        """What its payers keep for it; None where nobody has a limit, or it waits for them."""
        self.state = State.READY
        self.future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.due: float | None = None
        """When it must be done."""
        self.deadline: Timer | None = None
        self.timer: Timer | None = None
        """Set while it waits to be tried again."""
        self.run: asyncio.Task[Reply | None] | None = None
        """Set while it runs."""
        self.waits_since = created
        """When it last came to a queue."""
        self.queue: str | None = None
        """The run queue that it waits in."""
        self.resource: str | None = None
        """What holds a slot for it."""
        self.is_held = False
        """Its process is suspended: it waits in no queue."""
        self.is_nested = False
        """A tool that runs makes it for its caller."""
        self.must_stop = False
        """It is to be interrupted as soon as it can be."""
        self.is_yielding = False
        """It has been told to stop, and has not yet."""
        self.job: Generation | None = None
        """What a core is asked; the same in each slice."""
        self.fitted: Fitted | None = None
        """What was left out of the messages to make it."""
        self.extra = Usage()
        """Tokens that making it took."""
        self.key = ""
        """Its idempotency key; empty for none."""
        self.has_emitted = False
        """Some of its answer was delivered that another try would deliver again."""
        self.num_prompts = 0
        """How often its prompt was sent for this answer: again after each interruption that left a text."""
        self.attempts = 0
        self.num_switches = 0
        self.first_run: float | None = None
        self.slice_began = 0.0
        self.running_s = 0.0
        self.settled_at: float | None = None

    @property
    def is_settled(self) -> bool:
        return self.settled_at is not None

    def settle(self, state: State, outcome: Reply | AiosError, now: float) -> None:
        """Give the one answer. A second one is a defect: `Internal`."""
        if self.settled_at is not None:
            raise Internal(f"{self!r} was settled a second time, as {state.value}")
        self.state = state
        self.settled_at = now
        # Whoever waited may have gone: then the future is cancelled, and nobody wants the answer.
        if self.future.done():
            return
        if isinstance(outcome, AiosError):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)

    def __repr__(self) -> str:
        return f"<task {self.id} {self.row.name} of process {self.pid}, {self.state.value}>"
