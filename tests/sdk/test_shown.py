"""However often an answer is asked for again, and wherever it is cut, each piece of it is given on once."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.abi.errors import Conflict
from aios.abi.messages import Choice, Delta, TokenLogprob, ToolCall
from aios.abi.syscalls import Done, LlmAnswer
from aios.sdk.shown import Shown

FIRST = "The fox, quickly, writes a note."
SECOND = "A café in Zürich."
CALLS = (ToolCall("1", "add", {"x": 1}), ToolCall("2", "add", {"x": 2}))


def likely(text: str) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(letter, -1.0, tuple(letter.encode())) for letter in text)


ANSWER = LlmAnswer(FIRST, CALLS, others=(Choice(SECOND, logprobs=likely(SECOND)),), logprobs=likely(FIRST))


def parts(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % len(text) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


@st.composite
def tries(draw: st.DrawFn) -> list[Delta]:
    """A whole stream of the answer, in pieces of any size, its two texts in turns."""
    deltas = []
    for index, text in enumerate((FIRST, SECOND)):
        pieces = parts(text, draw(st.lists(st.integers(0, 100), max_size=8)))
        deltas += [
            Delta(piece, num_tokens=len(piece), logprobs=likely(piece), index=index) for piece in pieces
        ]
    deltas += [Delta(tool_call=call, num_tokens=5) for call in CALLS]
    order = draw(st.permutations([delta.index for delta in deltas]))
    left = {index: [delta for delta in deltas if delta.index == index] for index in (0, 1)}
    return [left[index].pop(0) for index in order]


@given(st.lists(st.tuples(tries(), st.integers(0, 20)), min_size=1, max_size=4), st.booleans())
def test_what_comes_again_is_given_on_once(streams: list[tuple[list[Delta], int]], is_told: bool) -> None:
    told: list[Delta] = []
    shown = Shown(told.append)
    for stream, cut in streams:
        shown.begin()
        for delta in stream[:cut]:
            shown(delta)
    shown.begin()
    if is_told:
        for delta in streams[0][0]:
            shown(delta)
    shown.complete(ANSWER)
    for index, text in enumerate((FIRST, SECOND)):
        mine = [delta for delta in told if delta.index == index]
        assert "".join(delta.text for delta in mine) == text
        assert tuple(one for delta in mine for one in delta.logprobs) == likely(text)
    assert tuple(delta.tool_call for delta in told if delta.tool_call) == CALLS
    if is_told:
        assert sum(delta.num_tokens for delta in told) == len(FIRST) + len(SECOND) + 10


@pytest.mark.parametrize(
    "other",
    [Delta("The fox sleeps"), Delta(tool_call=ToolCall("1", "add", {"x": 3})), Delta("The cat")],
)
def test_another_answer_than_was_shown_is_a_conflict(other: Delta) -> None:
    shown = Shown(lambda delta: None)
    shown.begin()
    shown(Delta("The fox,", tool_call=CALLS[0]))
    shown.begin()
    with pytest.raises(Conflict, match="another than was shown"):
        shown(other)


def test_an_answer_without_a_second_try_is_left_as_it_came() -> None:
    told: list[Delta] = []
    shown = Shown(told.append)
    shown.begin()
    shown(Delta("something else"))
    shown.complete(ANSWER)
    assert told == [Delta("something else")]


def test_other_replies_complete_nothing() -> None:
    told: list[Delta] = []
    shown = Shown(told.append)
    shown.begin()
    shown.begin()
    shown.complete(Done())
    assert told == []
