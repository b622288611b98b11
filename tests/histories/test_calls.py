"""The calls about histories: what they answer, refuse and leave alone."""

import asyncio

import pytest

from aios.abi import syscalls as sc
from aios.abi.errors import Conflict, Corrupt, InvalidArgument, NotFound, OutcomeUnknown, QuotaExceeded
from aios.abi.messages import Message, ToolCall
from aios.kernel.config import MemoryConfig
from aios.kernel.histories.reading import MAX_READ_BYTES

TALK = (
    Message("user", "hello"),
    Message("assistant", "", (ToolCall("1", "calculate", {"expression": "1+1"}),)),
    Message("tool", "2", tool_call_id="1"),
    Message("user", [{"type": "text", "text": "a part\nof two lines"}]),
)


async def names(agent, **fields):
    return [entry.name for entry in (await agent(sc.MemoryHistories(**fields))).histories]


async def test_messages_come_back_as_they_were_in_their_order(agent):
    assert (await agent(sc.MemoryAppend(messages=TALK[:2]))).num_messages == 2
    assert (await agent(sc.MemoryAppend(messages=TALK[2:]))).num_messages == 4
    assert await agent(sc.MemoryRead()) == sc.History(4, TALK)
    assert await agent(sc.MemoryRead(start=1, limit=2)) == sc.History(4, TALK[1:3])
    assert await agent(sc.MemoryRead(start=2**70)) == sc.History(4)


async def test_a_history_is_its_owners_and_outlives_the_kernel(histories):
    await histories.agent()(sc.MemoryAppend(messages=TALK))
    assert await histories.agent("bob")(sc.MemoryRead()) == sc.History(0)
    await histories.agent("bob")(sc.MemoryClear())
    await histories.start()
    assert await histories.agent()(sc.MemoryRead()) == sc.History(4, TALK)
    assert await histories.agent("bob")(sc.MemoryRead()) == sc.History(0)


async def test_histories_of_different_names_are_apart(agent):
    await agent.append("a", history="one")
    await agent.append("a", "b", history="two")
    await agent.append("c", history="one")
    assert await agent.texts(history="one") == ["a", "c"]
    assert await agent.texts(history="two") == ["a", "b"]
    assert await agent.texts() == []


async def test_histories_are_listed_by_name_and_in_pages(histories, agent):
    for name in ("b", "a", "c"):
        await agent.append("hello", history=name)
        histories.clock.advance(1)
    await agent.append("more", history="a")
    assert await names(agent) == ["a", "b", "c"]
    assert await names(agent, limit=2) == ["a", "b"]
    assert await names(agent, after="b") == ["c"]
    assert await names(histories.agent("bob")) == []
    entry = (await agent(sc.MemoryHistories())).histories[0]
    now = histories.clock.time()
    size = len(b'{"role":"user","content":"hello"}\n{"role":"user","content":"more"}\n')
    assert entry == sc.HistoryEntry("a", 2, size, False, now - 2, now)


async def test_a_damaged_history_is_listed_as_that(histories, agent):
    for name in ("bad", "good"):
        await agent.append("hello", history=name)
    await histories.change("UPDATE histories SET num_messages = 7 WHERE name = 'bad'")
    bad, good = (await agent(sc.MemoryHistories())).histories
    assert bad == sc.HistoryEntry("bad", 0, 0, False, 0, 0, damaged=True)
    assert (good.name, good.num_messages, good.damaged) == ("good", 1, False)


async def test_clearing_forgets_a_history(histories, agent):
    await agent(sc.MemoryAppend(messages=TALK))
    await agent.append("other", history="other")
    await agent(sc.MemoryClear())
    assert await agent(sc.MemoryRead()) == sc.History(0)
    assert await names(agent) == ["other"]
    assert (await agent.append("new")).num_messages == 1
    assert await agent.texts() == ["new"]


async def test_clearing_from_a_message_on_keeps_what_is_before(histories, agent):
    await agent.append("a", "b", "c", "d")
    await agent(sc.MemoryClear(start=4))
    assert await agent.texts() == ["a", "b", "c", "d"]
    await agent(sc.MemoryClear(start=2))
    assert await agent.texts() == ["a", "b"]
    await agent.append("e")
    assert await agent.texts() == ["a", "b", "e"]
    await histories.start()
    assert await histories.agent().texts() == ["a", "b", "e"]


