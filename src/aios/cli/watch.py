"""Shows an agent at work: a way to the kernel that tells what goes through it. Changes nothing that does."""

import json
from typing import TYPE_CHECKING, TextIO

from aios.abi.messages import Delta
from aios.abi.syscalls import LlmGenerate, Reply, SystemCall, ToolOutput
from aios.cli.output import has_colour, visible

if TYPE_CHECKING:
    from aios.sdk.sending import Emit
    from aios.sdk.transport import Transport

RESULT_CELLS = 200
"""Of a tool's result."""


class Watched:
    """A transport that writes to `out`: text as a model gives it, the tools it calls, what they return."""

    def __init__(self, transport: "Transport", out: TextIO) -> None:
        self._transport = transport
        self._out = out
        self._is_within_line = False

    @property
    def lease_s(self) -> float | None:
        return self._transport.lease_s

    async def call(
        self, token: str, call: SystemCall, emit: "Emit | None" = None, timeout_s: float | None = None
    ) -> Reply:
        """As the transport's own."""

        def show_and_emit(delta: Delta) -> None:
            self._show(delta)
            if emit is not None:
                emit(delta)

        watched = show_and_emit if isinstance(call, LlmGenerate) else emit
        reply = await self._transport.call(token, call, watched, timeout_s)
        if isinstance(call, LlmGenerate):
            self._end_line()
        elif isinstance(reply, ToolOutput):
            self._line(f"  {' '.join(reply.text[:RESULT_CELLS].split())}")
        return reply

    async def close(self) -> None:
        await self._transport.close()

    def _show(self, delta: Delta) -> None:
        if delta.text:
            self._write(delta.text)
            self._is_within_line = not delta.text.endswith("\n")
        if delta.tool_call is not None:
            arguments = json.dumps(delta.tool_call.arguments, ensure_ascii=False)
            self._line(f"→ {delta.tool_call.name} {arguments}")

    def _line(self, text: str) -> None:
        self._end_line()
        self._write(f"{text}\n")

    def _end_line(self) -> None:
        if self._is_within_line:
            self._write("\n")
            self._is_within_line = False

    def _write(self, text: str) -> None:
        dim, plain = ("\033[2m", "\033[0m") if has_colour(self._out) else ("", "")
        print(f"{dim}{visible(text)}{plain}", end="", file=self._out, flush=True)
