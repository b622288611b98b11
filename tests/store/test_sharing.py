"""Links: who may read by them, what, and until when."""

import pytest
from inline import InlineFiles

from aios.abi import syscalls as sc
from aios.abi.errors import NotFound, QuotaExceeded
from aios.kernel.config import StorageConfig


@pytest.fixture
def files():
    return InlineFiles()


@pytest.fixture
def agent(files):
    return files.agent()


@pytest.fixture
def stranger(files):
    return files.agent("stranger")


async def test_whoever_has_a_link_reads_the_version_it_was_made_for(agent, stranger):
    await agent(sc.StorageWrite(path="x", content="shown"))
    link = await agent(sc.StorageShare(path="x"))
    await agent(sc.StorageWrite(path="x", content="not shown"))
    found = await stranger(sc.StorageOpen(link=link.link))
    assert (found.data, found.path, found.version, found.size) == (b"shown", "x", 1, 5)
    part = await stranger(sc.StorageOpen(link=link.link, start=2, length=2))
    assert (part.data, part.start, part.end) == (b"ow", 2, 4)
    assert link.url == f"/v1/shared/{link.link}"
    assert await agent(sc.StorageShares()) == sc.ShareLinks((link,))
    assert await stranger(sc.StorageShares()) == sc.ShareLinks(())


async def test_a_link_ends_with_its_time(files, agent, stranger):
    await agent(sc.StorageWrite(path="x", content="shown"))
    link = await agent(sc.StorageShare(path="x", expires_s=10.0))
    files.clock.advance(10.0)
    with pytest.raises(NotFound, match="opens nothing"):
        await stranger(sc.StorageOpen(link=link.link))
    assert await agent(sc.StorageShares()) == sc.ShareLinks(())


@pytest.mark.parametrize(
    "ending",
    [
        lambda link: sc.StorageUnshare(share_id=link.id),
        lambda link: sc.StorageDelete(path="x"),
        lambda link: sc.StorageMove(path="x", to="y"),
    ],
)
async def test_a_link_ends_when_it_is_revoked_or_its_file_goes(agent, stranger, ending):
    await agent(sc.StorageWrite(path="x", content="shown"))
    link = await agent(sc.StorageShare(path="x"))
    await agent(ending(link))
    with pytest.raises(NotFound, match="opens nothing"):
        await stranger(sc.StorageOpen(link=link.link))
    if not isinstance(ending(link), sc.StorageUnshare):
        await agent(sc.StorageWrite(path="x", content="again"))
        with pytest.raises(NotFound):
            await stranger(sc.StorageOpen(link=link.link))


async def test_a_link_to_what_was_pruned_opens_nothing(agent, stranger):
    await agent(sc.StorageWrite(path="x", content="old"))
    link = await agent(sc.StorageShare(path="x"))
    await agent(sc.StorageWrite(path="x", content="new"))
    await agent(sc.StoragePrune(path="x"))
    with pytest.raises(NotFound, match="opens nothing"):
        await stranger(sc.StorageOpen(link=link.link))


async def test_a_link_cannot_be_made_up_or_made_to_last(files, agent, stranger):
    await agent(sc.StorageWrite(path="x", content="secret"))
    link = (await agent(sc.StorageShare(path="x"))).link
    id, expires, signature = link.split(".")
    later = str(int(expires) + 1_000_000)
    for forged in (
        *(f"{id}.{later}.{signature}", f"{id}.{expires}.", f"{id}.{expires}", id, "a.b.c", "..", "."),
        *(f"{link}.more", f"{link}=", f"x{link}", link[:-1], f"{id}..{signature}", "é", link + "é"),
    ):
        with pytest.raises(NotFound, match="opens nothing"):
            await stranger(sc.StorageOpen(link=forged))
    other = InlineFiles()
    await other.agent()(sc.StorageWrite(path="x", content="secret"))
    await other.agent()(sc.StorageShare(path="x"))
    with pytest.raises(NotFound, match="opens nothing"):
        await other.agent()(sc.StorageOpen(link=link))


async def test_before_any_link_was_made_none_opens_anything(stranger):
    with pytest.raises(NotFound, match="opens nothing"):
        await stranger(sc.StorageOpen(link="a.1.b"))
    assert await stranger(sc.StorageShares()) == sc.ShareLinks(())


async def test_only_ones_own_is_shared_and_revoked(agent, stranger):
    await agent(sc.StorageWrite(path="x", content=""))
    link = await agent(sc.StorageShare(path="x"))
    with pytest.raises(NotFound, match="there is no file 'x'"):
        await stranger(sc.StorageShare(path="x"))
    with pytest.raises(NotFound, match="there is no link"):
        await stranger(sc.StorageUnshare(share_id=link.id))
    with pytest.raises(NotFound):
        await agent(sc.StorageShare(path="x", version=2))


async def test_links_have_a_limit():
    files = InlineFiles(StorageConfig(max_shares=1))
    agent = files.agent()
    await agent(sc.StorageWrite(path="x", content=""))
    await agent(sc.StorageShare(path="x", expires_s=1.0))
    with pytest.raises(QuotaExceeded, match="1 links"):
        await agent(sc.StorageShare(path="x"))
    files.clock.advance(1.0)
    await agent(sc.StorageShare(path="x"))
