"""Every operation on the disk is made to fail once: what is answered is true, and the kernel goes on."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest
from crash_planted import PLANTED_FOR_FAULTS
from crash_recording import small_log
from crash_workload import FIRST_SEED, booted, calls_of, difference, how_many, seen

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError, OutcomeUnknown, StorageFull, Unavailable
from fakes.disk import Disk, Operation, broken, full, no_fault

SEED = 8
CALLS = 16
TRIES = 4
HANGS_S = 120.0
"""After which a run that takes a second is taken for one that hangs."""

ERRORS: dict[str, list[Callable[[], Exception]]] = {
    "write": [full, lambda: broken("IOERR_WRITE")],
    "sync": [lambda: broken("IOERR_FSYNC")],
    "read": [lambda: broken("IOERR_READ")],
    "open": [broken],
    "size": [lambda: broken("IOERR_FSTAT")],
    "access": [lambda: broken("IOERR_ACCESS")],
    "truncate": [lambda: broken("IOERR_TRUNCATE")],
    "delete": [lambda: broken("IOERR_DELETE")],
}
"""What a real disk answers where each kind of operation fails."""


class Wrong(Exception):
    """An answer was not true."""


class Run:
    """One agent's calls on a disk whose operation number `at` fails; None for a disk without fault."""

    def __init__(self, disk: Disk, at: int | None = None, error: Callable[[], Exception] = broken) -> None:
        self._disk = disk
        self._at = at
        self._error = error
        self.truth: list[bytes] = []
        """What can be seen at first and after each call."""

    async def play(self, folder: Path, truth: list[bytes] | None = None) -> None:
        """Raises `Wrong`, where something is otherwise than in `truth`."""
        self._expected = truth
        self._disk.num_operations, self._disk.fault = 0, self._fail
        await self._life(folder, self._first)
        await self._life(folder, self._second)

    async def _life(self, folder: Path, work: Callable[..., object]) -> None:
        for _ in range(2):
            try:
                async with booted(folder) as kernel:
                    await work(kernel)
                return
            except (Unavailable, StorageFull):  # The fault struck while it was starting.
                continue
            except AiosError as error:
                raise Wrong(f"{error.code}: {error.message}") from error
        raise Wrong("the kernel does not start after the fault is over")

    async def _first(self, kernel) -> None:
        spawn = sc.ProcessSpawn(agent="ann", principal="ann", durable=True)
        self._token = (await self._asked(kernel, kernel.operator_token, spawn, "spawn", 0)).token
        await self._look(kernel, 0)
        for number, call in enumerate(calls_of("ann", SEED, CALLS), 1):
            await self._asked(kernel, self._token, call, f"key-{number}", number)
            await self._look(kernel, number)

    async def _second(self, kernel) -> None:
        await self._look(kernel, CALLS)

    async def _asked(self, kernel, token: str, call: sc.SystemCall, key: str, number: int):
        """The reply, asked for until it is known. An error must have changed nothing."""
        for _ in range(TRIES):
            try:
                return await kernel.trap(token, call, key=key)
            except OutcomeUnknown:
                continue
            except (Unavailable, StorageFull):
                if number:
                    await self._look(kernel, number - 1)
            except AiosError as error:
                if self._expected is None or error.code in ("not_found", "conflict"):
                    return None
                raise Wrong(f"{error.code}: {error.message}") from error
        raise Wrong(f"call {number} does not work after the fault is over")

    async def _look(self, kernel, number: int) -> None:
        """Compare what can be seen with the truth; the disk does not fail meanwhile."""
        if self._at is not None and self._disk.num_operations <= self._at:
            return  # Nothing has failed yet.
        num_operations, self._disk.fault = self._disk.num_operations, no_fault
        found = await seen(kernel, "ann", self._token)
        self._disk.num_operations, self._disk.fault = num_operations, self._fail
        if self._expected is None:
            self.truth[number:] = [found]
        elif found != self._expected[number]:
            raise Wrong(f"after call {number} {difference(found, self._expected[number])}")

    def _fail(self, operation: Operation) -> Exception | None:
        return self._error() if operation.number == self._at else None


def points_of(folder: Path, disk: Disk) -> tuple[list[bytes], list[tuple[int, Callable[[], Exception]]]]:
    """What can be seen without faults, and every fault that there can be."""
    disk.kinds.clear()
    run = Run(disk)
    asyncio.run(run.play(folder / "truth"))
    points = [(at, error) for at, kind in enumerate(disk.kinds) for error in ERRORS[kind]]
    return run.truth, points


def wrongs(folder: Path, disk: Disk, truth: list[bytes], points) -> Counter[str]:
    """What went wrong, how often; the key "" counts what was right."""
    found: Counter[str] = Counter()
    for at, error in points:
        try:
            asyncio.run(_soon(Run(disk, at, error).play(folder / "data", truth)))
            found[""] += 1
        except Wrong as wrong:
            found[f"{wrong} (operation {at}, {error()})"] += 1
        shutil.rmtree(folder / "data")
    return found


async def _soon(run: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(HANGS_S):
            await run
    except TimeoutError:
        raise Wrong("a call is never answered") from None


@pytest.fixture
def disk():
    disk = Disk(is_default=True)
    yield disk
    disk.unregister()


def some(points: list, how_many: int) -> list:
    """So many of them, others for another first seed, until all have had their turn."""
    shuffled = Random(SEED).sample(points, len(points))
    at = (FIRST_SEED - 1) * how_many % len(points)
    return shuffled[at : at + how_many]


def test_every_operation_that_fails_is_answered_for(tmp_path, count, disk):
    with small_log():
        truth, points = points_of(tmp_path, disk)
        found = wrongs(tmp_path, disk, truth, some(points, how_many("FAULTS", 20)))
    num_right = found.pop("", 0)
    count(
        f"{num_right + found.total()} of {len(points)} operations failed once: {found.total()} wrong answers"
    )
    assert not found


@pytest.mark.parametrize("name", PLANTED_FOR_FAULTS)
def test_a_planted_fault_is_found(tmp_path, count, disk, name, monkeypatch):
    with small_log():
        plant, kind = PLANTED_FOR_FAULTS[name]
        truth, points = points_of(tmp_path, disk)
        points = [(at, error) for at, error in points if disk.kinds[at] == kind]
        plant(monkeypatch)
        found: Counter[str] = Counter()
        for point in some(points, len(points)):  # Few of them show it.
            found += wrongs(tmp_path, disk, truth, [point])
            if found.total() > found[""]:
                break
    count(f"planted, {name}: found by fault number {found.total()}")
    assert found.total() > found[""]
