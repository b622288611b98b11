"""Has documents read by `extract` in a confined process, which ends when it has had nothing to do."""

import base64
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from aios.abi.errors import DeadlineExceeded, ToolFailed
from aios.drivers.clock import Clock
from aios.drivers.confine import Limits
from aios.drivers.documents.text import MAX_LETTERS
from aios.drivers.hosted import HostedTool, HostPool, HostSettings

MAX_BYTES = 32 * 1024 * 1024
"""Of a document."""
TIMEOUT_S = 30.0
"""For a document to be read."""
MEMORY_BYTES = 1024 * 1024 * 1024
MAX_WHY = 300
"""Letters of a reason."""

_SOURCE = "aios.drivers.documents.extract:extract"


class Extracted(Struct, frozen=True):
    """A document's text; None, and why, where it gives none."""

    text: str | None
    why: str = ""


class Extractor:
    """Reads one document at a time. `protected` is nothing that its process may read."""

    def __init__(self, clock: Clock, protected: Sequence[Path] = ()) -> None:
        settings = HostSettings(
            limits=Limits(memory_bytes=MEMORY_BYTES, cpu_s=int(TIMEOUT_S), file_bytes=0, num_processes=1),
            max_hosts=1,
            max_output=4 * MAX_LETTERS,
            protected=tuple(str(path) for path in protected),
        )
        self._pool = HostPool(settings, clock)
        self._tool = HostedTool(_SOURCE, None)

    async def close(self) -> None:
        """End its process."""
        await self._pool.close()

    async def extract(self, media: str, data: bytes) -> Extracted:
        """Raises an error of `aios.abi.errors` where no process can be had for it now."""
        if len(data) > MAX_BYTES:
            return Extracted(None, f"it has more than {MAX_BYTES} bytes")
        if not self._tool.idle:
            await self._pool.load(self._tool)
        arguments = {"media": media, "data": base64.b64encode(data).decode()}
        try:
            answer = await self._pool.call(self._tool, arguments, TIMEOUT_S)
        except DeadlineExceeded:
            return Extracted(None, f"it was not read in {TIMEOUT_S:g} s")
        except ToolFailed as error:
            return Extracted(None, _shown(f"its reader broke: {error.message}"))
        if answer.outcome == "returned":
            return Extracted(answer.text)
        name, _, message = answer.text.partition(": ")
        why = message if name == "Unreadable" else f"its reader failed: {answer.text}"
        return Extracted(None, _shown(why))


def _shown(why: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in why[:MAX_WHY])