async def test_a_fork_begins_alike_and_goes_its_own_way(histories, agent):
    await agent.append("a", "b", "c")
    assert await agent(sc.MemoryFork(to="whole")) == sc.History(3)
    assert await agent(sc.MemoryFork(to="part", at=2)) == sc.History(2)
    await agent.append("d", history="part")
    await agent.append("e")
    assert await agent.texts() == ["a", "b", "c", "e"]
    assert await agent.texts(history="whole") == ["a", "b", "c"]
    assert await agent.texts(history="part") == ["a", "b", "d"]
    await agent(sc.MemoryClear())
    for _ in range(2):
        assert await histories.agent().texts(history="part") == ["a", "b", "d"]
        assert await histories.agent().texts(history="whole") == ["a", "b", "c"]
        await histories.start()


async def test_a_fork_that_cannot_be_is_refused_and_changes_nothing(agent):
    await agent.append("a", "b")
    await agent.append("x", history="there")
    with pytest.raises(NotFound, match="there is no history 'none'"):
        await agent(sc.MemoryFork(history="none", to="new"))
    with pytest.raises(Conflict, match="'there' already"):
        await agent(sc.MemoryFork(to="there"))
    with pytest.raises(Conflict):
        await agent(sc.MemoryFork(to="main"))
    with pytest.raises(InvalidArgument, match="2 messages"):
        await agent(sc.MemoryFork(to="new", at=3))
    assert await names(agent) == ["main", "there"]


async def test_anothers_history_is_forked_within_its_tenant(histories, agent):
    await agent.append("a", "b")
    bob = histories.agent("bob")
    assert (await bob(sc.MemoryFork(to="hers", owner="alice"))).num_messages == 2
    await bob.append("c", history="hers")
    assert await bob.texts(history="hers") == ["a", "b", "c"]
    assert await bob.texts(owner="alice") == ["a", "b"]
    stranger = histories.agent("carol", tenant="elsewhere")
    with pytest.raises(InvalidArgument, match="tenant"):
        await stranger(sc.MemoryFork(to="hers", owner="alice"))
    assert await names(stranger) == []


async def test_calls_for_another_owner_reach_its_histories(histories, agent):
    bob = histories.agent("bob")
    await bob.append("a", owner="alice")
    await bob.append("b", history="notes", owner="alice")
    await bob(sc.MemoryPin(history="notes", owner="alice"))
    assert await names(bob, owner="alice") == ["main", "notes"]
    await bob(sc.MemoryClear(owner="alice"))
    assert await names(agent) == ["notes"]
    assert await names(bob) == []


@pytest.mark.parametrize(
    "config",
    [MemoryConfig(max_history_messages=3), MemoryConfig(max_history_bytes=200)],
    ids=["many", "large"],
)
async def test_an_append_over_the_limit_adds_nothing(histories, config):
    await histories.start(config)
    agent = histories.agent()
    await agent(sc.MemoryAppend(messages=TALK[:1]))
    with pytest.raises(QuotaExceeded, match="clear"):
        await agent(sc.MemoryAppend(messages=TALK))
    assert await agent(sc.MemoryRead()) == sc.History(1, TALK[:1])
    await histories.start()
    assert await histories.agent()(sc.MemoryRead()) == sc.History(1, TALK[:1])


async def test_what_histories_share_counts_in_each(histories):
    size = len(b'{"role":"user","content":"hello"}\n')
    await histories.start(MemoryConfig(max_history_bytes=2 * size))
    agent = histories.agent()
    await agent.append("hello")
    await agent(sc.MemoryFork(to="b"))
    with pytest.raises(QuotaExceeded, match="together"):
        await agent(sc.MemoryFork(to="c"))
    await agent(sc.MemoryClear(history="b"))
    await agent(sc.MemoryFork(to="c"))
    await histories.agent("bob").append("hello", "hello")


async def test_an_owner_has_so_many_histories(histories):
    await histories.start(MemoryConfig(max_histories=2))
    agent = histories.agent()
    await agent.append("a", history="a")
    await agent.append("b", history="b")
    with pytest.raises(QuotaExceeded, match="2 histories"):
        await agent.append("c", history="c")
    await agent(sc.MemoryClear(history="a"))
    await agent.append("c", history="c")
    assert await names(agent) == ["b", "c"]


async def test_half_a_character_is_refused(agent):
    with pytest.raises(InvalidArgument, match="JSON"):
        await agent.append("fine", "\ud800")
    assert await agent.texts() == []


