"""The scheduling policies: who is next, and for how long. Functions of what a task is; no clock, no I/O."""

import sys
from typing import Protocol

from aios.kernel.task import Task


class Policy(Protocol):
    """Orders a run queue. Tasks wait in lanes; the lane with the smallest key gives its oldest task."""

    @property
    def quantum(self) -> int:
        """Tokens that a generation may take while others wait."""
        ...

    def lane(self, task: Task) -> int:
        """The lane that it waits in."""
        ...

    def key(self, head: Task, turn: int) -> int:
        """The key of the lane whose oldest task is `head`. `turn` rises with every lane that lines up."""
        ...


class Fifo:
    """The oldest call first; never interrupts."""

    quantum = sys.maxsize

    def lane(self, task: Task) -> int:
        return task.pid

    def key(self, head: Task, turn: int) -> int:
        return head.id


class RoundRobin:
    """Each program in turn, one call a turn, so that fanning out into children buys no share.

    A generation is interrupted at the end of its quantum if somebody waits.
    """

    def __init__(self, quantum: int) -> None:
        self.quantum = quantum

    def lane(self, task: Task) -> int:
        return task.program

    def key(self, head: Task, turn: int) -> int:
        return turn


def policy_of(name: str, quantum: int) -> Policy:
    """The policy called `name`."""
    policies: dict[str, Policy] = {"fifo": Fifo(), "rr": RoundRobin(quantum)}
    return policies[name]
