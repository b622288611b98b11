"""Registered Python functions, run in host processes: started when needed, used again, ended when idle.

Owns every host process of this kernel and their bound. Knows nothing of callers, names or schemas.
"""

import logging
import tempfile
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from aios.abi.errors import (
    AiosError,
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    Overloaded,
    ToolFailed,
    Unavailable,
)
from aios.drivers.clock import Clock, Timer
from aios.drivers.confine import Limits
from aios.drivers.sandbox import ProcessTree, TreeEnded
from aios.drivers.toolworker import Answer, Loaded, Order

logger = logging.getLogger(__name__)

_MODULE = "aios.drivers.toolhost"
_TIMED_OUT = "was not done in time"
_TAKEN_BACK = "was taken back"
_CLOSED = "ended with the kernel"
_IDLE = "was idle"
_CANCELLED = "was cancelled"
_UNLOADABLE = "could not be loaded"
_NONSENSE = "answered nonsense"

T = TypeVar("T")

_answers = msgspec.json.Decoder(Answer)
_loaded = msgspec.json.Decoder(Loaded)


class HostSettings(Struct, frozen=True):
    """Bounds of all hosts. Bytes and seconds."""

    limits: Limits = Limits()
    max_hosts: int = 64
    start_timeout_s: float = 10.0
    idle_s: float = 60.0
    max_output: int = 1024**2
    """Bytes of a result; the rest is cut."""
    max_printed: int = 1024**2
    """Bytes that a tool may print in one call before it is ended."""
    protected: tuple[str, ...] = ()
    """Folders and files that no tool may be given along with its module's folder."""


class HostedTool:
    """One function and the hosts that run it."""

    def __init__(self, source: str, name: str | None) -> None:
        self.source = source
        self.name = name
        self.idle: list[Host] = []
        self.num_calls = 0
        """Calls that run now."""
        self.is_forgotten = False


class Host:
    """One process tree that has loaded a tool."""

    def __init__(self, tool: HostedTool, tree: ProcessTree) -> None:
        self.tool = tool
        self.tree = tree
        self.timer: Timer | None = None
        """While it is idle: ends it."""


