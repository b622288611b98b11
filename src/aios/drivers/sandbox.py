"""A process tree with limits: started, spoken to in frames, and ended whole.

Owns the kernel's side of a tool host's channel and pipe. What the tree prints is counted and dropped but for
its tail; a tree that prints or sends too much, or speaks unasked, is ended. The tree's own supervisor does
the killing (`toolhost.py`), also when the kernel dies; here it is told to, and killed where it does not obey.
"""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence

from aios.abi.errors import TooLarge, Unavailable
from aios.abi.wire import FrameReader

_HEADER = struct.Struct(">I")
_MAX_TAIL = 4096
_OBEY_S = 5.0
"""How long a supervisor may take to end its tree before it is killed."""


class TreeEnded(Exception):
    """The tree is gone: why, as the end of a sentence that starts with the tool's name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ProcessTree(asyncio.Protocol):
    """One running tree. Messages are exchanged one at a time."""

    def __init__(self, process: subprocess.Popen[bytes], max_frame: int, max_printed: int) -> None:
        self._process = process
        self._reader = FrameReader(max_frame)
        self._max_printed = max_printed
        self._num_printed = 0
        self._tail = b""
        self._reason = ""
        self._killer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[bytes] | None = loop.create_future()
        """Of the next message. The tree speaks first, so there is one from the start."""
        self._ended: asyncio.Future[None] = loop.create_future()
        self.on_ended: Callable[[], None] = lambda: None

    @classmethod
    async def start(cls, arguments: Sequence[str], *, max_frame: int, max_printed: int) -> "ProcessTree":
        """Start `python -m MODULE CHANNEL …` from `arguments`. `Unavailable` when the system can't."""
        loop = asyncio.get_running_loop()
        try:
            process, ours, printed = _launch(arguments)
        except OSError as error:
            raise Unavailable(f"no process can be started: {error.strerror}", retry_after=1.0) from None
        tree = cls(process, max_frame, max_printed)
        try:
            await loop.connect_read_pipe(lambda: _Prints(tree), os.fdopen(printed, "rb", 0))
            await loop.create_unix_connection(lambda: tree, sock=ours)
        except BaseException:
            process.kill()
            process.wait()
            ours.close()
            raise
        return tree

    @property
    def is_alive(self) -> bool:
        """Whether it can be spoken to."""
        return not self._reason and self._transport is not None

    @property
    def tail(self) -> str:
        """The end of what it printed since the last message to it."""
        return self._tail.decode("utf-8", "replace")

    async def receive(self) -> bytes:
        """The next message. `TreeEnded` when it ends before, and then nothing of it is left."""
        if self._waiter is None:
            raise TreeEnded(self._reason or "was not asked")
        try:
            return await self._waiter
        finally:
            self._waiter = None

    async def exchange(self, message: bytes) -> bytes:
        """Send a message and give the answer to it."""
        if self._transport is None or not self.is_alive:
            raise TreeEnded(self._reason or "had ended")
        self._waiter = asyncio.get_running_loop().create_future()
        self._num_printed, self._tail = 0, b""
        self._transport.write(_HEADER.pack(len(message)) + message)
        return await self.receive()

    def end(self, reason: str) -> None:
        """Have the whole tree killed; `wait_ended` says when it is."""
        if self._reason or self._transport is None:
            return
        self._reason = reason
        # At once, not after what is still to be written: a tree that does not read must end as well.
        self._transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        self._insist()

    async def wait_ended(self) -> None:
        """Wait until nothing of it is left."""
        await asyncio.shield(self._ended)

    def _insist(self) -> None:
        if self._killer is None:
            self._killer = asyncio.get_running_loop().call_later(_OBEY_S, self._kill)

    def _kill(self) -> None:
        self._process.kill()
        if self._transport is not None:
            self._transport.abort()

    # ---- called by the transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._reason:
            return  # It is being ended, and nothing of it is kept until it is.
        try:
            for message in self._reader.feed(data):
                self._deliver(message)
        except TooLarge:
            self.end("sent an answer that is too large")

    def _deliver(self, message: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.end("spoke without being asked")
        else:
            self._waiter.set_result(message)

    def printed(self, data: bytes) -> None:
        self._num_printed += len(data)
        self._tail = (self._tail + data)[-_MAX_TAIL:]
        if self._num_printed > self._max_printed:
            self.end(f"printed more than {self._max_printed} bytes")

    def connection_lost(self, error: Exception | None) -> None:
        # Its supervisor ends it now, or has and is exiting: when that is gone, all is.
        self._transport = None
        if self._process.poll() is not None:
            self._settle()
            return
        self._insist()
        loop = asyncio.get_running_loop()
        try:
            exiting = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):  # Not on this system, or no descriptor is free: a thread waits.
            waiting = loop.run_in_executor(None, self._process.wait)
            waiting.add_done_callback(lambda _: self._settle())
        else:
            loop.add_reader(exiting, self._settle, exiting)

    def _settle(self, exiting: int | None = None) -> None:
        if exiting is not None:
            asyncio.get_running_loop().remove_reader(exiting)
            os.close(exiting)
        if self._killer is not None:
            self._killer.cancel()
        status = self._process.wait()
        self._reason = self._reason or f"ended its process ({_describe(status)})"
        self._ended.set_result(None)
        self.on_ended()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TreeEnded(self._reason))


class _Prints(asyncio.Protocol):
    """Takes what a tree prints to its standard output and error."""

    def __init__(self, tree: ProcessTree) -> None:
        self._tree = tree

    def data_received(self, data: bytes) -> None:
        self._tree.printed(data)


def _launch(arguments: Sequence[str]) -> tuple[subprocess.Popen[bytes], socket.socket, int]:
    """The process, our end of its channel, and the end of the pipe that it prints to."""
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        channel, far_channel = socket.socketpair()
        ours.callback(channel.close)
        theirs.callback(far_channel.close)
        printed, prints = os.pipe()
        ours.callback(os.close, printed)
        theirs.callback(os.close, prints)
        process = _spawn(arguments, far_channel.fileno(), prints)
        ours.pop_all()
    return process, channel, printed


def _spawn(arguments: Sequence[str], channel: int, prints: int) -> subprocess.Popen[bytes]:
    module, *rest = arguments
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(channel), *rest],
        stdin=subprocess.DEVNULL,
        stdout=prints,
        stderr=prints,
        pass_fds=(channel,),
        env=_environment(),
        cwd="/",
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    """What a host inherits: how to find Python's modules, and nothing that could be a secret."""
    paths = dict.fromkeys(os.path.abspath(path) for path in sys.path)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(path for path in paths if os.path.exists(path)),
    }


def _describe(status: int) -> str:
    """An exit status in words; a supervisor gives its worker's signal as 128 and its number."""
    number = -status if status < 0 else status - 128
    if number > 0:
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:
            pass
    return f"exit status {status}"
