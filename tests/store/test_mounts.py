"""A directory of this machine in an owner's files: followed, never left by a link, written where lent so."""

import os

import pytest
from mounted import Faulty, Mounted, entries_of, faulty, files_of, history, lent, read

from aios.abi import syscalls as sc
from aios.abi.errors import Conflict, InvalidArgument, NotFound, PermissionDenied, QuotaExceeded
from aios.drivers.mounts import watching
from aios.drivers.store import Store
from aios.kernel.config import Config


@pytest.fixture
def top(tmp_path):
    """A directory with a few files."""
    top = tmp_path / "docs"
    (top / "deep" / "er").mkdir(parents=True)
    (top / "plan.md").write_text("The lighthouse plan")
    (top / "deep" / "er" / "lamp.txt").write_text("A lamp")
    (top / "deep" / "bytes.bin").write_bytes(bytes(range(256)))
    (top / ".hidden").write_text("x")
    return top


@pytest.fixture
async def mounted(top):
    async with Mounted(lent(top)) as mounted:
        yield mounted


SHOWN = {
    "plan.md": b"The lighthouse plan",
    "deep/er/lamp.txt": b"A lamp",
    "deep/bytes.bin": bytes(range(256)),
}


async def test_its_files_are_entries_with_its_label_and_found_by_a_search(mounted):
    agent = await mounted.mount("kb/docs")
    assert await entries_of(agent, "kb/docs") == SHOWN
    hits = (await agent(sc.StorageSearch(text="lighthouse", folder="kb"))).hits
    assert [hit.file.path for hit in hits] == ["kb/docs/plan.md"]
    entry = await agent(sc.StorageStat(path="kb/docs/plan.md"))
    assert (entry.version, entry.label, entry.mount) == (1, "untrusted", "")
    assert await history(agent, "kb/docs/plan.md") == [("write", "mount:docs", "The lighthouse plan")]
    told = await mounted.entry("kb/docs")
    assert (told.state, told.files, told.all_files, told.bytes) == ("following", 3, 3, 281)
    assert (told.problems, told.unwatched, told.write) == ((), "", False)


async def test_who_changes_a_file_there_and_asks_sees_the_change(mounted, top):
    agent = await mounted.mount()
    (top / "plan.md").write_text("Another plan")
    assert await read(agent, "m/plan.md") == b"Another plan"
    (top / "new" / "er").mkdir(parents=True)
    (top / "new" / "er" / "file").write_text("new")
    assert await read(agent, "m/new/er/file") == b"new"
    (top / "plan.md").unlink()
    with pytest.raises(NotFound):
        await agent(sc.StorageStat(path="m/plan.md"))
    (top / "deep").rename(top / "deeper")
    listed = await agent(sc.StorageList(folder="m"))
    assert [file.path for file in listed.files] == [
        *("m/deeper/bytes.bin", "m/deeper/er/lamp.txt", "m/new/er/file")
    ]
    (top / "deeper" / "er" / "lamp.txt").write_text("A light")
    hits = (await agent(sc.StorageSearch(text="light", folder="m"))).hits
    assert [hit.file.path for hit in hits] == ["m/deeper/er/lamp.txt"]


@pytest.mark.parametrize("path", ["m/plan.md", "m/deep/er/lamp.txt"])
async def test_a_file_is_there_for_who_asks_for_it_right_after_the_mount(top, tmp_path, path):
    """With a store on threads and a disk: however far the mount is, the call waits for its file."""
    for number in range(200):
        (top / f"{number}").write_text("x")
    store = Store(tmp_path / "aios.db")
    await store.start()
    async with Mounted(lent(top), store=store) as mounted:
        agent = mounted.agent()
        await agent(sc.StorageMount(name="docs", folder="m"))
        assert await read(agent, path) == SHOWN[path.removeprefix("m/")]
        await mounted.storage.idle()
    await store.close()


async def test_a_file_being_written_is_not_taken_in_until_that_ends_or_somebody_asks(mounted, top):
    agent = await mounted.mount()
    log = os.open(top / "log", os.O_WRONLY | os.O_CREAT)
    for line in (b"one\n", b"two\n"):
        os.write(log, line)
        await mounted.storage.idle()
    assert await read(agent, "m/log") == b"one\ntwo\n"
    os.write(log, b"three\n")
    os.close(log)
    await mounted.storage.idle()
    assert [text for _, _, text in await history(agent, "m/log")] == ["one\ntwo\n", "one\ntwo\nthree\n"]


