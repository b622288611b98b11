"""Finds the kernel that a command should talk to, and makes system calls as the owner of a token."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import typer

from aios.abi.errors import InvalidArgument
from aios.cli.output import Unusable

if TYPE_CHECKING:
    from aios.abi.messages import Delta
    from aios.abi.syscalls import Reply, SystemCall
    from aios.kernel.config import Config
    from aios.sdk.transport import Transport

R = TypeVar("R", bound="Reply")


class Settings(NamedTuple):
    """The options before the command; None where the environment or the default decides."""

    data: Path | None = None
    config: Path | None = None
    url: str | None = None
    token: str | None = None


class Connection:
    """System calls to one kernel as one process."""

    def __init__(self, transport: "Transport", token: str) -> None:
        self._transport = transport
        self._token = token

    async def call(
        self,
        call: "SystemCall",
        reply_type: type[R],
        *,
        emit: "Callable[[Delta], None] | None" = None,
        timeout_s: float | None = None,
    ) -> R:
        """The reply to `call`. Raises what the kernel answers."""
        reply = await self._transport.call(self._token, call, emit, timeout_s)
        assert isinstance(reply, reply_type)
        return reply


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
async def open_kernel(settings: Settings) -> AsyncIterator[Connection]:
    """A connection to the running kernel. `Unusable` when there is none."""
    from aios.sdk.transport import Http, UnixSocket

    config = load_config(settings)
    url = settings.url or os.environ.get("AIOS_URL")
    token = settings.token or os.environ.get("AIOS_TOKEN") or _operator_token(config)
    transport: Transport
    if url is None or url.startswith("unix:"):
        path = Path(url.removeprefix("unix:")) if url else config.socket_path
        await _must_listen(path)
        transport = UnixSocket(path)
    else:
        transport = Http(url)
    try:
        yield Connection(transport, token)
    finally:
        await transport.close()


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


async def _must_listen(path: Path) -> None:
    if not await is_listening(path):
        raise Unusable(f"no kernel is running at {path}; start one with `aios serve`, or name one with --url")


def _operator_token(config: "Config") -> str:
    """The secret that a kernel on this data folder leaves for its owner; empty where there is none."""
    try:
        return (config.data / "operator.token").read_text().strip()
    except FileNotFoundError:
        return ""
    except PermissionError:
        raise Unusable(f"{config.data}/operator.token belongs to somebody else; give --token") from None
