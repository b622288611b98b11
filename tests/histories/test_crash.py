"""The kernel is killed while entries leave memory and are packed on disk: what was acknowledged is there."""

import subprocess
import sys

from held import Histories

from aios.drivers.store import Store
from aios.kernel.config import MemoryConfig

WRITER = """
import asyncio, sys
from pathlib import Path
from aios.abi.messages import Message
from aios.abi.syscalls import MemoryAppend, MemoryRead
from aios.drivers.clock import SystemClock
from aios.drivers.store import Store
from aios.kernel.config import MemoryConfig
from aios.kernel.histories.manager import HistoryManager
from aios.kernel.process import Caller

begin = int(sys.argv[2])

async def write(manager, number):
    caller, texts = Caller(number, f"agent.{number}"), []
    for at in range(begin, 10**6):
        text = f"{number} {at} " + "words that are alike " * (20 * (at % 9))
        reply = await manager.execute(caller, MemoryAppend(messages=(Message("user", text),)))
        print(number, at, manager.statistics()["evicted"], flush=True)
        found = await manager.execute(caller, MemoryRead(start=reply.num_messages - 1))
        assert found.messages[0].text == text

async def main():
    store = Store(Path(sys.argv[1]))
    await store.start()
    config = MemoryConfig(history_block_bytes=20_000, history_memory_bytes=60_000)
    manager = HistoryManager(store, config, SystemClock())
    await manager.start()
    await asyncio.gather(*(write(manager, number) for number in range(8)))

asyncio.run(main())
"""


def killed(path, begin, num_evicted):
    """What a writing process said until it was killed, after so many entries had left its memory."""
    command = [sys.executable, "-c", WRITER, str(path), str(begin)]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not lines or int(lines[-1].split()[2]) < num_evicted:
            lines.append(process.stdout.readline())
        process.kill()
        lines += process.stdout.readlines()
    return [tuple(map(int, line.split()[:2])) for line in lines if line.endswith("\n")]


async def test_nothing_acknowledged_is_lost_when_the_kernel_is_killed_while_entries_leave(tmp_path):
    acknowledged = set()
    for begin, num_evicted in ((0, 30), (1000, 90)):
        acknowledged |= set(killed(tmp_path / "aios.db", begin, num_evicted))
    store = Store(tmp_path / "aios.db")
    await store.start()
    histories = Histories(store, MemoryConfig())
    await histories.start()
    for number in range(8):
        found = []
        for text in await histories.agent(f"agent.{number}").texts():
            owner, at, rest = text.split(" ", 2)
            assert rest == "words that are alike " * (20 * (int(at) % 9))
            found.append((int(owner), int(at)))
        assert found == sorted(set(found))
        expected = {pair for pair in acknowledged if pair[0] == number}
        assert expected <= set(found)
        assert len(found) <= len(expected) + 2  # One more may have been committed at each kill.
    rows = await histories.all("PRAGMA integrity_check")
    assert rows == [("ok",)]
    await store.close()
