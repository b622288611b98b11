"""Files: what an entry says, parts, bindings, folders, moves, diffs, search, owners, limits, damage."""

import asyncio
import base64

import pytest
from inline import InlineFiles

from aios.abi import syscalls as sc
from aios.abi.errors import Conflict, Corrupt, InvalidArgument, NotFound, QuotaExceeded, TooLarge
from aios.kernel.config import StorageConfig
from aios.kernel.files import comparing
from aios.kernel.files.pieces import MAX_TAIL


@pytest.fixture
def managers():
    return InlineFiles()


@pytest.fixture
def agent(managers):
    return managers.agent()


async def test_what_an_entry_says(managers, agent):
    first = await agent(sc.StorageCreate(path="notes/a.md", content="é"))
    created = managers.clock.time()
    assert first == sc.FileEntry("notes/a.md", "alice", 1, 2, created, created)
    managers.clock.advance(3)
    bob = managers.agent("bob")
    second = await bob(sc.StorageAppend(path="notes/a.md", content="x", owner="alice"))
    assert second == sc.FileEntry("notes/a.md", "alice", 2, 3, created, created + 3)
    assert (await agent(sc.StorageStat(path="notes/a.md"))) == second
    assert (await agent(sc.StorageHistory(path="notes/a.md"))).versions == (
        sc.FileVersion(1, 2, created, "alice", "create", "notes/a.md"),
        sc.FileVersion(2, 1 + 2, created + 3, "bob", "append", "notes/a.md"),
    )


async def test_errors_say_what_is_there(agent):
    await agent(sc.StorageWrite(path="x.md", content="1"))
    with pytest.raises(NotFound, match=r"'x\.md' has 1 version; there is no version 5"):
        await agent(sc.StorageRead(path="x.md", version=5))
    await agent(sc.StorageWrite(path="x.md", content="2"))
    for call in (sc.StorageRead, sc.StorageRollback):
        with pytest.raises(NotFound, match=r"'x\.md' has 2 versions; there is no version \d+"):
            await agent(call(path="x.md", version=2**70))
    with pytest.raises(Conflict, match=r"there is already a file 'x\.md'"):
        await agent(sc.StorageCreate(path="x.md"))
    for call in (sc.StorageHistory(path="y"), sc.StorageRollback(path="y", version=1)):
        with pytest.raises(NotFound, match="there is no file 'y'"):
            await agent(call)


async def test_bytes_travel_as_base64(agent):
    content = base64.b64encode(b"\xff\x00\xfe").decode()
    await agent(sc.StorageWrite(path="x", content=content, encoding="base64"))
    assert await agent(sc.StorageRead(path="x")) == sc.FileContent("x", 1, content, "base64", end=3, size=3)
    text = base64.b64encode("né".encode()).decode()
    await agent(sc.StorageWrite(path="x", content=text, encoding="base64"))
    assert await agent(sc.StorageRead(path="x")) == sc.FileContent("x", 2, "né", end=3, size=3)
    raw = sc.FileContent("x", 2, data="né".encode(), end=3, size=3)
    assert await agent(sc.StorageRead(path="x", as_bytes=True)) == raw


@pytest.mark.parametrize(
    "call",
    [
        sc.StorageWrite(path="x", content="?", encoding="base64"),
        sc.StorageWrite(path="x", content="é", encoding="base64"),
        sc.StorageWrite(path="x", content="\ud800"),
        sc.StorageWrite(path="../x", content=""),
        sc.StorageRead(path="/x"),
        sc.StorageDelete(path="x/"),
        sc.StorageList(folder="../x"),
    ],
)
async def test_bad_arguments_are_refused_and_change_nothing(agent, call):
    with pytest.raises(InvalidArgument):
        await agent(call)
    assert (await agent(sc.StorageList())).files == ()