async def test_outside_changes_have_a_history_and_a_diff(mounted, top):
    agent = await mounted.mount()
    (top / "plan.md").write_text("Another plan")
    assert len(await history(agent, "m/plan.md")) == 2
    (top / "plan.md").unlink()
    assert [verb for verb, _, _ in await history(agent, "m/plan.md")] == ["write", "write", "delete"]
    diff = await agent(sc.StorageDiff(path="m/plan.md", old=1, new=2))
    assert "-The lighthouse plan" in diff.text
    assert "+Another plan" in diff.text


async def test_what_has_the_same_content_makes_no_version(mounted, top):
    agent = await mounted.mount()
    os.utime(top / "plan.md", ns=(1, 1))
    (top / "copy").write_text("The lighthouse plan")
    (top / "copy").replace(top / "plan.md")
    assert (await agent(sc.StorageStat(path="m/plan.md"))).version == 1
    mounted.rescan()
    await mounted.storage.idle()
    assert (await agent(sc.StorageStat(path="m/plan.md"))).version == 1


async def test_a_large_file_comes_in_parts_and_again_only_where_it_has_changed(mounted, top, monkeypatch):
    monkeypatch.setattr("aios.kernel.mounts.looking.PART_BYTES", 1000)
    content = os.urandom(3500)
    (top / "large").write_bytes(content)
    agent = await mounted.mount()
    assert await read(agent, "m/large") == content
    os.utime(top / "large", ns=(1, 1))
    assert (await agent(sc.StorageStat(path="m/large"))).version == 1
    (top / "large").write_bytes(content + b"more")
    assert await read(agent, "m/large") == content + b"more"
    rows = mounted.store.connection.execute("SELECT count(*) FROM uploads").get
    parts = mounted.store.connection.execute("SELECT count(*) FROM upload_parts").get
    assert (rows, parts) == (0, 0)


# ---- never out of it


