"""Calls in flight: settled once on every path; slots and snapshots given back; interruption shows nowhere."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from driving import Run, boot, one_turn, question, settle_down
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.abi import syscalls as sc
from aios.abi.errors import (
    AiosError,
    Cancelled,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    OutcomeUnknown,
    QuotaExceeded,
    Unavailable,
    UnknownCall,
)
from aios.abi.messages import Delta, ToolSpec
from aios.drivers.hosted import HostedTool
from aios.drivers.llm import Generation
from aios.drivers.llm_scripted import HANG, ScriptedDriver
from aios.kernel.config import Config, ContextConfig, ProcessConfig, ToolConfig
from aios.kernel.kernel import Kernel
from aios.kernel.registry import Tool

LONG = "one two three four five six seven eight"


def scripted(run: Run) -> ScriptedDriver:
    driver = next(iter(run.kernel._cores)).driver
    assert isinstance(driver, ScriptedDriver)
    return driver


def few_words(job: Generation) -> str:
    draw = random.Random(job.sampling.seed)
    return " ".join(str(draw.randint(0, 99)) for _ in range(draw.randint(1, 8)))


def paced(run_box: list[Run], answers=None):
    """A scripted driver that waits for the stepper of the run that is put into the box later."""

    async def pace() -> None:
        await run_box[0].stepper.pace()

    return ScriptedDriver(answers or (lambda job: LONG), pace=pace)


@contextmanager
def blocked_store(run: Run) -> Iterator[None]:
    """Nothing is written before the end of this."""
    held = threading.Event()
    blocked = asyncio.ensure_future(run.kernel._store.write(lambda connection: held.wait(60)))
    try:
        yield
    finally:
        assert not blocked.done()
        held.set()


# ---- one call


async def test_an_answer_and_what_it_took(run, ask):
    agent = await run.spawn()
    deltas: list[Delta] = []
    call = run.begin(agent.pid, ask("hi there", seed=3), emit=deltas.append)
    await run.stepper.run_out()
    answer = await call
    assert isinstance(answer, sc.LlmAnswer)
    assert "".join(delta.text for delta in deltas) == answer.text
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, len(deltas))
    assert (answer.model, answer.core, answer.num_switches) == ("scripted", "core", 0)
    usage = await run.call(agent.pid, sc.ProcessUsage())
    assert isinstance(usage, sc.ResourceUsage)
    assert usage.calls == {"llm": 1}
    assert usage.completion_tokens == len(deltas)


async def test_waiting_and_turnaround_are_of_the_kernels_clock(tmp_path, ask):
    async with boot(tmp_path, slots=1, policy="fifo") as run:
        first, second = await run.spawn(), await run.spawn()
        calls = [run.begin(one.pid, ask(max_tokens=1)) for one in (first, second)]
        await settle_down()
        run.clock.advance(2.0)
        await run.stepper.step()
        run.clock.advance(1.0)
        await run.stepper.run_out()
        answers = await asyncio.gather(*calls)
        assert [(one.waiting_s, one.turnaround_s) for one in answers] == [(0.0, 2.0), (2.0, 3.0)]
        assert run.kernel.statistics()["waiting_ms"]["mean"] == 1000.0


async def test_an_unknown_model_names_those_there_are(run, ask):
    agent = await run.spawn()
    with pytest.raises(NotFound, match="scripted"):
        await run.call(agent.pid, ask(model="gpt-9"))


async def test_what_is_no_system_call_is_refused(run):
    with pytest.raises(UnknownCall):
        await run.call(1, sc.SystemCall())


async def test_a_defect_is_told_without_its_words(tmp_path, ask, caplog):
    def broken(job):
        raise ValueError("the secret is 42")

    async with boot(tmp_path, ScriptedDriver(broken)) as run:
        with pytest.raises(Internal) as failure:
            await run.call(1, ask())
        assert "42" not in failure.value.message
        assert "the secret is 42" in caplog.text


# ---- interruption


async def answers_under(folder, policy: str, quantum: int) -> tuple[list[tuple[str, int]], int]:
    async with boot(folder, slots=1, policy=policy, quantum=quantum) as run:
        agents = [await run.spawn() for _ in range(5)]
        calls = [run.begin(one.pid, question(f"question {one.pid}")) for one in agents]
        await run.stepper.run_out()
        answers = await asyncio.gather(*calls)
        assert scripted(run).num_snapshots == 0
        switches = run.kernel.statistics()["context_switches"]
        return [(one.text, one.usage.completion_tokens) for one in answers], switches


async def test_fifo_and_rr_give_the_same_answers(tmp_path):
    fifo, no_switches = await answers_under(tmp_path / "fifo", "fifo", 1)
    rr, switches = await answers_under(tmp_path / "rr", "rr", 2)
    assert fifo == rr
    assert no_switches == 0
    assert switches > 5


async def test_nobody_is_switched_for_nobody(run, ask):
    agent = await run.spawn()
    call = run.begin(agent.pid, ask(seed=1))
    await run.stepper.run_out()
    assert (await call).num_switches == 0


async def test_a_core_that_cannot_snapshot_is_never_interrupted(tmp_path, ask):
    driver = ScriptedDriver(lambda job: LONG, snapshot_kind="none")
    async with boot(tmp_path, driver, slots=1, quantum=1) as run:
        answers = await asyncio.gather(*(run.call(1, ask()) for _ in range(3)))
        assert [one.num_switches for one in answers] == [0, 0, 0]


async def test_no_more_is_interrupted_than_snapshots_may_take(tmp_path, ask):
    async with boot(
        tmp_path, slots=1, quantum=1, context=ContextConfig(max_snapshot_bytes=0, max_disk_bytes=0)
    ) as run:
        calls = [run.begin(1, ask()) for _ in range(3)]
        await run.stepper.run_out()
        assert [one.num_switches for one in await asyncio.gather(*calls)] == [0, 0, 0]


async def test_suspend_interrupts_and_resume_goes_on_to_the_same_end(tmp_path, ask):
    box: list[Run] = []
    async with boot(tmp_path, paced(box), policy="fifo") as run:
        box.append(run)
        agent = await run.spawn()
        call = run.begin(agent.pid, ask())
        await run.stepper.step()
        await run.stepper.step()
        await run.call(1, sc.ProcessSuspend(pid=agent.pid))
        await run.stepper.run_out()
        assert not call.done()
        assert run.kernel.statistics()["context"]["snapshots"] == 1
        late = run.begin(agent.pid, ask())
        await settle_down()
        assert not run.stepper.waiting, "a suspended process's new calls wait, too"
        await run.call(1, sc.ProcessResume(pid=agent.pid))
        await run.stepper.run_out()
        assert (await call).text == (await late).text == LONG
        assert (await call).num_switches == 1


# ---- ends


async def test_a_deadline_ends_what_waits_and_what_runs(tmp_path, ask):
    async with boot(tmp_path, ScriptedDriver(lambda job: HANG), slots=1) as run:
        calls = [run.begin(1, ask(), timeout_s=seconds) for seconds in (5.0, 3.0)]
        await settle_down()
        run.clock.advance(3.0)
        with pytest.raises(DeadlineExceeded, match="within 3 s"):
            await calls[1]
        assert not calls[0].done()
        run.clock.advance(2.0)
        with pytest.raises(DeadlineExceeded):
            await calls[0]
        await settle_down()
        assert run.kernel.statistics()["resources"]["core"] == {"slots": 1, "running": 0, "waiting": 0}
        assert run.clock.num_timers == 0


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan"), float("inf"), 1e9])
async def test_a_timeout_that_makes_no_sense_is_refused(run, ask, timeout_s):
    with pytest.raises(InvalidArgument):
        await run.call(1, ask(), timeout_s=timeout_s)
    assert run.kernel.statistics()["in_flight"] == 0


async def test_a_caller_that_goes_away_frees_the_slot(tmp_path, ask):
    async with boot(tmp_path, ScriptedDriver([HANG, "second"]), slots=1) as run:
        first, second = run.begin(1, ask()), run.begin(1, ask())
        await settle_down()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await second).text == "second"


async def test_kill_cancels_its_calls_and_its_childrens(tmp_path, ask):
    async with boot(tmp_path, ScriptedDriver(lambda job: HANG), slots=1) as run:
        parent = await run.spawn("parent")
        child = await run.spawn("child", parent.pid)
        calls = [run.begin(pid, ask()) for pid in (parent.pid, child.pid)]
        calls.append(run.begin(child.pid, sc.ProcessReceive()))
        await settle_down()
        await run.call(1, sc.ProcessKill(pid=parent.pid))
        for call in calls:
            with pytest.raises(Cancelled):
                await call
        await settle_down()
        assert run.kernel.statistics()["in_flight"] == 0


async def test_a_killed_snapshot_is_dropped(tmp_path, ask):
    async with boot(tmp_path, slots=1, quantum=1) as run:
        agents = [await run.spawn() for _ in range(2)]
        calls = [run.begin(one.pid, ask(LONG)) for one in agents]
        while not scripted(run).num_snapshots:
            await run.stepper.step()
        for one in agents:
            await run.call(1, sc.ProcessKill(pid=one.pid))
        await asyncio.gather(*calls, return_exceptions=True)
        await settle_down()
        assert scripted(run).num_snapshots == 0


async def test_shutdown_settles_everything(tmp_path, ask):
    async with boot(tmp_path, ScriptedDriver(lambda job: HANG), slots=1) as run:
        agent = await run.spawn()
        calls = [run.begin(agent.pid, ask()), run.begin(agent.pid, ask())]
        calls.append(run.begin(agent.pid, sc.ProcessReceive()))
        await settle_down()
        kernel = run.kernel
    for call in calls:
        with pytest.raises(Cancelled):
            await call
    with pytest.raises(Unavailable):
        await kernel.trap(kernel.operator_token, sc.ProcessList())


async def test_a_process_has_so_many_calls_in_flight_and_no_more(tmp_path, ask):
    limits = ProcessConfig(max_calls=2)
    async with boot(tmp_path, ScriptedDriver(lambda job: HANG), processes=limits) as run:
        calls = [run.begin(1, ask()) for _ in range(2)]
        await settle_down()
        with pytest.raises(QuotaExceeded):
            await run.call(1, ask())
        for call in calls:
            call.cancel()


async def test_a_write_under_way_is_not_cut_off_and_its_end_is_not_claimed_to_be_known(run):
    held = threading.Event()
    blocked = asyncio.ensure_future(run.kernel._store.write(lambda connection: held.wait(60)))
    write = run.begin(1, sc.StorageWrite(path="x", content="y"), timeout_s=1.0)
    await settle_down()
    run.clock.advance(1.0)
    with pytest.raises(OutcomeUnknown, match="within 1 s"):
        await write
    assert run.kernel.statistics()["resources"]["storage"]["running"] == 1, "its slot is free when it is over"
    held.set()
    await blocked
    await run.call(1, sc.StorageWrite(path="next", content="on the disk after what came before"))
    assert (await run.call(1, sc.StorageRead(path="x"))).content == "y"


async def test_a_deadline_in_the_turn_of_the_answer_takes_nothing_away(run):
    agent = await run.spawn()
    receives = run.begin(agent.pid, sc.ProcessReceive(), timeout_s=1.0)
    await settle_down()
    task = run.kernel._flight.tasks()[0]
    ran = task.run
    sends = run.begin(1, sc.ProcessSend(pid=agent.pid, text="taken already"))
    while not ran.done():
        await one_turn()
    assert not task.is_settled
    run.clock.advance(1.0)
    assert (await receives).text == "taken already"
    await sends


async def test_the_end_of_a_tool_under_way_is_not_claimed_to_be_known(run):
    with blocked_store(run):
        call = sc.ToolRun(name="write_file", arguments={"path": "x", "content": "y"})
        tool = run.begin(1, call, timeout_s=1.0)
        await settle_down()
        run.clock.advance(1.0)
        with pytest.raises(OutcomeUnknown, match="within 1 s"):
            await tool
        await settle_down()
        assert run.kernel.statistics()["tools"]["running"] == 0, "it is cut off nevertheless"


async def test_a_suspended_process_keeps_no_tool_slot(tmp_path):
    async with boot(tmp_path, tools=ToolConfig(max_parallel=1)) as run:
        agent = await run.spawn()
        write = run.begin(agent.pid, sc.ToolRun(name="write_file", arguments={"path": "x", "content": "y"}))
        while not run.kernel.statistics()["tools"]["running"]:
            await one_turn()
        # At once, before the tool asks for anything.
        run.kernel._lifecycle._suspend(run.kernel._processes.get(agent.pid))
        await settle_down()
        await run.call(1, sc.StorageWrite(path="next", content="on the disk after what came before"))
        await settle_down()
        assert run.kernel.statistics()["tools"]["running"] == 0
        assert write.done()


async def test_ones_own_conflicts_hold_up_nobody_elses_calls(run):
    agent, other = await run.spawn(), await run.spawn()
    spec = ToolSpec("slow", "takes its time", {"type": "object"})
    own = Tool(sc.ToolEntry(spec, agent.principal, 1.0, 1), HostedTool("m:f", None), frozenset({"calculate"}))
    tools = run.kernel._tools
    tools._registry.add(own)
    slow = tools.started(sc.ToolRun(name="slow"), run.kernel._processes.get(agent.pid).caller)
    call = sc.ToolRun(name="calculate", arguments={"expression": "1 + 1"})
    waits, runs = run.begin(agent.pid, call), run.begin(other.pid, call)
    await settle_down()
    assert not waits.done()
    assert runs.done()
    tools.ended(slow)
    await run.call(other.pid, call)
    assert await waits == await runs


async def test_a_process_whose_token_nobody_was_given_is_ended(run):
    agent = await run.spawn()
    with blocked_store(run):
        late = run.begin(agent.pid, sc.ProcessSpawn(agent="late"), timeout_s=1.0)
        gone = run.begin(agent.pid, sc.ProcessSpawn(agent="gone"))
        await settle_down()
        run.clock.advance(1.0)
        gone.cancel()
        with pytest.raises(OutcomeUnknown):
            await late
    for number in range(2):  # Each is on the disk after the spawns, then after the kills.
        await run.call(1, sc.StorageWrite(path=f"next{number}", content=""))
        await settle_down()
    states = {one.agent: one.state for one in run.kernel._processes}
    assert (states["late"], states["gone"]) == ("killed", "killed")
    assert gone.cancelled()


async def test_no_child_is_born_to_a_dead_parent(run):
    agent = await run.spawn()
    spawns = run.begin(agent.pid, sc.ProcessSpawn(agent="orphan"))
    while not run.kernel._flight.tasks():
        await one_turn()
    run.kernel._processes.end(run.kernel._processes.get(agent.pid), "killed")
    with pytest.raises(OutcomeUnknown):
        await spawns
    await settle_down()
    assert [one.agent for one in run.kernel._processes] == ["operator", "agent"]


async def test_a_call_that_is_written_down_first_counts_and_has_its_time(tmp_path):
    async with boot(tmp_path, processes=ProcessConfig(max_calls=1)) as run:
        owner, agent = await run.spawn(), await run.spawn()
        call = sc.StorageRead(path="x", owner=owner.principal)
        with blocked_store(run):
            denied = run.begin(agent.pid, call, timeout_s=1.0)
            await settle_down()
            with pytest.raises(QuotaExceeded):
                await run.call(agent.pid, call)
            run.clock.advance(1.0)
            await settle_down()
            assert denied.done()
            with pytest.raises(DeadlineExceeded):
                await denied
        with pytest.raises(NotFound):
            await run.call(agent.pid, call)


async def test_a_call_that_cannot_be_written_down_is_not_made(run):
    owner, agent = await run.spawn(), await run.spawn()
    call = sc.StorageRead(path="x", owner=owner.principal)
    await run.kernel._store.write(lambda connection: connection.execute("DROP TABLE audit").fetchall())
    with pytest.raises(AiosError) as failure:
        await run.call(agent.pid, call)
    assert not isinstance(failure.value, NotFound)
    assert run.kernel.statistics()["in_flight"] == 0


async def test_a_tools_calls_are_its_callers(run):
    agent = await run.spawn()
    await run.call(agent.pid, sc.ToolRun(name="write_file", arguments={"path": "a", "content": "b"}))
    file = await run.call(agent.pid, sc.StorageStat(path="a"))
    assert isinstance(file, sc.FileEntry)
    assert file.owner == agent.principal
    assert run.kernel.statistics()["tools"]["running"] == 0


async def test_a_kernel_that_is_not_running_refuses(tmp_path):
    kernel = Kernel(Config(data=tmp_path), drivers={})
    with pytest.raises(Unavailable):
        await kernel.trap("", sc.ProcessList())


# ---- all of it, at random


@settings(max_examples=12)
@given(seed=st.integers(0, 10**9), policy=st.sampled_from(["fifo", "rr"]))
def test_every_call_is_settled_once_and_nothing_leaks(tmp_path_factory, seed, policy):
    asyncio.run(_play(tmp_path_factory.mktemp("play"), random.Random(seed), policy))


async def _play(folder, draw: random.Random, policy: str) -> None:
    """Agents ask, are interrupted, suspended, killed, cancelled, timed out: each call has one answer."""
    box: list[Run] = []
    driver = paced(box, few_words)
    async with boot(folder, driver, slots=2, policy=policy, quantum=draw.randint(1, 3)) as run:
        box.append(run)
        agents = [(await run.spawn()).pid for _ in range(3)]
        calls: dict[asyncio.Task[sc.Reply], int] = {}
        for number in range(40):
            pid = draw.choice(agents)
            match draw.choice(
                ("ask", "ask", "step", "step", "step", "suspend", "resume", "cancel", "time", "kill")
            ):
                case "ask":
                    timeout_s = draw.choice((None, None, 1.0, 3.0))
                    calls[run.begin(pid, question(seed=number), timeout_s=timeout_s)] = number
                case "step":
                    await run.stepper.step(draw.randrange(4))
                case "suspend":
                    await run.call(1, sc.ProcessSuspend(pid=pid))
                case "resume":
                    await run.call(1, sc.ProcessResume(pid=pid))
                case "cancel" if calls:
                    draw.choice(list(calls)).cancel()
                case "time":
                    run.clock.advance(draw.choice((0.5, 1.0)))
                case "kill":
                    await run.call(1, sc.ProcessKill(pid=pid))
                    agents.remove(pid)
                    agents.append((await run.spawn()).pid)
            if draw.random() < 0.5:
                await settle_down()
            run.kernel.check()
        for pid in agents:
            await run.call(1, sc.ProcessResume(pid=pid))
        await run.stepper.run_out()
        await _judge(run, calls)


async def _judge(run: Run, calls: dict["asyncio.Task[sc.Reply]", int]) -> None:
    alone = {}
    for call, number in calls.items():
        assert call.done(), "nothing hangs"
        if call.cancelled():
            continue
        error = call.exception()
        if error is not None:
            assert isinstance(error, (Cancelled, DeadlineExceeded)), error
            continue
        if number not in alone:
            again = run.begin(1, question(seed=number))
            await run.stepper.run_out()
            alone[number] = (await again).text
        assert call.result().text == alone[number], "an interrupted answer is that of an uninterrupted one"
    statistics = run.kernel.statistics()
    assert statistics["in_flight"] == 0
    assert statistics["resources"]["core"] == {"slots": 2, "running": 0, "waiting": 0}
    assert scripted(run).num_snapshots == 0
    assert scripted(run).num_running == 0
