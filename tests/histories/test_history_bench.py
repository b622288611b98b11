"""The bench of histories, on runs made by hand: what it counts, and whom each policy sends away."""

import gzip

import msgspec
import pytest

from aios.abi.messages import Message
from aios.bench import data
from aios.bench.histories import bench, size
from aios.bench.histories.accesses import End, Growth, Reference, events_of, turns_of
from aios.bench.histories.policies import Belady, Lru, LruK, misses
from aios.bench.histories.runs import FILE, Run, read
from aios.kernel.histories.lruk import BURST_S
from aios.kernel.histories.rows import lines_of

POLICY = "You are an agent. " * 100


def run_of(number, turns=3):
    messages = [Message("system", POLICY)]
    for turn in range(turns):
        messages += [
            Message("user", f"{number} asks {turn} " * 20),
            Message("assistant", f"{turn} it is " * 9),
        ]
    return Run(f"agent-{number}", tuple(messages))


def references(text, each_s=1.0):
    """One reference of one byte for each letter, each by another history."""
    return [Reference(ord(letter), 1, by, by * each_s) for by, letter in enumerate(text)]


def all_misses(events, budget):
    return [misses(events, policy, budget) for policy in (LruK(), Lru(), Belady(events))]


def test_each_call_asks_with_all_that_was_said_before():
    run = run_of(1)
    turns = run.turns()
    assert [[message.role for message in turn] for turn in turns] == [
        ["system", "user"],
        ["assistant", "user"],
        ["assistant", "user"],
    ]
    assert sum(turns, ()) == run.messages[:-1]


def test_runs_are_read_in_the_form_of_the_openai_api(tmp_path):
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id": 7}'}}
    messages = [
        {"role": "user", "content": "where?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "there", "tool_call_id": "c1", "name": "find"},
    ]
    lines = msgspec.json.encode({"messages": messages}) + b"\n"
    (tmp_path / FILE).write_bytes(gzip.compress(2 * lines))
    [run] = read(tmp_path / FILE, 1)
    assert run.messages[1].tool_calls[0].arguments == {"id": 7}
    assert (run.messages[1].text, run.messages[2].tool_call_id) == ("", "c1")
    assert len(read(tmp_path / FILE)) == 2


@pytest.mark.parametrize("width", [1, 2, 9])
def test_every_turn_comes_once_in_its_order_so_many_runs_at_a_time(width):
    runs = [run_of(number, turns=2 + number % 3) for number in range(7)]
    seen, last = {}, 0.0
    for now, number, turn in turns_of(runs, width, 0):
        assert now >= last
        seen.setdefault(number, []).append(turn)
        last = now
        is_open = [turns for at, turns in seen.items() if len(turns) < len(runs[at].turns())]
        assert len(is_open) <= width
    assert seen == {number: list(range(len(run.turns()))) for number, run in enumerate(runs)}


async def test_references_are_those_that_reading_needs(histories):
    runs = [run_of(number) for number in range(3)]
    events = await histories.store.write(lambda connection: events_of(connection, runs, 2, 0))
    assert sum(isinstance(event, End) for event in events) == 3
    users = {}
    for event in events:
        if isinstance(event, Reference):
            users.setdefault(event.node_id, set()).add(event.by)
    assert [len(by) for by in users.values() if len(by) > 1] == [3]  # What all of them begin with.
    sizes = {event.node_id: event.size for event in events if not isinstance(event, End)}
    kept = await histories.all("SELECT sum(length(body)) FROM history_bodies")
    tails = await histories.all("SELECT coalesce(sum(length(body)), 0) FROM history_tails")
    assert sum(sizes.values()) == kept[0][0] + tails[0][0]


def test_misses_are_what_each_policy_comes_to():
    #                      a b c: LRU keeps b c and misses all again; Belady keeps a.
    assert all_misses(references("abcabc"), 2)[1:] == [6, 4]
    assert all_misses(references("aaaa"), 1) == [1, 1, 1]
    assert all_misses(references("abcabc"), 3) == [3, 3, 3]


def test_lru_k_keeps_what_several_used_and_lru_what_was_used_last():
    events = references("aabacadaea", each_s=2 * BURST_S)
    assert all_misses(events, 2) == [5, 5, 5]
    events = references("aabcdabcda", each_s=2 * BURST_S)
    lruk, lru, belady = all_misses(events, 2)
    assert belady <= lruk < lru


def test_what_is_written_is_there_and_what_is_gone_takes_no_room():
    written = Reference(1, 5, 0, 0.0, is_new=True)
    for policy in (LruK(), Lru(), Belady([written, Reference(1, 5, 0, 1.0)])):
        assert misses([written, Reference(1, 5, 0, 1.0)], policy, 5) == 0
    events = [Reference(1, 5, 0, 0.0), Growth(1, 0), Reference(2, 5, 0, 1.0), Reference(2, 5, 0, 2.0)]
    assert all_misses(events, 5) == [2, 2, 2]
    events = [Reference(1, 2, 0, 0.0), Reference(2, 2, 0, 1.0), Growth(2, 4), Reference(2, 4, 0, 2.0)]
    assert misses(events, Lru(), 4) == 2


def test_whose_agent_has_ended_leaves_first():
    events = [Reference(1, 1, 1, 0.0), Reference(2, 1, 2, 1.0), End(2), Reference(3, 1, 3, 2.0)]
    assert misses([*events, Reference(1, 1, 1, 3.0)], LruK(), 2) == 3
    assert misses([*events, Reference(1, 1, 1, 3.0)], Lru(), 2) == 4


async def test_sizes_are_those_of_whole_histories(monkeypatch):
    monkeypatch.setattr(size, "FIRST_BYTES", 500)
    runs = [run_of(number) for number in range(4)]
    measured = await size.measure(runs)
    asked = [sum(run.turns()[: at + 1], ()) for run in runs for at in range(3)]
    assert (measured.num_calls, measured.raw) == (12, sum(len(lines_of(messages)) for messages in asked))
    assert measured.kept < measured.text < measured.raw
    least = len(lines_of(runs[0].messages[:1])) + sum(len(lines_of(run.messages[1:-1])) for run in runs)
    assert measured.text <= least
    assert measured.zstd < measured.raw


def test_without_the_runs_it_says_so_and_measures_nothing(monkeypatch):
    monkeypatch.setattr(data, "find", lambda name: None)
    said = []
    result = bench.run(True, 0, said.append)
    assert (result.rows, result.goals) == ([], {})
    assert FILE in said[0]


def test_the_goals_go_by_the_worst_of_the_budgets():
    sizes = size.Size(num_calls=2, raw=300, zstd=100, text=40, kept=20, disk=60, resident=30, counted=25)
    judged = [bench.Misses(1, 0.1, 50, 10, 10, 8), bench.Misses(24, 0.5, 50, 6, 9, 6)]
    found = [*judged, bench.Misses(50, 0.1, 9, 9, 1, 1)]
    values = {key: goal.value for key, goal in bench._goals(sizes, found, False).items()}
    assert values == {
        "memory.trie_over_raw": 15.0,
        "memory.resident_over_raw": 10.0,
        "memory.trie_over_zstd": 5.0,
        "memory.lruk_over_belady": 1.25,
        "memory.lruk_over_lru": 1.0,
    }