async def test_links_and_what_is_no_plain_file_stay_out_and_are_told(mounted, top, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (top / "out").symlink_to(tmp_path / "outside")
    (top / "deep" / "file").symlink_to(tmp_path / "outside" / "secret")
    os.mkfifo(top / "pipe")
    (top / "two\nlines").write_text("x")
    (top / "\udcff").write_text("x")
    agent = await mounted.mount()
    assert await entries_of(agent) == SHOWN
    told = await mounted.entry()
    assert {one.path: one.why for one in told.problems} | {"two\nlines": ""} == {
        "out": "it is a link",
        "deep/file": "it is a link",
        "pipe": "it is no plain file",
        "two\nlines": "",
        repr("\udcff"): "its name is not UTF-8",
    }
    for path in ("m/out/secret", "m/deep/file", "m/pipe"):
        with pytest.raises(NotFound):
            await read(agent, path)
    (top / "out").unlink()
    (top / "pipe").unlink()
    mounted.rescan()
    await mounted.storage.idle()
    assert (await mounted.entry()).num_problems == 3


async def test_what_becomes_a_link_is_gone(mounted, top, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "lamp.txt").write_text("secret")
    agent = await mounted.mount()
    (top / "deep" / "er").rename(tmp_path / "aside")
    (top / "deep" / "er").symlink_to(tmp_path / "outside")
    (top / "plan.md").unlink()
    (top / "plan.md").symlink_to(tmp_path / "outside" / "lamp.txt")
    assert await entries_of(agent) == {"deep/bytes.bin": bytes(range(256))}


@pytest.mark.parametrize("what", ["deep", "deep/er", "deep/er/lamp.txt"])
async def test_what_is_swapped_for_a_link_between_listing_and_reading_leads_nowhere(
    mounted, top, tmp_path, monkeypatch, what
):
    from aios.kernel.mounts.looking import Looker

    outside = tmp_path / "outside"
    (outside / "er").mkdir(parents=True)
    for name in ("lamp.txt", "er/lamp.txt"):
        (outside / name).write_text("secret")
    agent = await mounted.mount()
    reading = Looker._read

    def swap_and_read(self, path, known):
        if path == "deep/er/lamp.txt" and not (top / what).is_symlink():
            (top / what).rename(tmp_path / "aside")
            (top / what).symlink_to(outside / "lamp.txt" if what.endswith("txt") else outside)
        return reading(self, path, known)

    monkeypatch.setattr(Looker, "_read", swap_and_read)
    (top / "deep" / "er" / "lamp.txt").write_text("B lamp")
    await mounted.storage.idle()
    assert (top / what).is_symlink()
    texts = [text for _, _, text in await history(agent, "m/deep/er/lamp.txt")]
    assert texts[0] == "A lamp"
    assert "secret" not in texts


async def test_no_name_leads_above_the_directory(mounted, top):
    agent = await mounted.mount(write=True)
    (top.parent / "beside").write_text("secret")
    for path in ("m/../beside", "m/deep/../../beside"):
        with pytest.raises(Exception, match="without"):
            await agent(sc.StorageWrite(path=path, content="x"))
        with pytest.raises(Exception, match="without"):
            await agent(sc.StorageRead(path=path))


@pytest.mark.parametrize("inside", [True, False])
async def test_the_kernels_own_data_is_never_part_of_one(top, inside):
    data = top / "deep"
    async with Mounted(lent(top if inside else data / "er"), protected=[data]) as mounted:
        if inside:
            agent = await mounted.mount()
            assert await entries_of(agent) == {"plan.md": b"The lighthouse plan"}
        else:
            with pytest.raises(NotFound, match="the kernel's own data"):
                await mounted.mount()


async def test_hidden_names_are_part_of_it_only_where_it_is_lent_so(top):
    async with Mounted(lent(top, hidden=True), lent(top, name="plain")) as mounted:
        agent = await mounted.mount(write=True)
        await mounted.mount("plain", name="plain", write=True)
        assert await read(agent, "m/.hidden") == b"x"
        assert await entries_of(agent, "plain") == SHOWN
        await agent(sc.StorageWrite(path="m/.hidden", content="y"))
        assert (top / ".hidden").read_text() == "y"
        with pytest.raises(PermissionDenied, match="begins with a dot"):
            await agent(sc.StorageWrite(path="plain/a/.hidden", content="z"))


# ---- where and by whom


async def test_a_directory_is_mounted_where_nothing_is(mounted):
    agent = await mounted.mount("a/m")
    await agent(sc.StorageWrite(path="used/file", content="x"))
    await agent(sc.StorageMkdir(path="empty"))
    for folder in ("a/m", "a/m/b", "a", "used", "used/file", "used/file/below"):
        with pytest.raises(Conflict):
            await agent(sc.StorageMount(name="docs", folder=folder))
    await mounted.mount("empty")
    assert (await mounted.entry("empty")).files == 3
    for call in (
        sc.StorageWrite(path="a/m", content="x"),
        sc.StorageMove(path="a", to="b"),
        sc.StorageMove(path="a/m", to="b"),
        sc.StorageDelete(path="a", deep=True),
        sc.StorageDelete(path="empty", deep=True),
        sc.StorageRollback(path="a", time=1.0),
    ):
        with pytest.raises(Conflict):
            await agent(call)


async def test_only_what_is_lent_is_mounted_and_only_so(top):
    async with Mounted(lent(top, write=False), max_mounts=1) as mounted:
        agent = mounted.agent()
        for name in ("else", str(top), "../docs"):
            with pytest.raises(NotFound):
                await agent(sc.StorageMount(name=name, folder="m"))
        with pytest.raises(PermissionDenied):
            await agent(sc.StorageMount(name="docs", folder="m", write=True))
        await mounted.mount()
        with pytest.raises(QuotaExceeded):
            await agent(sc.StorageMount(name="docs", folder="other"))
        others = await mounted.agent("bob")(sc.StorageMounts())
        assert (others.mounts, [one.name for one in others.lent]) == ((), ["docs"])
        assert len((await mounted.agent("operator")(sc.StorageMounts())).mounts) == 1


CHANGES = {
    sc.StorageCreate: sc.StorageCreate(path="m/new", content="x"),
    sc.StorageWrite: sc.StorageWrite(path="m/plan.md", content="x"),
    sc.StorageAppend: sc.StorageAppend(path="m/plan.md", content="x"),
    sc.StorageMkdir: sc.StorageMkdir(path="m/made"),
    sc.StorageDelete: sc.StorageDelete(path="m/plan.md"),
    sc.StorageRollback: sc.StorageRollback(path="m/plan.md", version=1),
    sc.StorageJoin: sc.StorageJoin(files=(sc.FileAt("own"),), to="m/joined"),
}
"""A call of each kind that changes files, on the mount; moves and uploads have tests of their own."""

CHANGES_NO_FILE = {
    *(sc.StoragePrune, sc.StorageLock, sc.StorageUnlock, sc.StorageShare, sc.StorageUnshare),
    *(sc.StorageUpload, sc.StoragePart, sc.StorageAbort, sc.StorageMount, sc.StorageUnmount),
}


def test_each_call_that_changes_files_is_tried_on_a_mount():
    from aios.kernel.access import WRITES

    changing = {row.request for row in sc.TABLE.values() if row.group == "storage"} & WRITES
    assert changing - CHANGES_NO_FILE == {*CHANGES, sc.StorageMove, sc.StorageCommit}


@pytest.mark.parametrize("kind", CHANGES, ids=lambda kind: kind.__name__)
async def test_what_is_read_only_is_changed_by_nobody(mounted, top, kind):
    agent = await mounted.mount()
    await agent(sc.StorageWrite(path="own", content="x"))
    with pytest.raises(PermissionDenied, match="read only"):
        await agent(CHANGES[kind])
    assert await entries_of(agent) == SHOWN
    assert files_of(top) == SHOWN | {".hidden": b"x"}
    assert (await agent(sc.StorageQuota())).files == 5


async def test_nothing_is_moved_or_uploaded_into_or_out_of_what_is_read_only(mounted, top):
    agent = await mounted.mount()
    await agent(sc.StorageWrite(path="own/file", content="x"))
    upload = await agent(sc.StorageUpload(path="m/new"))
    for call in (
        sc.StorageMove(path="m/plan.md", to="taken"),
        sc.StorageMove(path="m/deep", to="taken"),
        sc.StorageMove(path="own/file", to="m/given"),
        sc.StorageMove(path="own", to="m/given"),
        sc.StorageDelete(path="m/deep", deep=True),
        sc.StorageCommit(upload_id=upload.id, path="m/new", size=0),
    ):
        with pytest.raises(PermissionDenied):
            await agent(call)
    assert await entries_of(agent) == SHOWN
    assert files_of(top) == SHOWN | {".hidden": b"x"}


# ---- where it may be written


async def test_what_is_written_is_in_the_directory_when_it_is_answered(mounted, top):
    agent = await mounted.mount(write=True)
    await agent(sc.StorageWrite(path="m/plan.md", content="second"))
    assert (top / "plan.md").read_text() == "second"
    await agent(sc.StorageAppend(path="m/plan.md", content=" and more"))
    assert (top / "plan.md").read_text() == "second and more"
    await agent(sc.StorageCreate(path="m/new/er/bytes", content="AAH/", encoding="base64"))
    assert (top / "new" / "er" / "bytes").read_bytes() == b"\x00\x01\xff"
    await agent(sc.StorageMove(path="m/deep", to="m/moved"))
    assert not (top / "deep").exists()
    assert (top / "moved" / "er" / "lamp.txt").read_text() == "A lamp"
    await agent(sc.StorageRollback(path="m/plan.md", version=1))
    assert (top / "plan.md").read_text() == "The lighthouse plan"
    await agent(sc.StorageDelete(path="m/new/er/bytes"))
    assert not (top / "new").exists()
    assert await entries_of(agent) == {k: v for k, v in files_of(top).items() if k != ".hidden"}
    assert (await agent(sc.StorageStat(path="m/plan.md"))).mount == ""
    versions = await history(agent, "m/plan.md")
    assert [author for _, author, _ in versions] == ["mount:docs", "alice", "alice", "alice"]
    told = await mounted.entry()
    assert (told.waiting, told.conflicts, told.num_problems) == (0, 0, 0)


async def test_an_upload_a_join_and_what_others_have_written_go_there_too(mounted, top):
    agent = await mounted.mount(write=True)
    upload = await agent(sc.StorageUpload(path="m/large"))
    content = os.urandom(2_500_000)
    await agent(sc.StoragePart(upload_id=upload.id, start=0, data=content))
    await agent(sc.StorageCommit(upload_id=upload.id, path="m/large", size=len(content)))
    assert (top / "large").read_bytes() == content
    await agent(sc.StorageJoin(files=(sc.FileAt("m/plan.md"),), to="m/joined"))
    assert "The lighthouse plan" in (top / "joined").read_text()
    await mounted.agent("bob")(sc.StorageWrite(path="m/bobs", content="from bob", owner="alice"))
    assert (top / "bobs").read_text() == "from bob"


async def test_the_mode_of_a_file_stays(mounted, top):
    (top / "plan.md").chmod(0o751)
    agent = await mounted.mount(write=True)
    await agent(sc.StorageWrite(path="m/plan.md", content="second"))
    assert (top / "plan.md").stat().st_mode & 0o777 == 0o751


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "Denied")])
async def test_what_cannot_be_written_waits_is_told_and_is_tried_again(top, error):
    async with Mounted(lent(top), opened=faulty) as mounted:
        agent = await mounted.mount(write=True)
        Faulty.fault = error
        try:
            entry = await agent(sc.StorageWrite(path="m/plan.md", content="second"))
            assert entry.mount == f"not in the directory yet: {error.strerror}"
            await agent(sc.StorageDelete(path="m/deep/bytes.bin"))
            told = await mounted.entry()
            assert told.waiting == 2
            assert {one.path for one in told.unsaved} == {"plan.md", "deep/bytes.bin"}
            assert (await agent(sc.StorageStat(path="m/plan.md"))).mount == entry.mount
            assert await read(agent, "m/plan.md") == b"second"
            assert (top / "plan.md").read_text() == "The lighthouse plan"
            with pytest.raises(Conflict, match="2 files"):
                await agent(sc.StorageUnmount(folder="m"))
        finally:
            Faulty.fault = None
        mounted.rescan()
        await mounted.storage.idle()
        assert (top / "plan.md").read_text() == "second"
        assert not (top / "deep" / "bytes.bin").exists()
        assert (await mounted.entry()).waiting == 0


