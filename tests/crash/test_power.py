"""Power losses at any moment, with torn, dropped and reordered writes, under a whole kernel."""

import asyncio
import os
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from crash_planted import PLANTED_FOR_POWER
from crash_recording import check_content, check_whole, record, small_log
from crash_workload import FIRST_SEED, how_many

from fakes.power import MODES, PowerLoss

LIVES = ("close", "kill", "flush", "kill")
CALLS = 8
"""Of each agent in each life."""
PER_RECORDING = 500
RARE = ("a log is trusted whose flush had failed", "a reply is kept after its effect")
"""Planted faults that few power losses show."""
WHOLE_EVERY = 20
"""After every so many losses a whole kernel is booted, and asked again for what was on its way."""


def losses_of(folder: Path, num_losses: int, seed: int) -> Counter[str]:
    """What was found wrong, how often; the key "" counts what was right."""
    found: Counter[str] = Counter()
    live, after = folder / "live", folder / "after"
    with small_log():
        recording = asyncio.run(record(live, seed, CALLS, LIVES))
        rng = Random(seed)
        places = sorted(rng.randrange(len(recording.disk.changes) + 1) for _ in range(num_losses))
        power = PowerLoss(recording.disk.changes, {"aios.db": b""}, seed)
        for number, at in enumerate(places):
            power.advance(at)
            if recording.is_unsure(at) or at < recording.commits[0].durable_from:
                continue
            files = power.files(rng.choice(MODES), rng)
            files["operator.token"] = (live / "operator.token").read_bytes()
            write(after, files)
            wrong = check_content(recording, after, at)
            if not wrong and number % WHOLE_EVERY == 0:
                write(after, files)
                wrong = asyncio.run(check_whole(recording, after, at))
                found["whole"] += 1
            found[wrong] += 1
    shutil.rmtree(live)
    return found


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Make a folder that holds these files and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_nothing_acknowledged_is_lost_with_the_power(tmp_path, count):
    left, seed, found = how_many("POWER_LOSSES", 60), FIRST_SEED, Counter()
    while left > 0:
        found += losses_of(tmp_path, min(left, PER_RECORDING), seed)
        left, seed = left - PER_RECORDING, seed + 1
    num_whole, right = found.pop("whole", 0), found.pop("", 0)
    count(
        f"{right + found.total()} power losses with torn, dropped and reordered writes, {num_whole} of them "
        f"with a kernel that is asked again: {found.total()} wrong"
    )
    assert not found


@pytest.mark.parametrize("name", PLANTED_FOR_POWER)
def test_a_planted_fault_is_found(tmp_path, count, name, monkeypatch):
    if name in RARE and "AIOS_CRASH_PLANTED_LOSSES" not in os.environ:
        pytest.skip("shows in one of a hundred power losses and more: make test-crash")
    PLANTED_FOR_POWER[name](monkeypatch)
    found: Counter[str] = Counter()
    for seed in range(1, 6):
        found += losses_of(tmp_path, how_many("PLANTED_LOSSES", 60), seed)
        if found.total() > found[""] + found["whole"]:
            break
    del found["whole"]
    num_tried = found.total()
    del found[""]
    kinds = sorted({wrong.partition(":")[0] for wrong in found})
    count(f"planted, {name}: {found.total()} of {num_tried} power losses went wrong ({', '.join(kinds)})")
    assert found
