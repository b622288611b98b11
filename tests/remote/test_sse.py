"""The event reader: the format's rules, whatever the pieces."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.abi.errors import Unavailable
from aios.drivers.sse import EventReader

LINE = st.sampled_from(
    ["", ": note", "data: a", "data:b", "data", "event: x", "id: 7", "retry", "data: c: d ", "junk"]
)
END = st.sampled_from(["\n", "\r\n", "\r"])


def events_of(lines: list[str]) -> list[bytes]:
    """What the format says, over lines instead of bytes."""
    found, data = [], []
    for line in [*lines, ""]:
        if not line and data:
            found.append("\n".join(data).encode())
            data = []
        elif line == "data" or line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
    return found


def read(pieces: list[bytes]) -> list[bytes]:
    reader = EventReader(1000)
    return [data for piece in pieces for data in reader.feed(piece)] + reader.finish()


@given(lines=st.lists(st.tuples(LINE, END), max_size=12), cuts=st.lists(st.integers(0, 150), max_size=12))
def test_any_pieces_and_any_line_ends_give_the_same_events(
    lines: list[tuple[str, str]], cuts: list[int]
) -> None:
    text = "".join(line + end for line, end in lines)
    expected = events_of(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    places = [0, *sorted(cuts), 10_000]
    assert read([text.encode()[a:b] for a, b in pairwise(places)]) == expected


def test_a_byte_order_mark_is_no_part_of_the_first_field() -> None:
    assert read([b"\xef\xbb\xbfdata: a\n\n"]) == [b"a"]


@pytest.mark.parametrize("piece", [b"x" * 100, b"data: x\n" * 20, b"data:\n" * 100])
def test_what_has_no_end_is_cut(piece: bytes) -> None:
    with pytest.raises(Unavailable, match="1000 bytes"):
        read([piece] * 100)


class Joined(bytearray):
    """Bytes that count what they were copied for."""

    num_copied = 0

    def __bytes__(self) -> bytes:
        self.num_copied += len(self)
        return bytes(memoryview(self))


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_line_in_a_thousand_pieces_is_put_together_once(end: bytes, at_once: bool) -> None:
    reader = EventReader(100_000)
    joined = reader._begun = Joined()
    text = b"data: " + b"a" * 10_000 + 2 * end
    pieces = [text] if at_once else [text[at : at + 10] for at in range(0, len(text), 10)]
    found = [data for piece in pieces for data in reader.feed(piece)] + reader.finish()
    assert found == [b"a" * 10_000]
    assert joined.num_copied < 2 * len(text)