async def test_killed_before_it_is_in_the_directory_it_gets_there_after_the_next_start(top):
    first = Mounted(lent(top), opened=faulty)
    async with first as mounted:
        agent = await mounted.mount(write=True)
        Faulty.fault = OSError(5, "gone")
        try:
            await agent(sc.StorageWrite(path="m/plan.md", content="second"))
            await agent(sc.StorageCreate(path="m/new", content="new"))
        finally:
            Faulty.fault = None
    async with Mounted(lent(top), store=first.store) as mounted:
        await mounted.storage.idle()
        assert (top / "plan.md").read_text() == "second"
        assert (top / "new").read_text() == "new"
        assert (await mounted.entry()).waiting == 0


async def test_killed_after_it_is_in_the_directory_nothing_is_overtaken(top):
    """As if the row that says so had not been written."""
    first = Mounted(lent(top))
    async with first as mounted:
        agent = await mounted.mount(write=True)
        before = first.store.connection.execute("SELECT * FROM mount_files WHERE name = 'plan.md'").get
        await agent(sc.StorageWrite(path="m/plan.md", content="second"))
    from aios.kernel.files.tables import seal

    first.store.connection.execute(
        "REPLACE INTO mount_files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", before
    )
    first.store.connection.execute(
        "INSERT INTO mount_waiting VALUES (1, 'plan.md', ?)", (seal(1, "plan.md"),)
    )
    async with Mounted(lent(top), store=first.store) as mounted:
        await mounted.storage.idle()
        assert len(await history(mounted.agent(), "m/plan.md")) == 2
        told = await mounted.entry()
        assert (told.waiting, told.conflicts) == (0, 0)


