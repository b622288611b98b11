"""What training plays in memory reads the same as the kernel: tool texts, tools in view, outcomes."""

import re

import pytest
from msgspec import structs

from aios.bench.runner import Run, booted, perfect, run_all
from aios.bench.tasks import generate
from aios.bench.tasks.task import CLOCK
from aios.drivers.llm import Generation
from aios.drivers.llm_scripted import ScriptedDriver
from aios.drivers.models.schema_text import tool_line
from aios.drivers.toolbox import BUILTIN
from aios.kernel.config import Config

SPECS = {tool.spec.name: tool.spec for tool in BUILTIN}
NUM_TASKS = 150
_NOTES = re.compile(r"^(n\d+: .*\n?)+$|^nothing found$")


@pytest.mark.parametrize("split", ["train", "heldout"])
async def test_a_task_reads_the_same_in_training_and_on_the_kernel(split, tmp_path):
    tasks = {task.seed: task for task in (_task(seed, split) for seed in range(NUM_TASKS))}
    golds = {seed: perfect(task)[0] for seed, task in tasks.items()}
    by_first = {_said_first(messages): seed for seed, messages in golds.items()}
    assert len(by_first) == NUM_TASKS
    lines = {}

    def next_message(job: Generation):
        seed = by_first[_said_first(job.messages)]
        lines[seed] = _lines(job.tools)
        return golds[seed][len(job.messages)]

    runs = [Run(seed, task) for seed, task in tasks.items()]
    async with booted(Config(data=tmp_path), {"nano": ScriptedDriver(next_message)}) as (_, connection):
        await run_all(connection, runs, 16)
    for run in runs:
        gold = golds[run.task.seed]
        assert _texts(run.history) == _texts(gold), run.verdict.reason
        assert lines[run.task.seed] == _lines(run.task.specs(SPECS))
        assert run.verdict.solved, run.verdict.reason


def _task(seed, split):
    """A task whose world speaks of a missing file as the kernel does, at its time; training varies both."""
    return structs.replace(generate(seed, split), missing="there is no file '{path}'", clock=CLOCK)


def _said_first(messages):
    return next(message.text for message in messages if message.role == "user")


def _texts(messages):
    """What was said, less which notes were recalled: the kernel ranks them, and knows more likenesses."""
    return [_NOTES.sub("notes", m.text) if m.role == "tool" else m.text for m in messages]


def _lines(specs):
    """What the model reads of the tools; their order and that of an enumeration's choices are free."""
    return sorted(re.sub(r"[^ ]+\|[^ ,)]+", _in_order, tool_line(spec)) for spec in specs)


def _in_order(choices):
    return "|".join(sorted(choices[0].split("|")))
