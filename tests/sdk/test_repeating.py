"""A call whose outcome is not known is made again with its key, until it is known or nobody can tell."""

import pytest

from aios.abi.errors import (
    Conflict,
    DeadlineExceeded,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    Unauthenticated,
    Unavailable,
)
from aios.abi.syscalls import Done
from aios.sdk import repeating
from aios.sdk.repeating import Keys, resolved

LOST = OutcomeUnknown("the connection was lost")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(repeating, "PAUSES_S", (0.0,) * 4)


def kernel(*answers):
    """Sends that are answered so, one after the other."""
    left = list(answers)

    async def send():
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return send, left


@pytest.mark.parametrize(
    "first", [LOST, OutcomeUnknown("the commit failed"), OutcomeUnknown("the kernel is shutting down")]
)
async def test_what_is_not_known_is_asked_again(first):
    send, left = kernel(first, Unavailable("no kernel"), Overloaded("full"), Done())
    assert await resolved("k", send) == Done()
    assert not left


@pytest.mark.parametrize("error", [NotFound("no file"), Conflict("exists")])
async def test_an_error_after_asking_again_says_that_nothing_took_effect(error):
    send, _ = kernel(LOST, error)
    with pytest.raises(type(error)):
        await resolved("k", send)


@pytest.mark.parametrize("error", [Unavailable("x"), Overloaded("x"), DeadlineExceeded("x"), NotFound("x")])
async def test_a_first_answer_that_is_an_error_is_the_answer(error):
    send, left = kernel(error, Done())
    with pytest.raises(type(error)):
        await resolved("k", send)
    assert left == [Done()]


async def test_who_has_lost_its_process_cannot_ask(monkeypatch):
    send, left = kernel(LOST, Unavailable("no kernel"), Unauthenticated("no process"), Done())
    with pytest.raises(OutcomeUnknown, match="connection was lost") as raised:
        await resolved("k", send)
    assert raised.value.key == "k"
    assert left == [Done()]


async def test_when_nobody_can_tell_the_key_is_told():
    send, left = kernel(LOST, *[Unavailable("no kernel")] * 4, Done())
    with pytest.raises(OutcomeUnknown, match="'k'") as raised:
        await resolved("k", send)
    assert raised.value.key == "k"
    assert left == [Done()]


async def test_without_a_key_nothing_is_asked_again():
    send, left = kernel(LOST, Done())
    with pytest.raises(OutcomeUnknown) as raised:
        await resolved("", send)
    assert (raised.value.key, left) == ("", [Done()])


def test_what_writes_gets_a_key_of_its_own_in_order():
    keys = Keys()
    made = [keys.key_for("storage.append") for _ in range(300)]
    assert made == sorted(set(made))
    assert not set(made) & {Keys().key_for("storage.append")}
    for name in ("storage.read", "memory.search", "llm.generate", "tool.run", "process.wait", "core.explain"):
        assert keys.key_for(name) == ""
