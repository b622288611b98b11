"""Effects of calls: each once for its key, and on a full disk only those that give room back.

A call with an idempotency key keeps what it was answered in the transaction of its effect (`replies.py`).
Made again, it is answered from there. What lives no longer than the kernel, such as mail, is remembered with
the process that did it. A tool may do anything: with a key it is written down before it begins, and what was
begun is never done again.
"""

import asyncio
import logging
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from hashlib import blake2b
from typing import Any
from weakref import WeakKeyDictionary

import apsw
from msgspec import structs

from aios.abi import syscalls as sc
from aios.abi.errors import (
    AiosError,
    Conflict,
    InvalidArgument,
    NotFound,
    Overloaded,
    PermissionDenied,
)
from aios.abi.messages import pieces_of
from aios.drivers.clock import Clock
from aios.drivers.store import Manner, ReplyOf, Store
from aios.drivers.writer import Work
from aios.kernel.process import Process, new_token
from aios.kernel.replies import SCHEMA, Replies, fingerprint
from aios.kernel.task import Emit, Task

log = logging.getLogger(__name__)

Place = tuple[str, str]
"""A principal and its key."""

FREES: frozenset[type[sc.SystemCall]] = frozenset(
    {
        sc.ContextDrop,
        sc.MemoryClear,
        sc.MemoryRemove,
        sc.MemoryPurge,
        sc.StorageDelete,
        sc.StoragePrune,
        sc.StorageUnlock,
        sc.StorageUnshare,
        sc.StorageAbort,
        sc.StorageUnmount,
        sc.ToolUnregister,
        sc.AccessRevoke,
        sc.AccessDeny,
        sc.ProcessKill,
        sc.ProcessExit,
    }
)
"""Calls that take something away: they are done on a full disk, too."""

_ONLY_STORED = frozenset({"context", "memory", "storage"})
"""Groups whose calls change nothing before their transaction has begun: there it is soon enough to look."""

MAX_REMEMBERED = 256
"""Answers of a process that are remembered while it lives."""

_UNDONE = (InvalidArgument, NotFound, PermissionDenied, Overloaded, Conflict)
"""A tool that was refused so has not run."""


class _Answered(Exception):
    """The call was made before, and answered so."""

    def __init__(self, reply: sc.Reply) -> None:
        self.reply = reply


