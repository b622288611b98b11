"""The trie on disk: what is kept once, where texts part, and what goes when nobody has it any more."""

import pytest

from aios.abi import syscalls as sc
from aios.abi.messages import Message
from aios.kernel.histories.nodes import NODE_BYTES, PACK_BYTES, SHARED_BYTES
from aios.kernel.histories.rows import lines_of
from aios.kernel.histories.trie import common

PROMPT = "You are an agent. " * 300


def size(*texts):
    return len(lines_of([Message("user", text) for text in texts]))


async def text_bytes(histories):
    """Of all nodes, unpacked."""
    return (await histories.all("SELECT ifnull(sum(end - start), 0) FROM history_nodes"))[0][0]


async def num_nodes(histories):
    return (await histories.all("SELECT count(*) FROM history_nodes WHERE parent IS NOT NULL"))[0][0]


@pytest.mark.parametrize("others", [("alice", "default"), ("bob", "default")], ids=["own", "another's"])
async def test_a_shared_beginning_is_kept_once(histories, agent, others):
    await agent.append(PROMPT, "question one")
    other = histories.agent(*others)
    await other.append(PROMPT, "question two", history="other")
    assert await text_bytes(histories) == size(PROMPT, "question one", "question two")
    assert await other.texts(history="other") == [PROMPT, "question two"]
    assert await agent.texts() == [PROMPT, "question one"]


async def test_tenants_share_nothing(histories, agent):
    await agent.append(PROMPT)
    await histories.agent("bob", tenant="elsewhere").append(PROMPT)
    assert await text_bytes(histories) == 2 * size(PROMPT)


async def test_messages_that_part_late_share_what_is_before(histories, agent):
    document = "a long document " * 1000
    for number in range(3):
        await agent.append(f"{document} question {number}", history=f"h{number}")
    assert await text_bytes(histories) < size(document) + 3 * 100
    await histories.start()
    for number in range(3):
        found = await histories.agent().texts(history=f"h{number}")
        assert found == [f"{document} question {number}"]


async def test_messages_that_part_early_are_each_whole(histories, agent):
    await agent.append("x" * (SHARED_BYTES // 2) + "one", history="a")
    await agent.append("x" * (SHARED_BYTES // 2) + "two", history="b")
    starts = await histories.all("SELECT start FROM history_nodes WHERE parent IS NOT NULL")
    assert starts == [(0,), (0,)]


async def test_a_character_may_be_parted_between_its_bytes(histories, agent):
    # é and è have their first byte in common.
    texts = ["ä" * SHARED_BYTES + "é!", "ä" * SHARED_BYTES + "è!"]
    for at, text in enumerate(texts):
        await agent.append(text, history=f"h{at}")
    await histories.start()
    assert [await histories.agent().texts(history=f"h{at}") for at in range(2)] == [[text] for text in texts]


async def test_nothing_is_kept_for_nobody(histories, agent):
    await agent.append(PROMPT, "one", "more", history="a")
    await agent.append(PROMPT, "two", history="b")
    await agent(sc.MemoryFork(to="c", history="a", at=1))
    await agent(sc.MemoryClear(history="a"))
    assert await text_bytes(histories) == size(PROMPT, "two")
    assert await num_nodes(histories) == 1  # Joined again.
    await agent(sc.MemoryClear(history="b"))
    assert await text_bytes(histories) == size(PROMPT)
    await agent(sc.MemoryClear(history="c"))
    assert await num_nodes(histories) == 0


async def test_appending_and_clearing_again_and_again_leaves_no_splinters(agent, histories):
    await agent.append(*(f"message {number}" for number in range(20)))
    for number in range(1, 20):
        await agent(sc.MemoryFork(to="branch", at=number))
        await agent.append("another way", history="branch")
        await agent(sc.MemoryClear(history="branch"))
    assert await num_nodes(histories) == 1
    assert len(await agent.texts()) == 20


async def test_long_text_is_packed_in_nodes_of_a_bounded_size(histories, agent):
    texts = [f"{number} " + "some words that are alike " * 40 for number in range(200)]
    for text in texts:
        await agent.append(text)
    sizes = await histories.all(
        "SELECT end - start, packed - start FROM history_nodes WHERE parent IS NOT NULL"
    )
    assert all(whole <= NODE_BYTES for whole, _ in sizes)
    assert all(whole - packed < max(PACK_BYTES, packed) for whole, packed in sizes)
    assert len(sizes) < 1.2 * sum(map(size, texts)) / NODE_BYTES + 1
    stored = await histories.all(
        "SELECT sum(size) FROM (SELECT length(body) AS size FROM history_bodies "
        "UNION ALL SELECT length(body) FROM history_tails)"
    )
    assert stored[0][0] < size(*texts) / 4


async def test_an_append_writes_what_it_adds(histories, agent):
    """However long the history is."""
    await agent.append(*("x" * 1000 for _ in range(1000)))

    def changes(connection):
        return connection.total_changes()

    before = await histories.store.write(changes)
    for _ in range(10):
        await agent.append("yes")
    assert await histories.store.write(changes) - before <= 10 * 8


def test_common_is_where_two_texts_part():
    text = bytes(range(256)) * 4
    for at in (0, 1, 5, 511, 1023):
        other = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        assert common(text, other) == common(other, text) == at
    assert common(text, text[:100]) == 100
    assert common(b"", text) == 0
