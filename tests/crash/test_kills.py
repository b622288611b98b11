"""A kernel is killed again and again; its clients go on, and check all they ever did that it acknowledged."""

import asyncio
import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from crash_planted import PLANTED_FOR_KILLS
from crash_serving import Served
from crash_workload import FIRST_SEED, how_many

from aios.abi import syscalls as sc
from aios.abi.errors import NotFound, OutcomeUnknown, Unavailable
from aios.abi.messages import Message
from aios.drivers.mounts.beneath import TEMPORARY
from aios.sdk.transport import UnixSocket

AGENTS = ("ann", "bob", "cid")
MAX_ACKNOWLEDGED = 12
"""Calls of all agents between two kills."""
AT_BOOT = 0.1
"""Of the kills, the share that comes while the kernel boots."""
BOOT_S = 0.05
AFTER_COMMIT = 0.5
"""The share that comes right after a commit, before anybody is told of it."""
COMMITS_OF_BOOT = 2
TRIES = 2_000
PAUSE_S = 0.02


class Wrong(Exception):
    """A kernel's answer is not true."""


class Client:
    """One agent: what it did, and what it must therefore find."""

    def __init__(self, name: str, seed: int, socket: Path, lent: Path, found: Counter[str]) -> None:
        self._name = name
        self._lent = lent
        """The directory that it has mounted."""
        self._mounted: dict[str, str] = {}
        """What is in it, by file."""
        self._rng = Random(f"{name} {seed}")
        self._transport = UnixSocket(socket)
        self._found = found
        self._number = 0
        self._messages: list[str] = []
        self._notes: dict[str, str] = {}
        self._lines: list[str] = []
        self._num_versions = 0
        self.must_check = False
        self.is_calling = False
        self.on_acknowledged = lambda: None

    async def live(self, operator_token: str) -> None:
        """Work until it is cancelled. Raises `Wrong`."""
        spawn = sc.ProcessSpawn(agent=self._name, principal=self._name, durable=True)
        self._token = operator_token
        self._token = (await self._ask(spawn, f"spawn-{self._name}")).token
        mount = sc.StorageMount(name=self._name, folder="mounted", write=True)
        await self._ask(mount, f"mount-{self._name}")
        while True:
            await self._step()
            self.on_acknowledged()
            if self.must_check:
                self.must_check = False
                await self.check()

    async def check(self) -> None:
        """Everything is there, once, and nothing else."""
        history = await self._ask(sc.MemoryRead(limit=1000))
        self._compare([message.content for message in history.messages], self._messages, "messages")
        hits = (await self._ask(sc.MemorySearch(limit=1000))).hits
        self._compare({hit.note.id: hit.note.text for hit in hits}, self._notes, "notes")
        if self._num_versions:
            content = await self._ask(sc.StorageRead(path="lines.txt"))
            self._compare(content.content.splitlines(), self._lines, "lines")
            self._compare(content.version, self._num_versions, "versions")
        await self._check_mounted()
        self._found["checks"] += 1

    async def _check_mounted(self) -> None:
        """What was written here is in the directory, what was written there is here, and nothing else."""
        for name, content in self._mounted.items():
            entry = await self._ask(sc.StorageRead(path=f"mounted/{name}"))
            self._compare(entry.content, content, f"what {name} holds")
        for _ in range(TRIES):
            (mount,) = (await self._ask(sc.StorageMounts())).mounts
            if mount.state == "following" and not mount.waiting:
                break
            await asyncio.sleep(PAUSE_S)
        # What a killed kernel was about to write is cleared away when it is surely nobody's.
        names = [name for name in os.listdir(self._lent) if not name.startswith(TEMPORARY)]
        there = {name: (self._lent / name).read_text() for name in names}
        self._compare(there, self._mounted, "mounted files")
        self._compare((mount.conflicts, mount.unsaved), (0, ()), "conflicts and files that are not saved")

    async def close(self) -> None:
        await self._transport.close()

    def _compare(self, found: object, expected: object, what: str) -> None:
        if found != expected:
            raise Wrong(f"{what} of {self._name} are {found}, not {expected}")

    async def _step(self) -> None:
        self._number += 1
        text = f"{self._name} {self._number} " + "x" * self._rng.choice((0, 100, 5_000))
        kind = self._rng.randrange(7)
        if kind == 0 and len(self._messages) > 30:
            await self._write(sc.MemoryClear())
            self._messages = []
        elif kind <= 1:
            await self._write(sc.MemoryAppend(messages=(Message("user", text),)))
            self._messages.append(text)
        elif kind == 2:
            note = await self._write(sc.MemoryAdd(text=text))
            if note.id in self._notes:
                raise Wrong(f"the id {note.id} was given twice")
            self._notes[note.id] = text
        elif kind == 3 and self._notes:
            note_id = self._rng.choice(list(self._notes))
            if len(self._notes) > 10:
                await self._write(sc.MemoryRemove(note_id=note_id))
                del self._notes[note_id]
            else:
                await self._write(sc.MemoryUpdate(note_id=note_id, text=text))
                self._notes[note_id] = text
        elif kind == 4:
            await self._change_file(text)
        elif kind == 5:
            await self._write(sc.StorageWrite(path="mounted/here.txt", content=text))
            self._mounted["here.txt"] = text
        else:
            (self._lent / "there.txt").write_text(text)
            self._mounted["there.txt"] = text

    async def _change_file(self, text: str) -> None:
        if len(self._lines) > 30:
            self._lines = []
            entry = await self._write(sc.StorageWrite(path="lines.txt", content=""))
        else:
            self._lines.append(text)
            entry = await self._write(sc.StorageAppend(path="lines.txt", content=f"{text}\n"))
        self._num_versions += 1
        self._compare(entry.version, self._num_versions, "versions")

    async def _write(self, call: sc.SystemCall) -> sc.Reply:
        self.is_calling = True
        reply = await self._ask(call, f"{self._name}-{self._number}")
        self.is_calling = False
        self._found["acknowledged"] += 1
        return reply

    async def _ask(self, call: sc.SystemCall, key: str = "") -> sc.Reply:
        """The reply, however often the kernel dies before it."""
        for _ in range(TRIES):
            try:
                return await self._transport.call(self._token, call, key=key)
            except (OutcomeUnknown, Unavailable):
                await asyncio.sleep(PAUSE_S)
            except NotFound as error:
                raise Wrong(f"{self._name} did {call}, and now: {error}") from error
        raise Wrong(f"{self._name} gets no answer to {type(call).__name__}")


