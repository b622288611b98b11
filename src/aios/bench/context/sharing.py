"""Whether sharing the slots by turns costs throughput: `rr` beside `fifo`, the same agents on the same core.

Each agent asks once; there are many more of them than slots, so that every quantum ends with an interruption.
Both policies are run in turns, in kernels of their own with the embedded core.
"""

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aios.abi import syscalls as sc
from aios.abi.messages import Message, Sampling
from aios.bench.report import Progress, spread
from aios.drivers.llm_local import EMBEDDED_MODEL
from aios.drivers.models.chat import ChatFormat
from aios.kernel.config import Config, CoreConfig, SchedulerConfig
from aios.kernel.kernel import Kernel

TOKENS = 48
"""Of each answer."""
QUANTUM = 16


def run(quick: bool, say: Progress) -> dict[str, Any]:
    """One row and its goal."""
    num_agents, repeats = (200, 1) if quick else (2000, 3)
    ratios = []
    row: dict[str, Any] = {"agents": num_agents, "tokens each": TOKENS, "quantum": QUANTUM}
    for number in range(repeats):
        fifo, _ = asyncio.run(_tokens_per_second("fifo", num_agents))
        turns, switches = asyncio.run(_tokens_per_second("rr", num_agents))
        ratios.append(turns / fifo)
        row |= {"fifo tokens/s": round(fifo), "rr tokens/s": round(turns), "interruptions": switches}
        say(f"context: rr {turns:.0f} tokens a second, fifo {fifo:.0f} ({number + 1} of {repeats})")
    found = spread(ratios)
    row |= {"rr over fifo": round(found.median, 4), "range": f"{found.low:.3f} to {found.high:.3f}"}
    goal = {"value": round(found.median, 4), "bound": 1.0, "quick": quick}
    return {"rows": [row], "goals": {"context.rr_throughput": goal}}


async def _tokens_per_second(policy: Any, num_agents: int) -> tuple[float, int]:
    end_id = ChatFormat(EMBEDDED_MODEL / "tokenizer.model").end_id
    sampling = Sampling(temperature=1.0, max_tokens=TOKENS, logit_bias={end_id: -100.0})
    with TemporaryDirectory(prefix="aios-context-") as folder:
        config = Config(
            data=Path(folder),
            cores=(CoreConfig(),),
            scheduler=SchedulerConfig(policy=policy, quantum=QUANTUM),
            seed=1,
        )
        async with Kernel(config) as kernel:
            spawned = [
                await kernel.trap(kernel.operator_token, sc.ProcessSpawn(agent=f"a{number}"))
                for number in range(num_agents)
            ]
            call = sc.LlmGenerate(messages=(Message("user", "Tell of the city."),), sampling=sampling)
            began = time.perf_counter()
            tokens = [one.token for one in spawned if isinstance(one, sc.Spawned)]
            answers = await asyncio.gather(*(kernel.trap(token, call) for token in tokens))
            seconds = time.perf_counter() - began
    found = [answer for answer in answers if isinstance(answer, sc.LlmAnswer)]
    num_tokens = sum(answer.usage.completion_tokens for answer in found)
    return num_tokens / seconds, sum(answer.num_switches for answer in found)
