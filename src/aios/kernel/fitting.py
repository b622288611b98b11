"""Fitting a conversation into a window: leave out its oldest turns, or put a summary in their place.

What always stays: what the system says, what is pinned, calls of tools whose results are not there yet, and
everything from the last user's message on. A call goes together with its results. Owns that choice; does not
know who counts tokens, nor who writes a summary.
"""

from collections.abc import Awaitable, Callable, Sequence

from aios.abi.calls.llm import Fitted
from aios.abi.errors import ContextOverflow
from aios.abi.messages import Message

Count = Callable[[Sequence[Message]], Awaitable[int]]
"""The tokens of a prompt, with its tools."""
Write = Callable[[Sequence[Message], int], Awaitable[str]]
"""What the model answers to a prompt, in so many tokens at most."""

MAX_SUMMARY = 512
"""Tokens of a summary; less where the window is narrow."""
_LEAST_PIECE = 16
"""Characters of a message that are not parted any more."""
_TASK = (
    "Sum up this conversation for who goes on with it: what was asked, found and decided, names and numbers, "
    "what is open."
)
_BEFORE = "Summary of what was said before:\n"


def room_for_answer(max_tokens: int | None, window: int) -> int:
    """Tokens to keep free for an answer: as many as it asks for, or a quarter; no more than half."""
    return max(1, min(window // 4 if max_tokens is None else max_tokens, window // 2))


def droppable(messages: Sequence[Message]) -> list[list[int]]:
    """The places of what may be left out, turn by turn, the oldest first."""
    users = [place for place, message in enumerate(messages) if message.role == "user"]
    last = users[-1] if users else 0
    turns: list[list[int]] = []
    turn_of: dict[int, int] = {}
    for unit in _units(messages):
        first = unit[0]
        begins = max((place for place in users if place <= first), default=-1)
        if first >= last or unit[-1] >= last or not _may_go(messages, unit):
            continue
        if begins not in turn_of:
            turn_of[begins] = len(turns)
            turns.append([])
        turns[turn_of[begins]] += unit
    return turns


def _units(messages: Sequence[Message]) -> list[list[int]]:
    """The places of messages that go together: a call of tools and its results."""
    units: list[list[int]] = []
    asked: dict[str, list[int]] = {}
    for place, message in enumerate(messages):
        if message.role == "tool" and message.tool_call_id in asked:
            asked[message.tool_call_id].append(place)
            continue
        units.append([place])
        for call in message.tool_calls:
            asked[call.id] = units[-1]
    return units


def _may_go(messages: Sequence[Message], unit: Sequence[int]) -> bool:
    if any(messages[place].role == "system" or messages[place].pinned for place in unit):
        return False
    results = {messages[place].tool_call_id for place in unit}
    return all(call.id in results for call in messages[unit[0]].tool_calls)


class Fitting:
    """Of one prompt into `window` tokens, of which `num_answer` are better kept free."""

    def __init__(self, messages: Sequence[Message], window: int, num_answer: int, count: Count) -> None:
        self._messages = tuple(messages)
        self._window = window
        self._room = window - num_answer
        self._count = count
        self._turns = droppable(messages)

    async def drop(self) -> tuple[tuple[Message, ...], Fitted | None]:
        """The messages that fit, and what was left out. `ContextOverflow` where what has to stay does not."""
        num_turns = await self._least_turns(self._room, ())
        dropped = self._dropped(num_turns)
        kept = self._without(dropped)
        await self._check(kept)
        return kept, Fitted(len(dropped)) if dropped else None

    async def summarise(self, write: Write, count: Count) -> tuple[tuple[Message, ...], Fitted | None]:
        """The same, with a summary where what was left out stood; `count` is of prompts without tools.

        Raises what `write` raises, too.
        """
        if await self._count(self._messages) <= self._room or not self._turns:
            return await self.drop()
        num_summary = min(MAX_SUMMARY, max(1, self._room // 4))
        instead = (Message("user", _BEFORE),)
        num_turns = await self._least_turns(self._room - num_summary, instead)
        dropped = self._dropped(max(1, num_turns))
        # Nothing is written in vain.
        await self._check(self._without(dropped, min(dropped), instead))
        told = [self._messages[place] for place in sorted(dropped)]
        summary = await self._summary([_told(message) for message in told], num_summary, write, count)
        place = min(dropped)
        kept = self._without(dropped, place, (Message("user", _BEFORE + summary),))
        await self._check(kept)
        return kept, Fitted(len(dropped), summary)

    async def _least_turns(self, room: int, instead: tuple[Message, ...]) -> int:
        """How many turns have to go, at least; all where that is not enough."""
        low, high = 0, len(self._turns)
        while low < high:
            middle = (low + high) // 2
            dropped = self._dropped(middle)
            kept = self._without(dropped, min(dropped, default=0), instead)
            if await self._count(kept) <= room:
                high = middle
            else:
                low = middle + 1
        return low

    def _dropped(self, num_turns: int) -> set[int]:
        return {place for turn in self._turns[:num_turns] for place in turn}

    def _without(
        self, dropped: set[int], place: int = 0, instead: tuple[Message, ...] = ()
    ) -> tuple[Message, ...]:
        messages = self._messages
        before = (message for number, message in enumerate(messages[:place]) if number not in dropped)
        after = (message for number, message in enumerate(messages[place:], place) if number not in dropped)
        return (*before, *instead, *after)

    async def _check(self, kept: Sequence[Message]) -> None:
        """Whether it fits at all: an answer may be short."""
        num_tokens = await self._count(kept)
        if num_tokens >= self._window:
            raise ContextOverflow(
                f"what has to stay of the conversation takes {num_tokens} tokens and the window is "
                f"{self._window} for prompt and answer: shorten the last message, the system's or what is "
                "pinned"
            )

    # ---- the summary

    async def _summary(self, pieces: list[str], num_summary: int, write: Write, count: Count) -> str:
        """Of one window after another: each with the summary of those before."""
        summary = ""
        while pieces:
            num_pieces = await self._most_pieces(summary, pieces, num_summary, count)
            if not num_pieces:
                pieces[:1] = _parted(pieces[0])
                continue
            summary = (await write(_asking(summary, pieces[:num_pieces]), num_summary)).strip()
            del pieces[:num_pieces]
            if not summary:
                raise ContextOverflow(
                    "the conversation does not fit, and its summary came out empty: fit it by drop"
                )
        return summary

    async def _most_pieces(self, summary: str, pieces: Sequence[str], num_summary: int, count: Count) -> int:
        low, high = 0, len(pieces)
        while low < high:
            middle = (low + high + 1) // 2
            num_tokens = await count(_asking(summary, pieces[:middle]))
            if num_tokens + num_summary <= self._window:
                low = middle
            else:
                high = middle - 1
        return low


def _asking(summary: str, pieces: Sequence[str]) -> tuple[Message, ...]:
    before = (_BEFORE + summary,) if summary else ()
    return Message("system", _TASK), Message("user", "\n\n".join((*before, *pieces)))


def _told(message: Message) -> str:
    calls = "".join(f"\n[calls {call.name} {call.arguments}]" for call in message.tool_calls)
    return f"{message.role}: {message.text}{calls}"


def _parted(piece: str) -> list[str]:
    if len(piece) <= _LEAST_PIECE:
        raise ContextOverflow("the window is too narrow to sum the conversation up: fit it by drop")
    half = len(piece) // 2
    return [piece[:half], piece[half:]]