async def killed(folder: Path, num_kills: int, seed: int, plant: str = "") -> Counter[str]:
    """What was counted. Raises `Wrong`."""
    found: Counter[str] = Counter()
    for name in AGENTS:
        (folder.parent / "lent" / name).mkdir(parents=True)
    rng, served = Random(seed), Served(folder, plant)
    served.start()
    await asyncio.to_thread(served.wait)
    token = (folder / "operator.token").read_text().strip()
    lent = folder.parent / "lent"
    clients = [Client(name, seed, folder / "aios.sock", lent / name, found) for name in AGENTS]
    enough = Enough(clients)
    working = [asyncio.create_task(client.live(token)) for client in clients]
    is_doomed = False
    try:
        for _ in range(num_kills):
            if is_doomed:
                await _until(asyncio.to_thread(served.join), working)
            else:
                await _until(enough.after(rng.randint(1, MAX_ACKNOWLEDGED)), working)
            await _kill(served, clients, found)
            while rng.random() < AT_BOOT:
                served.start()
                await asyncio.sleep(rng.random() * BOOT_S)
                await _kill(served, clients, found)
            is_doomed = rng.random() < AFTER_COMMIT
            served.start(COMMITS_OF_BOOT + rng.randint(1, MAX_ACKNOWLEDGED) if is_doomed else None)
        if is_doomed:
            await asyncio.to_thread(served.kill)
            served.start()
        await _until(enough.after(len(clients)), working)
    finally:
        served.kill()
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        for client in clients:
            await client.close()
    return found


class Enough:
    """Waits for acknowledged calls."""

    def __init__(self, clients: list[Client]) -> None:
        self._left = 0
        self._enough = asyncio.Event()
        for client in clients:
            client.on_acknowledged = self._count

    async def after(self, num_calls: int) -> None:
        self._left = num_calls
        self._enough.clear()
        await self._enough.wait()

    def _count(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self._enough.set()


async def _until(waiting, working: list[asyncio.Task[None]]) -> None:
    """Wait, unless a client has found something wrong."""
    task = asyncio.ensure_future(waiting)
    await asyncio.wait([task, *working], return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        for client in working:
            if client.done():
                client.result()


async def _kill(served: Served, clients: list[Client], found: Counter[str]) -> None:
    """Kill it, if it still lives."""
    await asyncio.to_thread(served.kill)
    found["kills"] += 1
    for client in clients:
        found["in flight"] += client.is_calling
        client.must_check = True


async def test_nothing_acknowledged_is_lost_when_the_kernel_is_killed(tmp_path, count):
    found = await killed(tmp_path / "data", how_many("KILLS", 4), FIRST_SEED)
    count(
        f"{found['kills']} kill -9, {found['acknowledged']} calls acknowledged, {found['in flight']} in "
        f"flight and asked for again with their keys, {found['checks']} checks of all that was done: 0 wrong"
    )


@pytest.mark.parametrize("plant", PLANTED_FOR_KILLS)
async def test_a_planted_fault_is_found(tmp_path, count, plant):
    with pytest.raises(Wrong) as wrong:
        await killed(tmp_path / "data", how_many("PLANTED_KILLS", 40), 1, plant)
    count(f"planted, {plant}: found ({str(wrong.value)[:60]}...)")
