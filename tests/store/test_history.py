"""Histories of conversations."""

import pytest

from aios.abi import syscalls as sc
from aios.abi.errors import Corrupt, QuotaExceeded
from aios.abi.messages import Message, ToolCall
from aios.kernel.config import MemoryConfig
from aios.kernel.histories.rows import MAX_READ_BYTES

TALK = (
    Message("user", "hello"),
    Message("assistant", "", (ToolCall("1", "calculate", {"expression": "1+1"}),)),
    Message("tool", "2", tool_call_id="1"),
    Message("user", [{"type": "text", "text": "a part"}]),
)


async def test_messages_come_back_as_they_were_in_their_order(agent):
    assert (await agent(sc.MemoryAppend(messages=TALK[:2]))).num_messages == 2
    assert (await agent(sc.MemoryAppend(messages=TALK[2:]))).num_messages == 4
    assert await agent(sc.MemoryRead()) == sc.History(4, TALK)
    assert await agent(sc.MemoryRead(start=1, limit=2)) == sc.History(4, TALK[1:3])
    assert await agent(sc.MemoryRead(start=2**70)) == sc.History(4)


async def test_a_history_is_its_owners_and_outlives_the_kernel(tmp_path, at):
    async with at(tmp_path) as managers:
        await managers.agent()(sc.MemoryAppend(messages=TALK))
        assert await managers.agent("bob")(sc.MemoryRead()) == sc.History(0)
        await managers.agent("bob")(sc.MemoryClear())
    async with at(tmp_path) as managers:
        assert await managers.agent()(sc.MemoryRead()) == sc.History(4, TALK)


async def test_clearing_forgets_all_but_the_notes(agent):
    await agent(sc.MemoryAdd(text="a note"))
    await agent(sc.MemoryAppend(messages=TALK))
    await agent(sc.MemoryClear())
    assert await agent(sc.MemoryRead()) == sc.History(0)
    assert (await agent(sc.MemoryAppend(messages=TALK[:1]))).num_messages == 1
    assert (await agent(sc.MemoryGet(note_id="n1"))).text == "a note"


@pytest.mark.parametrize(
    "config",
    [MemoryConfig(max_history_messages=3), MemoryConfig(max_history_bytes=200)],
    ids=["many", "large"],
)
async def test_an_append_over_the_limit_adds_nothing(tmp_path, at, config):
    async with at(tmp_path, config) as managers:
        agent = managers.agent()
        await agent(sc.MemoryAppend(messages=TALK[:1]))
        with pytest.raises(QuotaExceeded, match="clear it first"):
            await agent(sc.MemoryAppend(messages=TALK))
        assert await agent(sc.MemoryRead()) == sc.History(1, TALK[:1])


async def test_large_messages_come_in_several_replies(agent):
    large = Message("user", "x" * (MAX_READ_BYTES // 2))
    await agent(sc.MemoryAppend(messages=(large, large, large)))
    first = await agent(sc.MemoryRead())
    assert (first.num_messages, len(first.messages)) == (3, 1)
    assert len((await agent(sc.MemoryRead(start=1))).messages) == 1


async def test_a_damaged_message_is_found_out(managers, agent):
    await agent(sc.MemoryAppend(messages=TALK))
    await managers.store.write(
        lambda c: c.execute("UPDATE history SET body = x'7b7d' WHERE position = 1").get
    )
    with pytest.raises(Corrupt, match="message 1"):
        await agent(sc.MemoryRead())
    assert (await agent(sc.MemoryRead(start=2))).messages == TALK[2:]
