"""Fitting a conversation into a window: what stays, what goes, and that what is left fits."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.abi.calls.llm import Fitted
from aios.abi.errors import ContextOverflow, Unavailable
from aios.abi.messages import Message, ToolCall
from aios.kernel.fitting import Fitting, droppable, room_for_answer

SYSTEM = Message("system", "be kind")


def asks(*ids: str) -> Message:
    return Message("assistant", "", tuple(ToolCall(id, "add") for id in ids))


def gives(id: str) -> Message:
    return Message("tool", "4", tool_call_id=id)


def user(text: str, *, pinned: bool = False) -> Message:
    return Message("user", text, pinned=pinned)


def words(messages: Sequence[Message]) -> int:
    return sum(1 + len(message.text.split()) for message in messages)


async def count(messages: Sequence[Message]) -> int:
    return words(messages)


def drop(messages: Sequence[Message], window: int, num_answer: int = 1) -> tuple[tuple[Message, ...], int]:
    kept, fitted = asyncio.run(Fitting(messages, window, num_answer, count).drop())
    return kept, 0 if fitted is None else fitted.num_dropped


OLD = (user("a b c"), Message("assistant", "d e"), user("f g"), Message("assistant", "h i"))
TALK = (SYSTEM, *OLD, user("now"))


def test_what_fits_is_left_alone() -> None:
    assert drop(TALK, words(TALK) + 1) == (TALK, 0)


def test_the_oldest_turn_goes_first_and_whole() -> None:
    assert drop(TALK, words(TALK)) == ((SYSTEM, *OLD[2:], user("now")), 2)
    assert drop(TALK, 7) == ((SYSTEM, user("now")), 4)


def test_room_for_the_answer_is_kept_where_it_can_be() -> None:
    assert drop(TALK, words(TALK) + 1, num_answer=8) == ((SYSTEM, *OLD[2:], user("now")), 2)
    assert drop((SYSTEM, user("now")), 6, num_answer=5) == ((SYSTEM, user("now")), 0)
    assert [room_for_answer(*case) for case in ((10, 100), (None, 100), (90, 100), (None, 2))] == [
        10,
        25,
        50,
        1,
    ]


def test_what_has_to_stay_may_not_fit() -> None:
    with pytest.raises(ContextOverflow, match="what has to stay"):
        drop(TALK, 5)


def test_what_is_pinned_stays_with_what_belongs_to_it() -> None:
    told = Message("tool", "4", tool_call_id="x", pinned=True)
    talk = (user("old"), asks("x"), told, Message("assistant", "it is 4"), user("now"))
    kept, num_dropped = drop(talk, 7)
    assert (kept, num_dropped) == ((asks("x"), told, user("now")), 2)


def test_open_calls_stay_with_the_results_there_are() -> None:
    talk = (user("old"), asks("x", "y"), gives("x"), user("older"), asks("z"), gives("z"), user("now"))
    kept, _ = drop(talk, 7)
    assert kept == (asks("x", "y"), gives("x"), user("now"))


def test_all_of_the_last_turn_stays() -> None:
    talk = (user("old"), user("now"), asks("x"), gives("x"), Message("assistant", "b"), asks("y"))
    assert drop(talk, words(talk))[0] == talk[1:]
    assert droppable((SYSTEM, Message("assistant", "hello"))) == []


def test_an_id_used_again_belongs_to_the_last_call() -> None:
    talk = (user("a"), asks("x"), gives("x"), user("b"), asks("x"), gives("x"), user("now"))
    assert droppable(talk) == [[0, 1, 2], [3, 4, 5]]


messages = st.lists(
    st.one_of(
        st.builds(Message, st.just("user"), st.just("u u u"), pinned=st.booleans()),
        st.builds(Message, st.just("system"), st.just("s")),
        st.builds(Message, st.just("assistant"), st.just("a a"), pinned=st.booleans()),
        st.builds(asks, st.sampled_from("xyz"), st.sampled_from("vw")),
        st.builds(gives, st.sampled_from("vwxyz")),
    ),
    min_size=1,
    max_size=24,
)


@given(talk=messages, window=st.integers(2, 80), num_answer=st.integers(1, 20))
def test_what_stays_of_any_conversation(talk: list[Message], window: int, num_answer: int) -> None:
    """By places: what may go is told by `droppable`, and only a beginning of that goes."""
    turns = droppable(talk)
    may_go = {place for turn in turns for place in turn}
    users = [place for place, message in enumerate(talk) if message.role == "user"]
    for place, message in enumerate(talk):
        if message.role == "system" or message.pinned or place >= (users[-1] if users else 0):
            assert place not in may_go
    for place in may_go:
        ids = {call.id for call in talk[place].tool_calls}
        assert ids <= {talk[other].tool_call_id for turn in turns for other in turn if other > place}
    firsts = [turn[0] for turn in turns]
    assert firsts == sorted(firsts)
    try:
        kept, num_dropped = drop(talk, window, num_answer)
    except ContextOverflow:
        assert words([one for place, one in enumerate(talk) if place not in may_go]) >= window
        return
    assert words(kept) < window
    sizes = [sum(map(len, turns[:number])) for number in range(len(turns) + 1)]
    gone = {place for turn in turns[: sizes.index(num_dropped)] for place in turn}
    assert list(kept) == [one for place, one in enumerate(talk) if place not in gone]
    if gone:
        fewer = {place for turn in turns[: sizes.index(num_dropped) - 1] for place in turn}
        before = words([one for place, one in enumerate(talk) if place not in fewer])
        assert before > window - num_answer, "one turn fewer would have done"


# ---- summaries


class Writer:
    """Sums up by counting what it is given."""

    def __init__(self, answer: str = "") -> None:
        self.asked: list[tuple[str, int]] = []
        self._answer = answer

    async def write(self, prompt: Sequence[Message], max_tokens: int) -> str:
        assert [message.role for message in prompt] == ["system", "user"]
        self.asked.append((prompt[1].text, max_tokens))
        return self._answer or f"summary {len(self.asked)}"


async def plain(prompt: Sequence[Message]) -> int:
    return words(prompt[1:])


def summarise(
    talk: Sequence[Message], window: int, writer: Writer, num_answer: int = 4
) -> tuple[tuple[Message, ...], Fitted | None]:
    return asyncio.run(Fitting(talk, window, num_answer, count).summarise(writer.write, plain))


def test_a_summary_stands_where_the_turns_stood() -> None:
    writer = Writer()
    kept, fitted = summarise((SYSTEM, *OLD, user("now " * 8)), 26, writer)
    assert [message.role for message in kept] == ["system", "user", "user"]
    assert kept[1].text == "Summary of what was said before:\nsummary 1"
    assert fitted == Fitted(4, "summary 1")
    assert writer.asked == [("user: a b c\n\nassistant: d e\n\nuser: f g\n\nassistant: h i", 5)]


def test_what_fits_is_not_summed_up() -> None:
    writer = Writer()
    assert summarise(TALK, 40, writer) == (TALK, None)
    assert not writer.asked


def test_more_than_a_window_is_summed_up_window_by_window() -> None:
    talk = tuple(user(f"{number} " * 5) for number in range(12))
    writer = Writer()
    kept, fitted = summarise((*talk, user("now")), 30, writer)
    assert fitted is not None
    assert fitted.summary == f"summary {len(writer.asked)}"
    assert len(writer.asked) > 1
    assert all(words([Message("user", text)]) + most <= 30 for text, most in writer.asked)
    assert writer.asked[1][0].startswith("Summary of what was said before:\nsummary 1\n\nuser: ")
    seen = " ".join(text for text, _ in writer.asked)
    assert all(f"user: {number} {number}" in seen for number in range(fitted.num_dropped))
    assert words(kept) < 30


def test_a_message_longer_than_the_window_is_read_in_parts() -> None:
    writer = Writer()
    summarise((user("long " * 60), user("now")), 30, writer)
    assert sum(text.count("l") for text, _ in writer.asked) == 60


def test_a_summary_that_fails_fails_the_call() -> None:
    async def fail(prompt: Sequence[Message], max_tokens: int) -> str:
        raise Unavailable("the core failed")

    with pytest.raises(Unavailable):
        asyncio.run(Fitting(TALK, 18, 4, count).summarise(fail, plain))
    with pytest.raises(ContextOverflow, match="empty"):
        summarise(TALK, 18, Writer("  "))
