"""Has documents read by `extract` in a confined process, which ends when it has had nothing to do."""

import base64
from collections.abc import Sequence
from math import ceil
from pathlib import Path

from msgspec import Struct

from aios.abi.errors import DeadlineExceeded, ToolFailed
from aios.drivers.clock import Clock
from aios.drivers.confine import Limits
from aios.drivers.hosted import HostedTool, HostPool, HostSettings

MAX_WHY = 300
"""Letters of a reason."""

_SOURCE = "aios.drivers.documents.extract:extract"


class Allowed(Struct, frozen=True):
    """What a document may take."""

    num_bytes: int = 32 * 1024 * 1024
    """Of its own."""
    num_letters: int = 512 * 1024
    """Of its text; the rest is left."""
    seconds: float = 30.0
    """Until it is read, by the clock and by the processor."""
    memory_bytes: int = 1024 * 1024 * 1024
    """Of the process that reads it."""


class Extracted(Struct, frozen=True):
    """A document's text; None, and why, where it gives none."""

    text: str | None
    why: str = ""


class Extractor:
    """Reads one document at a time. `protected` is nothing that its process may read."""

    def __init__(self, clock: Clock, protected: Sequence[Path] = (), allowed: Allowed | None = None) -> None:
        self.allowed = allowed = allowed or Allowed()
        limits = Limits(
            memory_bytes=allowed.memory_bytes, cpu_s=ceil(allowed.seconds), file_bytes=0, num_processes=1
        )
        settings = HostSettings(
            limits=limits,
            max_hosts=1,
            max_output=4 * allowed.num_letters,
            protected=tuple(str(path) for path in protected),
        )
        self._pool = HostPool(settings, clock)
        self._tool = HostedTool(_SOURCE, None)

    async def close(self) -> None:
        """End its process."""
        await self._pool.close()

    async def extract(self, media: str, data: bytes) -> Extracted:
        """Raises an error of `aios.abi.errors` where no process can be had for it now."""
        allowed = self.allowed
        if len(data) > allowed.num_bytes:
            return too_large(allowed)
        if not self._tool.idle:
            await self._pool.load(self._tool)
        arguments = {
            "media": media,
            "data": base64.b64encode(data).decode(),
            "max_letters": allowed.num_letters,
        }
        try:
            answer = await self._pool.call(self._tool, arguments, allowed.seconds)
        except DeadlineExceeded:
            return Extracted(None, f"it was not read in {allowed.seconds:g} s")
        except ToolFailed as error:
            return Extracted(None, _shown(f"its reader broke: {error.message}"))
        if answer.outcome == "returned":
            return Extracted(answer.text)
        name, _, message = answer.text.partition(": ")
        why = message if name == "Unreadable" else f"its reader failed: {answer.text}"
        return Extracted(None, _shown(why))


def too_large(allowed: Allowed) -> Extracted:
    """What there is of a document that has too many bytes."""
    return Extracted(None, f"it has more than {allowed.num_bytes} bytes")


def _shown(why: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in why[:MAX_WHY])