async def test_appends_at_the_same_time_all_land(tmp_path, at):
    async with at(tmp_path) as managers:
        agents = [managers.agent(f"agent.{number}") for number in range(20)]
        appends = [
            agent(sc.StorageAppend(path="log", content=f"{number}.{line}\n", owner="alice"))
            for line in range(2 * MAX_TAIL // 20)
            for number, agent in enumerate(agents)
        ]
        versions = sorted([entry.version for entry in await asyncio.gather(*appends)])
        assert versions == list(range(1, len(appends) + 1))
        alice = managers.agent()
        lines = (await alice(sc.StorageRead(path="log"))).content.splitlines()
        assert sorted(lines) == sorted(f"{number}.{line}" for line in range(6) for number in range(20))
        assert (await alice(sc.StorageRead(path="log", version=70))).content.count("\n") == 70


async def test_owners_do_not_meet(managers, agent):
    bob = managers.agent("bob")
    await agent(sc.StorageWrite(path="plan", content="alice's secret"))
    await bob(sc.StorageWrite(path="plan", content="bob's secret"))
    await bob(sc.StorageDelete(path="plan"))
    assert (await agent(sc.StorageRead(path="plan"))).content == "alice's secret"
    assert (await bob(sc.StorageSearch(text="secret"))).hits == ()
    assert (await bob(sc.StorageList())).files == ()
    assert (await bob(sc.StorageRead(path="plan", owner="alice"))).content == "alice's secret"


async def test_lists_and_histories_keep_their_limits(agent):
    for number in range(5):
        await agent(sc.StorageWrite(path=f"f{number}", content="x"))
        await agent(sc.StorageWrite(path="f0", content=str(number)))
    assert [file.path for file in (await agent(sc.StorageList(limit=2))).files] == ["f0", "f1"]
    newest = (await agent(sc.StorageHistory(path="f0", limit=2))).versions
    assert [version.version for version in newest] == [5, 6]


async def names(agent, text, **fields):
    return [hit.file.path for hit in (await agent(sc.StorageSearch(text=text, **fields))).hits]


async def test_files_are_found_by_their_words_and_names_best_first(agent):
    await agent(sc.StorageWrite(path="reports/march.md", content="The budget grew. The budget is 12."))
    await agent(sc.StorageWrite(path="reports/april.md", content="Of all they said, one word on the budget"))
    await agent(sc.StorageWrite(path="animals.txt", content="Penguins run."))
    assert await names(agent, "what was the budget?") == ["reports/march.md", "reports/april.md"]
    assert await names(agent, "penguin running") == ["animals.txt"]
    assert await names(agent, "April") == ["reports/april.md"]
    assert await names(agent, "peng") == ["animals.txt"]
    assert await names(agent, "zebra") == []
    assert await names(agent, "budget", limit=1) == ["reports/march.md"]


async def test_a_search_sees_what_files_are_now(agent):
    await agent(sc.StorageWrite(path="x", content="apples"))
    await agent(sc.StorageAppend(path="x", content=" and pears"))
    assert await names(agent, "apples") == await names(agent, "pears") == ["x"]
    await agent(sc.StorageWrite(path="x", content="plums"))
    assert await names(agent, "apples pears") == []
    await agent(sc.StorageRollback(path="x", version=2))
    assert await names(agent, "plums") == []
    assert await names(agent, "apples pears") == ["x"]
    await agent(sc.StorageDelete(path="x"))
    assert await names(agent, "apples") == []
    await agent(sc.StorageAppend(path="x", content="cherries"))
    assert (await names(agent, "apples"), await names(agent, "cherries")) == ([], ["x"])


async def test_a_snippet_shows_the_place_that_was_found(agent):
    await agent(
        sc.StorageWrite(path="x", content="a b c. " * 100 + "Here are the penguins.\n" + "d e. " * 100)
    )
    ((hit),) = (await agent(sc.StorageSearch(text="penguin"))).hits
    assert "Here are the penguins." in hit.snippet
    assert hit.snippet.startswith("…")
    assert hit.snippet.endswith("…")
    assert len(hit.snippet) < 200


async def test_limits():
    managers = InlineFiles(StorageConfig(max_file_bytes=100, max_files=2, max_owner_bytes=2000))
    agent = managers.agent()
    await agent(sc.StorageWrite(path="a", content="x" * 100))
    for call in (sc.StorageAppend(path="a", content="x"), sc.StorageWrite(path="b", content="é" * 51)):
        with pytest.raises(TooLarge, match="a file may have 100"):
            await agent(call)
    await agent(sc.StorageWrite(path="b", content="x"))
    with pytest.raises(QuotaExceeded, match="2 files"):
        await agent(sc.StorageWrite(path="c", content=""))
    await agent(sc.StorageDelete(path="b"))
    await agent(sc.StorageWrite(path="c", content=""))
    with pytest.raises(QuotaExceeded, match="2 files"):
        await agent(sc.StorageRollback(path="b", version=1))
    writes = [agent(sc.StorageWrite(path="a", content="y" * 100)) for _ in range(10)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, QuotaExceeded)]
    assert "2000 bytes" in refused[0].message
    assert (await agent(sc.StorageStat(path="a"))).version == 1 + len(outcomes) - len(refused)
    await managers.agent("bob")(sc.StorageWrite(path="c", content=""))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE file_chunks SET content = x'62' || substr(content, 2) WHERE id = 2",
        "UPDATE file_chunks SET content = 'text' WHERE id = 2",
        "UPDATE file_pieces SET chunk = 1 WHERE docid = 2 AND version = 1",
        "UPDATE file_pieces SET start = 1 WHERE docid = 2 AND version = 1",
        "UPDATE file_pieces SET merged = 2 WHERE docid = 2 AND version = 1",
        "DELETE FROM file_pieces WHERE docid = 2 AND version = 1",
        "UPDATE file_versions SET author = 'mallory' WHERE docid = 2",
        "UPDATE file_versions SET base = base + 1 WHERE docid = 2",
        "DELETE FROM file_versions WHERE docid = 2",
    ],
)
async def test_damage_is_found_out_and_the_rest_is_served(managers, agent, damage):
    await agent(sc.StorageWrite(path="good", content="good"))
    await agent(sc.StorageWrite(path="bad", content="aaa"))
    await agent(sc.StorageAppend(path="bad", content="b"))
    await managers.store.write(lambda c: c.execute(damage).get)
    for version in (None, 2, 1):
        with pytest.raises(Corrupt, match="'bad'"):
            await agent(sc.StorageRead(path="bad", version=version))
    assert (await agent(sc.StorageRead(path="good"))).content == "good"
    assert (await agent(sc.StorageSearch(text="good"))).hits
    await agent(sc.StorageWrite(path="bad", content="anew"))
    assert (await agent(sc.StorageRead(path="bad"))).content == "anew"


