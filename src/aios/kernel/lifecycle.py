"""The calls `process.*`: processes come and go here, and what must outlive a restart is kept.

Who may do what to whom was decided before (access.py). Suspending is told to `on_suspend` and `on_resume`.
"""

import re
from collections.abc import Callable, Sequence
from typing import cast

import apsw
import msgspec
from msgspec import Struct, structs

from aios.abi import syscalls as sc
from aios.abi.errors import Cancelled, Conflict, Internal, InvalidArgument
from aios.abi.syscalls import BANDS, Budget, Hints
from aios.drivers.clock import Clock
from aios.drivers.sealing import Sealed
from aios.drivers.store import Store
from aios.kernel.audit import AuditLog
from aios.kernel.process import (
    DEFAULT_TENANT,
    OPERATOR,
    OPERATOR_PID,
    OWN_HINTS,
    Caller,
    Process,
    ProcessTable,
    hash_of,
)

_TABLES = """
CREATE TABLE processes (
    pid INTEGER PRIMARY KEY,
    agent TEXT NOT NULL,
    principal TEXT NOT NULL,
    token_hash BLOB NOT NULL,
    created REAL NOT NULL
);
CREATE TABLE last_pid (pid INTEGER NOT NULL);
INSERT INTO last_pid VALUES (1);
"""

_STANDING = "ALTER TABLE processes ADD COLUMN standing TEXT NOT NULL DEFAULT '{}'"

ROWS = Sealed("processes", "pid agent principal token_hash created standing")

_Row = tuple[int, str, str, bytes, float, str]


class Standing(Struct, frozen=True, omit_defaults=True):
    """How a process stands among others, as a durable one's is kept."""

    tenant: str = DEFAULT_TENANT
    hints: Hints = OWN_HINTS
    budget: Budget | None = None


