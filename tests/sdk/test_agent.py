"""Agents as functions, classes and objects, the same in process, on the socket and over HTTP."""

import asyncio

import pytest

import aios
from aios.abi.errors import InvalidArgument, NotFound, Unauthenticated
from aios.sdk.agent import Agent, is_marked, name_of


@aios.agent
async def writer(agent: Agent, task: str) -> str:
    await agent.storage.write("draft.txt", task)
    answer = await agent.llm.generate(f"said {task}")
    return answer.text


@aios.agent(name="reader")
class Reader:
    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    async def run(self, task: str) -> str:
        return (await self.agent.storage.read(task)).content


class Counter:
    """An object that lives longer than one task."""

    def __init__(self) -> None:
        self.turns = 0

    async def run(self, agent: Agent, task: str) -> str:
        self.turns += 1
        return f"{task} {self.turns}"


async def states(connection) -> dict[str, str]:
    return {entry.agent: entry.state for entry in (await connection.process.list()).processes}


async def test_a_function_runs_as_a_process_and_exits_with_its_result(connection):
    run = await connection.spawn(writer, "hello")
    assert await run == "said hello"
    ended = await connection.process.wait(run.pid)
    assert (ended.state, ended.result) == ("exited", "said hello")


async def test_a_class_is_made_with_its_agent(connection):
    assert await connection.run(writer, "text", principal="pair") == "said text"
    assert await connection.run(Reader, "draft.txt", principal="pair") == "text"


async def test_an_object_keeps_what_it_knows(connection):
    counter = Counter()
    assert await connection.run(counter, "turn") == "turn 1"
    assert await connection.run(counter, "turn") == "turn 2"


async def test_many_run_at_the_same_time(connection):
    runs = [await connection.spawn(writer, f"task {n}") for n in range(20)]
    assert await asyncio.gather(*runs) == [f"said task {n}" for n in range(20)]
    assert len({run.pid for run in runs}) == 20


async def test_each_has_its_own_things_only(connection):
    await connection.run(writer, "mine")
    with pytest.raises(NotFound):
        await connection.run(Reader, "draft.txt")


async def test_what_an_agent_raises_is_raised_and_its_process_is_killed(connection):
    class Broken(Exception):
        pass

    async def broken(agent: Agent, task: str) -> str:
        raise Broken(task)

    with pytest.raises(Broken, match="oh no") as raised:
        await connection.run(broken, "oh no")
    assert raised.traceback[-1].name == "broken"
    assert any("in agent broken, process" in note for note in raised.value.__notes__)
    assert (await states(connection)).get("broken", "killed") == "killed"


async def test_a_kernels_error_comes_out_as_it_is(connection):
    async def forgetful(agent: Agent, task: str) -> str:
        return (await agent.storage.read("nothing")).content

    with pytest.raises(NotFound, match="nothing"):
        await connection.run(forgetful, "")


async def test_an_agent_returns_text(connection):
    async def number(agent: Agent, task: str) -> str:
        return 7

    with pytest.raises(InvalidArgument, match="returned int"):
        await connection.run(number, "")


async def test_a_run_that_is_cancelled_kills_its_process(connection):
    begun = asyncio.Event()

    async def waiting(agent: Agent, task: str) -> str:
        begun.set()
        await agent.process.receive()
        return "never"

    run = await connection.spawn(waiting, "")
    await begun.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (await connection.process.wait(run.pid)).state == "killed"


async def test_a_run_that_is_cancelled_at_once_kills_its_process_too(connection):
    run = await connection.spawn(writer, "hello")
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (await connection.process.wait(run.pid, timeout_s=20)).state == "killed"


async def test_an_agent_runs_others_and_none_outlives_it(connection):
    async def child(agent: Agent, task: str) -> str:
        await agent.process.receive()
        return ""

    async def parent(agent: Agent, task: str) -> str:
        await agent.spawn(child)
        return await agent.run(writer, "from below")

    assert await connection.run(parent, "") == "said from below"
    assert (await states(connection)).get("child", "killed") == "killed"


async def test_processes_talk(connection):
    async def listener(agent: Agent, task: str) -> str:
        return (await agent.process.receive(timeout_s=20)).text

    run = await connection.spawn(listener, "")
    await connection.process.send(run.pid, "hello")
    assert await run == "hello"


async def test_a_stream_is_read_piece_by_piece(connection):
    async def streaming(agent: Agent, task: str) -> str:
        stream = agent.llm.stream(task)
        pieces = [delta.text async for delta in stream]
        assert len(pieces) == 3
        assert stream.answer.text == "".join(pieces)
        return stream.answer.text

    assert await connection.run(streaming, "one two three") == "one two three"


async def test_a_streams_error_is_raised_from_the_loop(connection):
    async def streaming(agent: Agent, task: str) -> str:
        return "".join([delta.text async for delta in agent.llm.stream(task, model="none")])

    with pytest.raises(NotFound):
        await connection.run(streaming, "hello")


async def test_leaving_a_stream_early_ends_the_generation(connection, kernel):
    async def impatient(agent: Agent, task: str) -> str:
        async for delta in agent.llm.stream(task):
            return delta.text
        return ""

    assert await connection.run(impatient, "one two three") == "one"


async def test_a_process_that_has_ended_makes_no_more_calls(connection):
    kept: list[Agent] = []

    async def leaver(agent: Agent, task: str) -> str:
        kept.append(agent)
        return "gone"

    await connection.run(leaver, "")
    with pytest.raises(Unauthenticated):
        await kept[0].memory.add("too late")


def test_names_and_marks():
    assert (name_of(writer), name_of(Reader), name_of(Counter()), name_of(lambda: 0)) == (
        "writer",
        "reader",
        "Counter",
        "lambda",
    )
    assert is_marked(writer)
    assert is_marked(Reader)
    assert not is_marked(Counter)


def test_the_public_face_is_there():
    assert {name: getattr(aios, name) for name in aios.__all__}
    with pytest.raises(AttributeError):
        aios.nothing  # noqa: B018
