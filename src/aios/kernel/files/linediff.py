"""The difference of two texts, line by line, as a unified diff.

Lines that stand once in each text are taken as fixed points (patience diff, Bram Cohen); between them the
fewest changes are found by Myers' greedy algorithm ("An O(ND) Difference Algorithm and Its Variations", 1986,
figure 2). Its work is bounded: two stretches that differ too much are shown as one replaced by the other.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

MAX_STEPS = 400_000
"""Of Myers' algorithm in one diff: some tenths of a second."""

Block = tuple[int, int, int]
"""Lines that are the same: where they begin in the old and in the new text, and how many there are."""
Change = tuple[int, int, int, int]
"""Lines from one place to another of the old text that became those between two places of the new one."""


def unified(old: str, new: str, old_name: str, new_name: str, context: int) -> str:
    """Empty where the texts are the same. `context` lines are shown around each change."""
    if old == new:
        return ""
    before, after = _lines(old), _lines(new)
    hunks = [_shown(hunk, before, after, context) for hunk in _hunks(changes(before, after), context)]
    return f"--- {old_name}\n+++ {new_name}\n{''.join(hunks)}"


def changes(old: Sequence[str], new: Sequence[str]) -> Iterator[Change]:
    """What differs, in order."""
    i = j = 0
    for begin, new_begin, size in [*_same(old, new), (len(old), len(new), 0)]:
        if i < begin or j < new_begin:
            yield i, begin, j, new_begin
        i, j = begin + size, new_begin + size


def _lines(text: str) -> list[str]:
    *whole, rest = text.split("\n")
    return [f"{line}\n" for line in whole] + ([rest] if rest else [])


def _same(old: Sequence[str], new: Sequence[str]) -> Iterator[Block]:
    """What is common, in order."""
    shorter = min(len(old), len(new))
    head = next((at for at in range(shorter) if old[at] != new[at]), shorter)
    rest = shorter - head
    tail = next((at for at in range(rest) if old[-1 - at] != new[-1 - at]), rest)
    end, new_end = len(old) - tail, len(new) - tail
    yield 0, 0, head
    steps = [MAX_STEPS]
    i, j = head, head
    for fixed, new_fixed in [*_fixed_points(old, new, head, end, new_end), (end, new_end)]:
        yield from _myers(old[i:fixed], new[j:new_fixed], i, j, steps)
        if fixed < end:
            yield fixed, new_fixed, 1
        i, j = fixed + 1, new_fixed + 1
    yield end, new_end, tail


def _fixed_points(
    old: Sequence[str], new: Sequence[str], begin: int, end: int, new_end: int
) -> list[tuple[int, int]]:
    """The longest row of lines that stand once in both, in the same order."""
    once = {line for line, count in Counter(old[begin:end]).items() if count == 1}
    new_once = {line for line, count in Counter(new[begin:new_end]).items() if count == 1}
    places = {line: at for at, line in enumerate(new[begin:new_end], begin) if line in new_once}
    pairs = [(at, places[old[at]]) for at in range(begin, end) if old[at] in once and old[at] in places]
    lowest: list[int] = []  # The new place that the best row of each length so far ends at,
    ends: list[int] = []  # the pair that it is,
    before: list[int] = []  # and for each pair, the one before it in its row.
    for number, (_, place) in enumerate(pairs):
        at = bisect_left(lowest, place)
        lowest[at : at + 1] = [place]
        ends[at : at + 1] = [number]
        before.append(ends[at - 1] if at else -1)
    row = []
    number = ends[-1] if ends else -1
    while number >= 0:
        row.append(pairs[number])
        number = before[number]
    return row[::-1]


def _myers(old: Sequence[str], new: Sequence[str], i: int, j: int, steps: list[int]) -> list[Block]:
    """What two stretches, which begin at `i` and `j`, have in common; nothing once the steps are used up."""
    if not (old and new):
        return []
    ends = {1: 0}
    """How far into `old` each diagonal has come."""
    trace: list[dict[int, int]] = []
    for distance in range(len(old) + len(new) + 1):
        steps[0] -= distance + 1
        if steps[0] < 0:
            return []
        trace.append(dict(ends))
        # What lies beyond the end of either stretch is not looked at.
        first = -distance + 2 * max(0, distance - len(new))
        last = distance - 2 * max(0, distance - len(old))
        for diagonal in range(first, last + 1, 2):
            x = begin = _next(ends, diagonal, distance)
            while x < len(old) and x - diagonal < len(new) and old[x] == new[x - diagonal]:
                x += 1
            steps[0] -= x - begin
            ends[diagonal] = x
        if ends.get(len(old) - len(new)) == len(old):
            break
    return _traced(trace, len(old), len(new), i, j)


def _next(ends: dict[int, int], diagonal: int, distance: int) -> int:
    """Where a diagonal goes on from its better neighbour: below, by an insertion, or above, by a deletion."""
    below, above = ends.get(diagonal + 1, -1), ends.get(diagonal - 1, -1)
    return below if diagonal == -distance or (diagonal != distance and above < below) else above + 1


def _traced(trace: list[dict[int, int]], x: int, y: int, i: int, j: int) -> list[Block]:
    """The way back from the end of both stretches, as what they have in common on it."""
    blocks: list[Block] = []
    for distance in range(len(trace) - 1, -1, -1):
        ends, diagonal = trace[distance], x - y
        begin = _next(ends, diagonal, distance)
        if begin < x:
            blocks.append((i + begin, j + begin - diagonal, x - begin))
        is_insertion = begin == ends.get(diagonal + 1, -1) and (
            diagonal == -distance or (diagonal != distance and ends.get(diagonal - 1, -1) < begin)
        )
        x = begin if is_insertion else begin - 1
        y = begin - diagonal - is_insertion
    return blocks[::-1]


# ---- hunks


def _hunks(found: Iterator[Change], context: int) -> Iterator[list[Change]]:
    """Changes so near to each other that their contexts touch are shown together."""
    hunk: list[Change] = []
    for change in found:
        if hunk and change[0] - hunk[-1][1] > 2 * context:
            yield hunk
            hunk = []
        hunk.append(change)
    if hunk:
        yield hunk


def _shown(hunk: list[Change], old: Sequence[str], new: Sequence[str], context: int) -> str:
    begin = max(0, hunk[0][0] - context)
    end = min(len(old), hunk[-1][1] + context)
    new_begin = hunk[0][2] - (hunk[0][0] - begin)
    new_end = hunk[-1][3] + (end - hunk[-1][1])
    lines = [f"@@ -{_range(begin, end)} +{_range(new_begin, new_end)} @@\n"]
    at = begin
    for i, i_end, j, j_end in hunk:
        lines += [_marked(" ", line) for line in old[at:i]]
        lines += [_marked("-", line) for line in old[i:i_end]]
        lines += [_marked("+", line) for line in new[j:j_end]]
        at = i_end
    lines += [_marked(" ", line) for line in old[at:end]]
    return "".join(lines)


def _range(begin: int, end: int) -> str:
    """Lines count from 1; an empty stretch is named by the line before it, and one line needs no length."""
    size = end - begin
    return f"{begin + 1}" if size == 1 else f"{begin + bool(size)},{size}"


def _marked(mark: str, line: str) -> str:
    return f"{mark}{line}" if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"
