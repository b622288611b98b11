"""A kernel is killed in the middle of many generations, and started again over the same data.

Fifty clients in one process ask over the kernel's socket, each call with an idempotency key. Once some have
been answered the kernel is killed with signal 9, engine and all that it held in memory with it, and another
is started. The clients ask again of themselves. Each answer is compared with that of a kernel that nobody
killed; those that had been answered are asked for once more, and no core may do anything for them.
"""

import asyncio
import contextlib
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aios.abi import syscalls as sc
from aios.abi.errors import Unavailable
from aios.abi.messages import Message, Sampling
from aios.bench.report import Progress
from aios.drivers.llm_local import EMBEDDED_MODEL
from aios.drivers.models.chat import ChatFormat
from aios.sdk.client import Client
from aios.sdk.transport import UnixSocket

NUM_CALLS = 50
_SLOTS = 16
_PAUSE_S = 0.2
_processes = multiprocessing.get_context("spawn")


class Served:
    """Kernels with the embedded core over one folder, one after the other."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self._model = folder, model

    async def start(self) -> None:
        """Until it listens."""
        ready, theirs = _processes.Pipe()
        arguments = (str(self.folder), str(self._model), theirs)
        self._process = _processes.Process(target=_main, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        await asyncio.to_thread(ready.recv)

    async def kill(self) -> None:
        """With signal 9; it is gone when this returns."""
        self._process.kill()
        await asyncio.to_thread(self._process.join)

    def client(self) -> Client:
        """The operator's."""
        token = (self.folder / "operator.token").read_text().strip()
        return Client(UnixSocket(_config(self.folder).socket_path), token)


def _config(folder: Path) -> Any:
    from aios.kernel.config import Config, CoreConfig

    return Config(data=folder, cores=(CoreConfig(slots=_SLOTS),))


def _main(folder: str, model: str, ready: Connection) -> None:
    asyncio.run(_serve(Path(folder), Path(model), ready))


async def _serve(folder: Path, model: Path, ready: Connection) -> None:
    from aios.drivers.llm_local import EmbeddedDriver
    from aios.kernel.drivers import SNAPSHOTS
    from aios.kernel.kernel import Kernel
    from aios.server.socket import SocketServer

    config = _config(folder)
    driver = EmbeddedDriver(
        model, slots=_SLOTS, snapshot_folder=folder / SNAPSHOTS, disk_bytes=config.context.max_disk_bytes
    )
    async with Kernel(config, drivers={"nano": driver}) as kernel:
        server = SocketServer(kernel, config.socket_path)
        await server.start()
        ready.send(True)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await server.close()


def run(num_calls: int = NUM_CALLS, say: Progress = print, model: Path = EMBEDDED_MODEL) -> dict[str, Any]:
    """One row, and the share of answers that were the same."""
    return asyncio.run(measured(num_calls, say, model))


async def measured(num_calls: int, say: Progress, model: Path) -> dict[str, Any]:
    """What `run` gives."""
    end_id = ChatFormat(model / "tokenizer.model").end_id
    with TemporaryDirectory(prefix="aios-context-") as folder:
        undisturbed = Served(Path(folder) / "one", model)
        await undisturbed.start()
        expected = await asyncio.gather(*_asked(undisturbed.client(), num_calls, end_id))
        await undisturbed.kill()
        say(f"context: {num_calls} answers of a kernel that nobody kills")
        killed = Served(Path(folder) / "two", model)
        await killed.start()
        client = killed.client()
        calls = [asyncio.ensure_future(call) for call in _asked(client, num_calls, end_id)]
        while sum(call.done() for call in calls) < num_calls // 5:
            await asyncio.wait([call for call in calls if not call.done()], return_when="FIRST_COMPLETED")
        answered = [call.result() for call in calls if call.done()]
        await killed.kill()
        say(f"context: killed after {len(answered)} answers")
        await killed.start()
        answers = await asyncio.gather(*calls)
        before = (await client.core.list()).cores[0].tokens
        again = await asyncio.gather(*_asked(client, num_calls, end_id))
        work = (await client.core.list()).cores[0].tokens - before
        await client.transport.close()
        await killed.kill()
    same = sum(one.text == other.text for one, other in zip(answers, expected, strict=True))
    row = {
        "generations": num_calls,
        "answered before the kill": len(answered),
        "same tokens": same,
        "asked once more, the same": sum(one == other for one, other in zip(again, answers, strict=True)),
        "tokens for those": work,
    }
    goal = {"value": same / num_calls, "bound": 1.0, "quick": num_calls < NUM_CALLS}
    return {"rows": [row], "goals": {"context.survived_restart": goal}}


def _asked(client: Client, num_calls: int, end_id: int) -> list[Any]:
    return [_ask(client, number, end_id) for number in range(num_calls)]


async def _ask(client: Client, number: int, end_id: int) -> sc.LlmAnswer:
    sampling = Sampling(
        temperature=1.0, seed=number, max_tokens=40 + 30 * (number % 9), logit_bias={end_id: -100.0}
    )
    call = sc.LlmGenerate(
        messages=(Message("user", f"Tell of the {number} trains that leave the city."),), sampling=sampling
    )
    while True:
        try:
            answer = await client.call(call, key=f"train-{number}")
        except Unavailable:  # It takes longer to boot than a client waits of itself.
            await asyncio.sleep(_PAUSE_S)
            continue
        assert isinstance(answer, sc.LlmAnswer)
        return answer