async def test_where_both_have_changed_the_directory_is_above_and_what_was_written_stays(top):
    async with Mounted(lent(top), opened=faulty) as mounted:
        agent = await mounted.mount(write=True)
        Faulty.fault = OSError(28, "full")
        try:
            await agent(sc.StorageWrite(path="m/plan.md", content="from here"))
            (top / "plan.md").write_text("from there")
            await mounted.storage.idle()
        finally:
            Faulty.fault = None
        assert await read(agent, "m/plan.md") == b"from there"
        assert [text for _, _, text in await history(agent, "m/plan.md")] == [
            *("The lighthouse plan", "from here", "from there")
        ]
        told = await mounted.entry()
        assert (told.conflicts, told.waiting) == (1, 0)
        assert "overtaken" in (await agent(sc.StorageStat(path="m/plan.md"))).mount
        assert (top / "plan.md").read_text() == "from there"


async def test_a_change_that_nobody_was_told_of_is_not_written_over(top, monkeypatch):
    """It is seen when the file is about to be replaced, and told in the answer."""
    monkeypatch.setattr(watching.Watches, "drain", lambda self: ([], False))
    async with Mounted(lent(top)) as mounted:
        agent = await mounted.mount(write=True)
        (top / "plan.md").write_text("from there")
        (top / "new").write_text("also from there")
        for path, text in (("m/plan.md", "from there"), ("m/new", "also from there")):
            entry = await agent(sc.StorageWrite(path=path, content="from here"))
            assert "overtaken" in entry.mount
            assert (await history(agent, path))[-2:] == [
                *(("write", "alice", "from here"), ("write", "mount:docs", text))
            ]
        assert (top / "plan.md").read_text() == "from there"
        assert (top / "new").read_text() == "also from there"


