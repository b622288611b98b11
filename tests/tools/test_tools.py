"""The tool manager: what callers see, what is checked, what may run together, what fails and how."""

import asyncio

import pytest
from tools_under_test import ADMIN, ALICE, BOB, SAMPLES, descendants, until

from aios.abi import syscalls as sc
from aios.abi.errors import (
    Cancelled,
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Overloaded,
    QuotaExceeded,
    ToolFailed,
)
from aios.abi.messages import ToolSpec
from aios.drivers.toolbox import BUILTIN
from aios.kernel.arguments import ArgumentCheck
from aios.kernel.config import ToolConfig


async def test_builtin_tools_run_with_the_callers_own_calls(tools):
    assert await tools.call("calculate", expression="6 * 7") == "42"
    assert await tools.call("remember", BOB, text="milk") == "kept as n1"
    assert tools.calls_made == [(BOB, sc.MemoryAdd(text="milk"))]
    assert await tools.names(ALICE) == {tool.spec.name for tool in BUILTIN}


async def test_a_long_result_is_cut(make_tools):
    tools = make_tools(ToolConfig(max_output_bytes=100))
    await tools.register("long_text")
    for call in (
        sc.ToolRun(name="long_text", arguments={"length": 1000}),
        sc.ToolRun(name="calculate", arguments={"expression": "10 ** 150"}),
    ):
        output = await tools.manager.execute(ALICE, call)
        assert output.truncated
        assert len(output.text.encode()) == 100
    assert await tools.call("long_text", length=50) == "é" * 50


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "the argument 'text' is missing"),
        ({"text": 1}, "'text': 1 is not of type \"string\""),
        ({"text": "a", "mood": "sad"}, '\'mood\': "sad" is not one of "glad" or "angry"'),
        ({"text": "a", "tags": ["b", 2]}, "'tags[1]': 2 is not of type \"string\""),
        ({"text": "a", "volume": 3}, "no argument 'volume'; the arguments are: text, mood, tags"),
        ({"text": "a", "tags": None}, "'tags': null is not"),
        ({"text": object()}, "the arguments are no JSON"),
    ],
)
def test_wrong_arguments_are_named(arguments, sentence):
    tags = {"type": "array", "items": {"type": "string"}}
    properties = {"text": {"type": "string"}, "mood": {"enum": ["glad", "angry"]}, "tags": tags}
    check = ArgumentCheck(ToolSpec("shout", "", {"properties": properties, "required": ["text"]}))
    with pytest.raises(InvalidArgument) as caught:
        check.check(arguments)
    assert sentence in caught.value.message
    assert caught.value.message.startswith("shout: ")


def test_nested_faults_and_bad_schemas():
    point = {"type": "object", "properties": {"x": {}}, "required": ["x"], "additionalProperties": False}
    check = ArgumentCheck(ToolSpec("draw", "", {"properties": {"at": point}}))
    with pytest.raises(InvalidArgument) as caught:
        check.check({"at": {"y": 1}})
    assert "'at' needs the key 'x'" in caught.value.message
    assert "'at' has the unknown key 'y'" in caught.value.message
    with pytest.raises(InvalidArgument, match="no argument 'b'; the arguments are: none"):
        ArgumentCheck(ToolSpec("none")).check({"b": 1})
    with pytest.raises(InvalidArgument, match="can't be used"):
        ArgumentCheck(ToolSpec("bad", "", {"type": "nonsense"}))
    with pytest.raises(InvalidArgument, match="can't be used"):
        ArgumentCheck(ToolSpec("far", "", {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}))


async def test_arguments_are_checked_before_anything_runs(tools):
    await tools.register("count")
    with pytest.raises(InvalidArgument):
        await tools.call("count", extra=1)
    with pytest.raises(InvalidArgument):
        await tools.call("remember", txt="milk")
    assert await tools.call("count") == "1"
    assert tools.calls_made == []


