"""A person's yes or no, through the command line."""

import asyncio
import json

import pytest

from aios.abi import syscalls as sc
from aios.abi.errors import ApprovalDenied


@pytest.fixture
async def wish(kernel):
    """An agent that may delete another's file once a person agrees, and is waiting for that."""
    operator = kernel.operator_token
    owner = await kernel.trap(operator, sc.ProcessSpawn(agent="owner"))
    other = await kernel.trap(operator, sc.ProcessSpawn(agent="other"))
    await kernel.trap(owner.token, sc.StorageWrite(path="a.md", content="mine"))
    grant = sc.AccessGrant(to=other.principal, resource="storage", verbs=("read", "delete"))
    await kernel.trap(owner.token, grant)
    asked = asyncio.Event()
    stop = kernel.journal.subscribe(lambda event: asked.set() if event.kind == "asked" else None)
    delete = sc.StorageDelete(path="a.md", owner=owner.principal)
    waiting = asyncio.create_task(kernel.trap(other.token, delete))
    await asked.wait()
    stop()
    yield waiting
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_nothing_waits(aios, kernel):
    assert (await aios("approve")).stdout == "nothing waits for a person\n"
    assert json.loads((await aios("approve", "--json")).stdout) == {"approvals": []}


async def test_what_waits_is_listed_and_approved(aios, wish):
    (approval,) = json.loads((await aios("approve", "--json")).stdout)["approvals"]
    assert approval["call"] == "storage.delete"
    listed = (await aios("approve")).stdout
    assert approval["id"] in listed
    assert "a.md" in listed
    assert not wish.done()
    assert (await aios("approve", approval["id"])).stdout == f"approved {approval['id']}\n"
    assert await wish == sc.Done()
    assert (await aios("approve", approval["id"])).exit_code == 1


async def test_denied(aios, wish):
    (approval,) = json.loads((await aios("approve", "--json")).stdout)["approvals"]
    result = await aios("approve", approval["id"], "--deny", "--json")
    assert json.loads(result.stdout) == {"denied": [approval["id"]]}
    with pytest.raises(ApprovalDenied):
        await wish


@pytest.mark.parametrize(("said", "outcome"), [("y\n", "approved"), ("no\n", "denied"), ("\n", "")])
async def test_asked_on_a_terminal(aios, wish, monkeypatch, said, outcome):
    monkeypatch.setattr("aios.cli.approve._has_person", lambda: True)
    printed = (await aios("approve", stdin=said)).stdout
    assert "let it?" in printed
    assert (outcome in printed) if outcome else "approved" not in printed and "denied" not in printed
