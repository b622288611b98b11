"""Files with directories that may be mounted, and how the two sides are compared."""

import os
from functools import partial
from pathlib import Path

from inline import InlineStore, Unextracted, Untended

from aios.abi import syscalls as sc
from aios.drivers.clock import ManualClock
from aios.drivers.mounts.beneath import Beneath
from aios.kernel.config import MountConfig, StorageConfig
from aios.kernel.finding.shelving import FileShelves
from aios.kernel.process import Caller
from aios.kernel.storage import StorageManager


def lent(path: Path, **fields) -> MountConfig:
    return MountConfig(**{"name": "docs", "path": path, "write": True, **fields})


class Mounted:
    """A storage manager over a store in memory, on a clock that stands still. `async with` runs it."""

    def __init__(self, *mounts, store=None, opened=None, protected=(), **config) -> None:
        self.store = store or InlineStore()
        self.clock = ManualClock()
        self.tender = Untended(self.store, FileShelves(), 1 << 20)
        self.storage = StorageManager(
            self.store,
            StorageConfig(**config),
            self.clock,
            self.tender,
            Unextracted(self.store),
            lent=mounts,
            protected=protected,
            opened=opened,
        )

    async def __aenter__(self) -> "Mounted":
        await self.tender.start()
        await self.storage.start()
        return self

    async def __aexit__(self, *exit: object) -> None:
        await self.storage.close()

    def agent(self, principal: str = "alice"):
        return partial(self.storage.execute, Caller(1, principal))

    async def mount(self, folder: str = "m", *, write: bool = False, name: str = "docs", owner=None):
        """Mount a directory for alice and wait until all of it is taken in."""
        await self.agent()(sc.StorageMount(name=name, folder=folder, write=write, owner=owner))
        await self.storage.idle()
        return self.agent()

    async def entry(self, folder: str = "m") -> sc.MountEntry:
        found = (await self.agent()(sc.StorageMounts())).mounts
        return next(one for one in found if one.folder == folder)

    def rescan(self) -> None:
        """The time has come to look at everything again."""
        self.clock.advance(3600.0)


def files_of(top: Path) -> dict[str, bytes]:
    """The plain files below a folder, by path."""
    return {
        os.path.relpath(os.path.join(folder, name), top): (Path(folder) / name).read_bytes()
        for folder, _, names in os.walk(top)
        for name in names
        if not (Path(folder) / name).is_symlink()
    }


async def entries_of(agent, folder: str = "m") -> dict[str, bytes]:
    """The files in a folder of the agent's, by path."""
    listed = await agent(sc.StorageList(folder=folder))
    return {file.path.removeprefix(f"{folder}/"): await read(agent, file.path) for file in listed.files}


async def read(agent, path: str) -> bytes:
    return (await agent(sc.StorageRead(path=path, as_bytes=True))).data


async def history(agent, path: str) -> list[tuple[str, str, str]]:
    """Verb, author and content of each version."""
    told = []
    for one in (await agent(sc.StorageHistory(path=path))).versions:
        text = ""
        if one.verb != "delete":
            text = (await agent(sc.StorageRead(path=path, version=one.version))).content
        told.append((one.verb, one.author, text))
    return told


class Faulty(Beneath):
    """A directory that cannot be written while `fault` says why."""

    fault: OSError | None = None

    def begin(self, path):
        if Faulty.fault is not None:
            raise Faulty.fault
        return super().begin(path)

    def remove(self, path, expected):
        if Faulty.fault is not None:
            raise Faulty.fault
        super().remove(path, expected)


def faulty(mount: MountConfig, write: bool) -> Faulty:
    return Faulty(mount.path, hidden=mount.hidden, write=write)
