"""Twenty agents write to `aios serve` over its socket, it is killed: what was acknowledged is there."""

import asyncio
import json

import aios
from aios.abi.errors import OutcomeUnknown, Unavailable
from aios.abi.syscalls import ProcessSpawn, StorageAppend, StorageHistory, StorageRead
from aios.sdk.transport import UnixSocket

AGENTS = 20
ENOUGH = 8
"""Acknowledged writes of every agent after which the kernel is killed."""


class Writers:
    """Agents that append numbered lines to a file each, and remember which were acknowledged."""

    def __init__(self, socket: str, token: str) -> None:
        self._transport = UnixSocket(socket)
        self._token = token
        self.acknowledged = {f"writer-{index}": 0 for index in range(AGENTS)}
        self.enough = asyncio.Event()

    async def write(self, name: str) -> None:
        """Append until the kernel is gone."""
        spawn = ProcessSpawn(agent=name, principal=name, durable=True)
        spawned = await self._transport.call(self._token, spawn, None, None)
        try:
            while True:
                line = StorageAppend(path="lines.txt", content=f"{self.acknowledged[name]}\n")
                await self._transport.call(spawned.token, line, None, None)
                self.acknowledged[name] += 1
                if min(self.acknowledged.values()) >= ENOUGH:
                    self.enough.set()
        except (OutcomeUnknown, Unavailable):
            return

    async def close(self) -> None:
        await self._transport.close()


async def test_nothing_acknowledged_is_lost_when_the_kernel_is_killed(start, data):
    process = start("--json")
    assert json.loads(process.stdout.readline())["socket"] == str(data / "aios.sock")
    token = (data / "operator.token").read_text().strip()
    writers = Writers(str(data / "aios.sock"), token)
    writing = [asyncio.create_task(writers.write(name)) for name in writers.acknowledged]
    await asyncio.wait_for(writers.enough.wait(), 120)
    process.kill()
    await asyncio.gather(*writing)
    await writers.close()

    assert start("--json").stdout.readline()
    async with aios.connect(f"unix:{data}/aios.sock", token=token) as kernel:
        for name, num_acknowledged in writers.acknowledged.items():
            read = StorageRead(path="lines.txt", owner=name)
            lines = (await kernel.transport.call(token, read, None, None)).content.splitlines()
            # The last append may have been committed although its answer never came.
            assert len(lines) in (num_acknowledged, num_acknowledged + 1)
            assert lines == [str(number) for number in range(len(lines))]
            history = StorageHistory(path="lines.txt", owner=name)
            versions = (await kernel.transport.call(token, history, None, None)).versions
            assert [version.version for version in versions] == list(range(1, len(lines) + 1))
