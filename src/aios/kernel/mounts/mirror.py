"""One mount: its entries follow its directory, and where that may be written it follows the entries.

One task does all of it, a little at a time, woken by what is told of the directory, by calls, and by a timer.
What is to be looked at are paths, in two queues: those that a call waits for, and the others.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from io import FileIO
from itertools import islice
from typing import Any, Literal, TypeVar

import apsw
from msgspec import Struct, structs

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError, Conflict, InvalidArgument, QuotaExceeded, TooLarge
from aios.drivers.clock import Clock, Timer
from aios.drivers.mounts.beneath import (
    Beneath,
    Changed,
    Listing,
    Refused,
    Stamp,
    Writing,
    is_left_out,
    stamp_of,
    told,
)
from aios.drivers.mounts.watching import Event, Watches
from aios.drivers.store import Store
from aios.kernel.config import MountConfig
from aios.kernel.files import entries, mounting, pieces, states, texts, uploads
from aios.kernel.files.asking import Asking
from aios.kernel.files.entries import File
from aios.kernel.files.holdings import Limits
from aios.kernel.files.mounting import Known, Mount
from aios.kernel.mounts import taking
from aios.kernel.mounts.looking import Large, Later, Looked, Looker, Unchanged, read_chunks, settled
from aios.kernel.mounts.taking import Outcome, Seen, hashed
from aios.kernel.paths import check_path

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_FILES = 64
"""Looked at in one go, and written in one transaction."""
FRESH_S = 2.0
"""How long a call about a folder waits at most for what has changed below it to be taken in."""
MAX_PROBLEMS = 1000
"""Files that are told to be left out, with why."""
MAX_TRIES = 3
"""To write a file to the directory while others change it there."""
RESCAN_SHARE = 20.0
"""A scan is not begun before so many times its own time has gone by since the one before."""

OVERTAKEN = "a change in the directory has overtaken it; what was written here is in its history"

State = Literal["scanning", "following", "unavailable"]


class Around(Struct, frozen=True):
    """What all mounts work with."""

    store: Store
    clock: Clock
    limits: Limits
    rescan_s: float
    on_thread: Callable[..., Any]
    """Awaits a function that blocks, with its arguments."""
    opened: Callable[[MountConfig, bool], Beneath]
    """Opens a directory, for writing where that is said. Raises `OSError`."""
    watches: Callable[[], Watches | None]
    on_taken: Callable[[str, int, bool], None]
    """Told whose entries changed, by how many bytes, and whether documents are among them."""


class Mirror:
    """`lent` is None where the directory is lent no more: then the entries stay as they are."""

    def __init__(self, mount: Mount, lent: MountConfig | None, around: Around) -> None:
        self.mount = mount
        self._lent = lent
        self._around = around
        self._store = around.store
        self._beneath: Beneath | None = None
        self._looker: Looker | None = None
        self._must_scan = True
        self._urgent: dict[str, bool] = {}
        self._pending: dict[str, bool] = {}
        """Paths to be looked at, and whether all below is."""
        self._writing: dict[str, None] = {}
        """Files that somebody is writing: looked at when that ends, when a call asks, or by a scan."""
        self._active: dict[str, bool] = {}
        self._wanted: list[str] = []
        """What calls wait for."""
        self._num_asked = self._num_pushed = 0
        """How often what waits was to be written to the directory, and which of these times it was."""
        self._unsaved: dict[str, tuple[int, str]] = {}
        """Entries that could not be written to the directory: in which version, and why."""
        self._overtaken: dict[str, str] = {}
        self._problems: dict[str, dict[str, str]] = {}
        """By folder and name."""
        self._why = "" if lent is not None else self._unlent
        self._num_all = 0
        self._must_count = False
        self._is_cut = False
        """Whether the last scan was left off."""
        self._is_whole = False
        """Whether all of the directory has been taken in once."""
        self._timer: Timer | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._is_closed = False

    # ---- what others ask for

    def start(self) -> None:
        """Begin to follow, with a scan of all."""
        self._num_asked += 1
        self._wake()

    async def close(self) -> None:
        """Leave off: what is not done yet is done after the next start."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._notify()
        if (watches := self._around.watches()) is not None:
            watches.forget(self.mount.id)
        self._shut()

    async def idle(self) -> None:
        """Wait until there is nothing to do."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    def told(self, event: Event) -> None:
        """Something has changed in the directory."""
        path = event.path
        try:
            path.encode()
        except UnicodeEncodeError:
            self._add(path.rpartition("/")[0], False)
            self._wake()
            return
        if path and is_left_out(path, hidden=bool(self.mount.hidden)):
            return
        if event.kind == "writing":
            self._writing[path] = None
            return
        self._writing.pop(path, None)
        if not path:
            self.scan()
            return
        self._add(path, event.kind == "folder")
        self._wake()

    def scan(self) -> None:
        """Look at everything, and try again what could not be written."""
        self._timer = None
        self._must_scan = True
        self._unsaved = {path: (-1, why) for path, (_, why) in self._unsaved.items()}
        self._num_asked += 1
        self._wake()

    async def fresh(self, path: str) -> None:
        """Wait until what is at this path is as in the directory; for what is below it not for ever."""
        self._hurry(path)
        if not self._is_at_work(path):
            return
        self._wake()
        is_over: list[bool] = []

        def end() -> None:
            is_over.append(True)
            self._notify()

        timer = self._around.clock.call_later(FRESH_S, end)
        self._wanted.append(path)
        try:
            await self._until(lambda: not self._is_at_work(path, itself=bool(is_over)))
        finally:
            self._wanted.remove(path)
            timer.cancel()

    async def push(self) -> None:
        """Wait until what has been changed here is in the directory, or cannot be written there."""
        self._num_asked += 1
        asked = self._num_asked
        self._wake()
        await self._until(lambda: self._num_pushed >= asked)

    async def state_of(self, path: str) -> str:
        """Why an entry is not in the directory as it was written here; empty where it is."""
        if await self._store.read(partial(mounting.is_waiting, mount=self.mount, path=path)):
            why = self._unsaved[path][1] if path in self._unsaved else self._why
            return f"not in the directory yet: {why or 'it is being written'}"
        return self._overtaken.get(path, "")

    async def entry(self) -> sc.MountEntry:
        """As `storage.mounts` tells of it."""
        mount = self.mount
        num_files, num_bytes, num_waiting, num_conflicts = await self._store.read(
            partial(mounting.counted, mount=mount)
        )
        problems = sorted(
            (f"{folder}/{name}" if folder else name, why)
            for folder, names in self._problems.items()
            for name, why in names.items()
        )
        return sc.MountEntry(
            mount.folder,
            mount.owner,
            mount.name,
            write=bool(mount.writable),
            state=self._state,
            why=self._why,
            files=num_files,
            all_files=max(self._num_all, num_files),
            bytes=num_bytes,
            waiting=num_waiting,
            conflicts=num_conflicts,
            num_problems=len(problems),
            problems=tuple(sc.MountProblem(path, why) for path, why in problems[: sc.MAX_MOUNT_PROBLEMS]),
            unsaved=tuple(
                sc.MountProblem(path, why)
                for path, (_, why) in islice(sorted(self._unsaved.items()), sc.MAX_MOUNT_PROBLEMS)
            ),
            unwatched="" if self._looker is None else self._looker.why_unwatched,
        )

    @property
    def _state(self) -> State:
        if self._why:
            return "unavailable"
        return "following" if self._is_whole else "scanning"

    # ---- the queues

    def _hurry(self, path: str) -> None:
        """Have what is waiting to be looked at, at this path or below it, go first."""
        for queue in (self._pending, self._writing):
            for one in [one for one in queue if _is_within(one, path)]:
                self._urgent[one] = self._urgent.get(one, False) or bool(queue.pop(one))
        is_deep = self._must_scan or any(
            is_deep and _is_within(path, one)
            for queue in (self._pending, self._active)
            for one, is_deep in queue.items()
        )
        if is_deep or (self._looker is not None and self._looker.why_unwatched):
            self._urgent[path] = is_deep or self._urgent.get(path, False)

    def _add(self, path: str, deep: bool) -> None:
        """Have a path looked at, before others where a call waits for it."""
        is_wanted = any(_is_within(path, one) for one in self._wanted)
        queue = self._urgent if is_wanted else self._pending
        queue[path] = queue.get(path, False) or deep

    def _is_at_work(self, path: str, *, itself: bool = False) -> bool:
        """Whether something at this path or below it, or only it `itself`, is being looked at."""
        if self._task is None or self._task.done():
            return bool(self._urgent) and not self._why and not self._is_closed
        if itself:
            return path in self._urgent or path in self._active
        return any(_is_within(one, path) for queue in (self._urgent, self._active) for one in queue)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so() and not self._is_closed:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def _notify(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # ---- the one task

    def _wake(self) -> None:
        if not self._is_closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._work())

    @property
    def _is_busy(self) -> bool:
        return bool(
            self._must_scan
            or self._must_count
            or self._urgent
            or self._pending
            or self._num_pushed < self._num_asked
        )

    async def _work(self) -> None:
        began = self._around.clock.now()
        try:
            while self._is_busy:
                await self._do_some()
                self._notify()
            if not self._is_cut:
                self._is_whole, self._why = True, ""
        except OSError as error:
            self._stopped(told(error))
        except AiosError as error:
            self._stopped(error.message)
        finally:
            self._num_pushed = self._num_asked
            self._active.clear()
            self._set_timer(self._around.clock.now() - began)
            asyncio.get_running_loop().call_soon(self._notify)

    def _stopped(self, why: str) -> None:
        """It cannot go on until the next scan: what is to be looked at is found again then."""
        if why != self._why:
            log.warning("the mount at '%s' of %s: %s", self.mount.folder, self.mount.owner, why)
        self._why = why
        self._is_cut = True
        self._urgent.clear()
        self._pending.clear()

    def _set_timer(self, took_s: float) -> None:
        if self._timer is None and not self._is_closed:
            delay_s = max(self._around.rescan_s, RESCAN_SHARE * took_s)
            self._timer = self._around.clock.call_later(delay_s, self.scan)

    async def _do_some(self) -> None:
        if self._must_scan or self._beneath is None:
            await self._open()
        elif self._urgent:
            await self._look(self._urgent)
        elif self._num_pushed < self._num_asked:
            await self._push_all()
        elif self._must_count:
            assert self._beneath is not None
            self._num_all, _ = await self._on_thread(self._beneath.count)
            self._must_count = False
        else:
            await self._look(self._pending)

    async def _open(self) -> None:
        """Open the directory where that is not done, or its path leads to another by now."""
        if self._lent is None:
            self._must_scan = False
            raise FileNotFoundError(None, self._unlent)
        if self._beneath is None or not await self._on_thread(self._beneath.is_current):
            self._shut()
            try:
                self._beneath = await self._on_thread(
                    self._around.opened, self._lent, bool(self.mount.writable)
                )
            except OSError:
                self._must_scan = False  # Until it is time for the next.
                raise
        self._looker = Looker(
            self._beneath, self._around.watches(), self.mount.id, self._around.limits.max_file_bytes
        )
        if not self._is_whole:
            await self._store.write(
                partial(uploads.abandon, owner=self.mount.owner, principal=self._uploading().author)
            )
            self._must_count = True
        self._must_scan = self._is_cut = False
        self._writing.clear()  # A scan finds what is in them now.
        self._why = ""
        self._pending[""] = True

    def _shut(self) -> None:
        if self._beneath is not None:
            self._beneath.close()
        self._beneath = None

    async def _on_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Awaits a function that blocks. Nothing that is cancelled goes on behind one's back."""
        running = asyncio.ensure_future(self._around.on_thread(function, *arguments))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            if running.exception() is None:
                _give_up(running.result())
            raise

    # ---- from the directory

    async def _look(self, queue: dict[str, bool]) -> None:
        batch = {path: queue.pop(path) for path in list(islice(queue, BATCH_FILES))}
        self._active.update(batch)
        for path in batch:
            self._writing.pop(path, None)
        try:
            await self._look_at(batch)
        finally:
            for path in batch:
                self._active.pop(path, None)

    async def _look_at(self, batch: dict[str, bool]) -> None:
        """Look at these paths, and have what is in folders looked at later."""
        assert self._looker is not None
        good = [path for path in batch if self._is_good(path)]
        known, inner = await self._store.read(partial(_known, mount=self.mount, paths=good))
        looked = await self._on_thread(self._looker.look_at, good, known)
        seen: list[Seen] = []
        for path, found in looked.items():
            if not isinstance(found, Later | Listing):
                self._set_problem(path, found.why if isinstance(found, Refused) else "")
            match found:
                case Later():
                    self._add(path, batch[path])
                case Unchanged():
                    continue
                case Listing():
                    if known[path] is not None:
                        seen.append(Seen(path))  # It was a file.
                    await self._compare(path, found, batch[path])
                case Refused(is_none=False):
                    continue  # It stays as it was seen last.
                case _:
                    if path in inner:
                        await self._remove_below(path)
                    seen += await self._handed_on(path, found)
        await self._take(seen)

    async def _handed_on(self, path: str, found: Looked) -> list[Seen]:
        match found:
            case Seen():
                return [found]
            case Large():
                large = await self._read_large(path)
                return [] if large is None else [large]
            case _:
                return [Seen(path)]

    async def _compare(self, folder: str, found: Listing, deep: bool) -> None:
        """Have looked at what is not as it was in a folder."""
        plan = await self._store.read(
            partial(taking.plan, mount=self.mount, folder=folder, found=found, deep=deep)
        )
        self._problems.pop(folder, None)
        for name, why in found.problems.items():
            self._set_problem(_joined(folder, name), why)
        for name in plan.files:
            self._add(_joined(folder, name), False)
        for name in plan.folders:
            self._add(_joined(folder, name), True)

    async def _remove_below(self, folder: str) -> None:
        self._problems.pop(folder, None)
        is_more = True
        while is_more:
            work = partial(taking.remove_below, asking=self._asking(), mount=self.mount, folder=folder)
            num_removed, is_more = await self._store.write(work)
            self._around.on_taken(self.mount.owner, num_removed, False)

    async def _take(self, seen: list[Seen]) -> None:
        """Make the entries what was seen, in one transaction."""
        if not seen:
            return
        work = partial(_take, asking=self._asking(), mount=self.mount, seen=seen, label=self._label)
        outcomes = await self._store.write(work)
        for one, outcome in zip(seen, outcomes, strict=True):
            if outcome == "overtaken":
                self._overtaken[one.path] = OVERTAKEN
            elif isinstance(outcome, AiosError):
                self._set_problem(one.path, outcome.message)
                if one.upload:
                    await self._drop(one.upload)
        changed = [one for one, outcome in zip(seen, outcomes, strict=True) if outcome != "same"]
        self._around.on_taken(
            self.mount.owner,
            sum(one.size for one in changed),
            any(texts.is_document(one.path) for one in changed),
        )
        if stopped := next((one for one in outcomes if isinstance(one, QuotaExceeded)), None):
            raise stopped

    async def _read_large(self, path: str) -> Seen | None:
        """Put a large file's content into an upload, part by part; None where it cannot be read."""
        assert self._beneath is not None
        upload = ""
        try:
            with await self._on_thread(self._beneath.open, path) as opened:
                before = await self._on_thread(stamp_of, opened)
                digest, size = hashed(), 0
                upload = (
                    await self._store.write(
                        partial(
                            uploads.begin,
                            asking=self._uploading(),
                            call=sc.StorageUpload(path=self.mount.outside(path)),
                        )
                    )
                ).id
                while True:
                    data, chunks = await self._on_thread(read_chunks, opened, digest)
                    if not data:
                        break
                    asking = structs.replace(self._uploading(), content=chunks)
                    part = sc.StoragePart(upload_id=upload, start=size, data=data)
                    await self._store.write(partial(uploads.part, asking=asking, call=part))
                    size += len(data)
                stamp = settled(before, await self._on_thread(stamp_of, opened))
            seen = Seen(path, stamp, digest.digest(), size, upload=upload)
            if await self._is_same(seen):
                await self._drop(upload)
                return None
            return seen
        except OSError as error:
            self._set_problem(path, told(error))
        except (TooLarge, QuotaExceeded) as error:
            self._set_problem(path, error.message)
        if upload:
            await self._drop(upload)
        return None

    async def _is_same(self, seen: Seen) -> bool:
        """Whether a large file is what its entry is; if so that is kept."""
        assert seen.stamp is not None
        known = await self._store.read(partial(mounting.known, mount=self.mount, path=seen.path))
        if known is not None and known.hash == seen.hash:
            kept = structs.replace(known, stamp=seen.stamp)
            await self._store.write(partial(mounting.keep, one=kept))
            return True
        file = await self._store.read(
            lambda c: entries.find(c, self.mount.owner, self.mount.outside(seen.path))
        )
        if not await self._store.read(partial(taking.is_content, file=file, size=seen.size, hash=seen.hash)):
            return False
        return await self._store.write(
            partial(taking.same, mount=self.mount, seen=seen, version=file.version)
        )

    async def _drop(self, upload: str) -> None:
        call = sc.StorageAbort(upload_id=upload)
        await self._store.write(partial(uploads.abort, asking=self._uploading(), call=call))
        moment = self._asking().moment
        while await self._store.write(partial(uploads.sweep, moment=moment)):
            pass

    def _is_good(self, path: str) -> bool:
        if not path:
            return True
        if is_left_out(path, hidden=bool(self.mount.hidden)):
            return False
        try:
            check_path(self.mount.outside(path))
        except InvalidArgument as error:
            self._set_problem(path, error.message)
            return False
        return True

    def _set_problem(self, path: str, why: str) -> None:
        folder, _, name = path.rpartition("/")
        names = self._problems.get(folder, {})
        if not why:
            names.pop(name, None)
        elif name in names or sum(map(len, self._problems.values())) < MAX_PROBLEMS:
            self._problems.setdefault(folder, names)[name] = why

    # ---- to the directory

    async def _push_all(self) -> None:
        """Write what waits to the directory, where it may be written."""
        asked = self._num_asked
        paths = await self._store.read(partial(mounting.waiting, mount=self.mount))
        self._unsaved = {path: self._unsaved[path] for path in paths if path in self._unsaved}
        for path in paths:
            await self._push(path)
            self._notify()
        self._num_pushed = asked

    async def _push(self, path: str) -> None:
        file, known, is_waiting = await self._store.read(partial(_waiting, mount=self.mount, path=path))
        if not is_waiting or self._unsaved.get(path, (-1, ""))[0] == file.version:
            return
        try:
            if not self.mount.writable:
                raise PermissionError(None, "the directory is not lent for writing any more")
            for _ in range(MAX_TRIES):
                if await self._is_pushed(path, file, known):
                    self._unsaved.pop(path, None)
                    self._overtaken.pop(path, None)
                    return
                file, known, is_waiting = await self._store.read(
                    partial(_waiting, mount=self.mount, path=path)
                )
                if not is_waiting:
                    self._unsaved.pop(path, None)
                    return
            raise OSError(None, "something else is there, or it keeps changing")
        except OSError as error:
            self._unsaved[path] = file.version, told(error)

    async def _is_pushed(self, path: str, file: File, known: Known | None) -> bool:
        """Write an entry as it is now; False where the directory has changed meanwhile, or the entry has."""
        if known is not None and not known.stamp.is_sure:
            await self._look_at({path: False})
            _, known, is_waiting = await self._store.read(partial(_waiting, mount=self.mount, path=path))
            if not is_waiting:
                return False  # It was overtaken.
        expected = None if known is None else known.stamp
        try:
            stamp, hash = await self._sent(path, file, expected)
        except Changed:
            await self._look_at({path: False})
            return False
        return await self._store.write(
            partial(taking.pushed, mount=self.mount, path=path, version=file.version, stamp=stamp, hash=hash)
        )

    async def _sent(self, path: str, file: File, expected: Stamp | None) -> tuple[Stamp | None, bytes]:
        """Put an entry's content in the place of what is expected there. Raises `Changed` or `OSError`."""
        assert self._beneath is not None
        if file.deleted:
            if expected is not None:
                await self._on_thread(self._beneath.remove, path, expected)
            return None, b""
        writing = await self._on_thread(self._beneath.begin, path)
        digest = hashed()
        try:
            for start in range(0, file.size, taking.READ_BYTES):
                data = await self._store.read(partial(_content, file=file, start=start))
                digest.update(data)
                await self._on_thread(writing.add, data)
            return await self._on_thread(writing.finish, expected), digest.digest()
        finally:
            await self._on_thread(writing.drop)

    @property
    def _unlent(self) -> str:
        return (
            "the directory is lent no more"
            if self.mount.name
            else "what was known of it is damaged: unmount it"
        )

    # ---- who asks

    @property
    def _label(self) -> sc.Label:
        return "untrusted" if self._lent is None else self._lent.label

    def _asking(self) -> Asking:
        mount = self.mount
        now = self._around.clock.time()
        return Asking(mount.owner, f"mount:{mount.name}", 0, now, self._around.limits, is_mirror=True)

    def _uploading(self) -> Asking:
        return taking.uploading(self._asking(), self.mount)


