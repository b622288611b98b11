"""The two ways to an engine: a process of its own, or this one (for tests, where each token is asked about).

Owns starting, feeding and ending it. It knows commands and events, not what they mean.
"""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from aios.abi.errors import AiosError, Unavailable, from_reply
from aios.abi.wire import FrameReader
from aios.drivers.engine_frames import MAX_FRAME, Command, Event, Failed, Load, Ready, decode_events, frame

if TYPE_CHECKING:
    from aios.drivers.engine import Engine

log = logging.getLogger(__name__)

OnEvents = Callable[[Sequence[Event]], None]
OnEnd = Callable[[AiosError], None]

_START_S = 60.0
_TORCH_START_S = 1800.0
"""With torch a model may be of many gigabytes, and may have to be fetched first."""
_CLOSE_S = 5.0
_STDERR_KEPT = 2000
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class EngineLink(Protocol):
    """An engine. Events come by the callback that the link was made with."""

    @property
    def pid(self) -> int | None:
        """The engine's own process; None where it has none."""
        ...

    async def start(self, load: Load) -> Ready:
        """`Unavailable` when the model can't be loaded."""
        ...

    def send(self, command: Command) -> None: ...

    async def close(self) -> None: ...


class ProcessLink:
    """An engine in a process of its own. `on_end` is called once if it dies before `close`."""

    def __init__(self, on_events: OnEvents, on_end: OnEnd) -> None:
        self._on_events, self._on_end = on_events, on_end
        self._process: Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ready: asyncio.Future[Ready] | None = None
        self._stderr = b""
        self._closing = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def start(self, load: Load) -> Ready:
        self._process = await _spawn()
        self._ready = asyncio.get_running_loop().create_future()
        errors = asyncio.create_task(self._keep_stderr(self._process))
        self._tasks = [errors, asyncio.create_task(self._read(self._process, errors))]
        self.send(load)
        longest = _START_S if load.torch is None else _TORCH_START_S
        try:
            return await asyncio.wait_for(asyncio.shield(self._ready), longest)
        except TimeoutError:
            raise Unavailable(f"the engine did not load its model in {longest:.0f} seconds") from None
        finally:
            if not self._ready.done() or self._ready.exception() is not None:
                await self.close()

    def send(self, command: Command) -> None:
        stdin = self._process.stdin if self._process is not None else None
        if stdin is not None and not stdin.is_closing():
            stdin.write(frame(command))

    async def close(self) -> None:
        self._closing = True
        if self._ready is not None and not self._ready.done():
            self._ready.cancel()
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _CLOSE_S)
        except TimeoutError:
            process.kill()
        finally:
            await asyncio.gather(*self._tasks)

    async def _read(self, process: Process, errors: "asyncio.Task[None]") -> None:
        assert process.stdout is not None
        frames = FrameReader(MAX_FRAME)
        try:
            while data := await process.stdout.read(1 << 18):
                for body in frames.feed(data):
                    self._take(decode_events(body))
        finally:
            # However reading ended: without a reader the engine is of no use.
            if process.returncode is None and not self._closing:
                process.kill()
            await process.wait()
            await errors
            self._ended(process)

    def _take(self, events: Sequence[Event]) -> None:
        if self._closing:
            return  # nobody listens any more, not even to a `Ready` that comes late
        assert self._ready is not None
        if self._ready.done():
            self._on_events(events)
            return
        match events[0]:
            case Ready() as ready:
                self._ready.set_result(ready)
            case Failed(_, error):
                self._ready.set_exception(from_reply(error))
            case other:
                raise AssertionError(f"the engine began with {other!r}")

    def _ended(self, process: Process) -> None:
        if self._closing or self._ready is None:
            return
        said = self._stderr.decode("utf-8", "replace").strip()
        log.error("the engine ended (%s): %s", process.returncode, said or "it said nothing")
        last = said.rpartition("\n")[2]
        error = Unavailable(f"the engine ended ({process.returncode}): {last or 'it said nothing'}")
        if not self._ready.done():
            self._ready.set_exception(error)
        else:
            self._on_end(error)

    async def _keep_stderr(self, process: Process) -> None:
        assert process.stderr is not None
        while data := await process.stderr.read(4096):
            self._stderr = (self._stderr + data)[-_STDERR_KEPT:]


async def _spawn() -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "aios.drivers.engine_process",
            stdin=PIPE, stdout=PIPE, stderr=PIPE, process_group=0,
            env=os.environ | dict.fromkeys(_BLAS_THREADS, "1"),
        )  # fmt: skip
    except OSError as error:
        raise Unavailable(f"the engine's process can't be started: {error}") from None


class InlineLink:
    """An engine in this process. Events are given before the next token is computed.

    `on_end` is called when the engine raises, which would end a process.
    """

    def __init__(self, on_events: OnEvents, on_end: OnEnd) -> None:
        self._on_events, self._on_end = on_events, on_end
        self._commands: list[Command] = []
        self._pump: asyncio.Task[None] | None = None
        self._engine: Engine | None = None

    @property
    def pid(self) -> int | None:
        return None

    async def start(self, load: Load) -> Ready:
        from aios.drivers.engine import Engine

        self._engine = Engine.load(load)
        return Ready(self._engine.window)

    def send(self, command: Command) -> None:
        assert self._engine is not None
        self._commands.append(command)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._work(self._engine))
            self._pump.add_done_callback(self._ended)

    async def close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])

    async def _work(self, engine: "Engine") -> None:
        while self._commands or engine.is_busy:
            commands, self._commands = self._commands, []
            if events := engine.turn(commands):
                self._on_events(events)
            await asyncio.sleep(0)

    def _ended(self, pump: "asyncio.Task[None]") -> None:
        if not pump.cancelled() and (error := pump.exception()) is not None:
            log.error("the engine ended", exc_info=error)
            self._on_end(Unavailable(f"the engine ended: {error!r}"))
