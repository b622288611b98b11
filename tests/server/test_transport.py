"""One contract, three ways: what a call means does not depend on how it travels."""

import asyncio
import math

import pytest

from aios.abi import syscalls as sc
from aios.abi import wire
from aios.abi.errors import Internal, InvalidArgument, NotFound, TooLarge, Unauthenticated
from aios.abi.messages import Delta, Message
from aios.sdk.transport import InProcess

OPERATOR = "operator-secret"


def ask(text: str) -> sc.LlmGenerate:
    return sc.LlmGenerate(messages=(Message("user", text),))


async def test_a_reply_comes_back_typed(transport):
    reply = await transport.call(OPERATOR, ask("hello there"))
    assert reply == sc.LlmAnswer("hello there")


async def test_deltas_come_before_the_reply_in_order(transport):
    deltas: list[Delta] = []
    reply = await transport.call(OPERATOR, ask("one two three"), deltas.append)
    assert [delta.text for delta in deltas] == ["one", "two", "three"]
    assert reply == sc.LlmAnswer("one two three")


async def test_a_stream_without_deltas_still_has_its_reply(transport):
    deltas: list[Delta] = []
    assert await transport.call(OPERATOR, ask(""), deltas.append) == sc.LlmAnswer("")
    assert deltas == []


async def test_errors_keep_type_and_sentence(transport):
    with pytest.raises(NotFound, match="there is no file a"):
        await transport.call(OPERATOR, sc.StorageRead(path="a.txt"))


async def test_an_error_after_deltas_is_raised(transport):
    deltas: list[Delta] = []
    with pytest.raises(Internal, match="it failed"):
        await transport.call(OPERATOR, ask("this will fail"), deltas.append)
    assert len(deltas) == 3


async def test_a_wrong_token_is_refused(transport):
    with pytest.raises(Unauthenticated):
        await transport.call("nobody", ask("hello"))


@pytest.mark.parametrize(
    "call",
    [
        sc.MemoryAdd(text=""),
        sc.MemorySearch(limit=0),
        sc.ProcessWait(pid=-1),
        sc.StorageRead(path=7),
        sc.ToolRun(name="t", arguments={"x": object()}),
        sc.ToolRun(name="t", arguments={"x": "\ud800"}),
        sc.LlmGenerate(messages=()),
    ],
)
async def test_what_is_out_of_bounds_never_reaches_the_kernel(transport, kernel, call):
    with pytest.raises(InvalidArgument):
        await transport.call(OPERATOR, call)
    assert kernel.seen == []


async def test_a_call_over_the_frame_is_too_large(transport, kernel):
    with pytest.raises(TooLarge):
        await transport.call(OPERATOR, sc.StorageWrite(path="big", content="x" * (wire.MAX_FRAME + 1)))
    assert kernel.seen == []


async def test_the_largest_file_passes(transport):
    reply = await transport.call(OPERATOR, sc.StorageWrite(path="big", content="x" * (8 * 1024 * 1024)))
    assert isinstance(reply, sc.FileEntry)
    assert reply.size == 8 * 1024 * 1024


async def test_the_largest_file_is_read_whatever_its_bytes(transport):
    reply = await transport.call(OPERATOR, sc.StorageRead(path="large"))
    assert reply == sc.FileContent("large", 1, "\x01" * (8 * 1024 * 1024))


@pytest.mark.parametrize("timeout_s", [math.inf, -math.inf, math.nan])
async def test_a_timeout_is_a_number(transport, kernel, timeout_s):
    with pytest.raises(InvalidArgument, match="timeout"):
        await transport.call(OPERATOR, ask("hello"), timeout_s=timeout_s)
    assert kernel.seen == []


async def test_nothing_mutable_is_shared_with_the_kernel(transport, kernel):
    arguments = {"list": [1]}
    await transport.call(OPERATOR, sc.ToolRun(name="t", arguments=arguments))
    arguments["list"].append(2)
    assert kernel.seen[0].arguments == {"list": [1]}


async def test_many_calls_at_once_each_get_their_own_answer(transport):
    replies = await asyncio.gather(*(transport.call(OPERATOR, ask(f"number {n}")) for n in range(200)))
    assert [reply.text for reply in replies] == [f"number {n}" for n in range(200)]


async def test_cancelling_reaches_the_kernel(transport, kernel):
    calling = asyncio.create_task(transport.call(OPERATOR, ask("hang")))
    await kernel.until(lambda: kernel.num_hanging == 1)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await kernel.until(lambda: len(kernel.cancelled) == 1)


async def test_cancelling_a_stream_reaches_the_kernel(transport, kernel):
    calling = asyncio.create_task(transport.call(OPERATOR, ask("hang"), lambda _: None))
    await kernel.until(lambda: kernel.num_hanging == 1)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await kernel.until(lambda: len(kernel.cancelled) == 1)


async def test_one_that_hangs_does_not_hold_up_others(transport, kernel):
    calling = asyncio.create_task(transport.call(OPERATOR, ask("hang")))
    await kernel.until(lambda: kernel.num_hanging == 1)
    assert await transport.call(OPERATOR, ask("quick")) == sc.LlmAnswer("quick")
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)


async def test_an_emit_that_raises_fails_its_own_call(transport):
    def emit(delta: Delta) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await transport.call(OPERATOR, ask("one two"), emit)
    assert await transport.call(OPERATOR, ask("next")) == sc.LlmAnswer("next")


async def test_in_process_what_an_emit_raises_never_reaches_the_kernel():
    """There it would fail the calls of others: the core's reader is what calls `emit`."""
    ended = asyncio.Event()

    async def trap(token, call, *, emit=None, timeout_s=None, key=""):
        emit(Delta("one"))
        emit(Delta("two"))
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    seen = []

    def emit(delta: Delta) -> None:
        seen.append(delta.text)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        async with asyncio.timeout(20):
            await InProcess(trap).call(OPERATOR, ask("hello"), emit)
    assert seen == ["one"]
    assert ended.is_set()