async def test_a_damaged_entry_is_listed_as_that_and_fails_alone(managers, agent):
    for path in ("bad", "good"):
        await agent(sc.StorageWrite(path=path, content="tea"))
    await managers.store.write(lambda c: c.execute("UPDATE files SET size = 2 WHERE path = 'bad'").get)
    bad, good = (await agent(sc.StorageList())).files
    assert (bad.path, bad.damaged, good.damaged) == ("bad", True, False)
    for call in (sc.StorageRead, sc.StorageStat, sc.StorageHistory, sc.StorageDelete):
        with pytest.raises(Corrupt, match="'bad'"):
            await agent(call(path="bad"))
    assert await names(agent, "tea") == ["good"]
    assert (await agent(sc.StorageRead(path="good"))).content == "tea"


@pytest.mark.parametrize(
    ("damage", "call"),
    [
        ("UPDATE file_owners SET num_bytes = 0", sc.StorageWrite(path="x", content="")),
        ("UPDATE file_folders SET created = 1", sc.StorageMove(path="folder", to="elsewhere")),
        ("UPDATE file_locks SET token = 5", sc.StorageWrite(path="locked", content="")),
        ("UPDATE file_shares SET version = 2", sc.StorageShares()),
        ("UPDATE file_keys SET key = x'00'", sc.StorageShares()),
    ],
)
async def test_every_row_is_checked_when_it_is_read(managers, agent, damage, call):
    await agent(sc.StorageMkdir(path="folder"))
    await agent(sc.StorageWrite(path="x", content=""))
    await agent(sc.StorageLock(path="locked"))
    await agent(sc.StorageShare(path="x"))
    await managers.store.write(lambda c: c.execute(damage).get)
    with pytest.raises(Corrupt, match="checksum"):
        await agent(call)