async def test_a_file_where_a_folder_was_and_the_other_way_round(mounted, top):
    agent = await mounted.mount(write=True)
    (top / "plan.md").unlink()
    (top / "plan.md").mkdir()
    (top / "plan.md" / "inner").write_text("inner")
    assert await read(agent, "m/plan.md/inner") == b"inner"
    for path in ("er/lamp.txt", "bytes.bin"):
        (top / "deep" / path).unlink()
    (top / "deep" / "er").rmdir()
    (top / "deep").rmdir()
    (top / "deep").write_text("now a file")
    assert await read(agent, "m/deep") == b"now a file"
    assert await entries_of(agent) == {"plan.md/inner": b"inner", "deep": b"now a file"}
    await agent(sc.StorageDelete(path="m/deep"))
    await agent(sc.StorageWrite(path="m/deep/again", content="again"))
    assert (top / "deep" / "again").read_text() == "again"


async def test_folders_without_a_file_are_nothing_beside_a_file_that_is_written(mounted, top):
    agent = await mounted.mount(write=True)
    (top / "empty" / "er" / "still").mkdir(parents=True)
    await agent(sc.StorageWrite(path="m/empty", content="now a file"))
    assert (top / "empty").read_text() == "now a file"


async def test_what_waits_in_the_way_of_something_there_is_overtaken_and_told_no_more(top):
    async with Mounted(lent(top), opened=faulty) as mounted:
        agent = await mounted.mount(write=True)
        Faulty.fault = OSError(28, "full")
        try:
            await agent(sc.StorageWrite(path="m/new", content="a file here"))
            (top / "new").mkdir()
            (top / "new" / "inner").write_text("a folder there")
        finally:
            Faulty.fault = None
        for _ in range(2):
            mounted.rescan()
            await mounted.storage.idle()
        told = await mounted.entry()
        assert (told.waiting, told.unsaved, told.conflicts) == (0, (), 1)
        assert await read(agent, "m/new/inner") == b"a folder there"
        read_old = sc.StorageRead(path="m/new", version=1)
        assert (await agent(read_old)).content == "a file here"


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ('[[mounts]]\nname = "a"\npath = "/x"\nwirte = true', "did you mean mounts.'write'"),
        ('[[mounts]]\nname = "a"\npath = "/x"\n[[mounts]]\nname = "a"\npath = "/y"', "two mounts"),
        ('[[mounts]]\nname = "a b"\npath = "/x"', "name"),
    ],
)
def test_the_configuration_is_told_what_is_wrong_with_it(tmp_path, toml, why):
    (tmp_path / "aios.toml").write_text(toml)
    with pytest.raises(InvalidArgument, match=why):
        Config.load(tmp_path / "aios.toml", environ={})


