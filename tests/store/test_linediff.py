"""Differences of texts: they turn the old into the new, say no more than needed, and never take long."""

import difflib
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.kernel.files import linediff
from aios.kernel.files.linediff import changes, unified

line = st.sampled_from(["a\n", "b\n", "c\n", "d\n", "{\n", "}\n"])
texts = st.builds("".join, st.lists(line, max_size=12)) | st.builds(
    lambda lines, last: "".join(lines) + last, st.lists(line, max_size=8), st.sampled_from(["", "end", "a"])
)

HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@\n")


def patched(old: str, diff: str) -> str:
    """What a unified diff makes of a text, each line of it checked."""
    before = old.splitlines(keepends=True)
    after: list[str] = []
    at = 0
    lines = iter(diff.splitlines(keepends=True)[2:])
    pending: list[str] = list(lines)
    while pending:
        start, size, new_start, new_size = HUNK.match(pending.pop(0)).groups()
        begin = int(start) - (size != "0")
        after += before[at:begin]
        at = begin
        assert len(after) == int(new_start) - (new_size != "0")
        length, new_length = at, len(after)
        while pending and not pending[0].startswith("@@"):
            mark, text = pending[0][0], pending.pop(0)[1:]
            if pending and pending[0].startswith("\\"):
                pending.pop(0)
                text = text.removesuffix("\n")
            if mark in " -":
                assert before[at] == text
                at += 1
            if mark in " +":
                after.append(text)
        assert (at - length, len(after) - new_length) == (int(size or 1), int(new_size or 1))
    return "".join(after + before[at:])


@given(texts, texts, st.integers(0, 3))
def test_a_diff_turns_the_old_text_into_the_new(old, new, context):
    shown = unified(old, new, "old", "new", context)
    assert (shown == "") == (old == new)
    if shown:
        assert shown.startswith("--- old\n+++ new\n@@")
        assert patched(old, shown) == new


@given(st.lists(line, max_size=9), st.lists(line, max_size=9))
def test_between_fixed_points_nothing_is_said_that_need_not_be(old, new):
    """Where no line stands once in both, it is the least there is: the longest common row stays."""
    once = {one for one in old if old.count(one) == 1} & {one for one in new if new.count(one) == 1}
    if once:
        return
    changed = sum(end - begin + new_end - new_begin for begin, end, new_begin, new_end in changes(old, new))
    assert changed == len(old) + len(new) - 2 * longest_common(old, new)


def longest_common(old, new):
    row = [0] * (len(new) + 1)
    for one in old:
        diagonal = 0
        for at, other in enumerate(new, 1):
            diagonal, row[at] = row[at], diagonal + 1 if one == other else max(row[at], row[at - 1])
    return row[-1]


def test_a_diff_looks_as_people_know_it():
    old = "".join(f"line {number}\n" for number in range(20))
    new = old.replace("line 3\n", "line three\n").replace("line 17\n", "")
    expected = "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "old", "new", n=2))
    assert unified(old, new, "old", "new", 2) == expected


@pytest.mark.parametrize("num_values", [2, 40])
def test_texts_that_have_nothing_to_do_with_each_other_are_given_up_soon(monkeypatch, num_values):
    monkeypatch.setattr(linediff, "MAX_STEPS", 5_000)
    rng = random.Random(1)
    old, new = ("".join(f"{rng.randrange(num_values)}\n" for _ in range(3000)) for _ in range(2))
    assert patched(old, unified(old, new, "old", "new", 0)) == new
