"""The made-up tasks: seeded, split without overlap, solved by their scripts, judged by what happened."""

import copy
import random
import re

import pytest

from aios.bench.tasks import KINDS, Outcome, generate, judge, play_gold, sums
from aios.bench.tasks.lexicon import BLENDED, blended, lexicon
from aios.bench.tasks.play import Play
from aios.bench.tasks.task import Runner
from aios.drivers.toolbox import BUILTIN, ToolContext

RUNNER = Runner({t.spec.name: t.run for t in BUILTIN}, lambda world: ToolContext(world, lambda: world.clock))
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
    for name in BLENDED:
        made = {word for words in seen for word in getattr(words, name)}
        assert "" not in made
        assert not made & set(getattr(HELDOUT, name))


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
        said = {one for phrase in phrases for one in wordings(phrase)}
        kept_out = {one for phrase in HELDOUT.phrases[kind] for one in wordings(phrase)}
        assert not said & kept_out, kind
        assert not {f"{opening}{one}".lower() for opening in TRAIN.openings for one in said} & kept_out, kind


def wordings(template):
    """Every sentence that a template can make, in small letters."""
    match = re.search(r"\[([^\[\]]*)\]", template)
    if match is None:
        return [template.lower()]
    each = (template[: match.start()] + one + template[match.end() :] for one in match[1].split("|"))
    return [wording for filled in each for wording in wordings(filled)]


def test_a_request_to_go_on_counting_says_how():
    words = {"+": "add plus increase raise", "-": "subtract minus take less lower reduce"}
    words |= {"*": "multiply times", "/": "divide divided over"}
    for seed in range(300):
        play = Play(random.Random(seed), TRAIN)
        play.chance = lambda share: False
        play.last["value"] = "7"
        turn = sums.calc_more(play)
        ((_, arguments),) = next(turn.script())
        assert set(turn.user.lower().split()) & set(words[arguments["expression"].split()[1]].split())


def test_no_two_tools_in_view_differ_in_articles_alone():
    for seed in range(300):
        acts = [tool.act for tool in generate(seed, "train", "invented").invented]
        bare = [tuple(word for word in act.split() if word not in ("a", "the")) for act in acts]
        assert len(set(bare)) == len(bare)


def test_an_argument_that_is_not_named_can_be_told():
    for seed in range(300):
        for tool in generate(seed, "train", "invented").invented:
            linked = [field for field in tool.fields if field.link]
            assert len(linked) <= 1
            assert not any(field.optional for field in linked)


def test_what_it_can_do_is_what_is_in_view():
    tasks = [generate(seed, "heldout", "greet") for seed in range(200)]
    asked = [task for task in tasks if "abilities" in task.turns[0].user]
    assert any(task.tools for task in asked)
    assert any(not task.tools for task in asked)
    for task in asked:
        _, outcome, _ = play_gold(task, RUNNER)
        assert all(name in outcome.answers[0] for name in task.tools[:4])
        assert task.tools or "no tools" in outcome.answers[0]


def test_training_plays_at_many_times():
    assert len({generate(seed, "train").clock for seed in range(20)}) == 20


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
        outcome.notes[0] = (outcome.notes[0][0] + "x",)
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


def lose_tags(outcome: Outcome, facts):
    tagged = [i for i, note in enumerate(outcome.notes) if len(note) > 1]
    for index in tagged:
        outcome.notes[index] = outcome.notes[index][:1]
    return bool(tagged)


def negate(outcome: Outcome, facts):
    outcome.answers[0] = outcome.answers[0].replace(facts[0][0], "-" + facts[0][0])
    return facts[0][0][0].isdigit() and facts[0][0].endswith("days")


def find_without_looking(outcome: Outcome, facts):
    missed = outcome.answers[0] == "No file mentions it."
    outcome.answers[0] = "It is in a.txt."
    return missed


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
        ("greet", call_something),
        ("remember", lose_tags),
        ("dates", negate),
        ("search", find_without_looking),
        ("greet", say_nothing),
        ("turns", lose_turn),
    ],
)
def test_what_was_not_done_is_not_solved(kind, change):
    verdict = changed(kind, change)
    assert not verdict.solved
    assert verdict.reason
