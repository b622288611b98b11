"""Tasks run on a real kernel, with a core that says what a perfect assistant would: all but the model."""

import asyncio
import io
import json

import msgspec
from rich.console import Console

from aios.abi.errors import InvalidArgument
from aios.abi.messages import Message
from aios.bench.demo import Demo, by_kind, prepared
from aios.bench.model import rows_of, write_transcript
from aios.bench.runner import Run, mixed_tasks, perfect
from aios.bench.tasks import generate
from aios.cli.demo import agent_row, picture, progress_line
from aios.drivers.llm import Generation
from aios.drivers.llm_scripted import ScriptedDriver

NUM_AGENTS = 12
KEYS = {
    *("agents", "finished", "solved", "syscalls", "tokens", "tokens_per_s", "context_switches", "waiting_ms"),
    *("turnaround_ms", "wall_s", "answers", "policy", "seed", "unsolved"),
}


def first_said(messages):
    return next(message.text for message in messages if message.role == "user")


def core(seed: int, answer=None) -> dict[str, ScriptedDriver]:
    """A core that knows the tasks of a demo with this seed by what their users say first."""
    known = {first_said(messages): messages for messages, _, _ in map(perfect, mixed_tasks(NUM_AGENTS, seed))}

    def next_message(job: Generation) -> Message:
        return known[first_said(job.messages)][len(job.messages)]

    return {"nano": ScriptedDriver(answer or next_message)}


async def run(policy: str, answer=None, quantum: int = 1) -> Demo:
    async with prepared(NUM_AGENTS, policy, quantum, 3, slots=2, drivers=core(3, answer)) as demo:
        assert "0/12 agents" in progress_line(demo)
        await demo.run()
        return demo


async def test_a_perfect_assistant_solves_its_tasks():
    demo = await run("rr")
    report = demo.report()
    assert report.unsolved == []
    assert (report.agents, report.finished, report.solved) == (NUM_AGENTS, NUM_AGENTS, NUM_AGENTS)
    assert report.tokens > 0
    assert report.syscalls["llm"] >= NUM_AGENTS
    assert sum(agents for _, agents, _ in by_kind(demo.runs)) == NUM_AGENTS


async def test_the_report_has_exactly_these_keys():
    report = json.loads(msgspec.json.encode((await run("fifo")).report()))
    assert report.keys() == KEYS
    assert report["answers"].keys() == {f"agent-{number}" for number in range(1, NUM_AGENTS + 1)}
    for times in (report["waiting_ms"], report["turnaround_ms"]):
        assert times.keys() == {"mean", "p50", "p90", "p99"}


async def test_the_order_of_scheduling_changes_no_answer():
    turns, queue = (await run("rr")).report(), (await run("fifo")).report()
    assert turns.answers == queue.answers
    assert turns.context_switches > 0
    assert queue.context_switches == 0


async def test_a_wrong_answer_is_seen_by_the_judge():
    demo = await run("rr", lambda job: "It is done.")
    report = demo.report()
    assert report.finished == NUM_AGENTS
    assert report.solved < NUM_AGENTS / 2
    assert len(report.unsolved) == NUM_AGENTS - report.solved
    assert all(failed["reason"] for failed in report.unsolved)
    rows = rows_of(demo.runs)
    assert rows[-1]["tasks"] == NUM_AGENTS
    assert rows[-1]["solved"] == report.solved
    out = io.StringIO()
    write_transcript(demo.runs[0], out)
    assert "It is done." in out.getvalue()


async def test_an_agent_that_fails_does_not_stop_the_others():
    said = mixed_tasks(1, 3)[0].turns[0].user
    wrong = InvalidArgument("this model can't")
    demo = await run("fifo", lambda job: wrong if first_said(job.messages) == said else "It is done.")
    states = {run.name: run.state for run in demo.runs}
    assert (states.pop("agent-1"), set(states.values())) == ("failed", {"finished"})
    assert demo.report().unsolved[0] == {
        "agent": "agent-1",
        "kind": demo.runs[0].task.kind,
        "reason": "invalid_argument: this model can't",
    }


async def test_a_demo_is_drawn_in_80_columns_and_24_lines():
    hold = asyncio.Event()

    class Held(ScriptedDriver):
        async def run(self, *words):
            held.set()
            await hold.wait()
            return await super().run(*words)

    held = asyncio.Event()
    async with prepared(50, "rr", 8, 3, drivers={"nano": Held(lambda job: "It is done.")}) as demo:
        running = asyncio.create_task(demo.run())
        await held.wait()
        out = Console(file=io.StringIO(), width=80, color_system=None)
        out.print(picture(demo))
        hold.set()
        await running
    lines = out.file.getvalue().splitlines()
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)
    assert "0/50 agents ended" in out.file.getvalue()
    assert "of 16 rows" in out.file.getvalue()


def test_an_agent_that_is_being_judged_still_has_a_row():
    run = Run(0, generate(0, "heldout", "calc"))
    run.answers.append("The result is 4.")
    assert agent_row(run)[:2] == ("agent-0", "calc")
