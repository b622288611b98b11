"""A task: what is there, what is asked, what a perfect assistant does, and whether an outcome solves it."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError
from aios.abi.messages import Message, ToolCall, ToolSpec
from aios.bench.tasks.invented import Invented
from aios.bench.tasks.play import Answer, Turn, Wish
from aios.bench.tasks.world import World

CLOCK = 1_900_000_000.0
"""What the clock shows in tasks kept out of training, in seconds since the epoch: one kernel plays many."""


Builtin = Mapping[str, Callable[[dict[str, Any], Any], Awaitable[str]]]
"""The functions of the built-in tools, by name."""


class Task(Struct, frozen=True):
    """One conversation to be held. `files` and `notes` exist before it, each file with all its versions."""

    kind: str
    seed: int
    system: str
    tools: tuple[str, ...]
    """The tools in view, in order: built-in ones by name, and those of `invented`."""
    invented: tuple[Invented, ...]
    files: dict[str, list[str]]
    notes: tuple[str, ...]
    turns: tuple[Turn, ...]
    missing: str = "there is no file {path}"
    clock: float = CLOCK
    """What the clock shows, in seconds since the epoch."""

    def specs(self, builtin: dict[str, ToolSpec]) -> tuple[ToolSpec, ...]:
        """The specs of the tools in view, given those of the built-in ones."""
        own = {tool.spec.name: tool.spec for tool in self.invented}
        return tuple(own.get(name) or builtin[name] for name in self.tools)


class Outcome(Struct):
    """What happened: final files and notes, and for each turn the calls made and the last text said."""

    files: dict[str, str]
    notes: list[tuple[str, ...]]
    """The text of each, and its tags."""
    calls: list[list[tuple[str, dict[str, Any]]]]
    answers: list[str]


class Verdict(Struct, frozen=True):
    """Whether a task was solved; if not, the first thing that was wrong."""

    solved: bool
    reason: str = ""


def run_now(coroutine: Any) -> Any:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("a tool waited where nothing can be waited for")


class Runner:
    """Runs tools in a `World`: built-in ones by their own functions, invented ones by their results."""

    def __init__(self, builtin: Builtin, context: Callable[[World], Any]) -> None:
        self._builtin = builtin
        self._context = context

    def run(self, task: Task, world: World, name: str, arguments: dict[str, Any]) -> str:
        """A call's result as a model reads it; a failure is a text that starts with `error: `."""
        for tool in task.invented:
            if tool.spec.name == name:
                return tool.run(arguments)
        try:
            return str(run_now(self._builtin[name](arguments, self._context(world))))
        except AiosError as error:
            return f"error: {error.message}"


def start_world(task: Task) -> World:
    """The files and notes that are there before the task starts.

    In every second world a search gives notes that do not match too, for a kernel may know more likenesses.
    """
    world = World(task.missing, recall_all=task.seed % 2 == 0, clock=task.clock)
    for path, versions in task.files.items():
        for content in versions:
            run_now(world(sc.StorageWrite(path=path, content=content)))
    for note in task.notes:
        run_now(world(sc.MemoryAdd(text=note)))
    return world


def play_gold(task: Task, runner: Runner) -> tuple[list[Message], Outcome, list[tuple[str, ...]]]:
    """Let the perfect assistant do the task: the conversation, the outcome, and the facts of each answer."""
    world = start_world(task)
    messages = [Message("system", task.system)] if task.system else []
    outcome, facts = Outcome({}, [], [], []), []
    for turn in task.turns:
        messages.append(Message("user", turn.user))
        answer, calls = _play_turn(turn, task, runner, world, messages)
        outcome.calls.append(calls)
        outcome.answers.append(answer.text)
        facts.append(answer.facts)
    outcome.files = world.files
    outcome.notes = [(text, *world.tags[note_id]) for note_id, text in world.notes.items()]
    return messages, outcome, facts


def _play_turn(
    turn: Turn, task: Task, runner: Runner, world: World, messages: list[Message]
) -> tuple[Answer, list[Wish]]:
    script, results, made = turn.script(), None, list[Wish]()
    while True:
        try:
            wishes = script.send(results)  # type: ignore[arg-type]
        except StopIteration as done:
            answer: Answer = done.value
            messages.append(Message("assistant", answer.text))
            return answer, made
        number = sum(len(message.tool_calls) for message in messages)
        calls = tuple(ToolCall(f"call_{number + i}", name, args) for i, (name, args) in enumerate(wishes, 1))
        messages.append(Message("assistant", "", calls))
        results = [runner.run(task, world, call.name, call.arguments) for call in calls]
        messages += [Message("tool", r, tool_call_id=c.id) for r, c in zip(results, calls, strict=True)]
        made += wishes


def judge(task: Task, outcome: Outcome, gold: Outcome, facts: Sequence[tuple[str, ...]]) -> Verdict:
    """Whether what happened is what should have: files, notes, made-up tools' calls, facts in the answers."""
    if outcome.files != gold.files:
        return Verdict(False, f"files are {outcome.files} and should be {gold.files}")
    if sorted(outcome.notes) != sorted(gold.notes):
        return Verdict(False, f"notes are {outcome.notes} and should be {gold.notes}")
    invented = {tool.spec.name for tool in task.invented}
    if len(outcome.answers) != len(gold.answers):
        return Verdict(False, f"{len(outcome.answers)} of {len(gold.answers)} turns were answered")
    for number in range(len(task.turns)):
        done, wanted = ([c for c in o.calls[number] if c[0] in invented] for o in (outcome, gold))
        if _sorted(done) != _sorted(wanted):
            return Verdict(False, f"turn {number + 1} called {done} and should call {wanted}")
        if outcome.calls[number] and not gold.calls[number]:
            return Verdict(False, f"turn {number + 1} called {outcome.calls[number]} where no tool is wanted")
        answer = outcome.answers[number].lower()
        absent = [fact for fact in facts[number] if not _says(answer, fact.lower())]
        if absent or not answer:
            return Verdict(False, f"turn {number + 1} answered {answer!r} without {absent}")
    return Verdict(True)


def _says(answer: str, fact: str) -> bool:
    """Whether the fact stands there by itself: `35 days` is not in `-35 days`, nor `2` in `2024` or `2.5`."""
    return re.search(rf"(?<![\w.-]){re.escape(fact)}(?!\w|\.\d)", answer) is not None


def _sorted(calls: Sequence[Wish]) -> list[str]:
    return sorted(json.dumps(call, sort_keys=True) for call in calls)
