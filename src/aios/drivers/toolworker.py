"""The process in which one Python tool runs: it confines itself, loads the function, and answers calls.

Owns the messages between the kernel and a tool: an order to start with, what was loaded, then arguments and
answers in turn, in frames (4 bytes of length, then JSON). One call runs at a time.
"""

import contextlib
import importlib
import importlib.util
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NoReturn

import msgspec
from msgspec import Struct

from aios.abi.errors import InvalidArgument
from aios.abi.messages import ToolSpec
from aios.abi.schema import ToolMark, binder_of, mark_of, spec_of
from aios.drivers.confine import Limits, allow_cpu, confine, die_with_parent

MAX_MESSAGE = 2000
"""The most characters of an error's sentence."""

_HEADER = struct.Struct(">I")
_FILE_MODULE = "aios_tool_file"


class Order(Struct, frozen=True):
    """What to load and how to hold it. Folders that hold one of `protected` are never opened to the tool."""

    source: str
    name: str | None = None
    limits: Limits = Limits()
    max_output: int = 65_536
    """Bytes of a result; the rest is cut."""
    protected: tuple[str, ...] = ()
    temporary: str = "/tmp"
    """Where the tool gets a folder of its own."""


class Loaded(Struct, frozen=True, omit_defaults=True):
    """The worker's first message: the tool, or why there is none."""

    spec: ToolSpec | None = None
    mark: ToolMark = ToolMark()
    error: str = ""


class Answer(Struct, frozen=True, omit_defaults=True):
    """What became of one call. `trace` is for the log, never for a model."""

    outcome: Literal["returned", "raised", "refused"]
    text: str
    truncated: bool = False
    trace: str = ""


def work(order: Order, channel: socket.socket, folder: str, supervisor: int) -> NoReturn:
    """Be the worker of `supervisor`, with `folder` as its own, until the channel closes."""
    status = 1
    try:
        _settle_in(supervisor, folder)
        confine(order.limits, folder, _readable(order), order.protected)
        _serve(order, channel)
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise
    finally:
        _flush()
        os._exit(status)


def _settle_in(supervisor: int, folder: str) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    die_with_parent()
    if os.getppid() != supervisor:
        os._exit(1)
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder)


def _readable(order: Order) -> list[str]:
    """Python, what is importable, and the tool's own module; but no folder that holds what is protected."""
    module, _, _ = order.source.rpartition(":")
    folders = [sys.prefix, sys.base_prefix, *sys.path]
    files: list[str] = []
    if _is_file(module):
        files.append(module)
        folders.append(os.path.dirname(module))
    elif (found := PathFinder.find_spec(module.partition(".")[0])) is not None:
        files += [found.origin] if found.origin else []
        folders += found.submodule_search_locations or []
    guarded = [Path(path).resolve() for path in order.protected]
    return files + [folder for folder in folders if folder and not _holds(Path(folder).resolve(), guarded)]


def _holds(folder: Path, guarded: list[Path]) -> bool:
    return any(path == folder or folder in path.parents for path in guarded)


def _serve(order: Order, channel: socket.socket) -> None:
    allow_cpu(order.limits.cpu_s)
    loaded, function = _load(order)
    _send(channel, loaded)
    if function is None:
        return
    bind = binder_of(function)
    stream = channel.makefile("rb")
    while header := stream.read(_HEADER.size):
        arguments = msgspec.json.decode(stream.read(_HEADER.unpack(header)[0]))
        allow_cpu(order.limits.cpu_s)
        answer = _call(function, bind, arguments, order.max_output)
        _flush()
        _send(channel, answer)


def _send(channel: socket.socket, message: Struct) -> None:
    body = msgspec.json.encode(message)
    channel.sendall(_HEADER.pack(len(body)) + body)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(
            OSError, ValueError, AttributeError
        ):  # a tool may have closed or replaced it
            stream.flush()


def _load(order: Order) -> tuple[Loaded, Callable[..., Any] | None]:
    """Import the module and find the function; whatever goes wrong becomes a sentence."""
    module_name, _, attribute = order.source.rpartition(":")
    try:
        module = _import_file(module_name) if _is_file(module_name) else importlib.import_module(module_name)
        function = getattr(module, attribute, None)
        if not callable(function) or isinstance(function, type):
            return Loaded(error=f"there is no function {attribute!r} in it"), None
        return Loaded(spec_of(function, order.name), mark_of(function)), function
    except InvalidArgument as error:
        return Loaded(error=error.message[:MAX_MESSAGE]), None
    except BaseException as error:  # noqa: BLE001 - the module is not ours; it may raise anything, SystemExit too
        sys.excepthook(type(error), error, error.__traceback__)
        return Loaded(error=_sentence(error)), None


def _is_file(module: str) -> bool:
    return module.endswith(".py")


def _import_file(path: str) -> ModuleType:
    """The module of a Python file; modules beside it can be imported too."""
    spec = importlib.util.spec_from_file_location(_FILE_MODULE, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    sys.path.append(os.path.dirname(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[_FILE_MODULE] = module
    spec.loader.exec_module(module)
    return module


def _call(
    function: Callable[..., Any],
    bind: Callable[[dict[str, Any]], dict[str, Any]],
    arguments: dict[str, Any],
    max_output: int,
) -> Answer:
    try:
        bound = bind(arguments)
    except InvalidArgument as error:
        return Answer("refused", error.message[:MAX_MESSAGE])
    try:
        text = _text(_wait(function(**bound)))
    except BaseException as error:  # noqa: BLE001 - the tool is not ours; it may raise anything, SystemExit too
        import traceback

        trace = "".join(traceback.format_exception(error, limit=-20))
        return Answer("raised", _sentence(error), trace=_encodable(trace[-8000:]))
    output = text.encode("utf-8", "replace")
    return Answer("returned", output[:max_output].decode("utf-8", "ignore"), len(output) > max_output)


_runner: Any = None
"""Keeps one event loop for all calls of an async tool, so that what it opened stays usable."""


def _wait(result: Any) -> Any:
    if not hasattr(result, "__await__"):
        return result
    global _runner
    import asyncio

    async def wait() -> Any:
        return await result

    _runner = _runner or asyncio.Runner()
    return _runner.run(wait())


def _text(result: Any) -> str:
    return result if isinstance(result, str) else msgspec.json.encode(result).decode()


def _sentence(error: BaseException) -> str:
    """`TypeName: message`, cut to a bound."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a tool's own exception may fail to print itself
        message = ""
    name = type(error).__name__
    return _encodable(f"{name}: {message}"[:MAX_MESSAGE] if message else name)


def _encodable(text: str) -> str:
    """Without halves of surrogate pairs, which no JSON can carry."""
    return text.encode("utf-8", "replace").decode()