async def test_register_reads_the_function_and_calls_reuse_its_process(tools):
    entry = await tools.register("add")
    assert entry.spec.description == "Add two numbers."
    assert entry.spec.parameters["properties"]["a"] == {"type": "integer", "description": "the first"}
    assert entry.spec.parameters["required"] == ["a"]
    assert (entry.owner, entry.timeout_s, entry.max_parallel) == ("alice", 30.0, 1)
    assert await tools.call("add", a=1) == "3"
    assert await tools.call("add", a=1, b=1) == "2"
    await tools.register("count")
    assert [await tools.call("count") for _ in range(3)] == ["1", "2", "3"]
    assert tools.manager.statistics()["hosts"] == 2


async def test_sync_async_text_and_json_results(tools):
    for name in ("shout", "later", "table"):
        await tools.register(name)
    assert await tools.call("shout", text="hé", mood="angry") == "HÉ"
    assert await tools.call("later", text="see you") == "see you later"
    assert await tools.call("later", text="again") == "again later"
    assert await tools.call("table", rows=2) == '[{"row":0},{"row":1}]'


async def test_own_names_operators_tools_and_no_shadowing(tools):
    await tools.register("add", ADMIN)
    await tools.register("shout", ALICE)
    await tools.register("later", BOB, name="shout")
    assert {"add", "shout"} <= await tools.names(ALICE)
    assert await tools.names(ADMIN) & {"add", "shout"} == {"add"}
    assert await tools.call("add", BOB, a=1) == "3"
    assert await tools.call("shout", BOB, text="a") == "a later"
    with pytest.raises(NotFound, match="no tool 'shout'"):
        await tools.call("shout", ADMIN, text="a")
    with pytest.raises(Conflict, match="kernel's"):
        await tools.register("add", ALICE, name="calculate")
    with pytest.raises(Conflict, match="operator's"):
        await tools.register("add", ALICE)
    with pytest.raises(Conflict, match="already"):
        await tools.register("shout", ALICE)
    assert tools.manager.statistics()["hosts"] == 3


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nonsense", "is no source"),
        ("../a.py:f", "is no source"),
        ("relative.py:f", "is no source"),
        ("no_such_module:f", "can't be a tool: ModuleNotFoundError: .*no_such_module"),
        ("/no/such/file.py:f", "can't be a tool: (FileNotFoundError|PermissionError)"),
        (f"{SAMPLES}:missing", "there is no function 'missing'"),
        (f"{SAMPLES}:socket", "there is no function 'socket'"),
        (f"{SAMPLES}:bad_annotation", "'tree' has the type object"),
        ("os:system", "'command' has no annotation"),
    ],
)
async def test_what_can_not_be_a_tool(tools, source, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        await tools.manager.execute(ALICE, sc.ToolRegister(source=source))
    assert tools.manager.statistics()["hosts"] == 0


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("raise RuntimeError('not today')", "RuntimeError: not today"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("import os; os._exit(7)", r"ended its process \(exit status 7\)"),
        ("def broken(:", "SyntaxError"),
    ],
)
async def test_modules_that_fail_when_imported(tools, tmp_path, body, sentence):
    file = tmp_path / "module.py"
    file.write_text(body)
    with pytest.raises(InvalidArgument, match=sentence):
        await tools.manager.execute(ALICE, sc.ToolRegister(source=f"{file}:f"))


async def test_a_module_that_hangs_when_imported(tools, tmp_path):
    file = tmp_path / "module.py"
    file.write_text("while True: pass")
    register = asyncio.create_task(tools.manager.execute(ALICE, sc.ToolRegister(source=f"{file}:f")))
    await until(lambda: tools.clock.num_timers)
    tools.clock.advance(11)
    with pytest.raises(DeadlineExceeded, match="not loaded in 10 s"):
        await register