def _known(
    connection: apsw.Connection, mount: Mount, paths: Iterable[str]
) -> tuple[dict[str, Known | None], set[str]]:
    """What is known of these paths as files, and which of them were folders."""
    known = {path: mounting.known(connection, mount, path) if path else None for path in paths}
    return known, {path for path in known if mounting.known_below(connection, mount, path, 1)}


def _waiting(connection: apsw.Connection, mount: Mount, path: str) -> tuple[File, Known | None, bool]:
    return (
        entries.find(connection, mount.owner, mount.outside(path)),
        mounting.known(connection, mount, path),
        mounting.is_waiting(connection, mount, path),
    )


def _content(connection: apsw.Connection, file: File, start: int) -> bytes:
    state = states.of(connection, file, file.version)
    return pieces.read(connection, state, start, min(start + taking.READ_BYTES, file.size))


def _take(
    connection: apsw.Connection, asking: Asking, mount: Mount, seen: list[Seen], label: sc.Label
) -> list[Outcome | AiosError]:
    """Take in each by itself, deletions first: what one is refused for changes nothing about the others."""
    outcomes: dict[str, Outcome | AiosError] = {}
    for one in sorted(seen, key=lambda one: one.stamp is not None):
        try:
            with connection:
                outcomes[one.path] = taking.take(connection, asking, mount, one, label)
        except (TooLarge, QuotaExceeded, Conflict) as error:
            outcomes[one.path] = error
    return [outcomes[one.path] for one in seen]


def _give_up(made: object) -> None:
    """Close what a thread has opened for nobody."""
    if isinstance(made, FileIO | Beneath):
        made.close()
    elif isinstance(made, Writing):
        made.drop()


def _is_within(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
