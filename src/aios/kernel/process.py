"""Processes: who is calling. (The process table grows here.)"""

from msgspec import Struct


class Caller(Struct, frozen=True):
    """The identity that the kernel gave a process; never taken from a request."""

    pid: int
    principal: str
    """Owns memory, files and grants. Several processes may share one."""
    agent: str = ""
