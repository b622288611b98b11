"""What was found, grouped; and texts joined into one file."""

from random import Random

import pytest
from inline import InlineFiles, at_once

from aios.abi import syscalls as sc
from aios.abi.errors import Conflict, InvalidArgument, NotFound, TooLarge
from aios.kernel.finding import grouping, joining
from aios.kernel.finding.clusters import NAMELESS, clusters

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


def write(ask, path, content, **fields):
    return ask(sc.StorageWrite(path=path, content=content, **fields))


def groups(ask, by, text="", **fields):
    found = ask(sc.StorageGroup(by=by, text=text, **fields))
    assert found.num_files == sum(group.num_files for group in found.groups) or "limit" in fields
    return [(group.name, group.num_files, [hit.file.path for hit in group.best]) for group in found.groups]


def test_files_are_grouped_by_what_they_have_in_common_best_first(files, ask):
    write(ask, "a/one.md", "tea tea tea")
    write(ask, "a/b/two.md", "tea and much else besides")
    files.clock.advance(40 * DAY)
    write(ask, "top.txt", "some tea", label="untrusted")
    write(ask, "a/other.md", "nothing of it")
    assert groups(ask, "folder", "tea") == [
        ("a", 1, ["a/one.md"]),
        ("", 1, ["top.txt"]),
        ("a/b", 1, ["a/b/two.md"]),
    ]
    assert groups(ask, "kind", "tea") == [("md", 2, ["a/one.md", "a/b/two.md"]), ("txt", 1, ["top.txt"])]
    assert groups(ask, "label", "tea", num_best=1) == [
        ("trusted", 2, ["a/one.md"]),
        ("untrusted", 1, ["top.txt"]),
    ]
    assert groups(ask, "day", "tea", num_best=0) == [("2023-11-14", 2, []), ("2023-12-24", 1, [])]
    assert groups(ask, "week", num_best=0) == [("2023-W51", 2, []), ("2023-W46", 2, [])]
    assert groups(ask, "month", folder="a", num_best=0) == [("2023-12", 1, []), ("2023-11", 2, [])]
    found = ask(sc.StorageGroup(by="kind", text="tea", limit=1))
    assert (len(found.groups), found.num_groups, found.num_files, found.is_cut) == (1, 2, 3, False)
    assert found.groups[0].bytes == 11 + 25
    assert found.groups[0].best[0].snippet == "tea tea tea"
    assert groups(ask, "folder", "zebra") == []


def test_what_is_not_looked_at_is_told(files, ask, monkeypatch):
    monkeypatch.setattr(grouping, "MAX_FILES", 3)
    for number in range(4):
        write(ask, f"f{number}", "tea")
    found = ask(sc.StorageGroup(by="kind", text="tea"))
    assert (found.num_files, found.is_cut) == (3, True)


ABOUT = {
    "lighthouse": "The lighthouse keeper climbs the tower to light the lamp for ships near the harbour",
    "bread": "Knead the dough, let it rise, and bake the bread in a hot oven until the crust is brown",
    "football": "The striker scored a goal in the last minute and the team won the football match",
}
TOLD = {
    "lighthouse": "Ships saw the lamp of the lighthouse tower from far outside the harbour",
    "bread": "A hot oven gives bread its brown crust; knead dough well and let it rise",
    "football": "Their team lost the football match after the striker missed the goal",
}


def test_files_alike_in_meaning_are_one_group_each_time_the_same(files, ask):
    for topic in ABOUT:
        write(ask, f"{topic}/1.md", ABOUT[topic])
    for topic in TOLD:
        write(ask, f"{topic}/2.md", TOLD[topic])
    write(ask, "empty", "")
    found = groups(ask, "meaning")
    assert {frozenset(paths) for _, _, paths in found} == {
        frozenset({f"{topic}/1.md", f"{topic}/2.md"}) for topic in ABOUT
    } | {frozenset({"empty"})}
    assert groups(ask, "meaning") == found
    named = {paths[0].partition("/")[0]: name for name, _, paths in found}
    assert any(
        word in named["bread"] for word in ("bread", "oven", "dough", "knead", "crust", "rise", "brown")
    )


def test_clusters_of_odd_texts():
    assert clusters([]) == []
    assert clusters(["x", ""]) == [NAMELESS, f"{NAMELESS} (2)"]
    assert clusters(["the same words", "the same words"]) == ["same the words"] * 2
    rng = Random(0)
    unlike = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz      ", k=200)) for _ in range(30)]
    assert len(set(clusters(unlike))) > 20
    assert len(set(clusters([unlike[number % 3] for number in range(30)]))) == 3


# ---- joining


