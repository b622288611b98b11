"""What a model of Anthropic's thought before it called tools, given back with their results.

A thought belongs to the conversation it was thought in, and is refused in any other: so it is given back only
where all that came before is the same to the byte. Left out it harms no request.
Facts: platform.claude.com/docs/en/build-with-claude/thinking.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from aios.abi.messages import Message, ToolCall, ToolSpec
from aios.drivers.remembered import Remembered

Json = dict[str, Any]


class _Turn(Struct):
    """An assistant's turn as it was: after what, saying what, and all its blocks in order."""

    before: str
    text: str
    calls: tuple[ToolCall, ...]
    blocks: list[Json]


class Thoughts:
    """Of one model."""

    def __init__(self) -> None:
        self._turns = Remembered()

    def keep(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        text: str,
        calls: tuple[ToolCall, ...],
        blocks: list[Json],
    ) -> None:
        """Remember the turn that answered `messages`: it said `text`, called `calls`, and was `blocks`."""
        *_, before = _digests(messages, tools)
        turn = _Turn(before, text, calls, blocks)
        self._turns.keep(calls[0].id, msgspec.json.encode(turn).decode())

    def recall(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> dict[int, list[Json]]:
        """The blocks of the assistants' turns in `messages` that are remembered, by their places."""
        if not any(message.tool_calls and self._turns.find(message.tool_calls[0].id) for message in messages):
            return {}
        found = {}
        for place, (message, before) in enumerate(zip(messages, _digests(messages, tools), strict=False)):
            kept = self._turns.find(message.tool_calls[0].id) if message.tool_calls else None
            if kept is not None:
                turn = msgspec.json.decode(kept, type=_Turn)
                if (turn.before, turn.text, turn.calls) == (before, message.text, message.tool_calls):
                    found[place] = turn.blocks
        return found


def _digests(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Iterator[str]:
    """Of what stands before each of the messages, and last of what stands before a further one."""
    system = [message for message in messages if message.role == "system"]
    seen = blake2b(msgspec.json.encode((tools, system)), digest_size=16)
    for message in messages:
        yield seen.hexdigest()
        seen.update(msgspec.json.encode(message))
    yield seen.hexdigest()
