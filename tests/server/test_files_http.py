"""Files over HTTP: what a real kernel behind the real server takes in and gives out, range by range."""

import asyncio
import json

import aiohttp
import pytest
from yarl import URL

from aios.abi import syscalls as sc
from aios.drivers.llm_scripted import ScriptedDriver
from aios.kernel.config import AccessConfig, Config, CoreConfig, StorageConfig
from aios.kernel.kernel import Kernel
from aios.sdk.client import Client
from aios.sdk.transport import Http, InProcess
from aios.server import files
from aios.server.app import serving

SMALL = 100
"""Bytes of a part in these tests."""


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(files, "PART_BYTES", SMALL)


@pytest.fixture
async def kernel(tmp_path):
    config = Config(
        data=tmp_path,
        port=0,
        cores=(CoreConfig(name="core"),),
        access=AccessConfig(share="allow"),
        storage=StorageConfig(max_file_bytes=2000),
    )
    async with Kernel(config, drivers={"core": ScriptedDriver()}) as running:
        yield running


@pytest.fixture
async def url(kernel):
    async with serving(kernel, kernel.config) as address:
        yield address.url


@pytest.fixture
async def alice(kernel):
    """Straight to the kernel."""
    spawned = await kernel.trap(kernel.operator_token, sc.ProcessSpawn(agent="a", principal="alice"))
    return Client(InProcess(kernel.trap), spawned.token)


@pytest.fixture
async def session(url, alice):
    headers = {"Authorization": f"Bearer {alice._token}"}
    async with aiohttp.ClientSession(url, headers=headers) as opened:
        yield opened


async def told(response: aiohttp.ClientResponse) -> tuple[int, str]:
    async with response:
        body = json.loads(await response.read())
        return response.status, body["error"]["code"]


async def uploads(alice: Client) -> int:
    """Bytes that count for an upload under way."""
    return (await alice.storage.quota()).bytes


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 200, 350])
async def test_what_is_put_is_what_is_got(session, size):
    content = bytes(index * 7 % 256 for index in range(size))
    async with session.put("/v1/files/a/b%20c.bin", data=content) as response:
        entry = json.loads(await response.read())
        assert (response.status, response.headers["ETag"]) == (200, '"1"')
    assert (entry["path"], entry["size"]) == ("a/b c.bin", size)
    async with session.get("/v1/files/a/b%20c.bin") as response:
        assert await response.read() == content
        assert response.headers["Content-Length"] == str(size)
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["aios-label"] == "trusted"
    async with session.head("/v1/files/a/b%20c.bin") as response:
        assert response.headers["Content-Length"] == str(size)


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [("0-0", 0, 1), ("5-", 5, 350), ("-7", 343, 350), ("100-299", 100, 300), ("340-9999", 340, 350)],
)
async def test_a_range_of_a_file(session, asked, begin, end):
    content = bytes(index % 251 for index in range(350))
    (await session.put("/v1/files/f", data=content)).release()
    async with session.get("/v1/files/f", headers={"Range": f"bytes={asked}"}) as response:
        assert (response.status, await response.read()) == (206, content[begin:end])
        assert response.headers["Content-Range"] == f"bytes {begin}-{end - 1}/350"


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "lines=1-2", "bytes=-", "bytes=x-"])
async def test_what_is_no_single_range_gives_the_whole(session, asked):
    (await session.put("/v1/files/f", data=b"content")).release()
    async with session.get("/v1/files/f", headers={"Range": asked}) as response:
        assert (response.status, await response.read()) == (200, b"content")


@pytest.mark.parametrize("asked", ["7-", "9-12", "-0", "5-3"])
async def test_a_range_that_is_not_there_is_told_so(session, asked):
    (await session.put("/v1/files/f", data=b"content")).release()
    response = await session.get("/v1/files/f", headers={"Range": f"bytes={asked}"})
    assert (await told(response))[0] == 416


async def test_a_range_goes_on_in_the_version_that_it_was_begun_in(session):
    for content in (b"old", b"new text"):
        (await session.put("/v1/files/f", data=content)).release()
    headers = {"Range": "bytes=1-", "If-Range": '"1"'}
    async with session.get("/v1/files/f", headers=headers) as response:
        assert (response.status, await response.read()) == (200, b"new text")
    async with session.get("/v1/files/f?version=1", headers=headers) as response:
        assert (response.status, await response.read()) == (206, b"ld")