@pytest.mark.parametrize(
    ("start", "length", "content", "end"),
    [
        (0, None, "aé日𝄞b", 11),
        (1, None, "é日𝄞b", 11),
        (2, None, "日𝄞b", 11),
        (0, 5, "aé", 3),
        (3, 1, "日", 6),
        (6, 4, "𝄞", 10),
        (8, 4, "b", 11),
        (9, 1, "b", 11),
        (11, 5, "", 11),
        (500, 5, "", 11),
    ],
)
async def test_a_part_of_a_text_is_whole_characters(agent, start, length, content, end):
    await agent(sc.StorageWrite(path="x", content="aé日𝄞b"))
    found = await agent(sc.StorageRead(path="x", start=start, length=length))
    assert (found.content, found.encoding, found.end, found.size) == (content, "utf-8", end, 11)


@pytest.mark.parametrize("length", [1, 3, 7])
async def test_parts_of_a_text_one_after_the_other_are_the_text(agent, length):
    text = "für 日本 𝄞𝄞 und ñ" * 5
    await agent(sc.StorageWrite(path="x", content=text))
    found, start = [], 0
    while True:
        part = await agent(sc.StorageRead(path="x", start=start, length=length))
        found.append(part.content)
        start = part.end
        if part.end == part.size:
            break
    assert "".join(found) == text


async def test_more_than_one_reply_holds_is_read_in_parts(managers, agent):
    upload = await agent(sc.StorageUpload(path="large"))
    parts = [bytes([number]) * sc.MAX_PART_BYTES for number in range(3)]
    for number, data in enumerate(parts):
        call = sc.StoragePart(upload_id=upload.id, start=number * sc.MAX_PART_BYTES, data=data)
        await agent(call)
    size = 3 * sc.MAX_PART_BYTES
    await agent(sc.StorageCommit(upload_id=upload.id, path="large", size=size))
    with pytest.raises(TooLarge, match="in parts"):
        await agent(sc.StorageRead(path="large"))
    read = sc.StorageRead(path="large", start=sc.MAX_PART_BYTES - 1, length=2, as_bytes=True)
    assert (await agent(read)).data == b"\0\1"


async def test_a_version_that_a_change_is_bound_to(agent):
    await agent(sc.StorageWrite(path="x", content="1", if_version=0))
    await agent(sc.StorageAppend(path="x", content="2", if_version=1))
    for call in (
        sc.StorageWrite(path="x", content="", if_version=1),
        sc.StorageAppend(path="x", content="", if_version=1),
        sc.StorageDelete(path="x", if_version=1),
        sc.StorageMove(path="x", to="y", if_version=1),
        sc.StorageRollback(path="x", version=1, if_version=1),
        sc.StoragePrune(path="x", if_version=1),
    ):
        with pytest.raises(Conflict, match="'x' is at version 2, not 1"):
            await agent(call)
    with pytest.raises(Conflict, match="not there any more"):
        await agent(sc.StorageWrite(path="y", content="", if_version=1))
    with pytest.raises(Conflict, match="already a file 'x'"):
        await agent(sc.StorageWrite(path="x", content="", if_version=0))


async def test_a_folder_is_bound_to_the_newest_change_in_it(agent):
    await agent(sc.StorageWrite(path="f/x", content="1"))
    seen = await agent(sc.StorageStat(path="f"))
    await agent(sc.StorageWrite(path="g", content="elsewhere"))
    assert await agent(sc.StorageStat(path="f")) == seen
    await agent(sc.StorageWrite(path="f/y", content="2"))
    with pytest.raises(Conflict, match="'f' is at version"):
        await agent(sc.StorageDelete(path="f", deep=True, if_version=seen.version))
    seen = await agent(sc.StorageStat(path="f"))
    await agent(sc.StorageDelete(path="f", deep=True, if_version=seen.version))
    assert [file.path for file in (await agent(sc.StorageList())).files] == ["g"]


