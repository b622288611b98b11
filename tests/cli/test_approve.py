"""A person's yes or no, through the command line."""

import asyncio
import json

import msgspec
import pytest
import typer

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


async def test_list_decides_nothing(aios, wish):
    (approval,) = json.loads((await aios("approve", "--json")).stdout)["approvals"]
    result = await aios("approve", "--list", approval["id"])
    assert (result.exit_code, "--list" in result.stderr) == (2, True)
    assert not wish.done()


async def test_one_that_fails_neither_stops_nor_hides_the_others(aios, wish):
    (approval,) = json.loads((await aios("approve", "--json")).stdout)["approvals"]
    result = await aios("approve", "none1", approval["id"], "none2", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["approved"] == [approval["id"]]
    assert [failed["id"] for failed in answer["failed"]] == ["none1", "none2"]
    assert answer["error"]["code"] == "not_found"
    assert await wish == sc.Done()


async def test_one_that_has_expired_meanwhile_does_not_end_the_asking(aios, wish, kernel, monkeypatch):
    (approval,) = json.loads((await aios("approve", "--json")).stdout)["approvals"]
    gone = sc.Approval("gone", 1, "p", "storage.delete", "delete", 0.0, 0.0)
    still_here = msgspec.convert(approval, sc.Approval)
    monkeypatch.setattr("aios.cli.approve._has_person", lambda: True)

    async def both(_):
        return [gone, still_here]

    monkeypatch.setattr("aios.cli.approve._pending", both)
    result = await aios("approve", stdin="y\ny\n")
    assert (result.exit_code, "not_found" in result.stderr) == (1, True)
    assert f"approved {approval['id']}" in result.stdout
    assert await wish == sc.Done()


async def test_ctrl_c_at_the_question_leaves(aios, wish, monkeypatch):
    """The question stands outside of any event loop, which would keep Ctrl-C for itself."""

    def interrupted(*_, **__):
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        raise typer.Abort

    monkeypatch.setattr("aios.cli.approve._has_person", lambda: True)
    monkeypatch.setattr("typer.prompt", interrupted)
    assert (await aios("approve")).exit_code == 130
    assert not wish.done()


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
