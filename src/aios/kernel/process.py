"""The process table: who calls, on whose behalf, and what it has used.

Owns every process, its token's hash, its mailbox and those that wait for its end. Knows neither who may do
what to whom (access.py) nor what is kept on disk (lifecycle.py).
"""

import asyncio
import heapq
import secrets
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from hashlib import blake2b

from msgspec import Struct, structs

from aios.abi.errors import Conflict, NotFound, Overloaded, Unauthenticated
from aios.abi.syscalls import Budget, ExitStatus, Hints, Mail, ProcessState, Reply
from aios.drivers.clock import Clock, Timer

OPERATOR = "operator"
"""The principal that may do everything: the person who runs the kernel."""
OPERATOR_PID = 1
DEFAULT_TENANT = "default"
OWN_HINTS = Hints(band="normal", priority=0)
"""Of a process that was given none."""


class Caller(Struct, frozen=True):
    """The identity that the kernel gave a process; never taken from a request."""

    pid: int
    principal: str
    """Owns memory, files and grants. Several processes may share one."""
    agent: str = ""
    tenant: str = DEFAULT_TENANT
    """On whose account it runs; histories share what they have in common within a tenant."""


class Limits(Struct, frozen=True, kw_only=True):
    """What a table holds at most; `config.ProcessConfig` says what each means."""

    max_processes: int
    max_ended: int
    max_mail: int
    max_mail_bytes: int


class Process:
    """One running instance of an agent."""

    __slots__ = (
        "agent",
        "answered",
        "budget",
        "caller",
        "calls",
        "calls_in_flight",
        "children",
        "completion_tokens",
        "created",
        "durable",
        "hints",
        "is_operator",
        "last_call",
        "lease_s",
        "mail",
        "mail_bytes",
        "num_calls",
        "num_switches",
        "parent",
        "pid",
        "principal",
        "program",
        "prompt_tokens",
        "receivers",
        "result",
        "running_s",
        "state",
        "token_hash",
        "waiters",
        "waiting_s",
    )

    def __init__(self, pid: int, agent: str, principal: str, token_hash: bytes) -> None:
        self.pid = pid
        self.agent = agent
        self.principal = principal
        self.token_hash = token_hash
        self.caller = Caller(pid, principal, agent)
        self.is_operator = principal == OPERATOR
        self.budget: Budget | None = None
        """Of it and its children together; None for its parent's alone."""
        self.hints = OWN_HINTS
        """Of all its calls: the best band and the highest priority they may have."""
        self.parent = 0
        self.program = pid
        """The pid of the program's first process; children run for their parent's program."""
        self.children: set[int] = set()
        self.state: ProcessState = "running"
        self.result = ""
        self.durable = False
        self.created = 0.0
        self.lease_s: float | None = None
        self.last_call = 0.0
        self.calls_in_flight: dict[int, str] = {}
        """The names of its calls in flight, by task."""
        self.calls: dict[str, int] = {}
        """Its settled calls, by group."""
        self.answered: OrderedDict[str, tuple[bytes, Reply]] | None = None
        """What its calls with a key were answered whose effects end with the kernel; None for none yet."""
        self.num_calls = 0
        self.prompt_tokens = self.completion_tokens = self.num_switches = 0
        self.waiting_s = self.running_s = 0.0
        # Lists: most stay empty, and an empty deque takes ten times as much, of each idle agent.
        self.mail: list[Mail] = []
        self.mail_bytes = 0
        self.receivers: list[asyncio.Future[Mail]] = []
        self.waiters: list[asyncio.Future[None]] = []

    @property
    def tenant(self) -> str:
        """On whose account it runs."""
        return self.caller.tenant

    @tenant.setter
    def tenant(self, name: str) -> None:
        self.caller = structs.replace(self.caller, tenant=name)

    @property
    def has_ended(self) -> bool:
        return self.state in ("exited", "killed")


def hash_of(token: str) -> bytes:
    return blake2b(token.encode("utf-8", "replace"), digest_size=32).digest()


def new_token() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


