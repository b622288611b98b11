"""ReAct: tools run together, errors are read, the conversation goes on, the last step answers."""

import asyncio
import io
import tokenize
from pathlib import Path

import pytest
from booting import booted

from aios.abi.errors import InvalidArgument, NotFound
from aios.abi.messages import Message, ToolCall
from aios.connection import connect
from aios.sdk.methods.functions import LocalTool
from aios.sdk.methods.react import SYSTEM, ReAct

EXAMPLES = Path(__file__).parents[2] / "examples"


def calls(*wanted: tuple[str, dict]) -> Message:
    made = tuple(ToolCall(f"call_{n}", name, arguments) for n, (name, arguments) in enumerate(wanted, 1))
    return Message("assistant", "", made)


def scripted(*answers):
    """The n-th step of a conversation gets the n-th answer."""

    def answer(job):
        answered = sum(message.role == "assistant" for message in job.messages)
        found = answers[answered]
        return found(job) if callable(found) else found

    return answer


async def turn(folder, answers, react, task="do it"):
    async with booted(folder, answers) as kernel, connect(kernel) as connection:
        return await connection.run(react, task)


async def test_an_answer_without_tools_is_the_result(tmp_path):
    react = ReAct([])
    assert await turn(tmp_path, scripted("done"), react) == "done"
    assert react.history == [
        Message("system", SYSTEM),
        Message("user", "do it"),
        Message("assistant", "done"),
    ]


def test_the_system_prompt_is_the_one_the_embedded_model_learnt():
    assert SYSTEM == "You are a helpful assistant. Use the tools when they help, then answer briefly."


async def test_kernel_tools_and_own_functions_run_and_are_read(tmp_path):
    def double(number: int) -> int:
        """Twice the number."""
        return 2 * number

    def last(job):
        return " and ".join(message.text for message in job.messages if message.role == "tool")

    wanted = calls(("calculate", {"expression": "6*7"}), ("double", {"number": 4}))
    react = ReAct(["calculate", double])
    assert await turn(tmp_path, scripted(wanted, last), react) == "42 and 8"
    assert [message.tool_call_id for message in react.history if message.role == "tool"] == [
        "call_1",
        "call_2",
    ]


async def test_the_calls_of_one_answer_run_together(tmp_path):
    met = asyncio.Barrier(2)

    async def meet(name: str) -> str:
        async with asyncio.timeout(20):
            await met.wait()
        return name

    wanted = calls(("meet", {"name": "a"}), ("meet", {"name": "b"}))
    assert await turn(tmp_path, scripted(wanted, "met"), ReAct([meet])) == "met"


async def test_errors_are_told_to_the_model(tmp_path):
    def fails(number: int) -> str:
        raise ValueError(f"not {number}")

    def odd() -> object:
        return object()

    wanted = calls(
        ("fails", {"number": 3}),
        ("fails", {"number": "three"}),
        ("fails", {}),
        ("odd", {}),
        ("delete_file", {"path": "x"}),
        ("read_file", {"path": "nothing.txt"}),
    )
    react = ReAct([fails, odd, "read_file"])
    await turn(tmp_path, scripted(wanted, "I see"), react)
    told = [message.text for message in react.history if message.role == "tool"]
    assert all(text.startswith("error: ") for text in told)
    assert told[0] == "error: ValueError: not 3"
    assert "fails needs number" in told[2]
    assert told[4] == "error: there is no tool 'delete_file'"


async def test_the_last_step_answers_without_tools(tmp_path):
    choices = []

    def always(job):
        choices.append(job.tool_choice)
        return "enough" if job.tool_choice == "none" else calls(("calculate", {"expression": "1"}))

    assert await turn(tmp_path, always, ReAct(["calculate"], max_steps=3)) == "enough"
    assert choices == ["auto", "auto", "none"]


async def test_a_second_turn_knows_the_first(tmp_path):
    prompts = []

    def answer(job):
        prompts.append([message.text for message in job.messages])
        return f"answer {len(prompts)}"

    react = ReAct([], system="Be brief.")

    async def twice(agent, task):
        await react.run(agent, "one")
        return await react.run(agent, "two")

    assert await turn(tmp_path, answer, twice) == "answer 2"
    assert prompts[1] == ["Be brief.", "one", "answer 1", "two"]


async def test_a_turn_that_fails_is_not_in_the_history(tmp_path):
    react = ReAct([], model="none")
    with pytest.raises(NotFound):
        await turn(tmp_path, scripted("never"), react)
    assert react.history == [Message("system", SYSTEM)]


async def test_all_the_kernels_tools_are_in_view_where_none_are_named(tmp_path):
    seen = []

    def look(job):
        seen.extend(spec.name for spec in job.tools)
        return "ok"

    await turn(tmp_path, look, ReAct())
    assert {"calculate", "remember", "write_file"} <= set(seen)


async def test_tools_are_in_view_in_the_order_given(tmp_path):
    def greet(name: str) -> str:
        return f"Hello {name}"

    seen = []

    def look(job):
        seen.extend(spec.name for spec in job.tools)
        return "ok"

    await turn(tmp_path, look, ReAct(["write_file", greet, "calculate", "write_file"]))
    assert seen == ["write_file", "greet", "calculate"]


async def test_a_tool_the_kernel_has_not_is_named(tmp_path):
    with pytest.raises(NotFound, match="no tool 'fly'"):
        await turn(tmp_path, scripted("never"), ReAct(["fly"]))


async def test_pieces_stream_out(tmp_path):
    pieces = []
    await turn(tmp_path, scripted("one two three"), ReAct([], on_delta=pieces.append))
    assert "".join(piece.text for piece in pieces) == "one two three"


async def test_an_answer_ends_at_its_bound(tmp_path):
    assert await turn(tmp_path, scripted("one two three"), ReAct([], max_tokens=2)) == "one two"


def test_steps_are_at_least_one():
    with pytest.raises(InvalidArgument):
        ReAct([], max_steps=0)


@pytest.mark.parametrize(("value", "text"), [("as is", "as is"), ({"a": [1]}, '{"a":[1]}'), (None, "null")])
async def test_a_result_becomes_text(value, text):
    def give() -> object:
        return value

    assert await LocalTool(give).run({}) == text


def test_a_react_agent_with_tools_takes_under_ten_lines():
    """Lines that hold code, of the whole file."""
    source = (EXAMPLES / "react.py").read_text()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    skipped = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines = {token.start[0] for token in tokens if token.type not in skipped}
    docstring = source.startswith('"""')
    assert len(lines) - docstring < 10
