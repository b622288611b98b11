"""What agents of a tenant share shows in nothing that they are told, and tenants share nothing."""

import pytest

from aios.abi import syscalls as sc
from aios.abi import wire
from aios.abi.errors import AiosError
from aios.abi.messages import Message
from aios.kernel.config import MemoryConfig

LONG = "the words that both begin with " * 60
SECRETS = ([LONG + "secret", "next"], [LONG + "other", "more"], [], ["short"])


async def told(agent, call):
    try:
        return wire.encode(await agent(call))
    except AiosError as error:
        return wire.encode(error.to_reply())


async def replies(histories, tenant, secret):
    """All that one agent is told, while another of its tenant keeps what it may not know."""
    alice, bob = histories.agent(f"{tenant}.alice", tenant), histories.agent(f"{tenant}.bob", tenant)
    calls = [
        *(sc.MemoryAppend(messages=(Message("user", text),)) for text in (LONG + "secret", "next", "end")),
        sc.MemoryFork(to="b", at=2),
        sc.MemoryHistories(),
        sc.MemoryClear(history="b", start=1),
        *(sc.MemoryAppend(messages=(Message("user", LONG * 2),), history="b") for _ in range(4)),
        sc.MemoryRead(),
        sc.MemoryRead(history="b"),
        sc.MemoryHistories(),
    ]
    found = []
    for number, call in enumerate(calls):
        if secret and number % 2 == 0:
            await bob.append(*secret, history=f"h{number}")
        found.append(await told(alice, call))
        if secret and number % 4 == 2:
            await bob(sc.MemoryClear(history=f"h{number}"))
    return found


@pytest.mark.parametrize("secret", SECRETS[1:])
async def test_what_another_keeps_changes_no_byte_of_an_agents_replies(histories, secret):
    await histories.start(MemoryConfig(max_history_bytes=11_000))
    first = await replies(histories, "one", SECRETS[0])
    assert any(b"quota" in reply for reply in first)
    assert await replies(histories, "two", secret) == first


async def test_the_same_text_is_there_once_in_a_tenant_and_once_in_each(histories):
    for tenant in ("one", "two"):
        for owner in ("alice", "bob", "carol"):
            await histories.agent(f"{tenant}.{owner}", tenant).append(LONG, "and so on")
    texts = await histories.all("SELECT end - start FROM history_nodes WHERE parent IS NOT NULL")
    assert len(texts) == 2
