"""`aios.connect()`: the one place where SDK and kernel meet; finds a kernel, and the token for it."""

import os
import stat
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aios.abi.errors import InvalidArgument, PermissionDenied, Unauthenticated
from aios.sdk.agent import Connection
from aios.sdk.transport import Http, InProcess, Transport, UnixSocket

if TYPE_CHECKING:
    from aios.kernel.config import Config
    from aios.kernel.kernel import Kernel


@asynccontextmanager
async def connect(
    where: "str | Path | Kernel | None" = None, *, token: str | None = None, config: "Config | None" = None
) -> AsyncIterator[Connection]:
    """A kernel to run agents on, the same wherever it is.

    `where` is a socket (`unix:/path`, or a path), an address (`http://127.0.0.1:8000`), a `Kernel` that
    runs in this process, or None: then `AIOS_URL` says, and without it a kernel is started here, from
    `config` or what `AIOS_CONFIG` names, and shut down at the end. `token` says as whom: else `AIOS_TOKEN`
    (but for a `Kernel`), else the operator, whose token lies in the data folder. Over HTTP that one is never
    taken from there: any program may listen on a port, while the socket is known to be this user's.

    Raises `Unauthenticated` where no token is found, `PermissionDenied` where others can read the file.
    """
    place = where or (os.environ.get("AIOS_URL") if config is None else None)
    if place is None:
        chosen = token or os.environ.get("AIOS_TOKEN")
        async with _own_kernel(config) as kernel, _connected_to(kernel, chosen) as connection:
            yield connection
    elif isinstance(place, str | Path):
        transport = _transport_to(str(place))
        async with _connected(transport, token or found_token(str(place))) as connection:
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

    file = os.environ.get("AIOS_CONFIG")
    return Kernel(config or Config.load(Path(file) if file else None))


def _transport_to(place: str) -> Transport:
    path = socket_of(place)
    return Http(place) if path is None else UnixSocket(path)


def socket_of(place: str) -> Path | None:
    """The socket's path; None where `place` is an HTTP address. `InvalidArgument` where it is neither."""
    if place.startswith(("http://", "https://")):
        return None
    if "://" in place:
        raise InvalidArgument(f"{place!r} is no kernel's address: use unix:/path or http://host:port")
    return Path(place.removeprefix("unix:")).expanduser()


def found_token(place: str, data: Path | None = None) -> str:
    """`AIOS_TOKEN`, else the operator's: it lies beside the socket, else in `data` or the default folder."""
    token = os.environ.get("AIOS_TOKEN")
    if token:
        return token
    path = socket_of(place)
    if path is None:
        raise Unauthenticated("give a token, or set AIOS_TOKEN: the operator's is for the socket only")
    has_own = (path.parent / "operator.token").exists()
    return operator_token(path.parent if has_own else data or _data_folder())


def _data_folder() -> Path:
    return Path(os.environ.get("AIOS_DATA", "~/.aios")).expanduser()


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
