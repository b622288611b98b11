"""Where an answer ends and what of it may be shown."""

from hypothesis import given
from hypothesis import strategies as st

from aios.abi.messages import Delta, Sampling, ToolSpec
from aios.drivers.engine_answer import Answer, Answers, StopStrings
from aios.drivers.models.chat import ChatFormat

_TOOL = ToolSpec("add", "adds", {"type": "object", "properties": {"x": {"type": "integer"}}})


def answer(chat: ChatFormat, sampling: Sampling, window: int = 300) -> Answer:
    prompt = [chat.bos_id, chat.controls["<|assistant|>"]]
    return Answers(chat, window).begin(prompt, sampling, [_TOOL], [_TOOL])


def feed(answer: Answer, tokens: list[int]) -> list[Delta]:
    deltas: list[Delta] = []
    for token in tokens:
        assert answer.finish_reason is None
        deltas += answer.add(token)
        if answer.finish_reason is not None:
            break
    return deltas


@given(st.data())
def test_text_is_shown_up_to_the_first_stop_string_whatever_the_pieces(data: st.DataObject) -> None:
    letters = st.text(alphabet="ab", max_size=30)
    stops = data.draw(st.lists(st.text(alphabet="ab", min_size=1, max_size=4), max_size=3))
    pieces = data.draw(st.lists(letters, max_size=8))
    strings = StopStrings(stops)
    shown = ""
    for piece in pieces:
        shown += strings.feed(piece)
        if strings.met:
            break
    else:
        shown += strings.flush()
    text = "".join(pieces)
    met = any(stop in text for stop in stops)
    assert strings.met == met
    if not met:
        assert shown == text
    else:
        # Of several that one piece makes whole, the one that begins first.
        assert text.startswith(shown)
        assert any(text[len(shown) :].startswith(stop) for stop in stops)
        assert all(stop not in shown for stop in stops)


def test_a_held_back_beginning_is_shown_when_it_comes_to_nothing() -> None:
    strings = StopStrings(["###"])
    assert strings.feed("one ##") == "one "
    assert strings.feed(" two") == "## two"
    assert not strings.met


def test_a_stop_string_across_tokens_ends_the_answer_and_is_no_part_of_it(chat: ChatFormat) -> None:
    text = "The weather is fine. The answer"
    growing = answer(chat, Sampling(stop=("ine. Th",)))
    deltas = feed(growing, chat.encode_text(text))
    finished = growing.choice()
    assert finished.text == "".join(delta.text for delta in deltas) == "The weather is f"
    assert finished.finish_reason == "stop"


def test_the_end_token_ends_it_and_calls_are_told(chat: ChatFormat) -> None:
    growing = answer(chat, Sampling(stop=("zzz",)))
    call = [
        chat.controls["<|call|>"],
        *chat.encode_text("add"),
        chat.controls["<|arg|>"],
        *chat.encode_text("x"),
    ]
    call += [chat.controls["<|val|>"], *chat.encode_text(" 12"), chat.end_id]
    tokens = [*chat.encode_text("so z"), *call]
    deltas = feed(growing, tokens)
    finished = growing.choice()
    assert finished.text == "so z"
    assert finished.finish_reason == "tool_calls"
    assert [(made.name, made.arguments) for made in finished.tool_calls] == [("add", {"x": 12})]
    assert [delta.text for delta in deltas if delta.tool_call] == ["z"]
    assert sum(delta.num_tokens for delta in deltas) == growing.num_tokens == len(tokens)


def test_a_limit_cuts_and_an_unfinished_call_is_text(chat: ChatFormat) -> None:
    growing = answer(chat, Sampling(max_tokens=3))
    tokens = [chat.controls["<|call|>"], *chat.encode_text("add the weather")]
    deltas = feed(growing, tokens)
    finished = growing.choice()
    assert finished.finish_reason == "length"
    assert finished.tool_calls == ()
    assert finished.text == "".join(delta.text for delta in deltas) == chat.decode(tokens[1:3])


def test_the_window_limits_what_is_asked_for(chat: ChatFormat) -> None:
    growing = answer(chat, Sampling(max_tokens=1000), window=2 + 5)
    feed(growing, chat.encode_text("The weather is fine and the train leaves at nine"))
    assert growing.num_tokens == 5
    assert growing.finish_reason == "length"


def test_characters_come_whole(chat: ChatFormat) -> None:
    deltas = feed(answer(chat, Sampling()), [*chat.encode_text("a €uro 漢"), chat.end_id])
    assert "".join(delta.text for delta in deltas) == "a €uro 漢"
    assert all("�" not in delta.text for delta in deltas)
