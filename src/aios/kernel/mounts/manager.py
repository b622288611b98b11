"""All mounts: made, ended, and asked to be up to date before a call looks at them or after it has written."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw
from msgspec import structs

from aios.abi import syscalls as sc
from aios.abi.errors import Conflict, NotFound, PermissionDenied, QuotaExceeded
from aios.drivers.clock import Clock
from aios.drivers.mounts.beneath import Beneath, told
from aios.drivers.mounts.watching import Watches
from aios.drivers.store import Store
from aios.kernel.config import MountConfig
from aios.kernel.files import folders, holdings, mounting
from aios.kernel.files.asking import Asking
from aios.kernel.files.holdings import ROW_BYTES, Limits
from aios.kernel.files.mounting import Mount
from aios.kernel.mounts import taking
from aios.kernel.mounts.mirror import Around, Mirror

log = logging.getLogger(__name__)

T = TypeVar("T")

NUM_THREADS = 4
"""For what blocks, of all mounts together."""

Opened = Callable[[MountConfig, bool], Beneath]


class Mounts:
    """`lent` are the directories that may be mounted, by name; `protected` is never part of one.

    `opened` opens one: tests give another.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        limits: Limits,
        lent: Mapping[str, MountConfig],
        *,
        rescan_s: float,
        max_mounts: int,
        on_taken: Callable[[str, int, bool], None],
        protected: Iterable[Path] = (),
        opened: Opened | None = None,
    ) -> None:
        self._store = store
        self._lent = lent
        self._max_mounts = max_mounts
        self._protected = list(protected)
        self._around = Around(
            store,
            clock,
            limits,
            rescan_s,
            self._on_thread,
            opened or self._opened,
            lambda: self._watches,
            on_taken,
        )
        self._mirrors: dict[int, Mirror] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._watches: Watches | None = None

    async def start(self) -> None:
        """Go on with the mounts of before, and end those whose end had begun."""
        for mount in await self._store.read(mounting.all_of):
            if mount.ending:
                now = self._around.clock.time()
                await self._end(
                    Asking(mount.owner, f"mount:{mount.name}", 0, now, self._around.limits), mount
                )
            else:
                self._follow(await self._as_lent(mount))

    async def close(self) -> None:
        """Leave off: what is not done yet is done after the next start."""
        mirrors, self._mirrors = self._mirrors, {}
        for mirror in mirrors.values():
            await mirror.close()
        if self._watches is not None:
            asyncio.get_running_loop().remove_reader(self._watches.descriptor)
            self._watches.close()
            self._watches = None
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None

    async def idle(self) -> None:
        """Wait until all that is known to have changed has been taken in."""
        self._drain()
        for mirror in list(self._mirrors.values()):
            await mirror.idle()

    def is_any(self, owner: str) -> bool:
        """Whether an owner has mounts."""
        return any(mirror.mount.owner == owner for mirror in self._mirrors.values())

    # ---- the calls

    async def mount(self, asking: Asking, call: sc.StorageMount) -> sc.MountEntry:
        """Raises `NotFound`, `PermissionDenied`, `Conflict` or `QuotaExceeded`."""
        lent = self._lent.get(call.name)
        if lent is None:
            raise NotFound(f"no directory is lent by the name '{call.name}'")
        if call.write and not lent.write:
            raise PermissionDenied(f"the directory '{call.name}' is lent for reading only")
        try:
            beneath = await self._on_thread(self._opened, lent, call.write)
            beneath.close()
        except OSError as error:
            raise NotFound(f"the directory '{call.name}' cannot be opened: {told(error)}") from None
        made = await self._store.write(
            partial(_make, asking=asking, call=call, lent=lent, most=self._max_mounts),
            reply=_entry,
        )
        self._follow(made)
        return _entry(made)

    async def unmount(self, asking: Asking, call: sc.StorageUnmount) -> sc.Done:
        """Raises `NotFound`, or `Conflict` where something is not in the directory yet."""
        folder = call.folder.removesuffix("/")
        mirror = next((one for one in self._of(asking.owner) if one.mount.folder == folder), None)
        if mirror is None:
            raise NotFound(f"there is no mounted directory at '{folder}'")
        if not call.keep:
            await mirror.push()
            entry = await mirror.entry()
            if entry.waiting:
                raise Conflict(
                    f"{entry.waiting} files of '{folder}' are not in the directory as they were written "
                    "here; with keep they stay as ordinary files"
                )
        await mirror.close()
        self._mirrors.pop(mirror.mount.id, None)
        ending = structs.replace(mirror.mount, ending="keep" if call.keep else "remove")
        await self._store.write(partial(_begin_end, mount=ending))
        return await self._end(asking, ending)

    async def entries(self, owner: str | None) -> sc.MountEntries:
        """The mounts of an owner, or everybody's; and what may be mounted."""
        self._drain()
        mirrors = self._of(owner) if owner is not None else list(self._mirrors.values())
        found = [await mirror.entry() for mirror in mirrors]
        return sc.MountEntries(
            tuple(sorted(found, key=lambda one: (one.owner, one.folder))),
            tuple(sc.LentEntry(one.name, one.write, one.label) for _, one in sorted(self._lent.items())),
        )

    # ---- calls of others

    async def fresh(self, owner: str, paths: Iterable[str]) -> None:
        """Wait until what is at these paths of an owner is as in the directories, but not for ever."""
        self._drain()
        for path in paths:
            for mirror in self._of(owner):
                if mirror.mount.meets(path):
                    await mirror.fresh(mirror.mount.inside(path))

    async def push(self, owner: str, paths: Iterable[str]) -> None:
        """Have what was changed at these paths be written to the directories, or told that it cannot."""
        names = list(paths)
        for mirror in self._of(owner):
            if mirror.mount.writable and any(mirror.mount.meets(path) for path in names):
                await mirror.push()

    async def told(self, reply: sc.FileEntry) -> sc.FileEntry:
        """The same with what has to be said of a file in a mount."""
        for mirror in self._of(reply.owner):
            if mirror.mount.covers(reply.path) and mirror.mount.writable:
                return structs.replace(reply, mount=await mirror.state_of(mirror.mount.inside(reply.path)))
        return reply

    # ---- within

    def _of(self, owner: str) -> list[Mirror]:
        return [mirror for mirror in self._mirrors.values() if mirror.mount.owner == owner]

    async def _as_lent(self, mount: Mount) -> Mount:
        """A mount of before, without a right that was taken back meanwhile."""
        lent = self._lent.get(mount.name)
        now = structs.replace(
            mount,
            writable=int(bool(mount.writable) and lent is not None and lent.write),
            hidden=mount.hidden if lent is None else int(lent.hidden),
        )
        if now != mount:
            await self._store.write(partial(mounting.save, mount=now))
        return now

    async def _end(self, asking: Asking, mount: Mount) -> sc.Done:
        """Remove what belongs to a mount that ends, in pieces: cut off anywhere, the next start goes on."""
        work = partial(_finish, asking=structs.replace(asking, is_mirror=True), mount=mount)
        while not await self._store.write(work, reply=lambda is_over: sc.Done() if is_over else None):
            pass
        return sc.Done()

    def _follow(self, mount: Mount) -> None:
        if self._watches is None:
            self._watch()
        mirror = Mirror(mount, self._lent.get(mount.name), self._around)
        self._mirrors[mount.id] = mirror
        mirror.start()

    def _watch(self) -> None:
        try:
            self._watches = Watches()
        except OSError as error:
            log.warning("mounted directories are only looked at now and then: %s", told(error))
            return
        asyncio.get_running_loop().add_reader(self._watches.descriptor, self._drain)

    def _drain(self) -> None:
        if self._watches is None:
            return
        events, is_lost = self._watches.drain()
        for event in events:
            if (mirror := self._mirrors.get(event.watcher)) is not None:
                mirror.told(event)
        if is_lost:
            for mirror in self._mirrors.values():
                mirror.scan()

    def _opened(self, lent: MountConfig, write: bool) -> Beneath:
        return Beneath(lent.path, hidden=lent.hidden, write=write, forbidden=self._protected)

    async def _on_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(NUM_THREADS, "mounts")
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _make(
    connection: apsw.Connection, asking: Asking, call: sc.StorageMount, lent: MountConfig, most: int
) -> Mount:
    folder = call.folder.removesuffix("/")
    if len(mounting.all_of(connection, asking.owner)) >= most:
        raise QuotaExceeded(f"{asking.owner} has {most} mounted directories; unmount one first")
    mounting.check_free(connection, asking.owner, folder)
    held = holdings.load(connection, asking.owner)
    num_made = folders.remove(
        connection, asking.owner, folder
    )  # An empty one, which this takes the place of.
    folders.add(connection, asking.owner, folder, held.next_moment(asking.now))
    held.count(1 - num_made, (1 - num_made) * ROW_BYTES)
    held.check(asking.limits, has_more_files=True)
    holdings.save(connection, held)
    return mounting.save(
        connection, Mount(0, asking.owner, folder, call.name, int(call.write), int(lent.hidden))
    )


def _entry(made: Mount) -> sc.MountEntry:
    """What a call is answered that is made again."""
    return sc.MountEntry(made.folder, made.owner, made.name, write=bool(made.writable), state="scanning")


def _begin_end(connection: apsw.Connection, mount: Mount) -> None:
    now = mounting.find_mount(connection, mount.id)
    if now is not None:
        mounting.save(connection, structs.replace(now, ending=mount.ending))


def _finish(connection: apsw.Connection, asking: Asking, mount: Mount) -> bool:
    """Do some more of unmounting; whether it is over."""
    if mount.ending == "keep":
        return not mounting.forget(connection, mount, taking.REMOVED_FILES)
    return not taking.remove_all(connection, asking, mount)
