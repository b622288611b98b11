"""The built-in tools: what a model reads as their results, on files and notes held in memory."""

import pytest

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError, InvalidArgument, NotFound
from aios.bench.tasks.world import World
from aios.drivers.toolbox import BUILTIN, ToolContext

NOON = 1_900_000_000.0


@pytest.fixture
def use():
    world = World()
    context = ToolContext(world, lambda: NOON)
    tools = {tool.spec.name: tool.run for tool in BUILTIN}

    async def run(name, **arguments):
        return await tools[name](arguments, context)

    run.world = world
    return run


async def test_arithmetic_units_and_dates(use):
    assert await use("calculate", expression="6 * 7") == "42"
    assert await use("convert_units", value=2, from_unit="km", to_unit="m") == "2000 m"
    assert await use("add_days", date="2024-02-28", days=2) == "2024-03-01"
    assert await use("add_days", date="2024-03-01", days=-1) == "2024-02-29"
    assert await use("days_between", start="2024-01-01", end="2023-12-25") == "-7 days"
    assert await use("weekday", date="2026-11-20") == "Friday"
    assert await use("current_time") == "2030-03-17 17:46 UTC, Sunday"


@pytest.mark.parametrize("date", ["2023-02-30", "tomorrow", "", "2024-13-01"])
async def test_what_is_no_date_is_refused(use, date):
    for name, arguments in (("weekday", {"date": date}), ("add_days", {"date": date, "days": 1})):
        with pytest.raises(InvalidArgument):
            await use(name, **arguments)


@pytest.mark.parametrize("days", [10**7, -(10**7), 10**40])
async def test_a_date_beyond_the_calendar_is_refused(use, days):
    with pytest.raises(InvalidArgument):
        await use("add_days", date="2024-01-01", days=days)


async def test_notes_are_kept_found_changed_and_forgotten(use):
    assert await use("remember", text="Ann's desk is 12", tags=["office"]) == "kept as n1"
    assert await use("remember", text="Bo's car is red") == "kept as n2"
    assert (await use("recall", text="Ann's desk", limit=1)) == "n1: Ann's desk is 12"
    assert await use("update_note", note_id="n1", text="Ann's desk is 14") == "updated n1"
    assert await use("forget", note_id="n2") == "removed n2"
    assert await use("recall", text="desk") == "n1: Ann's desk is 14"
    assert use.world.notes == {"n1": "Ann's desk is 14"}


async def test_recall_with_no_notes_says_so(use):
    assert await use("recall", text="anything") == "nothing found"


async def test_whole_numbers_may_be_written_with_a_point_and_long_texts_are_cut():
    calls = []
    tools = {tool.spec.name: tool.run for tool in BUILTIN}

    async def record(call):
        calls.append(call)
        entry = sc.FileEntry("x", "alice", 3, 0, NOON, NOON)
        return sc.NoteHits(()) if isinstance(call, sc.MemorySearch) else entry

    context = ToolContext(record, lambda: NOON)
    await tools["recall"]({"text": "tea " * 5000, "limit": 5.0}, context)
    back = await tools["rollback_file"]({"path": "x", "version": 1.0}, context)
    assert back == "x is back to version 1 (now version 3)"
    search, rollback = calls
    assert search == sc.MemorySearch(text="tea " * 1024, limit=5)
    assert [type(number) for number in (search.limit, rollback.version)] == [int, int]


async def test_files_are_written_read_listed_and_found(use):
    assert await use("write_file", path="a/one.txt", content="red lamp") == "wrote a/one.txt (version 1)"
    assert await use("append_file", path="a/one.txt", content="!") == "appended to a/one.txt (version 2)"
    assert await use("write_file", path="two.txt", content="") == "wrote two.txt (version 1)"
    assert await use("read_file", path="a/one.txt") == "red lamp!"
    assert await use("read_file", path="two.txt") == "(empty)"
    assert await use("list_files") == "a/one.txt\ntwo.txt"
    assert await use("list_files", folder="a") == "a/one.txt"
    assert await use("list_files", folder="b") == "no files"
    assert await use("search_files", text="lamp") == "a/one.txt"
    assert await use("search_files", text="moon") == "nothing found"


async def test_versions_come_back_and_deleted_files_are_gone(use):
    await use("write_file", path="x", content="one")
    await use("write_file", path="x", content="three")
    assert await use("file_history", path="x") == "version 1: write, 3 bytes\nversion 2: write, 5 bytes"
    assert await use("rollback_file", path="x", version=1) == "x is back to version 1 (now version 3)"
    assert await use("read_file", path="x") == "one"
    assert await use("delete_file", path="x") == "deleted x"
    with pytest.raises(NotFound):
        await use("read_file", path="x")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("read_file", {"path": "x"}),
        ("delete_file", {"path": "x"}),
        ("file_history", {"path": "x"}),
        ("rollback_file", {"path": "x", "version": 1}),
        ("update_note", {"note_id": "n9", "text": "t"}),
        ("forget", {"note_id": "n9"}),
    ],
)
async def test_what_is_not_there_is_a_typed_error(use, name, arguments):
    with pytest.raises(AiosError) as caught:
        await use(name, **arguments)
    assert caught.value.code == "not_found"


def test_every_tool_says_what_it_takes():
    for tool in BUILTIN:
        schema = tool.spec.parameters
        assert tool.spec.description
        assert set(schema["required"]) <= set(schema["properties"])
        assert schema["additionalProperties"] is False


async def test_a_tag_is_kept_once(use):
    await use("remember", text="Ann's desk is 12", tags=["office", "desks", "office"])
    assert use.world.tags == {"n1": ("office", "desks")}
