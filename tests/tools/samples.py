"""Functions that tests register as tools: good ones and bad ones. They run in host processes only."""

import asyncio
import os
import socket
import subprocess
import sys
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


def forge(header: int, body: str = "{}") -> str:
    """Write to every channel there is, as an attacker would."""
    for number in range(3, 20):
        try:
            os.write(number, header.to_bytes(4, "big") + body.encode())
        except OSError:
            continue
    time.sleep(600)
    return ""


def bad_annotation(tree: object) -> str:
    return ""
