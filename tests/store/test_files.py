"""Files: versions against a plain model of them, search, owners, limits, damage."""

import asyncio
import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError, Conflict, Corrupt, InvalidArgument, NotFound, QuotaExceeded, TooLarge
from aios.kernel.config import StorageConfig
from aios.kernel.versions import MAX_DEPTH

PATHS = ("a", "b/c", "b/d", "bc")


class Model:
    """Each file as a list of (verb, content); None as the content says that it is deleted."""

    def __init__(self) -> None:
        self.files: dict[str, list[tuple[str, str | None]]] = {}

    def now(self, path: str) -> str | None:
        return self.files[path][-1][1] if path in self.files else None

    def apply(self, call: sc.SystemCall) -> type[AiosError] | None:
        """Do it, or name the error that it must give."""
        versions = self.files.get(call.path, [])
        now = self.now(call.path)
        match call:
            case sc.StorageCreate() if now is not None:
                return Conflict
            case sc.StorageCreate():
                new = ("create", call.content)
            case sc.StorageWrite():
                new = ("write", call.content)
            case sc.StorageAppend():
                new = ("append", (now or "") + call.content)
            case sc.StorageDelete() if now is None:
                return NotFound
            case sc.StorageDelete():
                new = ("delete", None)
            case sc.StorageRollback():
                old = versions[call.version - 1][1] if call.version <= len(versions) else None
                if old is None:
                    return NotFound
                new = ("rollback", old)
        self.files.setdefault(call.path, []).append(new)
        return None


path = st.sampled_from(PATHS)
content = st.text(st.sampled_from("xyü\n"), max_size=5)
calls = st.one_of(
    st.builds(sc.StorageCreate, path=path, content=content),
    st.builds(sc.StorageWrite, path=path, content=content),
    st.builds(sc.StorageAppend, path=path, content=content),
    st.builds(sc.StorageDelete, path=path),
    st.builds(sc.StorageRollback, path=path, version=st.integers(1, 6)),
)


async def agrees(agent, model):
    """Everything that can be seen of the files is as the model has it."""
    live = sorted(path for path in PATHS if model.now(path) is not None)
    assert [file.path for file in (await agent(sc.StorageList())).files] == live
    below = [path for path in live if path.startswith("b/")]
    assert [file.path for file in (await agent(sc.StorageList(folder="b"))).files] == below
    for path, versions in model.files.items():
        history = (await agent(sc.StorageHistory(path=path))).versions
        assert [version.verb for version in history] == [verb for verb, _ in versions]
        assert [version.size for version in history] == [len((text or "").encode()) for _, text in versions]
        for number, (_, text) in enumerate(versions, 1):
            if text is None:
                with pytest.raises(NotFound, match="deletion"):
                    await agent(sc.StorageRead(path=path, version=number))
            else:
                assert (await agent(sc.StorageRead(path=path, version=number))).content == text
        if path in live:
            assert (await agent(sc.StorageRead(path=path))).content == versions[-1][1]
            assert (await agent(sc.StorageStat(path=path))).version == len(versions)
        else:
            for call in (sc.StorageRead, sc.StorageStat):
                with pytest.raises(NotFound, match=f"there is no file '{path}'"):
                    await agent(call(path=path))


@settings(max_examples=15)
@given(st.lists(calls, max_size=25))
async def test_files_do_what_a_model_of_them_does_and_are_there_after_a_restart(tmp_path_factory, at, calls):
    folder = tmp_path_factory.mktemp("files")
    model = Model()
    async with at(folder) as managers:
        agent = managers.agent()
        for call in calls:
            expected = model.apply(call)
            if expected is None:
                await agent(call)
            else:
                with pytest.raises(expected):
                    await agent(call)
        await agrees(agent, model)
    async with at(folder) as managers:
        await agrees(managers.agent(), model)


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
        sc.FileVersion(1, 2, created, "alice", "create"),
        sc.FileVersion(2, 1 + 2, created + 3, "bob", "append"),
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
    assert await agent(sc.StorageRead(path="x")) == sc.FileContent("x", 1, content, "base64")
    text = base64.b64encode("né".encode()).decode()
    await agent(sc.StorageWrite(path="x", content=text, encoding="base64"))
    assert await agent(sc.StorageRead(path="x")) == sc.FileContent("x", 2, "né")


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


async def test_appends_at_the_same_time_all_land(managers):
    agents = [managers.agent(f"agent.{number}") for number in range(20)]
    appends = [
        agent(sc.StorageAppend(path="log", content=f"{number}.{line}\n", owner="alice"))
        for line in range(2 * MAX_DEPTH // 20)
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
    assert await names(agent, "zebra") == await names(agent, "?!") == []
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


async def test_limits(tmp_path, at):
    config = StorageConfig(max_file_bytes=100, max_files=2, max_owner_bytes=2000)
    async with at(tmp_path, storage=config) as managers:
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
        "UPDATE blobs SET content = x'62' || substr(content, 2) WHERE id = 2",
        "UPDATE blobs SET content = 'text' WHERE id = 2",
        "UPDATE file_versions SET blob = 1 WHERE id = 2",
        "UPDATE file_versions SET author = 'mallory' WHERE id = 2",
        "DELETE FROM file_versions WHERE id = 2",
        "UPDATE file_versions SET depth = -1 WHERE id = 2",
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
