"""A real kernel in a process of its own, on its socket, to be killed."""

import asyncio
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from crash_planted import PLANTED_FOR_KILLS, die_after

from aios.drivers.llm_scripted import ScriptedDriver
from aios.kernel.config import AccessConfig, Config, CoreConfig, MountConfig, StoreConfig
from aios.kernel.kernel import Kernel
from aios.server.socket import SocketServer

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__])


class Served:
    """Kernels over one folder, one after the other, which lend each folder in `lent` beside it.

    `plant` names a fault that they have.
    """

    def __init__(self, folder: Path, plant: str = "") -> None:
        self._folder = folder
        self._plant = plant

    def start(self, num_commits: int | None = None) -> None:
        """Begin to boot one; it is killed after so many commits, before it answers for them."""
        self._ready, theirs = _processes.Pipe()
        arguments = (str(self._folder), self._plant, num_commits, theirs)
        self._process = _processes.Process(target=_main, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def wait(self) -> None:
        """Until it listens. `EOFError` when it has died."""
        self._ready.recv()

    def join(self) -> None:
        """Until it is gone."""
        self._process.join()

    def kill(self) -> None:
        """With signal 9; it is gone when this returns."""
        self._process.kill()
        self._process.join()
        self._ready.close()


def _main(folder: str, plant: str, num_commits: int | None, ready: Connection) -> None:
    if num_commits is not None:
        die_after(pytest.MonkeyPatch(), num_commits)
    asyncio.run(_serve(Path(folder), plant, ready))


async def _serve(folder: Path, plant: str, ready: Connection) -> None:
    """A fault is planted once the kernel is up: it is in what is called."""
    lent = sorted((folder.parent / "lent").iterdir())
    config = Config(
        data=folder,
        cores=(CoreConfig(name="core"),),
        store=StoreConfig(reserve_bytes=0),
        access=AccessConfig(mount="allow"),
        mounts=tuple(MountConfig(name=path.name, path=path, write=True) for path in lent),
    )
    async with Kernel(config, drivers={"core": ScriptedDriver()}) as kernel:
        server = SocketServer(kernel, config.socket_path)
        await server.start()
        if plant:
            PLANTED_FOR_KILLS[plant](pytest.MonkeyPatch())
        ready.send(True)
        await asyncio.Event().wait()