class HostPool:
    """All hosts. `load` a tool once, then `call` it; `forget` it or `close` the pool to end its hosts."""

    def __init__(self, settings: HostSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._idle: dict[Host, None] = {}
        self._alive: set[Host] = set()
        self._num_starting = 0
        self._is_closed = False

    @property
    def has_room(self) -> bool:
        """Whether a host can be started, an idle one ended for it where need be."""
        return self.num_hosts - len(self._idle) < self._settings.max_hosts

    @property
    def num_hosts(self) -> int:
        """Hosts that run or are being started."""
        return len(self._alive) + self._num_starting

    async def load(self, tool: HostedTool) -> Loaded:
        """Start the tool's first host and read its spec. `InvalidArgument` when it is none."""
        host, loaded = await self._start(tool)
        self._put_back(host)
        return loaded

    async def call(self, tool: HostedTool, arguments: Mapping[str, Any], timeout_s: float) -> Answer:
        """Run the tool once; what came of it, be it an error.

        Raises `ToolFailed` where its process broke, `DeadlineExceeded` after `timeout_s` seconds,
        `Overloaded` where there is no room for its process, `InvalidArgument` where arguments are no JSON.
        Cancelling ends the process.
        """
        message = _encode(arguments)
        tool.num_calls += 1
        try:
            host = self._take_idle(tool) or (await self._start(tool))[0]
            return await self._call_on(host, message, timeout_s)
        finally:
            tool.num_calls -= 1

    def forget(self, tool: HostedTool) -> None:
        """Tell the tool's hosts to end; its running calls fail, and there is no other host of it."""
        tool.is_forgotten = True
        for host in self._alive:
            if host.tool is tool:
                host.tree.end(_TAKEN_BACK)

    async def end_hosts(self, tool: HostedTool) -> None:
        """Forget the tool; when this returns nothing of it is left."""
        self.forget(tool)
        await _wait_ended([host for host in self._alive if host.tool is tool])

    async def close(self) -> None:
        """End every host and start no other."""
        self._is_closed = True
        hosts = list(self._alive)
        for host in hosts:
            host.tree.end(_CLOSED)
        await _wait_ended(hosts)

    def check(self) -> None:
        """Assert what must always hold."""
        assert self._num_starting >= 0
        assert len(self._alive) <= self._settings.max_hosts
        assert set(self._idle) <= self._alive
        for host in self._idle:
            assert host in host.tool.idle

    # ---- one host's life

    async def _start(self, tool: HostedTool) -> tuple[Host, Loaded]:
        if self._is_closed:
            raise Unavailable("the kernel is shutting down")
        if not self.has_room:
            raise Overloaded("as many tools run as the kernel allows", retry_after=1.0)
        self._num_starting += 1
        try:
            await self._make_room()
            tree = await ProcessTree.start(
                (_MODULE, self._order(tool)),
                max_frame=6 * self._settings.max_output + 64 * 1024,  # JSON writes a byte in at most six
                max_printed=self._settings.max_printed,
            )
        finally:
            self._num_starting -= 1
        host = self._keep(Host(tool, tree))
        timeout_s = self._settings.start_timeout_s
        try:
            loaded = await self._exchange(host, tree.receive(), _loaded, timeout_s)
            if loaded.spec is None:
                raise TreeEnded(loaded.error)
        except TreeEnded as ended:
            await self._end(host, _UNLOADABLE)
            raise _load_error(tool.source, ended.reason, timeout_s) from None
        return host, loaded

    async def _make_room(self) -> None:
        """End the hosts that have been idle longest until one more may be."""
        while self.num_hosts > self._settings.max_hosts and self._idle:
            host = next(iter(self._idle))
            self._wake(host)
            await self._end(host, _IDLE)

    def _order(self, tool: HostedTool) -> str:
        settings = self._settings
        order = Order(
            tool.source,
            tool.name,
            settings.limits,
            settings.max_output,
            settings.protected,
            tempfile.gettempdir(),
        )
        return msgspec.json.encode(order).decode()

    def _keep(self, host: Host) -> Host:
        self._alive.add(host)
        host.tree.on_ended = lambda: self._lose(host)
        if self._is_closed or host.tool.is_forgotten:
            host.tree.end(_CLOSED if self._is_closed else _TAKEN_BACK)
        return host

    async def _call_on(self, host: Host, message: bytes, timeout_s: float) -> Answer:
        try:
            answer = await self._exchange(host, host.tree.exchange(message), _answers, timeout_s)
        except TreeEnded as ended:
            raise _call_error(ended.reason, timeout_s) from None
        finally:
            if host.tree.tail:
                logger.debug("tool %s printed: %s", host.tool.source, host.tree.tail)
        self._put_back(host)
        return answer

    async def _exchange(
        self,
        host: Host,
        message: Coroutine[Any, Any, bytes],
        decoder: msgspec.json.Decoder[T],
        timeout_s: float,
    ) -> T:
        """Await a message of a host. When that fails in any way, nothing is left of the host."""
        timer = self._clock.call_later(timeout_s, lambda: host.tree.end(_TIMED_OUT))
        try:
            return decoder.decode(await message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            await self._end(host, _NONSENSE)
            raise TreeEnded(_NONSENSE) from None
        except BaseException:
            await self._end(host, _CANCELLED)
            raise
        finally:
            timer.cancel()

    def _take_idle(self, tool: HostedTool) -> Host | None:
        for host in reversed(tool.idle):
            if host.tree.is_alive:
                self._wake(host)
                return host
        return None

    def _put_back(self, host: Host) -> None:
        if not host.tree.is_alive:
            return
        host.tool.idle.append(host)
        self._idle[host] = None
        host.timer = self._clock.call_later(self._settings.idle_s, lambda: host.tree.end(_IDLE))

    def _wake(self, host: Host) -> None:
        host.tool.idle.remove(host)
        del self._idle[host]
        if host.timer is not None:
            host.timer.cancel()

    async def _end(self, host: Host, reason: str) -> None:
        host.tree.end(reason)
        await host.tree.wait_ended()

    def _lose(self, host: Host) -> None:
        if host in self._idle:
            self._wake(host)
        self._alive.discard(host)


async def _wait_ended(hosts: list[Host]) -> None:
    for host in hosts:
        await host.tree.wait_ended()


def _encode(arguments: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(arguments)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"the arguments are no JSON: {error}") from None


def _call_error(reason: str, timeout_s: float) -> AiosError:
    if reason == _TIMED_OUT:
        return DeadlineExceeded(f"the tool was not done in {timeout_s:g} s and was ended")
    if reason in (_TAKEN_BACK, _CLOSED):
        return Cancelled(f"the tool {reason} while it ran")
    return ToolFailed(f"the tool {reason}")


def _load_error(source: str, reason: str, timeout_s: float) -> AiosError:
    if reason == _TIMED_OUT:
        return DeadlineExceeded(f"{source} was not loaded in {timeout_s:g} s")
    if reason in (_TAKEN_BACK, _CLOSED):
        return Cancelled(f"{source} {reason} while it was loaded")
    return InvalidArgument(f"{source} can't be a tool: {reason}")
