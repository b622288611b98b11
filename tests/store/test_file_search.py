"""Finding files: by keyword, meaning and name, with conditions; what a score may know; the index kept up."""

import random
from contextlib import suppress

import apsw
import pytest
from inline import InlineFiles, at_once

from aios.abi import syscalls as sc
from aios.abi.errors import InvalidArgument, NotFound
from aios.drivers import migrations
from aios.kernel.checking import files as checking
from aios.kernel.files import documents, migrating
from aios.kernel.files.media import kinds_of
from aios.kernel.finding import shelving
from aios.kernel.finding.snippets import snippet
from aios.kernel.shelves import tables, tending

DAY = 86_400.0


@pytest.fixture
def files():
    return InlineFiles()


@pytest.fixture
def ask(files):
    return asker(files)


def asker(files, owner="alice"):
    agent = files.agent(owner)
    return lambda call: at_once(agent(call))


def write(ask, **contents):
    for path, content in contents.items():
        ask(sc.StorageWrite(path=path.replace("__", "/").replace("_", "."), content=content))


def names(ask, text="", **fields):
    return [hit.file.path for hit in ask(sc.StorageSearch(text=text, **fields)).hits]


def scores(ask, text, **fields):
    return [(hit.file.path, hit.score) for hit in ask(sc.StorageSearch(text=text, **fields)).hits]


def test_keyword_knows_words_and_meaning_knows_what_is_like_them(ask):
    write(ask, plan_md="The quarterly budget of the lighthouse", other_txt="Penguins run on ice")
    assert names(ask, "lighthouses", mode="keyword") == ["plan.md"]
    assert names(ask, "lihgthouse", mode="keyword") == []
    for mode in ("meaning", "both"):
        assert names(ask, "lihgthouse", mode=mode) == ["plan.md"]
    assert names(ask, "zzzz qqqq") == []


def test_each_condition_leaves_out_what_does_not_fit(files, ask):
    write(ask, a__plan_md="tea plan", a__b__page_html="tea page", plan_csv="tea,cup")
    files.clock.advance(DAY)
    moment = files.clock.time()
    write(ask, a__late_py="tea = 1 # and much more of it", Plan2_md="tea")
    ask(sc.StorageWrite(path="told.md", content="tea", label="untrusted"))
    assert set(names(ask, "tea")) == {
        "a/plan.md",
        "a/b/page.html",
        "plan.csv",
        "a/late.py",
        "Plan2.md",
        "told.md",
    }
    for fields, wanted in (
        ({"folder": "a"}, {"a/plan.md", "a/b/page.html", "a/late.py"}),
        ({"folder": "a/b/"}, {"a/b/page.html"}),
        ({"folder": "nothing"}, set()),
        ({"name": "plan"}, {"a/plan.md", "plan.csv", "Plan2.md"}),
        ({"name": "PLAN*.md"}, {"a/plan.md", "Plan2.md"}),
        ({"name": "a/*"}, {"a/plan.md", "a/b/page.html", "a/late.py"}),
        ({"name": "page", "folder": "a"}, {"a/b/page.html"}),
        ({"kind": "MD"}, {"a/plan.md", "Plan2.md", "told.md"}),
        ({"kind": "text/html"}, {"a/b/page.html"}),
        ({"kind": "text/*", "folder": "a"}, {"a/plan.md", "a/b/page.html", "a/late.py"}),
        ({"min_bytes": 20}, {"a/late.py"}),
        ({"max_bytes": 3}, {"Plan2.md", "told.md"}),
        ({"since": moment}, {"a/late.py", "Plan2.md", "told.md"}),
        ({"until": moment}, {"a/plan.md", "a/b/page.html", "plan.csv"}),
        ({"label": "untrusted"}, {"told.md"}),
        ({"label": "trusted", "kind": "md"}, {"a/plan.md", "Plan2.md"}),
    ):
        for mode in ("keyword", "meaning", "both"):
            assert set(names(ask, "tea", mode=mode, **fields)) == wanted, fields
        assert set(names(ask, **fields)) == wanted, fields