# ---- when it is there no more


async def test_it_ends_and_its_entries_leave_their_versions(mounted, top):
    agent = await mounted.mount("a/m", write=True)
    await agent(sc.StorageUnmount(folder="a/m"))
    assert (await agent(sc.StorageList())).files == ()
    assert (await agent(sc.StorageMounts())).mounts == ()
    assert (await agent(sc.StorageQuota())).files == 0
    assert (await agent(sc.StorageRead(path="a/m/plan.md", version=1))).content == "The lighthouse plan"
    assert files_of(top) == SHOWN | {".hidden": b"x"}
    with pytest.raises(NotFound):
        await agent(sc.StorageUnmount(folder="a/m"))
    await agent(sc.StorageWrite(path="a/m/own", content="x"))
    assert not (top / "own").exists()


async def test_it_ends_and_its_entries_stay_as_ordinary_files(mounted, top):
    agent = await mounted.mount()
    await agent(sc.StorageUnmount(folder="m", keep=True))
    assert await entries_of(agent) == SHOWN
    await agent(sc.StorageWrite(path="m/plan.md", content="own"))
    (top / "deep" / "er" / "lamp.txt").write_text("changed there")
    assert await read(agent, "m/deep/er/lamp.txt") == b"A lamp"
    assert (top / "plan.md").read_text() == "The lighthouse plan"
    rows = mounted.store.connection.execute("SELECT count(*) FROM mount_files").get
    assert rows == 0


async def test_what_had_begun_to_end_ends_with_the_next_start(top, monkeypatch):
    monkeypatch.setattr("aios.kernel.mounts.taking.REMOVED_FILES", 1)
    first = Mounted(lent(top))
    async with first as mounted:
        agent = await mounted.mount(write=True)
        first.store.write, write = _cut_after(first.store.write, 3), first.store.write
        with pytest.raises(Killed):
            await agent(sc.StorageUnmount(folder="m"))
        first.store.write = write
        assert 0 < len(await entries_of(agent)) < 3
    async with Mounted(lent(top), store=first.store) as mounted:
        agent = mounted.agent()
        assert (await agent(sc.StorageList())).files == ()
        assert (await agent(sc.StorageQuota())).files == 0
        assert (await agent(sc.StorageMounts())).mounts == ()
    assert files_of(top) == SHOWN | {".hidden": b"x"}


class Killed(Exception):
    """Instead of a write that is not done any more."""


def _cut_after(write, num_writes):
    async def cut(work, *, reply=None):
        nonlocal num_writes
        num_writes -= 1
        if num_writes < 0:
            raise Killed
        return await write(work, reply=reply)

    return cut


async def test_what_changed_while_nobody_looked_is_found_after_the_next_start(top):
    first = Mounted(lent(top))
    async with first as mounted:
        await mounted.mount()
    (top / "plan.md").write_text("Another plan")
    (top / "new").write_text("new")
    (top / "deep" / "bytes.bin").unlink()
    async with Mounted(lent(top), store=first.store) as mounted:
        await mounted.storage.idle()
        agent = mounted.agent()
        assert await entries_of(agent) == {
            "plan.md": b"Another plan",
            "new": b"new",
            "deep/er/lamp.txt": b"A lamp",
        }
        assert (await agent(sc.StorageStat(path="m/deep/er/lamp.txt"))).version == 1


async def test_a_directory_that_is_gone_takes_no_entries_with_it_and_may_come_back(mounted, top):
    agent = await mounted.mount(write=True)
    top.rename(top.parent / "aside")
    mounted.rescan()
    await mounted.storage.idle()
    told = await mounted.entry()
    assert (told.state, told.why) == ("unavailable", "No such file or directory")
    assert await entries_of(agent) == SHOWN
    entry = await agent(sc.StorageWrite(path="m/plan.md", content="second"))
    assert entry.mount == "not in the directory yet: No such file or directory"
    (top.parent / "aside").rename(top)
    mounted.rescan()
    await mounted.storage.idle()
    assert (await mounted.entry()).state == "following"
    assert (top / "plan.md").read_text() == "second"