async def test_a_write_is_bound_to_a_version(session):
    for content, headers, status in (
        (b"1", {"If-None-Match": "*"}, 200),
        (b"2", {"If-None-Match": "*"}, 409),
        (b"2" * 150, {"If-Match": '"1"'}, 200),
        (b"3" * 150, {"If-Match": '"1"'}, 409),
        (b"3", {"If-Match": "*"}, 400),
        (b"3", {"If-Match": '"2"', "If-None-Match": "*"}, 400),
    ):
        async with session.put("/v1/files/f", data=content, headers=headers) as response:
            assert response.status == status, headers
    async with session.get("/v1/files/f") as response:
        assert await response.read() == b"2" * 150


async def test_the_query_says_what_the_table_has(session, alice):
    (await session.put("/v1/files/f?label=untrusted&source=web", data=b"x")).release()
    assert (await alice.storage.stat("f")).label == "untrusted"
    assert (await alice.storage.history("f")).versions[0].source == "web"
    for query in ("labl=untrusted", "label=none", "lock=x", "path=g"):
        assert await told(await session.put(f"/v1/files/f?{query}", data=b"y")) == (400, "invalid_argument")
    assert (await alice.storage.stat("f")).version == 1
    (await session.delete("/v1/files/f")).release()
    assert (await told(await session.get("/v1/files/f")))[0] == 404


@pytest.mark.parametrize(
    "path",
    ["a/../b", "..", "a//b", "%ff", "a%00b", "%2e%2e/x", "x" * 1025, "C:/b%0a", "", "%2fabsolute"],
)
async def test_a_bad_path_is_refused(session, alice, url, path):
    there = URL(f"{url}/v1/files/{path}", encoded=True)
    async with session.put(there, data=b"x") as response:
        assert response.status in (400, 404)
    assert not (await alice.storage.list()).files


async def test_too_much_is_refused_and_nothing_of_it_is_kept(session, alice):
    before = await uploads(alice)
    assert (await told(await session.put("/v1/files/f", data=b"x" * 5000))) == (413, "too_large")
    assert await uploads(alice) == before
    assert not (await alice.storage.list()).files


async def test_a_key_is_for_what_fits_one_part(session, alice):
    for _ in range(2):
        response = await session.put("/v1/files/f", data=b"x", headers={"Idempotency-Key": "k"})
        assert json.loads(await response.read())["version"] == 1
    response = await session.put("/v1/files/f", data=b"x" * 150, headers={"Idempotency-Key": "l"})
    assert (await told(response))[0] == 400


async def test_what_a_client_that_goes_away_has_sent_is_dropped(session, alice, url):
    before = await uploads(alice)
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"PUT /v1/files/f HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {alice._token}\r\n"
    writer.write(f"{head}Content-Length: 1000\r\n\r\n".encode() + b"x" * 500)
    while await uploads(alice) < before + 400:
        continue
    writer.close()
    while await uploads(alice) > before:
        continue
    assert not (await alice.storage.list()).files


async def test_a_link_needs_no_token_and_ends_when_it_is_revoked(url, alice):
    await alice.storage.write("f", "content")
    link = await alice.storage.share("f")
    async with aiohttp.ClientSession(url) as stranger:
        async with stranger.get(link.url) as response:
            assert (response.status, await response.read()) == (200, b"content")
        async with stranger.get(link.url, headers={"Range": "bytes=-3"}) as response:
            assert (response.status, await response.read()) == (206, b"ent")
        assert (await told(await stranger.get("/v1/files/f")))[0] == 401
        assert (await told(await stranger.get(f"{link.url}x")))[0] == 404
        assert (await told(await stranger.get("/v1/shared/%00")))[0] == 404
        await alice.storage.unshare(link.id)
        assert (await told(await stranger.get(link.url)))[0] == 404


async def test_whole_files_go_both_ways_through_the_sdk(tmp_path, url, alice, monkeypatch):
    from aios.sdk import files as sdk

    monkeypatch.setattr(sdk, "PART_BYTES", SMALL)
    there, back = tmp_path / "there", tmp_path / "back"
    content = bytes(index % 253 for index in range(350))
    there.write_bytes(content)
    transport = Http(url)
    try:
        client = Client(transport, alice._token)
        steps = []
        entry = await client.storage.put("f", there, on_progress=lambda *step: steps.append(step))
        assert (entry.size, entry.version) == (350, 1)
        assert steps == [(100, 350), (200, 350), (300, 350), (350, 350)]
        found = await client.storage.get("f", back)
        assert (back.read_bytes(), found.version, found.size) == (content, 1, 350)
        there.write_bytes(b"x" * 3000)
        with pytest.raises(Exception, match="2000"):
            await client.storage.put("f", there)
        assert (await client.storage.stat("f")).version == 1
        with pytest.raises(Exception, match="no file"):
            await client.storage.get("nothing", back)
        assert back.read_bytes() == content
        assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".back")) == []
    finally:
        await transport.close()