def test_without_words_those_changed_last_come_first(files, ask):
    for path in ("one", "two", "three"):
        write(ask, **{path: "x"})
        files.clock.advance(1)
    write(ask, one="y")
    assert names(ask) == ["one", "three", "two"]
    assert names(ask, limit=2) == ["one", "three"]


@pytest.mark.parametrize(
    "fields",
    [{"folder": "../x"}, {"folder": "/x"}, {"min_bytes": 5, "max_bytes": 4}, {"since": 5.0, "until": 4.0}],
)
def test_what_cannot_be_asked_is_refused(ask, fields):
    with pytest.raises(InvalidArgument):
        ask(sc.StorageSearch(text="x", **fields))


def test_a_pattern_made_to_be_slow_is_not(ask):
    write(ask, **{"a" * 200: "x"})
    assert names(ask, name="*a" * 100 + "b") == []


def test_a_score_in_a_folder_tells_nothing_of_others(files):
    """Who was granted a folder sees the same whatever else its owner keeps."""
    seen = []
    for secret in ("lighthouse", "nothing of it"):
        ask = asker(files, f"owner of {secret}")
        write(ask, a__one="the lighthouse", a__two="light of a house", a__three="else")
        for number in range(20):
            write(ask, **{f"b__{number}": f"{secret} lighthouses lightship {number}"})
        seen.append(
            [scores(ask, "lighthouse", folder="a", mode=mode) for mode in ("keyword", "meaning", "both")]
        )
    assert seen[0] == seen[1]
    assert len(seen[0][2]) == 2


def test_the_index_follows_in_the_background_and_finds_the_same(files, ask, monkeypatch):
    monkeypatch.setattr(tending, "FLUSH", 4)
    monkeypatch.setattr(shelving, "FLUSH", 4)
    monkeypatch.setattr(tending, "FEW", 3)
    rng, words = random.Random(0), ["tea", "ship", "house", "river", "stone"]
    connection, source, shelf = files.store.connection, shelving.FileShelves(), documents.shelf_of("alice")
    for _ in range(120):
        path = f"f{rng.randrange(30)}"
        if rng.random() < 0.2:
            with suppress(NotFound):
                ask(sc.StorageDelete(path=path))
        else:
            write(ask, **{path: " ".join(rng.choices(words, k=rng.randrange(1, 6)))})
        files.clock.advance(1)
        while plan := tending.plan(connection, source, shelf):
            assert tending.install(connection, plan)
    assert len(tables.segments_of(connection, shelf)) > 0
    fresh = asker(InlineFiles(store=files.store))
    copied = asker(InlineFiles())
    for file in ask(sc.StorageList()).files:
        copied(sc.StorageWrite(path=file.path, content=ask(sc.StorageRead(path=file.path)).content))
    for text in words:
        for mode in ("keyword", "meaning", "both"):
            wanted = pytest.approx(dict(scores(copied, text, mode=mode, limit=100)))
            assert dict(scores(ask, text, mode=mode, limit=100)) == wanted
            assert dict(scores(fresh, text, mode=mode, limit=100)) == wanted


