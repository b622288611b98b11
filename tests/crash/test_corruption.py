"""One bit of the database is turned: what is read is right, or an error that says what is damaged."""

import asyncio
import shutil
from collections import Counter
from pathlib import Path
from random import Random

from crash_workload import AGENTS, FIRST_SEED, booted, calls_of, how_many, outcome, spawned

from aios.abi import syscalls as sc
from aios.abi import wire
from aios.abi.errors import AiosError
from aios.kernel.checking.whole import check

CALLS = 24
TOLD = {"corrupt", "unavailable", "internal"}


async def lived(folder: Path) -> tuple[dict[str, str], list[bytes]]:
    """A data folder in which agents have worked, their tokens, and all that can be read."""
    async with booted(folder) as kernel:
        tokens = await spawned(kernel)
        for name in AGENTS:
            for number, call in enumerate(calls_of(name, FIRST_SEED, CALLS)):
                await outcome(kernel, tokens[name], call, f"{name}-{number}")
        return tokens, [await told(kernel, tokens, name, call) for name, call in readings()]


def readings():
    for name in AGENTS:
        yield name, sc.MemoryRead()
        yield name, sc.MemoryHistories()
        yield name, sc.MemoryExport()
        yield name, sc.StorageList()
        for number in range(1, 10):
            yield name, sc.MemoryGet(note_id=f"n{number}")
            yield name, sc.MemoryHistory(note_id=f"n{number}")
        for path in ("a.txt", "b/c.txt", "b/d.txt"):
            yield name, sc.StorageRead(path=path)
            yield name, sc.StorageHistory(path=path)
    yield "operator", sc.AccessGroups()


async def told(kernel, tokens, name, call) -> bytes:
    try:
        return wire.encode(await kernel.trap(tokens[name], call))
    except AiosError as error:
        return wire.encode(error.to_reply())


async def answers(folder: Path, tokens: dict[str, str]) -> list[bytes]:
    async with booted(folder) as kernel:
        return [await told(kernel, tokens, name, call) for name, call in readings()]


def is_told(answer: bytes) -> bool:
    """Whether an answer says that something is damaged."""
    is_named = b'"damaged":["' in answer or b'"damaged":true' in answer
    return is_named or any(f'"code":"{code}"'.encode() in answer for code in TOLD)


def judged(folder: Path, tokens: dict[str, str], truth: list[bytes]) -> tuple[str, list[str]]:
    """What came of a bit that turned, and the calls that were answered wrongly."""
    try:
        found = asyncio.run(answers(folder, tokens))
    except AiosError:
        return "found at boot", []
    pairs = list(zip(readings(), truth, found, strict=True))
    wrong = [
        f"{call} {after[:200]!r}" for call, before, after in pairs if before != after and not is_told(after)
    ]
    if wrong:
        return "wrong", wrong
    return ("not read" if truth == found else "found when read"), []


def test_a_bit_that_turned_is_never_taken_for_what_was_written(tmp_path, count):
    data, copy = tmp_path / "data", tmp_path / "copy"
    tokens, truth = asyncio.run(lived(data))
    content = (data / "aios.db").read_bytes()
    rng, results, wrongs = Random(FIRST_SEED), Counter[str](), []
    for _ in range(how_many("BITS", 8)):
        shutil.copytree(data, copy)
        at = rng.randrange(len(content))
        turned = content[at] ^ 1 << rng.randrange(8)
        (copy / "aios.db").write_bytes(content[:at] + bytes([turned]) + content[at + 1 :])
        results["seen by fsck"] += bool(check(copy / "aios.db"))
        result, wrong = judged(copy, tokens, truth)
        results[result] += 1
        wrongs += wrong
        shutil.rmtree(copy)
    num_bits = results.total() - results["seen by fsck"]
    named = ", ".join(f"{number} {result}" for result, number in sorted(results.items()))
    count(f"{num_bits} bits turned: {named}; {results['wrong']} wrong answers")
    assert not wrongs
