"""A real kernel on a scripted model, and the three ways to it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aios.connection import connect
from aios.drivers.llm import Generation
from aios.drivers.llm_scripted import Answer, ScriptedDriver
from aios.kernel.config import Config
from aios.kernel.kernel import Kernel
from aios.sdk.agent import Connection
from aios.server.app import serving


def echo(job: Generation) -> Answer:
    """Says back the last message."""
    return job.messages[-1].text


@asynccontextmanager
async def booted(folder: Path, answers: Callable[[Generation], Answer] = echo) -> AsyncIterator[Kernel]:
    config = Config(data=folder, port=0, socket=folder / "s")
    async with Kernel(config, drivers={"main": ScriptedDriver(answers)}) as kernel:
        yield kernel
        kernel.check()


@asynccontextmanager
async def reached(way: str, kernel: Kernel) -> AsyncIterator[Connection]:
    """The kernel, as its operator sees it in this way."""
    if way == "process":
        async with connect(kernel) as connection:
            yield connection
        return
    async with serving(kernel, kernel.config) as address:
        where = f"unix:{address.socket}" if way == "socket" else address.url
        async with connect(where, token=kernel.operator_token) as connection:
            yield connection
