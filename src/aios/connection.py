"""`aios.connect()`: the one place where SDK and kernel meet; finds a kernel, and the token for it."""

import os
import stat
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aios.abi.errors import InvalidArgument, PermissionDenied, Unauthenticated
from aios.sdk.agent import Connection
from aios.sdk.transport import Http, InProcess, Transport, UnixSocket

if TYPE_CHECKING:
    from aios.kernel.config import Config
    from aios.kernel.kernel import Kernel

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@asynccontextmanager
async def connect(
    where: "str | Path | Kernel | None" = None, *, token: str | None = None, config: "Config | None" = None
) -> AsyncIterator[Connection]:
    """A kernel to run agents on, the same wherever it is.

    `where` is a socket (`unix:/path`, or a path), an address (`http://127.0.0.1:8000`), a `Kernel` that
    runs in this process, or None: then `AIOS_URL` says, and without it a kernel is started here, from
    `config` or `Config.load()`, and shut down at the end. `token` says as whom: else `AIOS_TOKEN`, else the
    operator, whose token lies in the data folder (for a kernel on this machine only).

    Raises `Unauthenticated` where no token is found, `PermissionDenied` where others can read the file.
    """
    place = where or (os.environ.get("AIOS_URL") if config is None else None)
    if place is None:
        async with _own_kernel(config) as kernel, _connected_to(kernel, token) as connection:
            yield connection
    elif isinstance(place, str | Path):
        transport, folder = _transport_to(str(place))
        async with _connected(transport, token or _found_token(folder)) as connection:
            yield connection
    else:
        async with _connected_to(place, token) as connection:
            yield connection


@asynccontextmanager
async def _connected(transport: Transport, token: str) -> AsyncIterator[Connection]:
    connection = Connection(transport, token)
    try:
        yield connection
    finally:
        await connection.close()


def _connected_to(kernel: "Kernel", token: str | None) -> AbstractAsyncContextManager[Connection]:
    return _connected(InProcess(kernel.trap), token or kernel.operator_token)


def _own_kernel(config: "Config | None") -> "Kernel":
    from aios.kernel.config import Config
    from aios.kernel.kernel import Kernel

    return Kernel(config or Config.load())


def _transport_to(place: str) -> tuple[Transport, Path | None]:
    """The way there, and the data folder of the kernel where it is this machine's."""
    if place.startswith(("http://", "https://")):
        return Http(place), _data_folder() if urlsplit(place).hostname in _LOOPBACK else None
    if "://" in place:
        raise InvalidArgument(f"{place!r} is no kernel's address: use unix:/path or http://host:port")
    path = Path(place.removeprefix("unix:")).expanduser()
    return UnixSocket(path), path.parent if (path.parent / "operator.token").exists() else _data_folder()


def _data_folder() -> Path:
    return Path(os.environ.get("AIOS_DATA", "~/.aios")).expanduser()


def _found_token(folder: Path | None) -> str:
    token = os.environ.get("AIOS_TOKEN")
    if token:
        return token
    if folder is None:
        raise Unauthenticated("give a token, or set AIOS_TOKEN: the operator's is for this machine only")
    return operator_token(folder)


def operator_token(folder: Path) -> str:
    """The secret that a kernel leaves its owner in its data folder."""
    path = folder / "operator.token"
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Unauthenticated(f"no token is given and {path} can't be read: {error.strerror}") from None
    with open(file, encoding="utf-8") as opened:
        status = os.fstat(file)
        if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionDenied(f"{path} must be yours and closed to others: chmod 600 {path}")
        return opened.read(1024).strip()
