"""The engine's own process: commands from standard input, events to standard output, until the input ends.

Owns the loop and the pipes. Started by `llm_local`; it ends by itself when the kernel does, even killed,
because then its input ends.
"""

import os
import select
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aios.abi.errors import AiosError, InvalidArgument
from aios.abi.wire import FrameReader
from aios.drivers.engine_frames import (
    MAX_FRAME,
    Cancel,
    Command,
    EngineStatistics,
    Event,
    Failed,
    Load,
    Moved,
    Ready,
    decode_command,
    frame,
)

if TYPE_CHECKING:
    from aios.drivers.engine import Engine

_CHUNK = 1 << 20


class CommandPipe:
    """Commands as they come; reading waits only where it is told to."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._frames = FrameReader(MAX_FRAME)

    def read(self, *, wait: bool) -> list[Command]:
        """What has come; with `wait` at least some bytes. `EOFError` when the other side is gone."""
        commands: list[Command] = []
        timeout = None if wait else 0
        while select.select([self._descriptor], [], [], timeout)[0]:
            data = os.read(self._descriptor, _CHUNK)
            if not data:
                raise EOFError
            commands += map(decode_command, self._frames.feed(data))
            timeout = 0
        return commands


def serve(engine: "Engine", pending: list[Command], commands: CommandPipe, output: int) -> None:
    """Do what is `pending`, and then what comes, until the input ends.

    What shall outlive the engine is on disk then. It is all the same how the kernel ended.
    """
    while True:
        try:
            pending += commands.read(wait=not engine.is_busy and not pending)
        except EOFError:
            engine.save()
            return
        if events := engine.turn(pending):
            _write(output, _framed(engine, events))
        pending = []


def _framed(engine: "Engine", events: Sequence[Event]) -> bytes:
    """All events in one frame; where none can hold them, each in its own."""
    try:
        return frame(events)
    except InvalidArgument:
        return b"".join(_framed_alone(engine, event) for event in events)


def _framed_alone(engine: "Engine", event: Event) -> bytes:
    """An event that no frame can hold ends its run, and not the engine."""
    try:
        return frame([event])
    except InvalidArgument as error:
        assert not isinstance(event, Ready | EngineStatistics | Moved)
        engine.obey(Cancel(event.run))
        refused = InvalidArgument(f"the answer can't be sent: {error}")
        return frame([Failed(event.run, refused.to_reply())])


def _load(commands: CommandPipe, output: int) -> tuple["Engine", list[Command]]:
    """The engine that the first command asks for, and the commands that came with it."""
    from aios.drivers.engine import Engine

    pending: list[Command] = []
    while not pending:
        pending = commands.read(wait=True)
    first = pending.pop(0)
    assert isinstance(first, Load)
    try:
        engine = Engine.load(first)
    except AiosError as error:
        _write(output, frame([Failed(0, error.to_reply())]))
        raise SystemExit(1) from None
    _write(output, frame([Ready(engine.window)]))
    return engine, pending


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def main() -> None:
    # The terminal's Ctrl-C is the kernel's to answer; this process then sees its input end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.dup(1)
    os.dup2(2, 1)  # a stray print must not end up between frames
    commands = CommandPipe(0)
    try:
        serve(*_load(commands, output), commands, output)
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    main()
