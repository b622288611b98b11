"""Histories of a whole kernel, drawn by lot, every rule checked at every moment; and bugs they must find.

A rule that nobody strains shows nothing, so contention is made likely by how a scenario is drawn
(`simulated/scenario.py`): 4 to 12 programs and their children, each with up to four calls at once, share one
to three cores of one to three slots; queues, windows, rates, memories and purses are small. In half of the
histories whoever waits does so until a multiple of 50 ms, and tokens take 10 or 50 ms: calls end, come, are
cancelled and suspended at the very same moment. A meddler cancels, suspends, kills and floods, often many.
`test_histories_reach_what_they_are_meant_to` holds that most slots are given while others wait for them, and
that all else that can happen does.

`AIOS_LONG=1000` lives through so many histories in place of two for each policy (`make test-long`).
"""

import os
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from simulated.bugs import BUGS, planted
from simulated.facts import Violation
from simulated.history import History, simulate
from simulated.scenario import POLICIES, scenario_of

FEW = 2 * len(POLICIES)
NUM_SEEDS = max(FEW, int(os.environ.get("AIOS_LONG", "0")))
PART = 10
"""Histories in one test."""
MOST_SEEDS = 40
"""In which each planted bug is found."""

REACHED = (
    *("answered", "cancelled", "context_overflow", "deadline_exceeded", "overloaded", "quota_exceeded"),
    *("unavailable", "evicted", "refused", "resumed", "stood in", "held with a snapshot", "nested llm"),
    *("gate done", "gate exhausted", "gate failed", "gate neutral", "gate overloaded", "gate rate_limited"),
    *("llm.generate preempted", "llm.generate retried", "process.kill done", "process.suspend done"),
    *("tool.call done", "tool.call cancelled", "memory.append done", "process.wait done"),
)
"""What must have happened in a few histories: otherwise they show nothing."""


@cache
def history(seed: int) -> History:
    return simulate(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, NUM_SEEDS, PART))
def test_no_rule_is_broken(first):
    for seed in range(first, first + PART):
        try:
            history(seed)
        except Violation as violation:
            pytest.fail(f"seed {seed}: {violation}")


def test_the_same_seed_gives_the_same_history():
    for seed in range(5):
        assert simulate(seed).events == history(seed).events, seed


@pytest.mark.slow
def test_histories_reach_what_they_are_meant_to():
    counts: Counter[str] = Counter()
    for seed in range(FEW):
        counts += history(seed).counts
    assert [name for name in REACHED if not counts[name]] == []
    assert counts["contended"] > counts["alone"], "most slots are wanted by several"


def test_every_policy_is_lived_through():
    assert {scenario_of(seed, Path()).config.scheduler.policy for seed in range(FEW)} == set(POLICIES)


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name):
    bug, told = BUGS[name], []
    with planted(bug):
        for seed in range(MOST_SEEDS):
            try:
                simulate(seed, bug.policy)
            except Violation as violation:
                if re.search(bug.shown_by, str(violation)):
                    return
                told.append(str(violation))
    pytest.fail(f"{MOST_SEEDS} histories do not show it; they tell of {told}")