async def test_large_messages_come_in_several_replies(histories, agent):
    large = [letter * (MAX_READ_BYTES // 2) for letter in "abc"]
    await agent.append(*large)
    first = await agent(sc.MemoryRead())
    assert (first.num_messages, len(first.messages)) == (3, 1)
    assert len((await agent(sc.MemoryRead(start=1))).messages) == 1
    assert await agent.texts() == large
    await histories.start()
    assert await histories.agent().texts() == large


async def test_a_message_larger_than_a_reply_comes_alone(histories, agent):
    huge = "x" * (MAX_READ_BYTES + 1)
    await agent.append("before", huge, "after")
    for _ in range(2):
        agent = histories.agent()
        assert (await agent(sc.MemoryRead(start=1))).messages == (Message("user", huge),)
        assert await agent.texts() == ["before", huge, "after"]
        await histories.start()


async def test_a_damaged_node_is_found_out_and_the_others_are_served(histories, agent):
    large = ["a" * 30_000, "b" * 30_000, "c" * 30_000]
    await agent.append(*large)
    nodes = await histories.all("SELECT node FROM history_bodies ORDER BY node")
    assert len(nodes) == 3
    await histories.change("UPDATE history_bodies SET body = x'00' WHERE node = ?", *nodes[1])
    await histories.start()
    agent = histories.agent()
    for _ in range(2):
        with pytest.raises(Corrupt, match="checksum"):
            await agent(sc.MemoryRead())
        assert (await agent(sc.MemoryRead(start=2))).messages[0].text == large[2]
        assert (await agent(sc.MemoryRead(limit=1))).messages[0].text == large[0]
    await agent.append("goes on")
    assert (await agent(sc.MemoryRead(start=3))).messages[0].text == "goes on"
    await agent(sc.MemoryClear())
    assert await agent.texts() == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE histories SET num_messages = 7",
        "UPDATE histories SET node = 1",
        "UPDATE history_nodes SET start = start + 1 WHERE parent IS NOT NULL",
        "UPDATE history_nodes SET end = end - 1 WHERE parent IS NOT NULL",
        "UPDATE history_tails SET body = replace(body, 'hello', 'jello')",
        "UPDATE history_tails SET start = start + 1",
        "DELETE FROM history_tails",
    ],
)
async def test_no_damaged_row_is_taken_for_whole(histories, agent, damage):
    await agent.append("hello")
    await histories.change(damage)
    await histories.start()
    agent = histories.agent()
    with pytest.raises(Corrupt):
        await agent(sc.MemoryRead())
    await agent(sc.MemoryClear())
    assert await agent(sc.MemoryRead()) == sc.History(0)
    await agent.append("again")
    assert await agent.texts() == ["again"]


async def test_appends_at_the_same_time_all_come_in(histories, agent):
    await asyncio.gather(*(agent.append(str(number)) for number in range(50)))
    assert sorted(map(int, await agent.texts())) == list(range(50))
    in_memory = await agent.texts()
    await histories.start()
    assert await histories.agent().texts() == in_memory


async def test_a_call_that_is_not_waited_for_any_more_is_in_memory_as_on_disk(histories, agent):
    await agent.append("a")
    waiting = asyncio.ensure_future(agent.append("b"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await agent.append("c")
    assert await agent.texts() == ["a", "b", "c"]


async def test_after_an_unknown_outcome_the_disk_is_asked(histories, agent, monkeypatch):
    await agent.append("a")
    write = histories.store.write

    async def commits_but_fails(work, **reply):
        await write(work, **reply)
        raise OutcomeUnknown("the commit failed")

    with monkeypatch.context() as patched:
        patched.setattr(histories.store, "write", commits_but_fails)
        with pytest.raises(OutcomeUnknown):
            await agent.append("b")
    assert await agent.texts() == ["a", "b"]
    await agent.append("c")
    assert await agent.texts() == ["a", "b", "c"]


async def test_what_was_read_while_a_write_was_under_way_is_not_kept(histories, agent, monkeypatch):
    await agent.append("a")
    await histories.start()
    agent, read = histories.agent(), histories.store.read

    async def reads_and_is_overtaken(work):
        found = await read(work)
        with monkeypatch.context() as patched:
            patched.setattr(histories.store, "read", read)
            await agent.append("b")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(histories.store, "read", reads_and_is_overtaken)
        assert await agent.texts() == ["a"]
    assert await agent.texts() == ["a", "b"]