def test_texts_are_joined_in_order_under_what_they_are(files, ask):
    write(ask, "a.md", "first")
    write(ask, "a.md", "second\n")
    write(ask, "b.txt", "")
    write(ask, "c.md", "third")
    wanted = (sc.FileAt("c.md"), sc.FileAt("a.md", 1), sc.FileAt("b.txt"), sc.FileAt("a.md"))
    joined = ask(sc.StorageJoin(files=wanted, to="all/of.md", title=" All\nof it "))
    when = "2023-11-14 22:13 UTC"
    content = ask(sc.StorageRead(path="all/of.md")).content
    assert content == (
        f"# All of it\n\n## c.md (version 1, {when})\n\nthird\n\n## a.md (version 1, {when})\n\nfirst\n\n"
        f"## b.txt (version 1, {when})\n\n\n## a.md (version 2, {when})\n\nsecond\n"
    )
    assert [(part.path, part.version) for part in joined.parts] == [
        *(("c.md", 1), ("a.md", 1), ("b.txt", 1), ("a.md", 2))
    ]
    assert [content[part.start : part.start + part.size] for part in joined.parts] == [
        *("third", "first", "", "second\n")
    ]
    assert (joined.file.path, joined.file.version, joined.size) == ("all/of.md", 1, len(content))
    (version,) = ask(sc.StorageHistory(path="all/of.md")).versions
    assert version.source == "join of 4 files: c.md@1, a.md@1, b.txt@1, a.md@2"
    again = ask(sc.StorageJoin(files=wanted, to="all/of.md"))
    assert (again.file.version, ask(sc.StorageRead(path="c.md")).content) == (2, "third")


def test_a_dry_run_says_what_would_be_and_changes_nothing(ask):
    write(ask, "a", "text")
    would = ask(sc.StorageJoin(files=(sc.FileAt("a"),), to="b", dry_run=True))
    assert would.file is None
    with pytest.raises(NotFound):
        ask(sc.StorageStat(path="b"))
    done = ask(sc.StorageJoin(files=(sc.FileAt("a"),), to="b"))
    assert (done.parts, done.size) == (would.parts, would.size)


def test_what_is_no_text_is_left_out_and_what_is_untrusted_stays_so(ask):
    write(ask, "good", "good")
    write(ask, "zero", "a\0b")
    write(ask, "latin", "/w==", encoding="base64")
    write(ask, "told", "told", label="untrusted")
    paths = ("zero", "good", "latin")
    joined = ask(sc.StorageJoin(files=tuple(map(sc.FileAt, paths)), to="all"))
    assert [bool(part.left_out) for part in joined.parts] == [True, False, True]
    assert joined.file.label == joined.label == "trusted"
    joined = ask(sc.StorageJoin(files=(sc.FileAt("good"), sc.FileAt("told")), to="all"))
    assert joined.file.label == joined.label == "untrusted"
    with pytest.raises(NotFound, match="none of these"):
        ask(sc.StorageJoin(files=(sc.FileAt("zero"),), to="all"))


def test_it_takes_effect_whole_or_not_at_all(ask, monkeypatch):
    write(ask, "a", "text")
    write(ask, "there", "x")
    token = ask(sc.StorageLock(path="locked")).token
    for fields, error in (
        ({"files": (sc.FileAt("a"), sc.FileAt("missing"))}, NotFound),
        ({"files": (sc.FileAt("a", 2),)}, NotFound),
        ({"files": (sc.FileAt("a"),), "if_version": 0, "to": "there"}, Conflict),
        ({"files": (sc.FileAt("a"),), "to": "locked"}, Conflict),
        ({"files": (sc.FileAt("a"),), "to": "a/b"}, Conflict),
        ({"files": (sc.FileAt("../a"),)}, InvalidArgument),
        ({"files": (sc.FileAt("a"),), "to": "/x"}, InvalidArgument),
    ):
        with pytest.raises(error):
            ask(sc.StorageJoin(**{"to": "new", **fields}))
    assert {file.path for file in ask(sc.StorageList()).files} == {"a", "there"}
    ask(sc.StorageJoin(files=(sc.FileAt("a"),), to="locked", lock=token))
    monkeypatch.setattr(joining, "MAX_BYTES", 60)
    ask(sc.StorageJoin(files=(sc.FileAt("a"),), to="new"))
    write(ask, "long", "x" * 50)
    with pytest.raises(TooLarge, match="join fewer"):
        ask(sc.StorageJoin(files=(sc.FileAt("a"), sc.FileAt("long")), to="new"))


def test_another_owners_files_are_joined_into_ones_own(files, ask):
    write(asker(files, "bob"), "his", "his text")
    joined = ask(sc.StorageJoin(files=(sc.FileAt("his"),), to="mine", owner="bob"))
    assert joined.file.owner == "alice"
    assert "his text" in ask(sc.StorageRead(path="mine")).content


def test_many_names_are_cut_in_what_a_version_says_of_its_source(ask):
    paths = [f"folder/{number:03}.md" for number in range(100)]
    for path in paths:
        write(ask, path, path)
    ask(sc.StorageJoin(files=tuple(map(sc.FileAt, paths)), to="all"))
    (version,) = ask(sc.StorageHistory(path="all")).versions
    assert version.source.startswith("join of 100 files: folder/000.md@1, ")
    assert (len(version.source), version.source[-1]) == (512, "…")
