"""Content cut into chunks: where the cuts are, that each chunk is kept once, and that damage is found."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline import InlineStore

from aios.abi import syscalls as sc
from aios.abi.errors import Corrupt
from aios.kernel.files import chunks, cutting, pieces
from aios.kernel.files.chunks import chunks_of
from aios.kernel.files.cutting import MAX_CHUNK, MIN_CHUNK, cuts


def noise(num_bytes, seed=0):
    return random.Random(seed).randbytes(num_bytes)


def plainly_cut(content):
    """The same as `cuts`, one byte after the other."""
    ends, begin, hashed = [], 0, 0
    for end, byte in enumerate(content, 1):
        hashed = (hashed << 1) + int(cutting._GEAR[byte]) & 0xFFFFFFFF
        asked = len(content) > MIN_CHUNK and hashed & int(cutting._MASK) == 0 and end - begin >= MIN_CHUNK
        if asked or end - begin == MAX_CHUNK:
            begin = end
            ends.append(end)
    return ends if begin == len(content) else [*ends, len(content)]


@pytest.mark.parametrize("num_bytes", [0, 1, MIN_CHUNK, MIN_CHUNK + 1, 200_000, 400_001])
def test_cuts_are_where_the_hash_of_the_last_bytes_says(num_bytes):
    content = noise(num_bytes)
    assert cuts(content) == plainly_cut(content)


def test_chunks_are_neither_too_small_nor_too_large():
    for content in (noise(3_000_000), bytes(1_000_000), b"ab" * 400_000):
        sizes = [chunk.size for chunk in chunks_of(content)]
        assert sum(sizes) == len(content)
        assert max(sizes) <= MAX_CHUNK
        assert min(sizes[:-1]) >= MIN_CHUNK


@given(st.binary(max_size=64 * 1024), st.integers(0, 64 * 1024))
def test_chunks_together_are_the_content(content, repeated):
    content = content + noise(repeated, seed=1) + content
    assert b"".join(chunk.content for chunk in chunks_of(content)) == content


def test_a_change_in_the_middle_leaves_most_chunks_as_they_were():
    content = noise(2_000_000)
    changed = content[:1_000_000] + b"something new" + content[1_000_000:]
    old, new = ({chunk.hash for chunk in chunks_of(one)} for one in (content, changed))
    assert len(new - old) <= 2


@pytest.fixture
async def connection():
    store = InlineStore()
    await store.migrate("t", (TABLES,))
    return store.connection


TABLES = """
    CREATE TABLE file_chunks (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, content BLOB NOT NULL);
    CREATE TABLE file_pieces (chunk INTEGER);
    CREATE TABLE upload_parts (chunk INTEGER);
"""


def put(connection, content):
    (chunk,) = chunks_of(content)
    return chunks.put(connection, chunk)


async def test_equal_chunks_are_kept_once(connection):
    assert put(connection, b"x") == put(connection, b"x") != put(connection, b"y")
    assert connection.execute("SELECT count(*) FROM file_chunks").get == 2


async def test_what_a_damaged_chunk_was_mends_it(connection):
    id = put(connection, b"content")
    connection.execute("UPDATE file_chunks SET content = x'00'")
    assert put(connection, b"content") == id
    assert connection.execute("SELECT content FROM file_chunks").get == b"content"


async def test_only_what_nothing_holds_is_freed(connection):
    ids = [put(connection, content) for content in (b"a", b"b", b"c")]
    connection.execute("INSERT INTO file_pieces VALUES (?)", (ids[0],))
    connection.execute("INSERT INTO upload_parts VALUES (?)", (ids[1],))
    chunks.free(connection, ids + ids)
    assert [id for (id,) in connection.execute("SELECT id FROM file_chunks ORDER BY id")] == ids[:2]


async def test_versions_of_a_large_file_share_what_did_not_change(managers, agent):
    content = "".join(chr(97 + byte % 26) for byte in noise(1_000_000))
    await agent(sc.StorageWrite(path="large", content=content))
    before = await stored_bytes(managers)
    await agent(sc.StorageWrite(path="large", content=f"{content[:500_000]}changed{content[500_000:]}"))
    assert await stored_bytes(managers) - before < 2 * MAX_CHUNK
    assert (await agent(sc.StorageRead(path="large", version=1))).content == content


async def stored_bytes(managers):
    return await managers.store.read(
        lambda connection: connection.execute("SELECT sum(length(content)) FROM file_chunks").get
    )


async def test_small_appends_are_merged_so_that_reading_stays_quick(managers, agent):
    for number in range(3 * pieces.MAX_TAIL):
        await agent(sc.StorageAppend(path="log", content=f"{number}\n"))
    await agent(sc.StorageAppend(path="log", content="x" * MIN_CHUNK))
    await agent(sc.StorageAppend(path="log", content="end"))
    found = await managers.store.read(
        lambda c: c.execute("SELECT count(*) FROM file_pieces WHERE merged IS NULL").get
    )
    assert found <= pieces.MAX_TAIL + 2
    lines = (await agent(sc.StorageRead(path="log", version=150))).content.splitlines()
    assert lines == [str(number) for number in range(150)]


@pytest.mark.parametrize(("sizes", "tail"), [((), 0), ((5,), 1), ((MIN_CHUNK, 5, 5), 2), ((5, MIN_CHUNK), 0)])
def test_the_tail_is_the_small_ones_at_the_end(sizes, tail):
    assert pieces.tail_of(sizes) == tail


async def test_a_large_append_begins_a_new_tail(managers, agent):
    await agent(sc.StorageWrite(path="x", content="small"))
    large = "".join(chr(97 + byte % 26) for byte in noise(100_000))
    await agent(sc.StorageAppend(path="x", content=large))
    tail = await managers.store.read(lambda c: c.execute("SELECT tail FROM files").get)
    assert tail <= 1


async def test_a_damaged_chunk_fails_its_versions_and_no_others(managers, agent):
    await agent(sc.StorageWrite(path="x", content="first"))
    await agent(sc.StorageWrite(path="x", content="second"))
    await managers.store.write(lambda c: c.execute("UPDATE file_chunks SET content = 'x' WHERE id = 1").get)
    with pytest.raises(Corrupt, match="version 1 of 'x' is damaged"):
        await agent(sc.StorageRead(path="x", version=1))
    assert (await agent(sc.StorageRead(path="x"))).content == "second"