class Effects:
    """`max_keys` and `key_s` bound what is kept of one owner, in number and in seconds."""

    def __init__(self, store: Store, clock: Clock, max_keys: int, key_s: float) -> None:
        self._store = store
        self._clock = clock
        self._replies = Replies(max_keys, key_s)
        self._held: dict[Place, tuple[int, asyncio.Event]] = {}
        """Keys whose calls are on their way, how often, and what is set when none is."""
        self._places: WeakKeyDictionary[asyncio.Task[Any], Place] = WeakKeyDictionary()
        self._secret = b""

    async def start(self, secret: str) -> None:
        """Make the table. With `secret` the tokens are made of processes that are spawned with a key."""
        self._secret = secret.encode()[:64]
        await self._store.migrate("replies", SCHEMA)

    @asynccontextmanager
    async def alone(self, process: Process, key: str) -> AsyncIterator[None]:
        """Wait for a call with the same key that is on its way, and be the only one."""
        place = process.principal, key
        while place in self._held:
            await self._held[place][1].wait()
        with self._hold(place):
            yield

    async def find(self, process: Process, key: str, call: sc.SystemCall) -> sc.Reply | None:
        """What the call with this key was answered, None where it had no effect. Raises as `Replies.find`."""
        owner, now = process.principal, self._clock.time()
        if (reply := _remembered(process, key, call)) is not None:
            return reply
        reply = await self._store.read(lambda c: self._replies.find(c, owner, key, call, now))
        return None if reply is None else self._whole(reply, (owner, key))

    async def execute(
        self, task: Task, process: Process, work: Callable[[], Awaitable[sc.Reply | None]]
    ) -> sc.Reply | None:
        """Have `work` done, which executes the call of `task`; runs as an asyncio task of its own."""
        frees = type(task.call) in FREES
        if not task.key:
            with self._store.writing(Manner(frees=frees)):
                return await work()
        if isinstance(task.call, sc.LlmGenerate):
            return await self._generated(task, process, work)
        reply = _remembered(process, task.key, task.asked)
        if reply is None and task.row.group not in _ONLY_STORED:
            reply = await self.find(process, task.key, task.asked)
        if reply is not None:
            return reply
        place = process.principal, task.key
        once = _Once(self._replies, place, task, self._clock.time())
        running = asyncio.current_task()
        assert running is not None
        self._places[running] = place
        try:
            with self._hold(place), self._store.writing(Manner(once.around, frees)):
                reply = await (self._journaled(once, work) if isinstance(task.call, sc.ToolRun) else work())
        except _Answered as earlier:
            return self._whole(earlier.reply, place)
        if reply is not None and not once.is_kept:
            _remember(process, task.key, task.asked, reply)
        return reply

    def new_token(self, pid: int) -> str:
        """The token of a process that the running call spawns: a call made again gets the same."""
        running = asyncio.current_task()
        place = None if running is None else self._places.get(running)
        return new_token() if place is None else self._token(place, pid)

    def seed(self, process: Process, key: str) -> int:
        """What a generation with this key draws its tokens by: the same whenever it is made again."""
        said = f"{process.principal}\0{key}".encode()
        return int.from_bytes(blake2b(said, key=self._secret, digest_size=8, person=b"seed").digest()) >> 1

    async def _generated(
        self, task: Task, process: Process, work: Callable[[], Awaitable[sc.Reply | None]]
    ) -> sc.Reply | None:
        """A slice of a generation, whose answer is kept when it is whole."""
        owner, now = process.principal, self._clock.time()
        if task.job is None and (earlier := await self.find(process, task.key, task.asked)) is not None:
            assert isinstance(earlier, sc.LlmAnswer)
            tell(earlier, task.emit)
            return earlier
        reply = await work()
        if reply is not None:
            once = _Once(self._replies, (owner, task.key), task, now)
            try:
                await self._store.write(lambda connection: once.keep(connection, reply))
            except AiosError as error:
                log.error("an answer with a key could not be kept: %s", error)
        return reply

    async def _journaled(
        self, once: "_Once", work: Callable[[], Awaitable[sc.Reply | None]]
    ) -> sc.Reply | None:
        await self._store.write(lambda connection: once.keep(connection, None))
        try:
            reply = await work()
        except _UNDONE:
            with suppress(AiosError):
                await self._store.write(once.forget)
            raise
        try:
            await self._store.write(lambda connection: once.keep(connection, reply))
        except AiosError as error:
            log.error("a call that took effect can only be answered once: %s", error)
        return reply

    def _token(self, place: Place, pid: int) -> str:
        owner, key = place
        digest = blake2b(f"{owner}\0{key}\0{pid}".encode(), key=self._secret, digest_size=32).digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _whole(self, reply: sc.Reply, place: Place) -> sc.Reply:
        """A secret is not kept with its reply: it can be made again."""
        if isinstance(reply, sc.Spawned):
            return structs.replace(reply, token=self._token(place, reply.pid))
        return reply

    @contextmanager
    def _hold(self, place: Place) -> Iterator[None]:
        count, ended = self._held.get(place) or (0, asyncio.Event())
        self._held[place] = count + 1, ended
        try:
            yield
        finally:
            count, _ = self._held[place]
            if count > 1:
                self._held[place] = count - 1, ended
            else:
                del self._held[place]
                ended.set()


class _Once:
    """One call with a key, as the store's writer sees it."""

    def __init__(self, replies: Replies, place: Place, task: Task, now: float) -> None:
        self._replies = replies
        self._place = place
        self._call = task.asked
        self._reply = task.row.reply
        self._now = now
        self.is_kept = False

    def around(self, work: Work, reply_of: ReplyOf | None, connection: apsw.Connection) -> Any:
        """Do the work of a write of this call, unless the call was made before. Raises `_Answered` then."""
        if self.is_kept:
            return work(connection)
        earlier = self._replies.find(connection, *self._place, self._call, self._now)
        if earlier is not None:
            raise _Answered(earlier)
        value = work(connection)
        reply = value if reply_of is None else reply_of(value)
        if isinstance(reply, self._reply):
            self.keep(connection, reply)
        return value

    def keep(self, connection: apsw.Connection, reply: sc.Reply | None) -> None:
        if isinstance(reply, sc.Spawned):
            reply = structs.replace(reply, token="")
        self._replies.keep(connection, *self._place, self._call, reply, self._now)
        self.is_kept = True

    def forget(self, connection: apsw.Connection) -> None:
        self._replies.forget(connection, *self._place)


def tell(reply: sc.Reply, emit: Emit | None) -> None:
    """Give an answer that was made before to who takes its pieces."""
    if emit is not None and isinstance(reply, sc.LlmAnswer):
        for delta in pieces_of(reply.choices):
            emit(delta)


def _remember(process: Process, key: str, call: sc.SystemCall, reply: sc.Reply) -> None:
    if process.answered is None:
        process.answered = OrderedDict()
    process.answered[key] = fingerprint(call), reply
    if len(process.answered) > MAX_REMEMBERED:
        process.answered.popitem(last=False)


def _remembered(process: Process, key: str, call: sc.SystemCall) -> sc.Reply | None:
    if process.answered is None or key not in process.answered:
        return None
    made, reply = process.answered[key]
    if made != fingerprint(call):
        raise Conflict(f"the key {key!r} was given to another call; give each call a key of its own")
    return reply
