"""Who leaves first: LRU-K's order, bursts, and what the last of them was."""

import random

from aios.kernel.histories.lruk import BURST_S, NEVER, Queue, refer


class Entry:
    def __init__(self, name, size=1):
        self.name, self.size = name, size
        self.by, self.last, self.previous = 0, NEVER, NEVER

    def __repr__(self):
        return self.name


class Entries:
    """Entries by name, in a queue."""

    def __init__(self):
        self.queue = Queue()
        self.by_name = {}

    def use(self, name, by, now, size=1):
        entry = self.by_name.get(name)
        if entry is None:
            entry = self.by_name[name] = Entry(name, size)
            entry.by, entry.last = by, now
        refer(entry, by, now)
        self.queue.touched(entry)

    def order(self, now, num_bytes=10**9):
        return "".join(entry.name for entry in self.queue.coldest(num_bytes, now))


LATER = 2 * BURST_S


def test_what_was_used_by_one_only_leaves_before_what_several_used():
    entries = Entries()
    entries.use("a", 1, 0)
    entries.use("a", 2, 1)
    for name in "bc":
        for now in (2, 3, 4):
            entries.use(name, 1, now)
    assert entries.order(LATER) == "bca"


def test_of_what_was_used_again_the_last_time_but_one_counts():
    entries = Entries()
    for name, times in {"a": (0, 10), "b": (5, 6), "c": (1, 20)}.items():
        for by, now in enumerate(times):
            entries.use(name, by, now)
    assert entries.order(LATER) == "acb"
    entries.use("a", 7, 30)  # Its last but one is 10 now.
    assert entries.order(LATER) == "cba"


def test_one_history_coming_back_within_a_burst_counts_once_and_later_as_two():
    entries = Entries()
    entries.use("a", 1, 0)
    entries.use("a", 1, BURST_S)
    assert entries.by_name["a"].previous == NEVER
    entries.use("a", 1, 3 * BURST_S)
    assert entries.by_name["a"].previous == BURST_S


def test_what_is_in_a_burst_leaves_when_nothing_else_can():
    entries = Entries()
    uses = {0: ("a", 1), 5: ("e", 1), 10: ("c", 1), 20: ("d", 1), 30: ("d", 2), 40: ("e", 1)}
    for now, (name, by) in (uses | {1000: ("a", 2), 1001: ("b", 1)}).items():
        entries.use(name, by, now)
    assert entries.order(1002) == "cedba"


def test_what_was_used_once_by_one_that_ended_goes_first():
    entries = Entries()
    for at, name in enumerate("abc"):
        entries.use(name, at, at)
    entries.queue.leave([entries.by_name["c"]])
    assert entries.order(LATER) == "cab"
    entries.use("c", 2, 4)  # It runs again.
    assert entries.order(LATER) == "abc"


def test_no_more_leave_than_must():
    entries = Entries()
    for at, name in enumerate("abcdef"):
        entries.use(name, at, at, size=10)
    assert entries.order(LATER, num_bytes=20) == "ab"
    assert entries.order(LATER, num_bytes=21) == "abc"
    assert entries.order(LATER, num_bytes=0) == ""
    assert len(entries.queue) == 6


def test_the_order_is_that_of_sorting_all():
    """The queue does it without."""
    chance = random.Random(1)
    entries, gone = Entries(), {}
    for step in range(3000):
        now = step * 2.0
        name = chr(97 + min(int(chance.expovariate(0.1)), 400))
        entries.use(name, chance.randrange(3), now)
        gone.pop(name, None)
        if step % 7 == 0:
            left = chance.choice(sorted(entries.by_name))
            if entries.by_name[left].previous == NEVER:
                gone.setdefault(left, step)
            entries.queue.leave([entries.by_name[left]])
        if step % 5 == 0:
            removed = chance.choice(sorted(entries.by_name))
            entries.queue.remove(entries.by_name.pop(removed))
            gone.pop(removed, None)
        if step % 50 == 0:

            def rank(entry, now=now):
                is_fresh = now - entry.last <= BURST_S
                once = entry.previous == NEVER
                if entry.name in gone:
                    return (0, gone[entry.name])
                if once:
                    return (3 if is_fresh else 1, entry.last)
                return (4 if is_fresh else 2, entry.previous)

            expected = sorted(entries.by_name.values(), key=rank)
            found = entries.queue.coldest(10**9, now)
            assert [rank(entry) for entry in found] == [rank(entry) for entry in expected]
            assert len(set(found)) == len(found) == len(entries.queue)