class ProcessTable:
    """All processes. `on_end` is told of each that ends, so that its calls can be ended."""

    def __init__(self, limits: Limits, clock: Clock, on_end: Callable[[Process], None]) -> None:
        self._limits = limits
        self._clock = clock
        self._on_end = on_end
        self._processes: dict[int, Process] = {}
        self._by_token: dict[bytes, Process] = {}
        self._num_of: Counter[str] = Counter()
        """Processes alive, by principal."""
        self._ended: deque[int] = deque()
        self._leases: list[tuple[float, int]] = []
        self._lease_timer: Timer | None = None
        self.last_pid = OPERATOR_PID
        """The highest pid ever given."""

    def __iter__(self) -> Iterator[Process]:
        return iter(self._processes.values())

    @property
    def num_alive(self) -> int:
        return len(self._by_token)

    def authenticate(self, token: str) -> Process:
        """The process that this token was given to. `Unauthenticated` when there is none."""
        process = self._by_token.get(hash_of(token))
        if process is None:
            raise Unauthenticated(
                "this token is not one that the kernel gave, or its process has ended"
                if token
                else "a token is needed: `aios call process.spawn agent=NAME durable=true` makes one"
            )
        return process

    def get(self, pid: int) -> Process:
        """`NotFound` when there is no such process, or it ended too long ago."""
        process = self._processes.get(pid)
        if process is None:
            raise NotFound(f"there is no process {pid}")
        return process

    def find(self, pid: int) -> Process | None:
        """The same, or None."""
        return self._processes.get(pid)

    def add(self, process: Process, parent: Process | None, lease_s: float | None = None) -> None:
        """Take in a new process. `Overloaded` when there are too many."""
        if self.num_alive >= self._limits.max_processes:
            raise Overloaded(
                f"{self.num_alive} processes are alive, and there may be no more", retry_after=1.0
            )
        if parent is not None:
            process.parent = parent.pid
            process.program = process.pid if parent.pid == OPERATOR_PID else parent.program
            parent.children.add(process.pid)
        process.created = process.created or self._clock.time()
        process.last_call = self._clock.now()
        self._processes[process.pid] = process
        self._by_token[process.token_hash] = process
        self._num_of[process.principal] += 1
        self.last_pid = max(self.last_pid, process.pid)
        if lease_s is not None:
            process.lease_s = lease_s
            self._watch(process.last_call + lease_s, process.pid)

    def is_alive(self, principal: str) -> bool:
        """Whether any process of this principal is."""
        return principal in self._num_of

    def is_ancestor(self, pid: int, of: Process) -> bool:
        """Whether the process `pid` is above another in the tree."""
        while of.parent:
            if of.parent == pid:
                return True
            parent = self._processes.get(of.parent)
            if parent is None:
                return False
            of = parent
        return False

    def end(self, process: Process, state: ProcessState, result: str = "") -> list[Process]:
        """End a process, and its children as killed. Gives all that ended, it first."""
        if process.has_ended:
            return []
        ended = self._alive_from(process)
        for one in ended:
            self._mark(one, state if one is process else "killed")
        process.result = result
        for one in ended:
            self._on_end(one)
            one.mail.clear()
            for waiter in one.waiters:
                if not waiter.done():
                    waiter.set_result(None)
        self._forget_oldest()
        return ended

    def close(self) -> None:
        """Stop watching leases."""
        self._leases.clear()
        if self._lease_timer is not None:
            self._lease_timer.cancel()

    # ---- waiting and mail

    async def wait(self, process: Process) -> ExitStatus:
        """Return once it has ended."""
        if not process.has_ended:
            waiter = asyncio.get_running_loop().create_future()
            process.waiters.append(waiter)
            try:
                await waiter
            finally:
                process.waiters.remove(waiter)
        return ExitStatus(process.pid, process.state, process.result)

    def send(self, sender: Process, to: Process, text: str) -> None:
        """`Conflict` when it has ended, `Overloaded` when its mailbox is full."""
        if to.has_ended:
            raise Conflict(f"process {to.pid} has ended")
        mail = Mail(sender.pid, text, self._clock.time())
        if _hand_over(to, mail):
            return
        size = _size(text)
        if len(to.mail) >= self._limits.max_mail or to.mail_bytes + size > self._limits.max_mail_bytes:
            raise Overloaded(f"the mailbox of process {to.pid} is full", retry_after=1.0)
        to.mail.append(mail)
        to.mail_bytes += size

    async def receive(self, process: Process) -> Mail:
        """The oldest message, once there is one."""
        if process.mail:
            mail = process.mail.pop(0)
            process.mail_bytes -= _size(mail.text)
            return mail
        receiver: asyncio.Future[Mail] = asyncio.get_running_loop().create_future()
        process.receivers.append(receiver)
        try:
            return await receiver
        except asyncio.CancelledError:
            # A message that arrived in the same moment goes to the next who waits, or back: nothing is lost.
            if receiver.done() and not receiver.cancelled():
                mail = receiver.result()
                if not _hand_over(process, mail):
                    process.mail.insert(0, mail)
                    process.mail_bytes += _size(mail.text)
            elif receiver in process.receivers:
                process.receivers.remove(receiver)
            raise

    # ---- ending, leases and forgetting

    def _alive_from(self, process: Process) -> list[Process]:
        """It and all that live below it, parents before their children. A tree may be too deep to recurse."""
        found = [process]
        for one in found:
            children = (self._processes.get(pid) for pid in sorted(one.children))
            found += [child for child in children if child is not None and not child.has_ended]
        return found

    def _mark(self, process: Process, state: ProcessState) -> None:
        """From now on its token opens nothing."""
        process.state = state
        del self._by_token[process.token_hash]
        self._num_of[process.principal] -= 1
        if not self._num_of[process.principal]:
            del self._num_of[process.principal]
        self._ended.append(process.pid)

    def _watch(self, due: float, pid: int) -> None:
        heapq.heappush(self._leases, (due, pid))
        if self._leases[0] == (due, pid):
            self._set_lease_timer()

    def _set_lease_timer(self) -> None:
        if self._lease_timer is not None:
            self._lease_timer.cancel()
            self._lease_timer = None
        if self._leases:
            delay = max(0.0, self._leases[0][0] - self._clock.now())
            self._lease_timer = self._clock.call_later(delay, self._end_leases)

    def _end_leases(self) -> None:
        now = self._clock.now()
        while self._leases and self._leases[0][0] <= now:
            _, pid = heapq.heappop(self._leases)
            process = self._processes.get(pid)
            if process is None or process.has_ended or process.lease_s is None:
                continue
            due = (now if process.calls_in_flight else process.last_call) + process.lease_s
            if due <= now:
                self.end(process, "killed")
            else:
                heapq.heappush(self._leases, (due, pid))
        self._set_lease_timer()

    def _forget_oldest(self) -> None:
        while len(self._ended) > self._limits.max_ended:
            process = self._processes.pop(self._ended.popleft())
            if parent := self._processes.get(process.parent):
                parent.children.discard(process.pid)


def _hand_over(process: Process, mail: Mail) -> bool:
    """Give a message to the first that waits for one; whether anybody does."""
    while process.receivers:
        receiver = process.receivers.pop(0)
        if not receiver.done():
            receiver.set_result(mail)
            return True
    return False


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
