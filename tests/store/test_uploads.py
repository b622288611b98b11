"""Uploads: parts in any order become one version, what is given up is dropped, quotas hold meanwhile."""

import pytest
from inline import InlineFiles

from aios.abi import syscalls as sc
from aios.abi.errors import Conflict, NotFound, QuotaExceeded, TooLarge
from aios.kernel.config import StorageConfig
from aios.kernel.files import uploads


@pytest.fixture
def files():
    return InlineFiles()


@pytest.fixture
def agent(files):
    return files.agent()


async def begun(agent, *parts, path="x"):
    upload = await agent(sc.StorageUpload(path=path))
    for start, data in parts:
        await agent(sc.StoragePart(upload_id=upload.id, start=start, data=data))
    return upload.id


async def test_nothing_is_seen_until_it_is_committed_and_then_all(agent):
    upload = await begun(agent, (3, b"def"), (0, b"abc"))
    assert (await agent(sc.StorageList())).files == ()
    entry = await agent(sc.StorageCommit(upload_id=upload, path="x", size=6, label="untrusted", source="web"))
    assert (entry.version, entry.size, entry.label) == (1, 6, "untrusted")
    assert (await agent(sc.StorageRead(path="x"))).content == "abcdef"
    (version,) = (await agent(sc.StorageHistory(path="x"))).versions
    assert (version.verb, version.source) == ("write", "web")
    with pytest.raises(NotFound, match="no upload"):
        await agent(sc.StorageCommit(upload_id=upload, path="x", size=6))


async def test_an_empty_upload_is_an_empty_file(agent):
    await agent(sc.StorageCommit(upload_id=await begun(agent), path="x", size=0))
    assert (await agent(sc.StorageStat(path="x"))).size == 0


@pytest.mark.parametrize(
    ("parts", "size", "says"),
    [
        ([(0, b"abc")], 6, "the bytes from 3 to 6 have not come"),
        ([(3, b"abc")], 6, "the bytes from 0 to 3 have not come"),
        ([(0, b"abc"), (5, b"x")], 6, "the bytes from 3 to 5 have not come"),
        ([(0, b"abc"), (1, b"xyz")], 4, "overlaps or goes on from 1 to 3"),
        ([(0, b"abcdef")], 3, "overlaps or goes on from 3 to 6"),
    ],
)
async def test_what_does_not_make_up_the_whole_is_not_committed(agent, parts, size, says):
    upload = await begun(agent, *parts)
    with pytest.raises(Conflict, match=says):
        await agent(sc.StorageCommit(upload_id=upload, path="x", size=size))
    assert (await agent(sc.StorageList())).files == ()


async def test_a_part_may_come_again_but_not_another_in_its_place(agent):
    upload = await begun(agent, (0, b"abc"))
    again = await agent(sc.StoragePart(upload_id=upload, start=0, data=b"abc"))
    assert again.received == 3
    with pytest.raises(Conflict, match="other bytes have come already that begin at 0"):
        await agent(sc.StoragePart(upload_id=upload, start=0, data=b"xyz"))
    await agent(sc.StorageCommit(upload_id=upload, path="x", size=3))
    assert (await agent(sc.StorageRead(path="x"))).content == "abc"


async def test_a_commit_that_fails_may_be_tried_again(agent):
    await agent(sc.StorageWrite(path="x", content="there"))
    upload = await begun(agent, (0, b"new"))
    with pytest.raises(Conflict):
        await agent(sc.StorageCommit(upload_id=upload, path="x", size=3, if_version=0))
    await agent(sc.StorageCommit(upload_id=upload, path="x", size=3, if_version=1))
    assert (await agent(sc.StorageRead(path="x"))).content == "new"


async def test_nobody_else_goes_on_with_it(files, agent):
    upload = await begun(agent, (0, b"abc"))
    bob = files.agent("bob")
    for call in (
        sc.StoragePart(upload_id=upload, start=3, data=b"x"),
        sc.StorageCommit(upload_id=upload, path="x", size=3),
        sc.StorageCommit(upload_id=upload, path="x", size=3, owner="alice"),
        sc.StorageAbort(upload_id=upload),
    ):
        with pytest.raises(NotFound, match="no upload"):
            await bob(call)
    with pytest.raises(NotFound, match="no upload"):  # It counts for its owner, so it becomes its owner's.
        await agent(sc.StorageCommit(upload_id=upload, path="x", size=3, owner="bob"))


@pytest.mark.parametrize("is_aborted", [True, False])
async def test_what_is_given_up_leaves_nothing(files, agent, monkeypatch, is_aborted):
    monkeypatch.setattr(uploads, "SWEPT_PARTS", 2)
    kept = await begun(agent, (0, b"shared"), path="kept")
    upload = await begun(agent, (0, b"shared"), *((6 + at, b"%d" % at) for at in range(5)))
    if is_aborted:
        await agent(sc.StorageAbort(upload_id=upload))
    else:
        files.clock.advance(uploads.IDLE_S - 1)
        await agent(sc.StoragePart(upload_id=kept, start=6, data=b"!"))
        files.clock.advance(1)
    with pytest.raises(NotFound, match="no upload"):
        await agent(sc.StoragePart(upload_id=upload, start=0, data=b"x"))
    await agent(sc.StorageCommit(upload_id=kept, path="kept", size=6 + (not is_aborted)))
    await agent(sc.StorageAbort(upload_id=await begun(agent)))
    assert (await agent(sc.StorageQuota())).bytes == 256 + 6 + (not is_aborted)
    held = files.store.connection.execute("SELECT count(*) FROM file_chunks").get
    assert held == 1 + (not is_aborted)


async def test_limits_hold_while_it_comes():
    files = InlineFiles(StorageConfig(max_file_bytes=10, max_owner_bytes=1000, max_uploads=2))
    agent = files.agent()
    upload = await begun(agent, (0, b"x" * 10))
    with pytest.raises(TooLarge, match="10 bytes, this part ends at 11"):
        await agent(sc.StoragePart(upload_id=upload, start=10, data=b"x"))
    await agent(sc.StorageUpload(path="y"))
    with pytest.raises(QuotaExceeded, match="2 uploads under way"):
        await agent(sc.StorageUpload(path="z"))
    await agent(sc.StorageAbort(upload_id=upload))
    await agent(sc.StorageWrite(path="a", content="x" * 10))
    await agent(sc.StorageWrite(path="b", content="x" * 10))
    with pytest.raises(QuotaExceeded, match="1000 bytes"):
        await agent(sc.StorageUpload(path="z"))


async def test_parts_that_come_at_the_same_time_all_land(tmp_path, at):
    import asyncio

    async with at(tmp_path) as managers:
        agent = managers.agent()
        upload = (await agent(sc.StorageUpload(path="x"))).id
        parts = [bytes([number]) * 100_000 for number in range(8)]
        sent = (
            agent(sc.StoragePart(upload_id=upload, start=number * 100_000, data=data))
            for number, data in enumerate(parts)
        )
        await asyncio.gather(*sent)
        await agent(sc.StorageCommit(upload_id=upload, path="x", size=800_000))
        read = await agent(sc.StorageRead(path="x", as_bytes=True))
        assert read.data == b"".join(parts)
