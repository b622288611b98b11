"""Tokens in flight: what calls will come to together, and what is expected of each."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.kernel.cores.room import Room, Whole
from aios.kernel.scheduling.answers import MAX_KEYS, MIN_SAMPLES, Answers, Lengths


@dataclass(eq=False)
class Call:
    num_now: int
    num_more: int


def filled(most: int, *calls: Call) -> Room:
    room = Room(most)
    for call in calls:
        room.enter(call)
    return room


def peak_of(*calls: Call) -> int:
    return filled(10**9, *calls).num_tokens


@pytest.mark.parametrize(
    ("calls", "peak"),
    [
        ([], 0),
        ([(100, 50)], 150),
        ([(100, 50), (100, 50)], 300),
        ([(140, 10), (100, 50)], 260),
        ([(10, 90), (1000, 1)], 1012),
    ],
)
def test_who_ends_gives_back_what_it_held_before_the_others_have_come_to_their_ends(calls, peak):
    assert peak_of(*(Call(*numbers) for numbers in calls)) == peak


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=8))
def test_it_is_the_most_of_all_moments(calls):
    def at(moment: int) -> int:
        return sum(now + moment for now, more in calls if more >= moment)

    assert peak_of(*(Call(*numbers) for numbers in calls)) == max(map(at, range(51)), default=0)


def test_it_keeps_a_twentieth_free():
    room = filled(1000, Call(400, 100))
    assert room.has_room(Call(350, 100))
    assert not room.has_room(Call(351, 100))


def test_what_never_fits_passes_alone():
    assert filled(1000).has_room(Call(5000, 1))
    assert not filled(1000, Call(1, 1)).has_room(Call(5000, 1))


def test_an_answer_counts_as_far_as_it_has_come_when_looked_at():
    running, other = Call(100, 700), Call(400, 300)
    room = filled(1000, running)
    assert not room.has_room(other)
    running.num_now, running.num_more = 480, 20
    assert not room.has_room(other), "nobody has looked"
    room.look()
    assert room.has_room(other)
    room.leave(running)
    assert room.num_tokens == 0


def test_a_call_of_numbers_alone_is_as_good_as_another_of_the_same():
    room = Room(100)
    room.enter(Whole(60))
    room.leave(Whole(60))
    assert room.has_room(Whole(60))


# ---- what is expected of answers


def test_nine_in_ten_answers_are_not_longer():
    lengths = Lengths()
    for number in range(4000):
        lengths.add(1 + number * 7919 % 1000)
    assert lengths.likely == pytest.approx(900, rel=0.1)


def test_nothing_is_expected_of_a_few():
    lengths = Lengths()
    for _ in range(MIN_SAMPLES - 1):
        lengths.add(10)
    assert lengths.likely is None
    lengths.add(10)
    assert 9 <= lengths.likely <= 15


def test_agents_models_and_sizes_of_limits_are_told_apart():
    answers = Answers()
    known = answers.lengths("writer", None, 1000)
    assert answers.lengths("writer", None, 900) is known
    others = [
        ("reader", None, 1000),
        ("writer", "large", 1000),
        ("writer", None, 100),
        ("writer", None, None),
    ]
    assert all(answers.lengths(*other) is not known for other in others)


def test_the_ones_not_seen_for_longest_are_forgotten():
    answers = Answers()
    first, second = answers.lengths("0", None, None), answers.lengths("1", None, None)
    for number in range(2, MAX_KEYS):
        answers.lengths(str(number), None, None)
    assert answers.lengths("0", None, None) is first
    answers.lengths("one more", None, None)
    assert answers.lengths("0", None, None) is first
    assert answers.lengths("1", None, None) is not second
