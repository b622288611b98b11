"""Operations that wait for a person's yes. Each binds process, principal and the exact call, and counts once.

Knows neither who may say yes (access.py) nor what happens then: that is told to `on_decision`.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from aios.abi.errors import NotFound, Overloaded
from aios.abi.syscalls import Approval, Row, SystemCall
from aios.drivers.clock import Clock, Timer
from aios.kernel.process import Caller

OnDecision = Callable[[int, str], None]
"""Told of a task and why it was refused; an empty reason means that it may run."""


class Waiting(Struct):
    """A pending approval and what it is bound to."""

    approval: Approval
    task: int
    digest: bytes
    timer: Timer
    is_given: bool = False


class Approvals:
    def __init__(self, clock: Clock, expires_s: float, max_pending: int) -> None:
        self._clock = clock
        self._expires_s = expires_s
        self._max_pending = max_pending
        self._waiting: dict[str, Waiting] = {}
        self._last = 0
        self.on_decision: OnDecision = lambda task, reason: None

    def open(self, task: int, caller: Caller, row: Row, call: SystemCall) -> str:
        """A new question to a person; its id. `Overloaded` when too many wait already."""
        if len(self._waiting) >= self._max_pending:
            raise Overloaded(f"{self._max_pending} operations wait for a person already", retry_after=5.0)
        self._last += 1
        id = f"a{self._last}"
        now = self._clock.time()
        approval = Approval(
            id, caller.pid, caller.principal, row.name, _text(caller, row, call), now, now + self._expires_s
        )
        timer = self._clock.call_later(self._expires_s, lambda: self._expire(id))
        self._waiting[id] = Waiting(approval, task, _digest(caller, call), timer)
        return id

    def pending(self) -> tuple[Approval, ...]:
        return tuple(one.approval for one in self._waiting.values() if not one.is_given)

    def get(self, id: str) -> Approval:
        """`NotFound` when nothing with this id waits."""
        return self._find(id).approval

    def decide(self, id: str, is_given: bool) -> None:
        """A person's answer. `NotFound` when nothing with this id waits (any more)."""
        waiting = self._find(id)
        waiting.timer.cancel()
        if is_given:
            waiting.is_given = True
            self.on_decision(waiting.task, "")
        else:
            del self._waiting[id]
            self.on_decision(waiting.task, "a person refused it")

    def use(self, id: str, caller: Caller, call: SystemCall) -> bool:
        """Whether this call of this process was approved; the approval is gone after it."""
        waiting = self._waiting.pop(id, None)
        return waiting is not None and waiting.is_given and waiting.digest == _digest(caller, call)

    def close(self, id: str) -> None:
        """The operation does not wait any more, whatever became of it."""
        if waiting := self._waiting.pop(id, None):
            waiting.timer.cancel()

    def _find(self, id: str) -> Waiting:
        waiting = self._waiting.get(id)
        if waiting is None or waiting.is_given:
            raise NotFound(f"no operation {id!r} waits for a person")
        return waiting

    def _expire(self, id: str) -> None:
        waiting = self._waiting.pop(id)
        self.on_decision(waiting.task, f"nobody agreed within {self._expires_s:g} s")


def _digest(caller: Caller, call: SystemCall) -> bytes:
    content = msgspec.json.encode([caller.pid, caller.principal, type(call).__name__, call], order="sorted")
    return blake2b(content, digest_size=32).digest()


def _text(caller: Caller, row: Row, call: SystemCall) -> str:
    """What a person reads. Made here from the call itself, never from words that the agent chose.

    A long text is cut by itself, so that it hides none of what comes after it.
    """
    fields = {name: _cut(value, 200) for name, value in msgspec.to_builtins(call).items()}
    arguments = _cut(msgspec.json.encode(fields).decode(), 1000)
    return f"process {caller.pid} ({caller.principal}) wants {row.name} {arguments}"


def _cut(value: Any, most: int) -> Any:
    if not isinstance(value, str) or len(value) <= most:
        return value
    return f"{value[:most]}… ({len(value)} characters)"