async def test_a_folder_goes_back_to_a_time_and_forward_again(managers, agent):
    await agent(sc.StorageWrite(path="f/a", content="a1"))
    await agent(sc.StorageWrite(path="f/b", content="b1"))
    then = managers.clock.time()
    managers.clock.advance(10)
    await agent(sc.StorageWrite(path="f/a", content="a2"))
    await agent(sc.StorageDelete(path="f/b"))
    await agent(sc.StorageWrite(path="f/c", content="c1"))
    later = (await agent(sc.StorageStat(path="f"))).version
    await agent(sc.StorageRollback(path="f/", time=then + 1))
    assert await contents(agent) == {"f/a": "a1", "f/b": "b1"}
    await agent(sc.StorageRollback(path="f", version=later))
    assert await contents(agent) == {"f/a": "a2", "f/c": "c1"}
    told = (await agent(sc.StorageHistory(path="f"))).versions
    assert [(one.path, one.verb) for one in told][5:] == [
        *(("f/c", "delete"), ("f/a", "rollback"), ("f/b", "rollback")),
        *(("f/b", "delete"), ("f/a", "rollback"), ("f/c", "rollback")),
    ]
    assert [one.version for one in told] == sorted({one.version for one in told})
    page = (await agent(sc.StorageHistory(path="f", limit=2, before=told[-1].version))).versions
    assert page == told[-3:-1]


async def contents(agent):
    files = (await agent(sc.StorageList())).files
    return {file.path: (await agent(sc.StorageRead(path=file.path))).content for file in files}


async def test_what_a_rollback_needs(agent):
    await agent(sc.StorageWrite(path="x", content=""))
    for fields in ({}, {"version": 1, "time": 1.0}):
        with pytest.raises(InvalidArgument, match="one of the two"):
            await agent(sc.StorageRollback(path="x", **fields))
    with pytest.raises(NotFound, match="no file 'x' then"):
        await agent(sc.StorageRollback(path="x", time=1.0))
    with pytest.raises(NotFound, match="there is no file 'nothing'"):
        await agent(sc.StorageRollback(path="nothing", version=1))


async def test_a_move_leaves_the_versions_and_takes_the_content(agent):
    await agent(sc.StorageWrite(path="secret/plan", content="draft"))
    await agent(sc.StorageWrite(path="secret/plan", content="final", label="untrusted", source="web"))
    moved = await agent(sc.StorageMove(path="secret/plan", to="public/plan"))
    assert (moved.path, moved.version, moved.label) == ("public/plan", 1, "untrusted")
    (arrived,) = (await agent(sc.StorageHistory(path="public/plan"))).versions
    assert (arrived.verb, arrived.other, arrived.source) == ("move", "secret/plan", "web")
    gone = (await agent(sc.StorageHistory(path="secret/plan"))).versions[-1]
    assert (gone.verb, gone.other) == ("delete", "public/plan")
    assert (await agent(sc.StorageRead(path="secret/plan", version=1))).content == "draft"


async def test_names_of_files_and_folders_do_not_meet(agent):
    await agent(sc.StorageWrite(path="a/b", content=""))
    await agent(sc.StorageMkdir(path="made"))
    for path in ("a", "made"):
        for call in (
            sc.StorageWrite(path=path, content=""),
            sc.StorageCreate(path=path),
            sc.StorageAppend(path=path, content=""),
            sc.StorageMkdir(path=path),
            sc.StorageMove(path="a/b", to=path) if path == "made" else sc.StorageMkdir(path=path),
        ):
            with pytest.raises(Conflict, match=f"already a folder '{path}'"):
                await agent(call)
    for call in (sc.StorageWrite(path="a/b/c/d", content=""), sc.StorageMkdir(path="a/b/c")):
        with pytest.raises(Conflict, match="'a/b' is a file"):
            await agent(call)
    with pytest.raises(InvalidArgument, match="into itself"):
        await agent(sc.StorageMove(path="a", to="a/c"))
    await agent(sc.StorageMove(path="a/b", to="a/b/c"))
    assert await contents(agent) == {"a/b/c": ""}


