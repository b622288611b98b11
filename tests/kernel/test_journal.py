"""The journal: the story of a task, the numbers made from it, and its file."""

import asyncio
from collections import deque

import msgspec
import pytest
from driving import boot, settle_down

from aios.abi import syscalls as sc
from aios.abi.errors import NotFound
from aios.drivers.clock import ManualClock
from aios.drivers.linefile import BUFFER_BYTES, LineFile
from aios.kernel.config import JournalConfig
from aios.kernel.journal import Event, Journal, percentiles_ms


async def test_the_story_of_an_interrupted_generation(tmp_path, ask):
    async with boot(tmp_path, slots=1, quantum=1) as run:
        events: list[Event] = []
        unsubscribe = run.kernel.journal.subscribe(events.append)
        calls = [run.begin(1, ask(seed=seed, max_tokens=2)) for seed in (1, 2)]
        await run.stepper.run_out()
        for call in calls:
            await call
        unsubscribe()
        await run.call(1, sc.ProcessList())
    stories = {
        id: [event.kind for event in events if event.task == id] for id in {event.task for event in events}
    }
    assert list(stories.values()) == [["created", "started", "preempted", "started", "done"]] * 2


async def test_numbers_by_group_and_by_error(run):
    await run.call(1, sc.MemoryAdd(text="x"))
    with pytest.raises(NotFound):
        await run.call(1, sc.MemoryGet(note_id="n2"))
    agent = await run.spawn()
    with pytest.raises(NotFound):
        await run.call(agent.pid, sc.MemoryGet(note_id="n1", owner="operator"))
    statistics = run.kernel.statistics()
    assert statistics["syscalls"] == {"memory": 3, "process": 1}
    assert statistics["errors"] == {"not_found": 2}


def test_the_newest_events_are_kept():
    journal = Journal(max_events=2, max_samples=1)
    for number in range(5):
        journal.record(0.0, "created", number, 1, "x")
    assert [event.task for event in journal.events] == [3, 4]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([], (0.0, 0.0, 0.0, 0.0)),
        ([2.0], (2000.0, 2000.0, 2000.0, 2000.0)),
        ([number / 1000 for number in range(100, 0, -1)], (50.5, 50.0, 90.0, 99.0)),
    ],
)
def test_percentiles_are_by_nearest_rank(seconds, expected):
    assert tuple(percentiles_ms(deque(seconds)).values()) == expected


async def test_the_file_has_every_event(tmp_path):
    async with boot(tmp_path, journal=JournalConfig(file="journal.jsonl")) as run:
        await run.call(1, sc.ProcessList())
        run.clock.advance(1.0)
        assert len((tmp_path / "journal.jsonl").read_bytes().splitlines()) == 3
        await run.call(1, sc.ProcessList())
    lines = (tmp_path / "journal.jsonl").read_bytes().splitlines()
    kinds = [msgspec.json.decode(line, type=Event).kind for line in lines]
    assert kinds == ["created", "started", "done"] * 2


def test_a_line_file_is_bounded(tmp_path):
    file = LineFile(tmp_path / "lines", BUFFER_BYTES, ManualClock())
    for _ in range(10 * BUFFER_BYTES // 1000):
        file.append(b"x" * 999)
    file.flush()
    sizes = sorted(one.stat().st_size for one in tmp_path.iterdir())
    assert [one.name for one in sorted(tmp_path.iterdir())] == ["lines", "lines.1"]
    assert sizes[-1] <= 2 * BUFFER_BYTES


def test_a_line_file_that_cannot_be_written_drops_and_counts(tmp_path, caplog):
    file = LineFile(tmp_path / "no" / "lines", 1000, ManualClock())
    for _ in range(2):
        file.append(b"x")
        file.flush()
    assert file.num_dropped == 2
    assert len(caplog.records) == 1


async def test_a_subscriber_that_raises_loses_no_answer(run):
    def raises(event: Event) -> None:
        if event.kind == "done":
            raise RuntimeError("full")

    unsubscribe = run.kernel.journal.subscribe(raises)
    call = run.begin(1, sc.ProcessList())
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    await settle_down()
    unsubscribe()
    assert call.done()
    assert isinstance(await call, sc.ProcessEntries)