class ProcessManager:
    """Executes `process.*`. Pids are never given twice, not even after a restart."""

    def __init__(
        self,
        table: ProcessTable,
        store: Store,
        audit: AuditLog,
        clock: Clock,
        new_token: Callable[[int], str],
    ) -> None:
        """`new_token` makes the token of the process with a pid."""
        self._table = table
        self._new_token = new_token
        self._store = store
        self._audit = audit
        self._clock = clock
        self.on_suspend: Callable[[Process], None] = lambda process: None
        self.on_resume: Callable[[Process], None] = lambda process: None

    async def start(self, operator_token: str) -> None:
        """Make the operator's process, and the durable ones that were there before."""
        await self._store.migrate("processes", [_TABLES, _STANDING, *ROWS.steps])
        operator = Process(OPERATOR_PID, OPERATOR, OPERATOR, hash_of(operator_token))
        self._table.add(operator, None)
        last_pid, rows = await self._store.read(_read)
        for pid, agent, principal, token_hash, created, standing in rows:
            process = Process(pid, agent, principal, token_hash)
            process.durable, process.created = True, created
            kept = msgspec.json.decode(standing, type=Standing)
            process.tenant, process.hints, process.budget = kept.tenant, kept.hints, kept.budget
            self._table.add(process, operator)
        self._table.last_pid = max(self._table.last_pid, last_pid)

    async def execute(self, process: Process, call: sc.SystemCall) -> sc.Reply:
        """Answer one call of the group `process`."""
        match call:
            case sc.ProcessSpawn():
                return await self._spawn(process, call)
            case sc.ProcessList():
                return self._list(process)
            case sc.ProcessUsage(pid=pid):
                return _usage(process if pid is None else self._table.get(pid))
            case sc.ProcessSuspend(pid=pid):
                return self._suspend(self._mortal(pid))
            case sc.ProcessResume(pid=pid):
                return self._resume(self._mortal(pid))
            case sc.ProcessKill(pid=pid):
                return await self._end(process, self._mortal(pid), "killed", "")
            case sc.ProcessExit(result=result):
                return await self._end(process, self._mortal(process.pid), "exited", result)
            case sc.ProcessWait(pid=pid):
                if pid == process.pid:
                    raise Conflict("a process that waits for its own end would wait for ever")
                return await self._table.wait(self._table.get(pid))
            case sc.ProcessSend(pid=pid, text=text):
                self._table.send(process, self._table.get(pid), text)
                return sc.Done()
            case sc.ProcessReceive():
                return await self._table.receive(process)
        raise Internal(f"the process manager was given a {type(call).__name__}")

    async def _spawn(self, parent: Process, call: sc.ProcessSpawn) -> sc.Spawned:
        if call.durable and call.lease_s is not None:
            raise InvalidArgument("a durable process has no lease: leave out one of the two")
        if parent.has_ended:
            raise Cancelled(f"process {parent.pid} has ended")
        pid = self._table.last_pid + 1
        principal = call.principal or f"{call.agent}.{pid}"
        if call.principal and _is_future(call.principal, self._table.last_pid):
            raise InvalidArgument(f"{principal!r} may become the name of a process to come; choose another")
        token = self._new_token(pid)
        process = Process(pid, call.agent, principal, hash_of(token))
        process.durable = call.durable
        process.tenant = call.tenant or parent.tenant
        process.hints = _bounded(call.hints, parent)
        process.budget = call.budget
        if call.durable:
            parent = self._table.get(OPERATOR_PID)
        self._table.add(process, parent, call.lease_s)
        spawned = sc.Spawned(pid, principal, token)
        lasting = spawned if process.durable else None
        try:
            by = parent.caller
            await self._store.write(
                lambda connection: self._write_spawned(connection, by, process), reply=lambda _: lasting
            )
        except BaseException:
            # Nobody was given its token, so nobody could ever end it.
            self._table.end(process, "killed")
            raise
        return spawned

    def _suspend(self, process: Process) -> sc.Done:
        if process.has_ended:
            raise Conflict(f"process {process.pid} has ended")
        if process.state == "running":
            process.state = "suspended"
            self.on_suspend(process)
        return sc.Done()

    def _resume(self, process: Process) -> sc.Done:
        if process.has_ended:
            raise Conflict(f"process {process.pid} has ended")
        if process.state == "suspended":
            process.state = "running"
            self.on_resume(process)
        return sc.Done()

    async def _end(self, by: Process, process: Process, state: sc.ProcessState, result: str) -> sc.Done:
        """Ending what has ended already is no error: the caller gets what it wants."""
        ended = self._table.end(process, state, result)
        if not ended and process.durable:
            ended = [process]  # It could not be written when it ended: it would be back after a restart.
        if ended:
            await self._store.write(
                lambda connection: self._write_ended(connection, by, ended), reply=lambda _: sc.Done()
            )
            process.durable = False
        return sc.Done()

    def _mortal(self, pid: int) -> Process:
        if pid == OPERATOR_PID:
            raise Conflict("process 1 is the operator's own: it lives as long as the kernel")
        return self._table.get(pid)

    def _list(self, caller: Process) -> sc.ProcessEntries:
        return sc.ProcessEntries(
            tuple(
                _entry(process)
                for process in self._table
                if caller.is_operator or process is caller or self._table.is_ancestor(caller.pid, process)
            )
        )

    def _write_spawned(self, connection: apsw.Connection, by: Caller, process: Process) -> None:
        connection.execute("UPDATE last_pid SET pid = max(pid, ?)", (process.pid,))
        if process.durable:
            standing = Standing(process.tenant, process.hints, process.budget)
            ROWS.put(
                connection,
                *(process.pid, process.agent, process.principal, process.token_hash, process.created),
                msgspec.json.encode(standing).decode(),
            )
        subject = f"{process.pid} {process.principal}{' durable' if process.durable else ''}"
        self._audit.write(connection, by.pid, by.principal, "spawn", subject)

    def _write_ended(self, connection: apsw.Connection, by: Process, ended: Sequence[Process]) -> None:
        for process in ended:
            if process.durable:
                connection.execute("DELETE FROM processes WHERE pid = ?", (process.pid,))
        subject = " ".join(str(process.pid) for process in ended)
        event = "exit" if ended[0] is by else "kill"
        self._audit.write(connection, by.pid, by.principal, event, subject)


def _read(connection: apsw.Connection) -> tuple[int, list[_Row]]:
    last_pid: int = connection.execute("SELECT pid FROM last_pid").get
    return last_pid, cast(list[_Row], sorted(ROWS.rows(connection)))


def _bounded(asked: Hints, parent: Process) -> Hints:
    """What a child's calls may ask for: what its parent's may, at most. The operator's may ask for all."""
    own = parent.hints
    band = asked.band or own.band
    priority = own.priority if asked.priority is None else asked.priority
    if not parent.is_operator:
        band = max(band or BANDS[0], own.band or BANDS[0], key=BANDS.index)
        priority = min(priority or 0, own.priority or 0)
    return structs.replace(asked, band=band, priority=priority)


def _is_future(principal: str, last_pid: int) -> bool:
    """Whether a process to come could be given this very name as its own."""
    number = re.search(r"\.([1-9][0-9]*)$", principal)
    return number is not None and int(number[1]) > last_pid


def _entry(process: Process) -> sc.ProcessEntry:
    in_flight = process.calls_in_flight
    return sc.ProcessEntry(
        process.pid,
        process.parent,
        process.agent,
        process.principal,
        process.state,
        process.created,
        process.num_calls,
        len(in_flight),
        next(iter(in_flight.values()), ""),
    )


def _usage(process: Process) -> sc.ResourceUsage:
    return sc.ResourceUsage(
        process.pid,
        dict(process.calls),
        process.prompt_tokens,
        process.completion_tokens,
        process.num_switches,
        process.waiting_s,
        process.running_s,
    )