async def test_a_folder_with_something_in_it_is_deleted_when_that_is_meant(agent):
    await agent(sc.StorageWrite(path="a/b/c", content="x"))
    with pytest.raises(Conflict, match="with something in it"):
        await agent(sc.StorageDelete(path="a"))
    await agent(sc.StorageMkdir(path="a/made"))
    await agent(sc.StorageDelete(path="a", deep=True))
    with pytest.raises(NotFound, match="there is no file 'a'"):
        await agent(sc.StorageDelete(path="a"))
    assert await agent(sc.StorageList(deep=False)) == sc.FileEntries(())
    assert (await agent(sc.StorageRead(path="a/b/c", version=1))).content == "x"


async def test_one_call_changes_no_more_files_than_the_others_can_wait_for():
    managers = InlineFiles(StorageConfig(max_tree_files=2))
    agent = managers.agent()
    for name in "abc":
        await agent(sc.StorageWrite(path=f"f/{name}", content=""))
    for call in (
        sc.StorageDelete(path="f", deep=True),
        sc.StorageMove(path="f", to="g"),
        sc.StorageRollback(path="f", time=1.0),
    ):
        with pytest.raises(TooLarge, match="more than 2 files"):
            await agent(call)
    assert len((await agent(sc.StorageList())).files) == 3


async def test_a_diff_shows_what_changed(agent):
    await agent(sc.StorageWrite(path="f/x", content="one\ntwo\n"))
    await agent(sc.StorageAppend(path="f/x", content="three\n"))
    shown = await agent(sc.StorageDiff(path="f/x"))
    assert shown.text == "--- f/x\tversion 1\n+++ f/x\tversion 2\n@@ -1,2 +1,3 @@\n one\n two\n+three\n"
    assert (await agent(sc.StorageDiff(path="f/x", old=2, new=2))) == sc.FileDiff("", 0)
    first = await agent(sc.StorageDiff(path="f/x", new=1))
    assert first.text == "--- /dev/null\n+++ f/x\tversion 1\n@@ -0,0 +1,2 @@\n+one\n+two\n"
    await agent(sc.StorageWrite(path="f/y", content=base64.b64encode(b"\xff").decode(), encoding="base64"))
    await agent(sc.StorageCreate(path="f/empty"))
    whole = await agent(sc.StorageDiff(path="f", since=1.0))
    assert whole.num_changed == 3
    assert "--- /dev/null\n+++ f/empty\tversion 1\n" in whole.text
    assert "/dev/null and f/y\tversion 1 differ" in whole.text
    assert (await agent(sc.StorageDiff(path=""))).text == "--- /dev/null\n+++ f/empty\tversion 1\n"
    with pytest.raises(InvalidArgument, match="not by both"):
        await agent(sc.StorageDiff(path="f/x", old=1, since=1.0))
    with pytest.raises(NotFound):
        await agent(sc.StorageDiff(path="nothing"))


async def test_a_diff_stops_where_it_grows_too_long(monkeypatch, agent):
    monkeypatch.setattr(comparing, "MAX_DIFF_LETTERS", 150)
    for name in "abc":
        await agent(sc.StorageWrite(path=name, content="x" * 40))
    shown = await agent(sc.StorageDiff(path="", since=1.0))
    assert shown.is_cut
    assert shown.num_changed == 1


async def test_what_untrusted_content_touches_is_untrusted(agent):
    await agent(sc.StorageWrite(path="x", content="a page", label="untrusted", source="https://example.org"))
    await agent(sc.StorageAppend(path="x", content=" and a remark"))
    assert (await agent(sc.StorageRead(path="x"))).label == "untrusted"
    assert (await agent(sc.StorageStat(path="x"))).label == "untrusted"
    await agent(sc.StorageWrite(path="x", content="my own"))
    assert (await agent(sc.StorageStat(path="x"))).label == "trusted"
    await agent(sc.StorageRollback(path="x", version=2))
    assert (await agent(sc.StorageRead(path="x"))).label == "untrusted"
    labels = [one.label for one in (await agent(sc.StorageHistory(path="x"))).versions]
    assert labels == ["untrusted", "untrusted", "trusted", "untrusted"]