async def test_failures_are_named_and_the_tool_goes_on(tools):
    for name in ("fail", "leave", "strange"):
        await tools.register(name)
    with pytest.raises(ToolFailed, match=r"^ValueError: no luck$"):
        await tools.call("fail", message="no luck")
    with pytest.raises(ToolFailed, match=r"^ValueError$"):
        await tools.call("fail", message="")
    with pytest.raises(ToolFailed) as caught:
        await tools.call("fail", message="x" * 10_000)
    assert len(caught.value.message) == 2000
    with pytest.raises(InvalidArgument, match="no JSON"):
        await tools.call("fail", message="half a pair: \ud800")
    with pytest.raises(ToolFailed, match=r"^SystemExit: 3$"):
        await tools.call("leave", status=3)
    with pytest.raises(ToolFailed, match=r"^TypeError: "):
        await tools.call("strange")


async def test_a_crash_fails_its_call_only(tools):
    await tools.register("crash")
    for status in (0, 3):
        with pytest.raises(ToolFailed, match=rf"ended its process \(exit status {status}\)"):
            await tools.call("crash", status=status)


async def test_a_tool_that_hangs_is_killed_with_its_grandchildren(tools):
    before = descendants()
    await tools.register("hang", timeout_s=5)
    call = asyncio.create_task(tools.call("hang", with_child=True))
    await until(lambda: len(descendants() - before) >= 4)  # supervisor, worker, child, grandchild
    tools.clock.advance(5.1)
    with pytest.raises(DeadlineExceeded, match="not done in 5 s"):
        await call
    assert descendants() == before


async def test_prints_are_kept_apart_and_bounded(make_tools):
    tools = make_tools(ToolConfig(max_printed_bytes=100_000))
    await tools.register("chatter")
    await tools.register("print_without_end")
    assert await tools.call("chatter", lines=100) == "printed"
    with pytest.raises(ToolFailed, match="printed more than 100000 bytes"):
        await tools.call("print_without_end")
    assert await tools.call("chatter", lines=1) == "printed"


async def test_a_cancelled_call_leaves_nothing(tools):
    before = descendants()
    await tools.register("hang")
    call = asyncio.create_task(tools.call("hang", with_child=True))
    await until(lambda: len(descendants() - before) >= 4)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert descendants() == before
    assert tools.manager.statistics()["hosts"] == 0


async def test_as_many_at_once_as_the_tool_allows(tools):
    await tools.register("hang", max_parallel=2)
    run = sc.ToolRun(name="hang")
    before = descendants()
    running, tokens = [], []
    for _ in range(2):
        assert tools.manager.can_start(run, ALICE)
        tokens.append(tools.manager.started(run, ALICE))
        running.append(asyncio.create_task(tools.manager.execute(ALICE, run)))
    assert not tools.manager.can_start(run, ALICE)
    assert tools.manager.can_start(sc.ToolRun(name="calculate"), ALICE)
    await until(lambda: len(descendants() - before) >= 2)
    with pytest.raises(Overloaded, match="runs 2 times already"):
        await tools.manager.execute(ALICE, run)
    tools.clock.advance(31)
    for call, token in zip(running, tokens, strict=True):
        with pytest.raises(DeadlineExceeded):
            await call
        tools.manager.ended(token)
    assert tools.manager.can_start(run, ALICE)


async def test_conflicts_hold_back_both_ways_but_not_other_agents(tools):
    await tools.register("add", ALICE, conflicts=("shout", "calculate"))
    await tools.register("shout", ALICE)
    await tools.register("shout", BOB)
    add, shout, calculate = (sc.ToolRun(name=name) for name in ("add", "shout", "calculate"))
    token = tools.manager.started(add, ALICE)
    assert not tools.manager.can_start(shout, ALICE)
    assert not tools.manager.can_start(calculate, ALICE)
    assert tools.manager.can_start(shout, BOB)
    assert tools.manager.can_start(calculate, BOB)
    tools.manager.ended(token)
    token = tools.manager.started(shout, ALICE)
    assert not tools.manager.can_start(add, ALICE)
    tools.manager.ended(token)
    token = tools.manager.started(shout, BOB)
    assert tools.manager.can_start(add, ALICE)
    tools.manager.ended(token)
    assert tools.manager.can_start(sc.ToolRun(name="unknown"), ALICE)
    tools.manager.ended(tools.manager.started(sc.ToolRun(name="unknown"), ALICE))


