"""What agents do while the disk fails them: seeded calls, each with a key, and all that can be seen of it."""

import os
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from aios.abi import syscalls as sc
from aios.abi import wire
from aios.abi.errors import AiosError
from aios.abi.messages import Message
from aios.drivers.clock import ManualClock
from aios.drivers.llm_scripted import ScriptedDriver
from aios.kernel.config import Config, CoreConfig, StoreConfig
from aios.kernel.kernel import Kernel

AGENTS = ("ann", "bob", "cid")
FILES = ("a.txt", "b/c.txt", "b/d.txt")
SIZES = (10, 300, 6000, 40_000)


def how_many(name: str, short: int) -> int:
    """How many cases to run: `make test-crash` sets `AIOS_CRASH_…`, else it is the short version."""
    return int(os.environ.get(f"AIOS_CRASH_{name}", short))


FIRST_SEED = how_many("SEED", 1)
"""Another one tries other cases."""


@asynccontextmanager
async def booted(folder: Path):
    """A whole kernel over a folder, on a clock that stands still."""
    config = Config(
        data=folder,
        cores=(CoreConfig(name="core"),),
        store=StoreConfig(reserve_bytes=0),
    )
    async with Kernel(config, drivers={"core": ScriptedDriver()}, clock=ManualClock()) as kernel:
        yield kernel


async def spawned(kernel: Kernel) -> dict[str, str]:
    """The agents' tokens, by name. They are the same whenever it is asked."""
    tokens = {"operator": kernel.operator_token}
    for name in AGENTS:
        spawn = sc.ProcessSpawn(agent=name, principal=name, durable=True)
        tokens[name] = (await kernel.trap(kernel.operator_token, spawn, key=f"spawn-{name}")).token
    return tokens


def calls_of(name: str, seed: int, num_calls: int) -> list[sc.SystemCall]:
    """What an agent does; the same for the same seed."""
    rng = Random(f"{name} {seed}")
    steps = _operator(rng) if name == "operator" else _agent(rng)
    return [next(steps) for _ in range(num_calls)]


def _agent(rng: Random) -> Iterator[sc.SystemCall]:
    num_notes = 0
    for number in range(1_000_000):
        text = f"{number} " + rng.choice("abcdef") * rng.choice(SIZES)
        path = rng.choice(FILES)
        note_id = f"n{rng.randint(1, max(1, num_notes))}"
        kind = rng.randrange(12)
        if kind <= 2:
            num_notes += 1
            yield sc.MemoryAdd(text=text, tags=("tag",))
        elif kind == 3:
            yield sc.MemoryUpdate(note_id=note_id, text=text)
        elif kind == 4:
            yield sc.MemoryRemove(note_id=note_id)
        elif kind <= 6:
            yield sc.MemoryAppend(messages=(Message("user", text),))
        elif kind == 7:
            yield sc.StorageWrite(path=path, content=text)
        elif kind <= 9:
            yield sc.StorageAppend(path=path, content=text)
        elif kind == 10:
            yield sc.StorageDelete(path=path)
        else:
            yield sc.StorageRollback(path=path, version=1)


def _operator(rng: Random) -> Iterator[sc.SystemCall]:
    for number in range(1_000_000):
        if rng.random() < 0.5:
            yield sc.AccessSetGroup(name="team", members=tuple(rng.sample(AGENTS, rng.randint(1, 3))))
        else:
            yield sc.ProcessSpawn(agent="child", principal=f"child{number}", durable=True)


async def outcome(kernel: Kernel, token: str, call: sc.SystemCall, key: str) -> bytes:
    """A reply, or an error that says that nothing happened, as bytes.

    Not those of the wire, which may leave out a field that has its default, or not.
    """
    try:
        return repr(await kernel.trap(token, call, key=key)).encode()
    except AiosError as error:
        return wire.encode(error.to_reply())


async def seen(kernel: Kernel, name: str, token: str) -> bytes:
    """All that an agent can see of what it did."""
    if name == "operator":
        entries = (await kernel.trap(token, sc.ProcessList())).processes
        alive = sorted((one.pid, one.principal) for one in entries)
        return wire.encode([await kernel.trap(token, sc.AccessGroups()), alive])
    files = (await kernel.trap(token, sc.StorageList())).files
    found = [
        await kernel.trap(token, sc.MemoryRead(limit=1000)),
        sorted((await kernel.trap(token, sc.MemorySearch(limit=1000))).hits, key=lambda hit: hit.note.id),
        *files,
    ]
    for file in files:
        found.append(await kernel.trap(token, sc.StorageRead(path=file.path)))
        found.append(await kernel.trap(token, sc.StorageHistory(path=file.path)))
    return wire.encode(found)


def difference(found: bytes, expected: bytes) -> str:
    """The first place where two views differ, for whoever looks into it."""
    pairs = enumerate(zip(found, expected, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), 0)
    part = slice(max(0, at - 40), at + 120)
    return f"and {found[part]!r} is there, not {expected[part]!r}"