async def test_what_is_lent_no_more_or_only_to_be_read_is_not_written_after_the_next_start(top):
    first = Mounted(lent(top))
    async with first as mounted:
        await mounted.mount(write=True)
    second = Mounted(lent(top, write=False), store=first.store)
    async with second as mounted:
        await mounted.storage.idle()
        with pytest.raises(PermissionDenied):
            await mounted.agent()(sc.StorageWrite(path="m/plan.md", content="x"))
    async with Mounted(store=first.store) as mounted:
        await mounted.storage.idle()
        agent = mounted.agent()
        told = await mounted.entry()
        assert (told.state, told.why) == ("unavailable", "the directory is lent no more")
        assert await entries_of(agent) == SHOWN
    third = Mounted(lent(top), store=first.store)
    async with third as mounted:
        await mounted.storage.idle()
        assert not (await mounted.entry()).write


async def test_a_mount_whose_row_is_damaged_is_read_only_until_it_is_unmounted(top):
    first = Mounted(lent(top))
    async with first as mounted:
        await mounted.mount(write=True)
    first.store.connection.execute("UPDATE mounts SET name = 'other'")
    async with Mounted(lent(top), lent(top.parent, name="other"), store=first.store) as mounted:
        agent = mounted.agent()
        await mounted.storage.idle()
        told = await mounted.entry()
        assert (told.state, told.why) == ("unavailable", "what was known of it is damaged: unmount it")
        with pytest.raises(PermissionDenied):
            await agent(sc.StorageWrite(path="m/plan.md", content="x"))
        await agent(sc.StorageUnmount(folder="m", keep=True))
        assert await entries_of(agent) == SHOWN


async def test_what_is_too_much_is_told_and_taken_in_when_there_is_room(top):
    (top / "large").write_bytes(bytes(5000))
    async with Mounted(lent(top), max_files=3, max_file_bytes=4000) as mounted:
        await mounted.mount()
        told = await mounted.entry()
        assert told.state == "unavailable"
        assert told.why == "alice has 3 files, which is all it may have"
        (top / "deep" / "bytes.bin").unlink()
        mounted.rescan()
        await mounted.storage.idle()
        told = await mounted.entry()
        assert (told.state, told.files) == ("following", 2)
        assert [(one.path, one.why) for one in told.problems] == [
            ("large", "it has 5000 bytes; a file may have 4000")
        ]


async def test_without_watches_it_is_looked_through_now_and_then(top, monkeypatch):
    def none_left(self):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(watching.Watches, "__init__", none_left)
    async with Mounted(lent(top)) as mounted:
        agent = await mounted.mount(write=True)
        assert (await mounted.entry()).unwatched
        (top / "plan.md").write_text("Another plan")
        assert await read(agent, "m/plan.md") == b"Another plan"
        (top / "new").write_text("new")
        mounted.rescan()
        await mounted.storage.idle()
        assert "new" in await entries_of(agent)


async def test_what_was_lost_of_what_was_told_is_found_by_looking_at_everything(mounted, top, monkeypatch):
    agent = await mounted.mount()
    drain = watching.Watches.drain
    monkeypatch.setattr(watching.Watches, "drain", lambda self: (drain(self)[0][:0], True))
    (top / "deep" / "er" / "lamp.txt").write_text("A light")
    assert await read(agent, "m/deep/er/lamp.txt") == b"A light"


async def test_a_call_does_not_wait_for_ever(mounted, top, monkeypatch):
    agent = await mounted.mount()
    mirror = next(iter(mounted.storage._mounts._mirrors.values()))
    monkeypatch.setattr(mirror, "_wake", lambda: None)
    monkeypatch.setattr(mirror, "_is_at_work", lambda path, itself=False: not itself)
    calls = []
    later = mounted.clock.call_later

    def at_once(delay_s, callback):
        calls.append(delay_s)
        callback()
        return later(delay_s, lambda: None)

    monkeypatch.setattr(mounted.clock, "call_later", at_once)
    assert await read(agent, "m/plan.md") == b"The lighthouse plan"
    assert calls == [2.0]