async def test_unregister_ends_hosts_and_running_calls(tools):
    before = descendants()
    await tools.register("hang")
    call = asyncio.create_task(tools.call("hang"))
    await asyncio.sleep(0)
    with pytest.raises(NotFound, match="no tool 'hang'"):
        await tools.manager.execute(BOB, sc.ToolUnregister(name="hang"))
    await tools.manager.execute(ALICE, sc.ToolUnregister(name="hang"))
    with pytest.raises(Cancelled, match="taken back"):
        await call
    assert descendants() == before
    with pytest.raises(NotFound):
        await tools.call("hang")
    with pytest.raises(NotFound):
        await tools.manager.execute(ALICE, sc.ToolUnregister(name="calculate"))


async def test_an_ended_owners_tools_go_with_it(tools):
    await tools.register("add", ALICE)
    await tools.register("shout", ADMIN)
    tools.manager.forget_owner("alice")
    tools.manager.forget_owner("operator")
    tools.manager.forget_owner("nobody")
    assert await tools.names(ALICE) & {"add", "shout"} == {"shout"}
    await until(lambda: tools.manager.statistics()["hosts"] == 1)


async def test_idle_hosts_end_and_come_back(tools):
    await tools.register("count")
    assert await tools.call("count") == "1"
    tools.clock.advance(61)
    assert await tools.call("count") == "1"
    await until(lambda: tools.manager.statistics()["hosts"] == 1)


async def test_hosts_are_bounded_and_idle_ones_make_room(make_tools):
    tools = make_tools(ToolConfig(max_parallel=1))
    await tools.register("add")
    await tools.register("hang")
    assert tools.manager.statistics()["hosts"] == 1
    token = tools.manager.started(sc.ToolRun(name="hang"), ALICE)
    call = asyncio.create_task(tools.call("hang"))
    await asyncio.sleep(0)
    assert not tools.manager.can_start(sc.ToolRun(name="add"), ALICE)
    with pytest.raises(Overloaded):
        await tools.call("add", a=1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    tools.manager.ended(token)
    assert await tools.call("add", a=1) == "3"


async def test_quota_of_registered_tools(make_tools):
    tools = make_tools(ToolConfig(max_registered=1))
    await tools.register("add")
    with pytest.raises(QuotaExceeded):
        await tools.register("shout")
    await tools.register("shout", BOB)


async def test_the_decorator_sets_what_the_call_leaves_open(tools, tmp_path):
    file = tmp_path / "decorated.py"
    file.write_text(
        "from aios.sdk.tool import tool\n"
        "@tool(name='greet', timeout_s=7, max_parallel=3)\n"
        "def hello(who: str) -> str:\n    return 'hello ' + who\n"
    )
    source = f"{file}:hello"
    entry = (await tools.manager.execute(ALICE, sc.ToolRegister(source=source))).tools[0]
    assert (entry.spec.name, entry.timeout_s, entry.max_parallel) == ("greet", 7.0, 3)
    wanted = sc.ToolRegister(source=source, name="hi", timeout_s=2)
    assert (await tools.manager.execute(ALICE, wanted)).tools[0].timeout_s == 2.0
    assert await tools.call("greet", who="Ada") == "hello Ada"


async def test_two_registrations_of_one_name_leave_one(tools):
    both = await asyncio.gather(tools.register("add"), tools.register("add"), return_exceptions=True)
    assert sorted(type(result).__name__ for result in both) == ["Conflict", "ToolEntry"]
    assert tools.manager.statistics()["hosts"] == 1
