"""Conversations that agents keep, to go on from in more than one way."""

import pytest

from aios.abi.errors import Corrupt, NotFound, QuotaExceeded, TooLarge
from aios.abi.messages import Message, ToolSpec
from aios.drivers.llm_scripted import ScriptedDriver
from aios.kernel.checking.whole import check
from aios.kernel.config import Config, ContextConfig, CoreConfig
from aios.kernel.kernel import Kernel
from aios.sdk.client import Client
from aios.sdk.transport import InProcess

SAID = [Message("system", "Be short."), Message("user", "Tell of the city."), Message("assistant", "Large.")]
TOOL = ToolSpec("find", "finds things", {"type": "object", "properties": {"x": {"type": "string"}}})


def kernel(folder, **limits):
    config = Config(data=folder, cores=(CoreConfig(name="core"),), context=ContextConfig(**limits))
    return Kernel(config, drivers={"core": ScriptedDriver()})


async def client(kernel, name="ann"):
    root = Client(InProcess(kernel.trap), kernel.operator_token)
    spawned = await root.process.spawn(name, principal=name, durable=True)
    return Client(InProcess(kernel.trap), spawned.token)


async def test_a_conversation_is_gone_on_with_twice_from_one_point(tmp_path):
    async with kernel(tmp_path) as running:
        agent = await client(running)
        await agent.context.snapshot("before", SAID, [TOOL])
        texts = []
        for words in ("Try the river.", "Try the hills."):
            point = await agent.context.restore("before")
            assert (list(point.messages), list(point.tools)) == (SAID, [TOOL])
            answer = await agent.llm.generate([*point.messages, Message("user", words)], tools=point.tools)
            texts.append(answer.text)
        assert all(texts)
        (entry,) = (await agent.context.list()).entries
        assert (entry.name, entry.num_messages) == ("before", 3)
        await agent.context.drop("before")
        with pytest.raises(NotFound, match="nothing is kept as 'before'"):
            await agent.context.restore("before")
        with pytest.raises(NotFound):
            await agent.context.drop("before")


async def test_it_outlives_the_kernel_and_is_nobody_elses(tmp_path):
    async with kernel(tmp_path) as running:
        await (await client(running)).context.snapshot("here", SAID)
        other = await client(running, "bob")
        assert (await other.context.list()).entries == ()
        with pytest.raises(NotFound):
            await other.context.restore("here")
        await other.context.snapshot("here", SAID[:1])
    async with kernel(tmp_path) as running:
        agent = await client(running)
        assert list((await agent.context.restore("here")).messages) == SAID


async def test_names_are_listed_in_pieces_and_replaced(tmp_path):
    async with kernel(tmp_path) as running:
        agent = await client(running)
        for name in ("a", "b", "c", "b"):
            await agent.context.snapshot(name, SAID)
        first = (await agent.context.list(limit=2)).entries
        assert [entry.name for entry in first] == ["a", "b"]
        assert [entry.name for entry in (await agent.context.list(after="b")).entries] == ["c"]


async def test_too_many_and_too_large_ones_are_refused_and_change_nothing(tmp_path):
    async with kernel(tmp_path, max_points=2, max_point_bytes=1000) as running:
        agent = await client(running)
        for name in ("a", "b"):
            await agent.context.snapshot(name, SAID)
        with pytest.raises(QuotaExceeded, match="drop one first"):
            await agent.context.snapshot("c", SAID)
        await agent.context.snapshot("b", SAID[:1])
        with pytest.raises(TooLarge, match="may have 1000 bytes"):
            await agent.context.snapshot("a", [Message("user", "x" * 1000)])
        found = [(entry.name, entry.num_messages) for entry in (await agent.context.list()).entries]
        assert found == [("a", 3), ("b", 1)]


async def test_a_damaged_one_is_told_and_found(tmp_path):
    async with kernel(tmp_path) as running:
        agent = await client(running)
        await agent.context.snapshot("here", SAID)
        await running._store.write(lambda c: c.execute("UPDATE points SET created = created + 1").fetchall())
        with pytest.raises(Corrupt, match="checksum"):
            await agent.context.restore("here")
    problems = check(tmp_path / "aios.db")
    assert [(one.kind, one.table, one.name) for one in problems] == [("row", "points", "here of ann")]
