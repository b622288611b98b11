"""What an idle agent weighs: `python -m aios.bench.idle NUM` prints the bytes that each of them adds.

An agent is a process of the kernel with its token, and the SDK's handle of it, which has made one call. A
process of its own measures, so that nothing else has grown or shrunk it: resident memory before and after,
once what the kernel keeps of calls (its journal) is full, garbage is collected and the heap given back.
"""

import asyncio
import ctypes
import gc
import resource
import sys
import tempfile
from pathlib import Path

from aios.bench.peer import kernel_at_once
from aios.kernel.config import JournalConfig
from aios.sdk.agent import Agent, Connection
from aios.sdk.transport import InProcess

AT_A_TIME = 100
FIRST = 256
"""Agents that are there before: with them come code, pools and tables that no later one adds."""


async def bytes_per_agent(num_agents: int) -> int:
    """Resident bytes that each of `num_agents` idle agents adds to this process."""
    with tempfile.TemporaryDirectory() as folder:
        async with kernel_at_once(Path(folder)) as kernel:
            connection = Connection(InProcess(kernel.trap), kernel.operator_token)
            agents = await _idle_agents(connection, FIRST)
            await _fill_journal(agents[0])
            before = resident_bytes()
            agents += await _idle_agents(connection, num_agents)
            grown = resident_bytes() - before
            await connection.close()
    return grown // num_agents


async def _idle_agents(connection: Connection, num_agents: int) -> list[Agent]:
    """Some at a time: together they would need more than they keep."""
    agents: list[Agent] = []
    while len(agents) < num_agents:
        some = min(AT_A_TIME, num_agents - len(agents))
        agents += await asyncio.gather(*(_idle_agent(connection) for _ in range(some)))
    return agents


async def _idle_agent(connection: Connection) -> Agent:
    agent = Agent(connection.transport, await connection.process.spawn("idle"), "idle")
    await agent.llm.generate("What is a kernel?")
    return agent


async def _fill_journal(agent: Agent) -> None:
    """Each call leaves two events and more, and an answer its times: both are kept up to a bound."""
    for _ in range(JournalConfig().max_events // 2):
        await agent.llm.generate("What is a kernel?")


def resident_bytes() -> int:
    """Of this process: its share as it is now where Linux tells that, else the most that it ever had."""
    gc.collect()
    _give_back()
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except FileNotFoundError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


def _give_back() -> None:
    """Have the C library return what is free to the system, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


if __name__ == "__main__":
    print(asyncio.run(bytes_per_agent(int(sys.argv[1]))))
