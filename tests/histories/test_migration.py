"""Histories that an earlier AIOS kept, a row for each message, come over whole, however often stopped."""

import msgspec
import pytest
from held import Histories

from aios.abi import syscalls as sc
from aios.abi.errors import Corrupt
from aios.abi.messages import Message, ToolCall
from aios.drivers.sqlite import checksum
from aios.kernel.config import MemoryConfig
from aios.kernel.histories import schema

TALKS = {
    "alice": [Message("user", f"message {number}") for number in range(20)],
    "bob": [Message("user", "message 0"), Message("assistant", "", (ToolCall("1", "add", {"a": "é\n"}),))],
    "carol": [Message("system", "x" * 70_000), Message("user", "message 1")],
}


@pytest.fixture
async def histories(store):
    """Of the store as the earlier AIOS left it."""
    await store.migrate("history", schema.STEPS[:1])

    def fill(connection):
        for owner, messages in TALKS.items():
            bodies = [msgspec.json.encode(message) for message in messages]
            total = (owner, len(bodies), sum(map(len, bodies)))
            connection.execute("INSERT INTO history_owners VALUES (?, ?, ?)", total)
            for at, body in enumerate(bodies):
                check = checksum(owner.encode(), str(at).encode(), body)
                connection.execute("INSERT INTO history VALUES (?, ?, ?, ?)", (owner, at, body, check))

    await store.write(fill)
    return Histories(store, MemoryConfig())


async def read(histories, owner):
    return list((await histories.agent(owner)(sc.MemoryRead())).messages)


async def tables(histories):
    return {name for (name,) in await histories.all("SELECT name FROM sqlite_schema WHERE type = 'table'")}


async def test_every_message_comes_over(histories):
    await histories.start()
    assert {owner: await read(histories, owner) for owner in TALKS} == TALKS
    assert not {"history", "history_owners"} & await tables(histories)
    await histories.agent().append("goes on")
    assert len(await histories.agent().texts()) == 21
    entry = (await histories.agent("bob")(sc.MemoryHistories())).histories[0]
    assert (entry.name, entry.num_messages, entry.created) == ("main", 2, 0.0)


async def test_it_goes_on_where_it_was_stopped(histories, monkeypatch):
    monkeypatch.setattr(schema, "PIECE_MESSAGES", 3)
    write, num_stops = histories.store.write, 0

    class Stopped(Exception):
        pass

    def stops(connection):
        raise Stopped

    async def write_one(work):
        """Then stop: the next piece fails after it was done."""
        nonlocal left
        left -= 1
        return await write(work if left else lambda connection: (work(connection), stops(connection)))

    for _ in range(100):
        left = 2
        with monkeypatch.context() as patched:
            patched.setattr(histories.store, "write", write_one)
            try:
                await histories.start()
            except Stopped:
                num_stops += 1
                continue
        break
    assert num_stops > 8
    await histories.start()
    assert {owner: await read(histories, owner) for owner in TALKS} == TALKS


@pytest.mark.parametrize("at", [0, 7, 19])
async def test_a_damaged_message_stays_damaged_and_the_others_are_whole(histories, at):
    await histories.change("UPDATE history SET body = x'7b7d' WHERE owner = 'alice' AND position = ?", at)
    await histories.start()
    await histories.agent().append("message 20")
    for _ in range(2):
        agent = histories.agent()
        with pytest.raises(Corrupt):
            await agent(sc.MemoryRead())
        for number in {0, 6, 8, 18, 20} - {at}:
            (message,) = (await agent(sc.MemoryRead(start=number, limit=1))).messages
            assert message.text == f"message {number}"
        with pytest.raises(Corrupt):
            await agent(sc.MemoryRead(start=at, limit=1))
        await histories.start()
    assert await read(histories, "bob") == TALKS["bob"]
    await agent(sc.MemoryClear())
    assert await agent.texts() == []
