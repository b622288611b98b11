"""Finds the configuration and the kernel that a command is meant for, from options and environment."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import typer

from aios.abi.errors import AiosError, InvalidArgument
from aios.cli.output import Unusable

if TYPE_CHECKING:
    from aios.kernel.config import Config
    from aios.sdk.agent import Connection

_CONNECT_S = 10.0


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

    `overrides` are keys, those of a section after its name (`scheduler__policy`); None leaves one as it is.
    `Unusable` where the configuration is wrong.
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
    from aios.connection import connect

    place = settings.url or f"unix:{load_config(settings).socket_path}"
    if not await _answers(place):
        raise Unusable(f"no kernel runs at {place.removeprefix('unix:')}; `aios serve` starts one")
    async with connect(place, token=settings.token or _found_token(settings, place)) as kernel:
        yield kernel


@asynccontextmanager
async def any_kernel(settings: Settings, *, own: bool) -> AsyncIterator["Connection"]:
    """The running kernel where there is one, else one in this process, or with `own` in any case."""
    from aios.connection import connect

    if settings.url is None or own:
        config = load_config(settings)
        if own or not await is_listening(config.socket_path):
            async with connect(config=config, token=settings.token) as kernel:
                yield kernel
            return
    async with open_kernel(settings) as kernel:
        yield kernel


def _found_token(settings: Settings, place: str) -> str:
    from aios.connection import found_token, operator_token

    try:
        if settings.url is None:
            return operator_token(load_config(settings).data)
        return found_token(place, settings.data)
    except AiosError as error:
        raise Unusable(error.message) from None


async def _answers(place: str) -> bool:
    """Whether anything listens at a kernel's address."""
    import asyncio

    from aios.connection import socket_of

    try:
        path = socket_of(place)
    except InvalidArgument as error:
        raise Unusable(error.message) from None
    if path is not None:
        return await is_listening(path)
    try:
        address = urlsplit(place)
        port = address.port or (443 if address.scheme == "https" else 80)
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(address.hostname, port)
    except (OSError, ValueError):
        return False
    writer.close()
    return True


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
