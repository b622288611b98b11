"""The child process that holds one Python tool: `python -m aios.drivers.toolhost CHANNEL ORDER`.

It is two processes. The worker (`toolworker.py`) runs the tool. The supervisor, here, runs nothing of the
tool's: when the kernel closes the channel or dies, or the worker ends, it kills all that is left of the tree
and removes its folder.
"""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from select import POLLHUP, POLLIN, poll
from typing import NoReturn

import msgspec

from aios.drivers.confine import adopt_orphans
from aios.drivers.toolworker import Order, work

_PEER_CLOSED = 0x2000 if sys.platform == "linux" else POLLHUP
"""POLLRDHUP: the other side will write no more, though it may still read."""


def main() -> NoReturn:
    """Fork the worker and watch it to the end."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    order = msgspec.json.decode(sys.argv[2], type=Order)
    adopt_orphans()
    woken, wake = _wake_on_child()
    folder = os.path.join(order.temporary, f"aios-tool-{os.urandom(8).hex()}")
    os.mkdir(folder, mode=0o700)
    supervisor = os.getpid()
    worker = os.fork()
    if worker == 0:
        os.close(woken)
        os.close(wake)
        work(order, channel, folder, supervisor)
    status = _watch(channel, woken, worker)
    if status is None:
        _kill(os.kill, worker)
    _kill(os.killpg, worker)
    _end_children()
    _remove(folder)
    os._exit(128 - status if status and status < 0 else status or 0)


def _wake_on_child() -> tuple[int, int]:
    """A pipe that is written when a child ends."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return read, write


def _watch(channel: socket.socket, woken: int, worker: int) -> int | None:
    """Wait until the worker ends (its exit code, negative for a signal) or the kernel lets go (None)."""
    poller = poll()
    poller.register(channel, _PEER_CLOSED)
    poller.register(woken, POLLIN)
    while True:
        ready = {fd for fd, _ in poller.poll()}
        if woken in ready:
            os.read(woken, 4096)
            ended = _reap()
            if worker in ended:
                return os.waitstatus_to_exitcode(ended[worker])
        if channel.fileno() in ready:
            return None


def _reap() -> dict[int, int]:
    """The wait statuses of the children that have ended, by pid."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = status
    return ended


def _end_children() -> None:
    """Kill until no child is left: the children of the killed become ours, and their turn comes."""
    while True:
        for pid in _children():
            _kill(os.kill, pid)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _kill(how: Callable[[int, int], None], pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        how(pid, signal.SIGKILL)


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except FileNotFoundError:
        return []  # without /proc nothing is adopted, and the worker has been killed already


def _remove(folder: str) -> None:
    """Remove what the tool left, however deep and whatever its modes. (`shutil` loads much into every host.)

    Each folder inside is moved up to `folder` first, so that no path grows long.
    """
    folders = [folder]
    salt = os.urandom(8).hex()
    for parent in folders:
        with contextlib.suppress(OSError):
            os.chmod(parent, 0o700)
            for name in os.listdir(parent):
                path = os.path.join(parent, name)
                if os.path.isdir(path) and not os.path.islink(path):
                    folders.append(_moved(path, os.path.join(folder, f"{salt}-{len(folders)}")))
                else:
                    os.unlink(path)
    for path in reversed(folders):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _moved(path: str, to: str) -> str:
    os.chmod(path, 0o700)
    os.rename(path, to)
    return to


if __name__ == "__main__":
    main()
