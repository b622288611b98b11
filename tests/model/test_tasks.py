"""The made-up tasks: seeded, split without overlap, solved by their scripts, judged by what happened."""

import copy
import random

import pytest

from aios.bench.tasks import KINDS, Outcome, generate, judge, play_gold
from aios.bench.tasks.lexicon import BLENDED, blended, lexicon
from aios.bench.tasks.task import CLOCK, Runner
from aios.drivers.toolbox import BUILTIN, ToolContext

RUNNER = Runner({t.spec.name: t.run for t in BUILTIN}, lambda world: ToolContext(world, lambda: CLOCK))
SPECS = {tool.spec.name: tool.spec for tool in BUILTIN}
TRAIN, HELDOUT = lexicon("train"), lexicon("heldout")
SPLITS = ("train", "heldout")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", [None, *KINDS])
def test_the_perfect_assistant_solves_every_task_within_what_is_in_view(split, kind):
    for seed in range(25):
        assert_solved(generate(seed, split, kind))


def test_the_perfect_assistant_solves_tasks_of_blended_words_too():
    for seed in range(200):
        assert_solved(generate(seed, "train", blend=True))


def assert_solved(task):
    in_view = {spec.name: spec.parameters for spec in task.specs(SPECS)}
    messages, outcome, facts = play_gold(task, RUNNER)
    assert judge(task, outcome, outcome, facts).solved
    assert messages[-1].role == "assistant"
    for message in messages:
        for call in message.tool_calls:
            schema = in_view[call.name]
            assert set(schema.get("required", ())) <= set(call.arguments) <= set(schema["properties"])


def test_blended_words_are_many_and_leave_the_sentences_alone():
    seen = [blended(TRAIN, random.Random(seed)) for seed in range(40)]
    assert len({noun for words in seen for noun in words.nouns}) > 10 * len(TRAIN.nouns)
    assert all(words.phrases == TRAIN.phrases and words.modes == TRAIN.modes for words in seen)
    assert all("" not in getattr(words, name) for words in seen for name in BLENDED)


@pytest.mark.parametrize("split", SPLITS)
def test_a_seed_gives_the_same_task_again(split):
    def view(seed):
        task = generate(seed, split)
        return task.system, task.specs(SPECS), task.files, task.notes, play_gold(task, RUNNER)[0]

    assert view(7) == view(7)
    assert view(7) != view(8)


@pytest.mark.parametrize("field", sorted(set(TRAIN.__struct_fields__) - {"syllables", "phrases"}))
def test_the_splits_share_no_words(field):
    assert not set(getattr(TRAIN, field)) & set(getattr(HELDOUT, field))


def test_the_splits_share_no_phrasing():
    assert TRAIN.phrases.keys() == HELDOUT.phrases.keys()
    for kind, phrases in TRAIN.phrases.items():
        assert not set(phrases) & set(HELDOUT.phrases[kind]), kind


def changed(kind, change):
    """The verdict on a perfect outcome after one change to it."""
    for seed in range(200):
        task = generate(seed, "train", kind)
        _, gold, facts = play_gold(task, RUNNER)
        outcome = copy.deepcopy(gold)
        if change(outcome, facts):
            return judge(task, outcome, gold, facts)
    raise AssertionError("no task to change")


def spoil_file(outcome: Outcome, facts):
    for path in outcome.files:
        outcome.files[path] += "x"
        return True
    return False


def spoil_note(outcome: Outcome, facts):
    if outcome.notes:
        outcome.notes[0] += "x"
    return bool(outcome.notes)


def lose_fact(outcome: Outcome, facts):
    outcome.answers[0] = "Done."
    return bool(facts[0])


def drop_call(outcome: Outcome, facts):
    outcome.calls[0] = []
    return True


def change_argument(outcome: Outcome, facts):
    for name, arguments in outcome.calls[0]:
        if name not in SPECS and arguments:
            arguments[next(iter(arguments))] = "wrong"
            return True
    return False


def call_something(outcome: Outcome, facts):
    outcome.calls[0] = [("calculate", {"expression": "1"})]
    return True


def say_nothing(outcome: Outcome, facts):
    outcome.answers[0] = ""
    return True


def lose_turn(outcome: Outcome, facts):
    del outcome.answers[-1]
    return True


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("write", spoil_file),
        ("remember", spoil_note),
        ("calc", lose_fact),
        ("invented", drop_call),
        ("invented", change_argument),
        ("unfit", call_something),
        ("greet", say_nothing),
        ("turns", lose_turn),
    ],
)
def test_what_was_not_done_is_not_solved(kind, change):
    verdict = changed(kind, change)
    assert not verdict.solved
    assert verdict.reason
