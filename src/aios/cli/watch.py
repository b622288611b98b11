"""Shows an agent at work: a way to the kernel that tells what goes through it. Changes nothing that does."""

import json
from typing import TYPE_CHECKING, TextIO

from aios.abi.messages import Delta
from aios.abi.syscalls import LlmAnswer, Reply, SystemCall, ToolOutput
from aios.cli.output import has_colour, visible

if TYPE_CHECKING:
    from aios.sdk.sending import Emit
    from aios.sdk.transport import Transport

RESULT_CELLS = 200
"""Of a tool's result."""


class Watched:
    """A transport that writes to `out`: what a model says, the tools it calls, what they return.

    An answer is shown piece by piece only where the agent streams it: one that has been streamed in part is
    not tried again when its core fails.
    """

    def __init__(self, transport: "Transport", out: TextIO) -> None:
        self._transport = transport
        self._out = out
        self._is_within_line = False

    @property
    def lease_s(self) -> float | None:
        return self._transport.lease_s

    async def call(
        self,
        token: str,
        call: SystemCall,
        emit: "Emit | None" = None,
        timeout_s: float | None = None,
        key: str = "",
    ) -> Reply:
        """As the transport's own."""
        reply = await self._transport.call(token, call, emit and self._shown(emit), timeout_s, key)
        if isinstance(reply, LlmAnswer):
            if emit is None:
                self._show_answer(reply)
            self._end_line()
        elif isinstance(reply, ToolOutput):
            self._line(f"  {' '.join(reply.text[:RESULT_CELLS].split())}")
        return reply

    async def close(self) -> None:
        await self._transport.close()

    def _shown(self, emit: "Emit") -> "Emit":
        def show_and_emit(delta: Delta) -> None:
            self._show(delta)
            emit(delta)

        return show_and_emit

    def _show_answer(self, answer: LlmAnswer) -> None:
        self._show(Delta(answer.text))
        for call in answer.tool_calls:
            self._show(Delta(tool_call=call))

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