def test_much_that_is_written_wakes_the_tending_and_little_does_not(files, ask):
    write(ask, small="x")
    assert files.tender.woken == []
    for _ in range(shelving.DUE_BYTES // (64 * 1024)):
        write(ask, large="y" * 64 * 1024)
    assert files.tender.woken == ["files/alice"]
    ask(sc.StorageMove(path="small", to="moved"))
    assert len(files.tender.woken) == 2


def test_what_waits_at_a_start_is_tended(files, ask, monkeypatch):
    write(ask, one="x", two="y")
    asker(files, "bob")(sc.StorageWrite(path="a", content="x"))
    monkeypatch.setattr(shelving, "FLUSH", 2)
    assert InlineFiles(store=files.store).tender.woken == ["files/alice"]


def test_long_files_are_read_a_few_at_a_time(files, ask, monkeypatch):
    monkeypatch.setattr(shelving, "PIECE_BYTES", 1000)
    for number in range(9):
        write(ask, **{f"f{number}": f"tea {number} " * 100})
    assert len(shelving.FileShelves().changed_since(files.store.connection, "files/alice", 0, 100)) == 2
    assert len(names(ask, "tea")) == 9
    monkeypatch.setattr(tending, "FLUSH", 9)
    plan = tending.plan(files.store.connection, shelving.FileShelves(), "files/alice")
    assert len(plan.segment) == 2
    assert tending.install(files.store.connection, plan)
    assert len(names(ask, "tea")) == 9


# ---- what was there before, and what is damaged

BEFORE = """
    CREATE VIRTUAL TABLE file_words USING fts5 (owner, body, content='', contentless_delete=1);
    DROP TABLE file_documents;
    DROP TABLE file_texts;
    DROP TABLE mounts;
    DROP TABLE mount_files;
    DROP TABLE mount_waiting;
    UPDATE schemas SET version = 2 WHERE name = 'files';
    INSERT INTO schemas VALUES ('file_search', 1);
"""


@pytest.mark.parametrize("in_a_piece", [1, 3, 5000])
def test_the_files_of_an_older_index_are_found_whatever_interrupts_taking_them_over(
    files, ask, monkeypatch, in_a_piece
):
    for number in range(7):
        write(ask, **{f"f{number}": f"tea {number}"})
    ask(sc.StorageDelete(path="f3"))
    files.store.connection.execute(BEFORE)
    monkeypatch.setattr(documents, "PIECE_FILES", in_a_piece)

    def fails(connection: apsw.Connection) -> None:
        migrations.advance(connection, "files", migrating.SCHEMA)
        raise InterruptedError

    while True:
        with pytest.raises(InterruptedError):
            at_once(files.store.write(fails))
        if not at_once(files.store.write(lambda c: migrations.advance(c, "files", migrating.SCHEMA))):
            break
    found = asker(InlineFiles(store=files.store))
    assert set(names(found, "tea")) == {f"f{number}" for number in (0, 1, 2, 4, 5, 6)}
    assert list(checking._documents(files.store.connection)) == []


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM file_documents WHERE docid = 2",
        "INSERT INTO file_documents VALUES (99, 'alice', 5, 1)",
        "UPDATE file_documents SET owner = 'bob' WHERE docid = 2",
        "UPDATE file_documents SET stamp = stamp + 1000000000 WHERE docid = 2",
    ],
)
def test_a_wrong_document_is_found_and_mended(files, ask, damage):
    write(ask, one="tea", two="green tea", three="black tea")
    connection = files.store.connection
    assert list(checking._documents(connection)) == []
    connection.execute(damage)
    assert {problem.table for problem in checking._documents(connection)} == {"file_documents"}
    checking._mend_documents(connection)
    assert list(checking._documents(connection)) == []
    found = asker(InlineFiles(store=files.store))
    assert set(names(found, "tea")) == {"one", "two", "three"}
    assert names(asker(files, "bob"), "tea") == []
    write(found, two="milk")
    assert set(names(found, "tea")) == {"one", "three"}


def test_a_file_that_is_damaged_is_left_out_and_the_others_are_found(files, ask):
    write(ask, one="tea", two="green tea")
    files.store.connection.execute("UPDATE files SET label = 'untrusted' WHERE path = 'one'")
    found = asker(InlineFiles(store=files.store))
    assert names(found, "tea") == names(found) == ["two"]


# ---- parts


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("a/b.MD", ("md", "text/markdown", "text/*")),
        ("a.md/b", ("application/octet-stream", "application/*")),
        (".env", ("application/octet-stream", "application/*")),
        ("x.tar.gz", ("gz", "application/gzip", "application/*")),
        ("x.unheard", ("unheard", "application/octet-stream", "application/*")),
    ],
)
def test_kinds(path, kinds):
    assert kinds_of(path) == kinds


def test_a_snippet_shows_where_most_words_stand_together():
    text = "pricing. " + "a b c " * 100 + "the pricing of the lighthouse" + " d e f" * 100
    assert "the pricing of the lighthouse" in snippet(text, "lighthouse pricing")
    assert "the pricing of the lighthouse" in snippet(text, "lihgthouse")
    assert snippet(text, "zebra").startswith("pricing. a b c")
    assert snippet("", "x") == snippet("", "") == ""
    assert snippet("short", "") == "short"
    assert len(snippet("tea " * 100_000, "tea " * 40)) < 200