async def test_a_prune_frees_what_nothing_needs(managers, agent):
    for number in range(5):
        await agent(sc.StorageWrite(path="x", content=f"{number}" * 1000))
        managers.clock.advance(10)
    before = await agent(sc.StorageQuota())
    third = managers.clock.time() - 25
    with pytest.raises(NotFound, match="there is no file 'y'"):
        await agent(sc.StoragePrune(path="y"))
    assert await agent(sc.StoragePrune(path="x", before=third)) == sc.Pruned(2, 2 * 1256)
    assert (await agent(sc.StorageQuota())).bytes == before.bytes - 2 * 1256
    with pytest.raises(NotFound, match="version 2 of 'x' was pruned; the oldest is 3"):
        await agent(sc.StorageRead(path="x", version=2))
    with pytest.raises(NotFound, match="was pruned"):
        await agent(sc.StorageRollback(path="x", time=third - 30))
    assert [one.version for one in (await agent(sc.StorageHistory(path="x"))).versions] == [3, 4, 5]
    chunks = await managers.store.read(lambda c: c.execute("SELECT count(*) FROM file_chunks").get)
    assert chunks == 3
    await agent(sc.StorageDelete(path="x"))
    assert await agent(sc.StoragePrune(path="", keep=0)) == sc.Pruned(4, 4 * 256 + 3 * 1000)
    assert (await agent(sc.StorageQuota())).bytes == 0
    assert await names(agent, "0000") == []
    with pytest.raises(NotFound, match="there is no file 'x'"):
        await agent(sc.StorageHistory(path="x"))


@pytest.mark.parametrize(
    "call",
    [
        *(sc.StorageRead(path=path) for path in ("..", "a/../b", "/etc/passwd", "a\0b", "é" * 5_000)),
        sc.StorageRead(path="a\ud800"),
        sc.StorageMove(path="x", to="../x"),
        sc.StorageMkdir(path="x/"),
        sc.StorageList(after="../x"),
        sc.StorageList(after="a\0"),
        sc.StorageHistory(path="/"),
        sc.StorageWrite(path="x", content="", source="a\nb"),
        sc.StorageWrite(path="x", content="", source="\ud800"),
        sc.StorageUpload(path="x\\y"),
    ],
)
async def test_bad_names_are_refused_and_change_nothing(managers, agent, call):
    with pytest.raises(InvalidArgument):
        await agent(call)
    assert await agent(sc.StorageQuota()) == sc.FileQuota(0, 200_000, 0, 8 * 1024**3)


@pytest.mark.parametrize(
    "call",
    [
        sc.StorageRead(path="x", version=2**70),
        sc.StorageRollback(path="x", version=2**70),
        sc.StorageWrite(path="x", content="", if_version=2**70),
        sc.StorageDelete(path="x", lock=2**70),
        sc.StorageUnlock(path="x", token=2**70),
        sc.StorageShare(path="x", version=2**70),
        sc.StorageDiff(path="x", old=2**70),
        sc.StorageCommit(upload_id="unknown", path="x", size=2**70),
        sc.StoragePart(upload_id="unknown", start=2**70, data=b"x"),
        sc.StorageAbort(upload_id="unknown"),
        sc.StorageOpen(link="a.b.c", start=2**70),
        sc.StorageOpen(link="é.\ud800."),
        sc.StorageUnshare(share_id="unknown"),
    ],
)
async def test_what_never_was_is_a_typed_error(agent, call):
    await agent(sc.StorageWrite(path="x", content=""))
    with pytest.raises((NotFound, Conflict)):
        await agent(call)
    assert (await agent(sc.StorageStat(path="x"))).version == 1


async def test_numbers_beyond_all_bounds_are_taken_as_far_off(agent):
    await agent(sc.StorageWrite(path="f/x", content=""))
    assert (await agent(sc.StorageRead(path="f/x", start=2**70))).size == 0
    assert (await agent(sc.StorageHistory(path="f/x", before=2**70))).versions
    assert (await agent(sc.StorageHistory(path="f", before=2**70))).versions
    assert (await agent(sc.StorageDiff(path="f", old=2**70))).text == ""
    await agent(sc.StorageRollback(path="f", version=2**70))
    await agent(sc.StorageRollback(path="f", time=1e300))
    await agent(sc.StoragePrune(path="f", before=1e300))
    assert (await agent(sc.StorageStat(path="f/x"))).version == 1
