"""The bench of notes: its questions have the answers they are said to have, and it measures what it says."""

from itertools import islice

import pytest

from aios.bench.notes import finding, growth, speed
from aios.bench.notes.facts import ASKED, facts
from fakes.sentence_folder import write_model


def test_facts_are_those_of_their_seed_and_each_note_is_its_own():
    some = list(islice(facts(3), 3000))
    assert some == list(islice(facts(3), 3000))
    assert some[:50] != list(islice(facts(4), 50))
    assert len({fact.note for fact in some}) == len(some)
    assert all(fact.asked.keys() == set(ASKED) for fact in some)


async def test_adds_are_told_beside_bare_rows_and_searches_for_each_mode():
    added = await speed.adds(0, 2)
    assert added.notes.low <= added.per_second <= added.notes.high
    assert added.floor.low <= added.floor_per_second <= added.floor.high
    found = await speed.searched(0, 200, 2, lambda line: None)
    assert [one.mode for one in found] == ["both", "keyword", "meaning"]
    assert all(0 < one.p50_ms <= one.p99_ms <= one.p99_once_ms for one in found)
    assert len(speed.rows(added, found, 200)) == 4


async def test_recall_is_that_of_the_one_right_note():
    rows = await finding.recall(0, 300, 20, lambda line: None)
    assert len(rows) == 9
    by_what = {row["what"]: row for row in rows}
    assert by_what["asked by keyword, mode keyword"]["recall@5"] > 0.9
    assert by_what["asked misspelt, mode meaning"]["recall@5"] > 0.8
    assert by_what["asked misspelt, mode keyword"]["recall@5"] < 0.5
    assert all(row["recall@1"] <= row["recall@5"] <= row["recall@10"] for row in rows)


async def test_recall_is_told_with_an_embedding_too(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra `embed`")
    folder = write_model(tmp_path, {"tea": (1, 0), "coffee": (0, 1)})
    rows = await finding.recall(0, 40, 4, lambda line: None, f"model:{folder}")
    assert [row["what"] for row in rows[:2]] == [
        "asked by keyword, mode both, with the embedding",
        "asked by keyword, mode meaning, with the embedding",
    ]
    assert rows[-1]["a second"] > 0


async def test_growth_lives_through_each_size():
    rows = await growth.growth(0, (100, 150), lambda line: None)
    assert [row["what"] for row in rows] == ["growth to 100 notes", "growth to 150 notes"]
    assert all(row["ready s"] > 0 and row["disk MiB"] >= 0 for row in rows)
