"""Finds the configuration and the kernel that a command is meant for, from options and environment."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from aios.abi.errors import InvalidArgument
from aios.cli.output import Unusable

if TYPE_CHECKING:
    from aios.kernel.config import Config
    from aios.sdk.agent import Connection


class Settings(NamedTuple):
    """The options before the command; None where the environment or the default decides."""

    data: Path | None = None
    config: Path | None = None
    url: str | None = None
    token: str | None = None


def settings_of(context: typer.Context) -> Settings:
    settings = context.find_object(Settings)
    return settings if settings is not None else Settings()


def load_config(settings: Settings, **overrides: object) -> "Config":
    """The configuration of `aios.toml`, the environment and the command line, the later before the earlier.

    `overrides` are top-level keys; None leaves one as it is. `Unusable` where the configuration is wrong.
    """
    from aios.kernel.config import Config

    given = {"data": settings.data, **overrides}
    named = {f"AIOS_{key.upper()}": str(value) for key, value in given.items() if value is not None}
    try:
        return Config.load(settings.config, os.environ | named)
    except InvalidArgument as error:
        raise Unusable(error.message) from None


@asynccontextmanager
async def open_kernel(settings: Settings) -> AsyncIterator["Connection"]:
    """A connection to the running kernel, the operator's unless a token is given. `Unusable` without one."""
    from aios.connection import connect, operator_token

    url, token = settings.url, settings.token
    if url is None:
        config = load_config(settings)
        if not await is_listening(config.socket_path):
            raise Unusable(f"no kernel runs at {config.socket_path}; `aios serve` starts one")
        url, token = f"unix:{config.socket_path}", token or operator_token(config.data)
    async with connect(url, token=token) as kernel:
        yield kernel


async def is_listening(path: Path) -> bool:
    """Whether a kernel answers on the socket at `path`."""
    import asyncio

    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
