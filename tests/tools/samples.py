"""Functions that tests register as tools: good ones and bad ones. They run in host processes only."""

import asyncio
import ctypes
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import Literal

_num_calls = 0


def add(a: int, b: int = 2) -> int:
    """Add two numbers.

    Args:
        a: the first
    """
    return a + b


def shout(text: str, mood: Literal["glad", "angry"] = "glad", tags: list[str] | None = None) -> str:
    return text.upper()


async def later(text: str) -> str:
    await asyncio.sleep(0)
    return f"{text} later"


def table(rows: int) -> list[dict[str, int]]:
    return [{"row": row} for row in range(rows)]


def count() -> int:
    """How often this process was called."""
    global _num_calls
    _num_calls += 1
    return _num_calls


def fail(message: str) -> str:
    raise ValueError(message)


def leave(status: int) -> str:
    sys.exit(status)


def crash(status: int) -> str:
    os._exit(status)


def strange() -> str:
    return object()  # type: ignore[return-value]


def hang(with_child: bool = False) -> str:
    """Never return; with a child in a session of its own."""
    if with_child:
        subprocess.Popen(
            [sys.executable, "-c", "import os, time; os.setsid(); os.fork(); time.sleep(600)"],
            stdout=subprocess.DEVNULL,
        )
    time.sleep(600)
    return ""


def chatter(lines: int) -> str:
    for line in range(lines):
        print("line", line)
    return "printed"


def print_without_end() -> str:
    while True:
        print("x" * 1000)


def long_text(length: int) -> str:
    return "é" * length


def eat(megabytes: int) -> str:
    return str(len(bytearray(megabytes * 1024 * 1024)))


def environment() -> dict[str, str]:
    return dict(os.environ)


def read(path: str) -> str:
    with open(path) as file:
        return file.read(100)


def write(path: str) -> str:
    with open(path, "w") as file:
        file.write("x")
    return os.path.abspath(path)


def connect() -> str:
    socket.socket().close()
    return "a socket"


def kill_supervisor() -> str:
    os.kill(os.getppid(), 9)
    return "killed it"


def touch(path: str) -> str:
    """Change a file's mode and times."""
    os.chmod(path, 0o777)
    os.utime(path, (0, 0))
    return "touched"


def attempt(what: str, path: str) -> str:
    """Try what a tool may not, harmlessly where it succeeds: the error, or that it was done."""
    library = ctypes.CDLL(None, use_errno=True)
    clone = {"x86_64": 56, "aarch64": 220}[platform.machine()]
    parent, itself, mount_and_fs = os.getppid(), os.getpid(), 0x20200
    attempts = {
        "own": lambda: os.chown(path, os.getuid(), os.getgid()),
        "label": lambda: os.setxattr(path, "user.aios", b""),
        "memory without a file": lambda: os.close(os.memfd_create("x")),
        "shared memory": lambda: _checked(library.shmget(0, 4096, 0o600)),
        "namespace": lambda: _checked(library.syscall(clone, mount_and_fs, 0, 0, 0, 0)),
        "limits": lambda: resource.prlimit(parent, resource.RLIMIT_CORE),
        "rank": lambda: os.setpriority(os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, parent)),
        "cores": lambda: os.sched_setaffinity(parent, os.sched_getaffinity(parent)),
        "own limits": lambda: resource.prlimit(itself, resource.RLIMIT_CORE),
        "own rank": lambda: os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0)),
    }
    try:
        attempts[what]()
    except OSError as error:
        return type(error).__name__
    return "done"


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def ordinary(path: str) -> str:
    """What tools do every day: copies, folders that come and go, a thread, a child."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, f"{folder}/a")
        shutil.copy2(path, f"{folder}/b")
        shutil.copytree(folder, f"{folder}/c")
        shutil.make_archive("all", "zip", folder)
    done: list[str] = []
    thread = threading.Thread(target=done.append, args=("a thread",))
    thread.start()
    thread.join()
    child = subprocess.run([sys.executable, "-c", "print('a child')"], capture_output=True, check=True)
    return f"{done[0]}, {child.stdout.decode().strip()}"


def forge(header: int, body: str = "{}") -> str:
    """Write to every channel there is, as an attacker would."""
    for number in range(3, 256):
        try:
            os.write(number, header.to_bytes(4, "big") + body.encode())
        except OSError:
            continue
    time.sleep(600)
    return ""


def bad_annotation(tree: object) -> str:
    return ""
