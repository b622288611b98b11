"""Agents at work on a disk that remembers, and what must be found after the power went at any moment.

A recording has several lives of a kernel, each ended by closing it, by killing it, or by killing it after a
flush that failed. The whole content of the database after every commit is on record. After a power loss it
has to be that of the last commit that was acknowledged, or of the one that was being made.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import apsw
from crash_workload import AGENTS, booted, calls_of, difference, outcome, seen, spawned

from aios.abi.errors import AiosError
from aios.drivers import sqlite, writer
from fakes.disk import Disk, broken, no_fault

RECORDING = "recording"
QUICK = "quick"


@dataclass
class Commit:
    """The whole content after a commit. It is on the disk from the change number `durable_from` on."""

    durable_from: int
    content: bytes


@dataclass
class Step:
    """One call of an agent: between which changes it was on its way, and what came of it."""

    begun: int
    call: Any = None
    """None for looking only, when a life begins."""
    key: str = ""
    answered: int | None = None
    outcome: bytes = b""
    seen: bytes = b""
    """All that the agent could see afterwards."""


@dataclass
class Recording:
    disk: Disk
    commits: list[Commit] = field(default_factory=list)
    unsure: list[tuple[int, int]] = field(default_factory=list)
    """Between which changes a commit had failed and nobody could tell what became of it."""
    steps: dict[str, list[Step]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def expected(self, at: int) -> tuple[Commit, Commit | None]:
        """The last commit that must be there when the power goes before the change `at`, and the next one."""
        last = bisect_right(self.commits, at, key=lambda commit: commit.durable_from) - 1
        following = self.commits[last + 1] if last + 1 < len(self.commits) else None
        return self.commits[last], following

    def is_unsure(self, at: int) -> bool:
        return any(begun <= at < ended for begun, ended in self.unsure)


class Dying:
    """From the next flush on, nothing works; or from now on."""

    def __init__(self, *, by_flush: bool) -> None:
        self._is_dead = not by_flush

    def __call__(self, operation):
        self._is_dead = self._is_dead or operation.kind == "sync"
        return broken() if self._is_dead else None


@contextmanager
def small_log() -> Iterator[None]:
    """The log is copied into the database often."""
    pages, size = sqlite.WAL_PAGES, sqlite.MAX_LOG_BYTES
    sqlite.WAL_PAGES, sqlite.MAX_LOG_BYTES = 30, 100 * 4096
    try:
        yield
    finally:
        sqlite.WAL_PAGES, sqlite.MAX_LOG_BYTES = pages, size


def content_of(path: Path) -> bytes:
    """A digest of every row of every table."""
    connection = apsw.Connection(str(path), vfs=QUICK)
    try:
        digest = blake2b(digest_size=16)
        tables = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' "
            "AND name NOT IN ('sqlite_stat1', 'sqlite_stat4', 'barrier') ORDER BY name"
        ).fetchall()
        for name, sql in tables:
            digest.update(sql.encode())
            for row in connection.execute(f'SELECT * FROM "{name}"'):
                digest.update(repr(row).encode())
        return digest.digest()
    finally:
        connection.close()


class _Watched(writer.Writer):
    """The store's writer, which puts on record what the database holds after each commit."""

    recording: Recording
    path: Path

    def do(self, jobs):
        before = self.num_commits
        outcomes = super().do(jobs)
        if self.num_commits > before:
            self.recording.commits.append(Commit(len(self.recording.disk.changes), content_of(self.path)))
        return outcomes


async def record(folder: Path, seed: int, num_calls: int, ends: tuple[str, ...]) -> Recording:
    """One life for each of `ends`: "close", "kill", or "flush" for a flush that fails and a kill."""
    disk = Disk(RECORDING, is_recording=True, is_default=True)
    recording = Recording(disk)
    watched = type("Watched", (_Watched,), {"recording": recording, "path": folder / "aios.db"})
    original = _replace_writer(watched)
    try:
        for life, end in enumerate(ends):
            await _live(recording, folder, seed * 1000 + life, num_calls, end)
    finally:
        _replace_writer(original)
        disk.unregister()
    return recording


def _replace_writer(kind: Any) -> Any:
    from aios.drivers import store

    original, store.Writer = store.Writer, kind
    return original


async def _live(recording: Recording, folder: Path, seed: int, num_calls: int, end: str) -> None:
    disk = recording.disk
    disk.fault = no_fault
    async with booted(folder) as kernel:
        recording.commits.append(Commit(len(disk.changes), content_of(folder / "aios.db")))
        recording.unsure = [(begun, min(ended, len(disk.changes))) for begun, ended in recording.unsure]
        recording.tokens = await spawned(kernel)
        everyone = (*AGENTS, "operator")
        await asyncio.gather(*(_work(recording, kernel, name, seed, num_calls) for name in everyone))
        if end == "close":
            return
        if end == "flush":
            begun = len(disk.changes)
            disk.fault = Dying(by_flush=True)
            last = calls_of("ann", seed + 1, 1)[0]
            await outcome(kernel, recording.tokens["ann"], last, "")
            recording.unsure.append((begun, 1 << 60))
        disk.fault = Dying(by_flush=False)


async def _work(recording: Recording, kernel: Any, name: str, seed: int, num_calls: int) -> None:
    token, changes = recording.tokens[name], recording.disk.changes
    steps = recording.steps.setdefault(name, [])
    steps.append(Step(len(changes), answered=len(changes), seen=await seen(kernel, name, token)))
    for number, call in enumerate(calls_of(name, seed, num_calls)):
        step = Step(len(changes), call, f"{name}-{seed}-{number}")
        steps.append(step)
        step.outcome = await outcome(kernel, token, call, step.key)
        step.answered = len(changes)
        step.seen = await seen(kernel, name, token)


async def check_whole(recording: Recording, folder: Path, at: int) -> str:
    """Boot a kernel on what was found when the power went before the change `at`; what is wrong, or nothing.

    What was on its way is asked for again, with its key: it must be done once, as if nothing had happened.
    """
    async with booted(folder) as kernel:
        for name, token in recording.tokens.items():
            wrong = await _check_agent(recording, kernel, name, token, at)
            if wrong:
                return f"{name}: {wrong}"
    return ""


async def _check_agent(recording: Recording, kernel: Any, name: str, token: str, at: int) -> str:
    steps = [step for step in recording.steps[name] if step.begun < at]
    if not steps:
        return ""
    last = steps[-1]
    try:
        found = await seen(kernel, name, token)
    except AiosError as error:
        return f"what it did cannot be seen: {error}"
    if last.answered is not None and last.answered <= at:
        return "" if found == last.seen else f"{last.key} was acknowledged, {difference(found, last.seen)}"
    if found not in (steps[-2].seen, last.seen):
        return f"neither before nor after {last.key}, {difference(found, last.seen)}"
    again = await outcome(kernel, token, last.call, last.key)
    if again != last.outcome:
        return f"{last.key} is answered otherwise when asked for again, {difference(again, last.outcome)}"
    if await seen(kernel, name, token) != last.seen:
        return f"{last.key} was done twice, or not at all"
    return ""


def check_content(recording: Recording, folder: Path, at: int) -> str:
    """What is wrong with the database found when the power went before the change `at`, or nothing."""
    last, following = recording.expected(at)
    try:
        found = content_of(folder / "aios.db")
    except apsw.Error as error:
        return f"the database is damaged: {error}"
    if found == last.content or (following is not None and found == following.content):
        return ""
    if any(found == commit.content for commit in recording.commits):
        return "acknowledged commits are lost"
    return "a state that never was"
