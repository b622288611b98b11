"""The calls `process.*`."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from aios.abi.calls.base import Name, Reply, Seconds, SystemCall, Text
from aios.abi.calls.scheduling import NO_HINTS, Budget, Hints

ProcessState = Literal["running", "suspended", "exited", "killed"]
Pid = Annotated[int, Meta(ge=1)]


class ProcessSpawn(SystemCall, frozen=True):
    """Make a process with an identity of its own. The caller becomes its parent.

    `principal` names whose things it owns; only the operator may choose one, others get a fresh one.
    """

    agent: Name
    principal: Name | None = None
    lease_s: Seconds | None = None
    """Ends the process when it has made no call for so long; None for never."""
    durable: bool = False
    """The process and its token outlive a restart of the kernel. Operator only."""
    tenant: Name | None = None
    """On whose account it runs; None for the parent's. Operator only."""
    hints: Hints = NO_HINTS
    """For all its calls and those of its children: bounded by the parent's own."""
    budget: Budget | None = None
    """Of it and its children together, out of the parent's; None for the parent's alone."""


class ProcessList(SystemCall, frozen=True):
    """The processes the caller may see: itself and its children; the operator sees all."""


class ProcessUsage(SystemCall, frozen=True):
    """What a process has used."""

    pid: Pid | None = None
    """None for the caller itself."""


class ProcessSuspend(SystemCall, frozen=True):
    """Stop scheduling a process: its waiting calls wait, its running generation is interrupted."""

    pid: Pid


class ProcessResume(SystemCall, frozen=True):
    """Schedule a suspended process again."""

    pid: Pid


class ProcessKill(SystemCall, frozen=True):
    """End a process and its children; their calls end as cancelled."""

    pid: Pid


class ProcessExit(SystemCall, frozen=True):
    """End the caller, leaving a result for those that wait for it."""

    result: Text = ""


class ProcessWait(SystemCall, frozen=True):
    """Wait for a process to end."""

    pid: Pid


class ProcessSend(SystemCall, frozen=True):
    """Put a message into another process's mailbox."""

    pid: Pid
    text: Annotated[str, Meta(max_length=1024 * 1024)]


class ProcessReceive(SystemCall, frozen=True):
    """Take the oldest message from the caller's mailbox, waiting for one where it is empty."""


class Spawned(Reply, frozen=True):
    """A new process; `token` is its secret and is shown this once."""

    pid: int
    principal: str
    token: str


class ProcessEntry(Struct, frozen=True):
    """A process; `waiting` names the call it waits for or runs, if any."""

    pid: int
    parent: int
    agent: str
    principal: str
    state: ProcessState
    created: float
    num_calls: int
    num_running: int
    waiting: str = ""


class ProcessEntries(Reply, frozen=True):
    processes: tuple[ProcessEntry, ...]


class ResourceUsage(Reply, frozen=True):
    """Totals since the process began. Seconds are of the kernel's clock."""

    pid: int
    calls: dict[str, int]
    """Settled calls by group."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    num_switches: int = 0
    waiting_s: float = 0.0
    running_s: float = 0.0


class ExitStatus(Reply, frozen=True):
    pid: int
    state: ProcessState
    result: str = ""


class Mail(Reply, frozen=True):
    sender: int
    text: str
    sent: float
