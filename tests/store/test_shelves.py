"""Shelves: what a search finds depends on the documents that are there, and on nothing else."""

import math
from collections import Counter
from pathlib import Path

import apsw
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.drivers.ngrams import grams_of
from aios.drivers.store import Store
from aios.kernel.shelves import ranking, tables, tending
from aios.kernel.shelves.lexicon import LEAST, Lexicon
from aios.kernel.shelves.segment import Document, build, merge
from aios.kernel.shelves.shelf import Place, Query, Shelves
from aios.kernel.shelves.tender import Tender
from aios.kernel.shelves.terms import keys_of, tokenizer

WORDS = (
    "tea",
    "teapot",
    "teapots",
    "green",
    "greens",
    "password",
    "pasword",
    "passport",
    "sport",
    "a1",
    "7731",
)


class Desk:
    """Documents on shelves, kept in memory: a source for shelves in a database of their own."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        for step in tables.SCHEMA:
            self.connection.execute(step)
        self.documents: dict[str, dict[int, Document]] = {}
        self.last: Counter[str] = Counter()

    def num_waiting(self, connection, shelf, stamp):
        return self.last_stamp(connection, shelf) - stamp

    def last_stamp(self, connection, shelf):
        return self.last[shelf]

    def changed_since(self, connection, shelf, stamp, limit):
        found = self.documents.get(shelf, {})
        return [found[one] for one in sorted(found) if one > stamp][:limit]

    def put(self, shelf: str, text: str, **fields) -> int:
        self.last[shelf] += 1
        stamp = self.last[shelf]
        self.documents.setdefault(shelf, {})[stamp] = Document(stamp, text, **fields)
        return stamp

    def take(self, shelf: str, stamp: int) -> None:
        del self.documents[shelf][stamp]
        tables.gone(self.connection, shelf, stamp)

    def tend(self, shelf: str) -> int:
        """Do all there is to do; how many steps it took."""
        for step in range(100):
            plan = tending.plan(self.connection, self, shelf)
            if plan is None:
                return step
            assert tending.install(self.connection, plan)
        raise AssertionError("tending does not come to an end")

    def search(self, text: str, *places: str, shelves: Shelves | None = None, **fields):
        shelves = shelves or Shelves(self, 1 << 30)
        defaults = {"mode": "both", "limit": 100, "now": 0.0}
        chosen = tuple(Place(shelf) for shelf in places or ("s",))
        with self.connection:
            query = Query(places=chosen, text=text, **{**defaults, **fields})
            return shelves.search(self.connection, query)


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def small(monkeypatch):
    """Few documents make a segment, and few segments too many."""
    monkeypatch.setattr(tending, "FLUSH", 4)
    monkeypatch.setattr(tending, "CAPACITY", 16)
    monkeypatch.setattr(tending, "FEW", 3)
    monkeypatch.setattr(tables, "CHUNK", 3)


# ---- the ranking, beside a plain one


def grams(word):
    padded = f" {word} "
    return {padded[at : at + size] for size in (2, 3) for at in range(len(padded) - size + 1)}


def likeness(one, other):
    if one == other:
        return 1.0
    if min(len(one), len(other)) < 4:
        return 0.0
    shared = len(grams(one) & grams(other)) / math.sqrt(len(grams(one)) * len(grams(other)))
    return shared if shared >= LEAST else 0.0


def plain_bm25(documents, words):
    lengths = [len(document) for document in documents]
    mean = sum(lengths) / len(documents) if sum(lengths) else 1.0
    scores = [0.0] * len(documents)
    for word in words:
        num_with = sum(word in document for document in documents)
        rarity = math.log1p((len(documents) - num_with + 0.5) / (num_with + 0.5))
        for place, document in enumerate(documents):
            count = document.count(word)
            if count:
                scores[place] += rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * lengths[place] / mean))
    return scores


def plain_likeness(documents, words):
    vocabulary = {word for document in documents for word in document}
    scores = [0.0] * len(documents)
    whole = 0.0
    for word in words:
        near = {other: likeness(word, other) for other in vocabulary if likeness(word, other)}
        others = sorted((other for other in near if other != word), key=lambda one: (-near[one], key_of(one)))
        chosen = {other: near[other] for other in [*others[: ranking.MOST_SIMILAR], word] if other in near}
        num = sum(share * sum(other in document for document in documents) for other, share in chosen.items())
        if not num:
            continue
        num = min(num, len(documents))
        rarity = math.log1p((len(documents) - num + 0.5) / (num + 0.5))
        whole += rarity
        for place, document in enumerate(documents):
            scores[place] += rarity * max((chosen.get(other, 0.0) for other in document), default=0.0)
    return [score / (whole or 1.0) for score in scores]


def key_of(word):
    return int(keys_of([word])[0])


texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), min_size=1, max_size=12)
queries = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)


@given(texts, queries)
def test_scores_are_what_the_papers_say(texts, text):
    desk = Desk()
    for one in texts:
        desk.put("s", one)
    tokenize = tokenizer(desk.connection)
    documents = [tokenize(one) for one in texts]
    words = list(dict.fromkeys(tokenize(text)))
    bm25, like = plain_bm25(documents, words), plain_likeness(documents, words)
    both = [0.5 * score / (score + 2) + 0.5 * cosine for score, cosine in zip(bm25, like, strict=True)]
    for mode, plain in (("keyword", bm25), ("meaning", like), ("both", both)):
        hits = {hit.stamp: hit.score for hit in desk.search(text, mode=mode)}
        assert hits == pytest.approx({place: score for place, score in enumerate(plain, 1) if score > 0})


changes = st.lists(
    st.one_of(
        st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join),
        st.integers(0, 40),
        st.sampled_from(["tend", "search"]),
    ),
    max_size=60,
)


@given(changes, queries)
@settings(max_examples=100)
def test_what_was_there_before_changes_nothing(changes, text):
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (("FLUSH", 4), ("CAPACITY", 16), ("FEW", 3)):
            patched.setattr(tending, name, value)
        patched.setattr(tables, "CHUNK", 3)
        desk, shelves = Desk(), None
        shelves = Shelves(desk, 1 << 30)
        for change in changes:
            stamps = list(desk.documents.get("s", {}))
            if change == "tend":
                desk.tend("s")
            elif change == "search":
                desk.search("tea", shelves=shelves)
            elif isinstance(change, str):
                desk.put("s", change, expires=5.0 if "sport" in change else math.inf, time=1.0)
            elif stamps:
                desk.take("s", stamps[change % len(stamps)])
        anew = Desk()
        stamp_of = {}
        for stamp, document in sorted(desk.documents.get("s", {}).items()):
            if document.expires > 9.0:
                stamp_of[anew.put("s", document.text, time=1.0)] = stamp
        for mode in ("both", "keyword", "meaning"):
            expected = [(stamp_of[hit.stamp], hit.score) for hit in anew.search(text, mode=mode, now=9.0)]
            for use in (shelves, None):
                hits = desk.search(text, mode=mode, now=9.0, shelves=use)
                assert [(hit.stamp, hit.score) for hit in hits] == expected


def test_scores_know_nothing_of_other_shelves(desk):
    for text in ("green tea", "black tea", "a password"):
        desk.put("s", text)
    before = desk.search("green pasword")
    for _ in range(50):
        desk.put("other", "green password password")
    assert desk.search("green pasword") == before


def test_several_shelves_are_ranked_as_one(desk):
    for number, text in enumerate(("green tea", "black tea", "a password", "green green")):
        desk.put("s", text, time=float(number))
        desk.put(f"s{number % 2}", text, time=float(number))
    one = [hit.score for hit in desk.search("green tea")]
    assert [hit.score for hit in desk.search("green tea", "s0", "s1")] == one


def test_what_is_hidden_counts_as_not_there(desk):
    for text in ("green tea", "black tea"):
        desk.put("s", text)
        desk.put("t", text)
    desk.put("t", "green green", marks=("owner:me",))
    shelves = Shelves(desk, 1 << 30)
    query = Query(places=(Place("t", "owner:me"),), text="green", mode="both", limit=9, now=0.0)
    found = [(hit.stamp, hit.score) for hit in shelves.search(desk.connection, query)]
    assert found == [(hit.stamp, hit.score) for hit in desk.search("green")]


# ---- filters


def test_conditions_hold_before_the_best_are_chosen(desk):
    for number in range(300):
        desk.put("s", "tea tea tea", time=float(number), marks=("loud",))
    desk.put("s", "some tea among many other words", time=300.0, marks=("quiet", "rare"))
    (hit,) = desk.search("tea", limit=1, marks=("quiet", "rare"))
    assert hit.stamp == 301
    assert not desk.search("tea", marks=("quiet", "loud"))
    assert [hit.stamp for hit in desk.search("tea", without=("loud",))] == [301]
    assert {hit.stamp for hit in desk.search("tea", since=10.0, until=12.0)} == {11, 12}
    assert [hit.stamp for hit in desk.search("", limit=1, without=("quiet",))][:2] == [300, 299]


def test_an_expired_document_is_found_by_no_search_and_counted_by_none(desk):
    desk.put("s", "green tea")
    alone = desk.search("green")
    desk.put("s", "green green green", expires=5.0)
    assert desk.search("green", now=5.0) == alone
    assert len(desk.search("green", now=4.9)) == 2
    assert len(desk.search("", now=5.0)) == 1


def test_among_equals_those_changed_last_come_first(desk):
    for number in (3, 1, 2):
        desk.put("s", "tea", time=float(number))
    assert [hit.stamp for hit in desk.search("tea")] == [1, 3, 2]


def test_a_word_that_is_nearly_everywhere_is_not_looked_for_beside_others(desk, monkeypatch):
    monkeypatch.setattr(ranking, "COMMON", 2)
    for text in ("the green tea", "the tea", "the sport", "nothing"):
        desk.put("s", text)
    assert [hit.stamp for hit in desk.search("the green", mode="keyword")] == [1]
    assert len(desk.search("the", mode="keyword")) == 3


# ---- words


def test_languages_without_spaces_are_found_by_parts_of_a_run(desk):
    desk.put("s", "我喜欢喝绿茶")
    desk.put("s", "会議は東京で開かれます")
    desk.put("s", "green tea")
    assert [hit.stamp for hit in desk.search("绿茶")] == [1]
    assert [hit.stamp for hit in desk.search("東京")] == [2]


def test_accents_case_and_english_endings_do_not_count(desk):
    desk.put("s", "Cafés in São Paulo opening early")
    for text in ("cafe", "SAO", "opens"):
        assert [hit.stamp for hit in desk.search(text, mode="keyword")] == [1]


words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=40)


@given(st.lists(words, min_size=1, max_size=20, unique=True), words)
def test_a_lexicon_grown_bit_by_bit_equals_one_made_at_once(many, word):
    keyed = sorted((key_of(one), one) for one in many if "\n" not in one)
    grown, whole = Lexicon(), Lexicon()
    for key, one in keyed:
        grown.add(np.array([key], np.uint64), one)
    whole.add(np.array([key for key, _ in keyed], np.uint64), "\n".join(one for _, one in keyed))
    (first,), (second,) = grown.similar([word]), whole.similar([word])
    assert first.keys.tolist() == second.keys.tolist()
    assert first.likeness.tolist() == second.likeness.tolist()


def test_ngrams_do_not_cross_words():
    codes = grams_of(["abcd", "efgh"])
    alone = [set(grams_of([word]) >> np.uint64(32)) for word in ("abcd", "efgh")]
    assert {int(code) >> 32 for code in codes} == set(map(int, alone[0] | alone[1]))
    assert len(codes) == len(alone[0]) + len(alone[1])


# ---- segments


@given(texts, st.lists(st.booleans(), min_size=24, max_size=24))
def test_merging_is_building_anew(texts, alive):
    desk = Desk()
    tokenize = tokenizer(desk.connection)
    documents = [
        Document(stamp, text, tuple(text.split()[:2]), stamp / 2, stamp * 3.0)
        for stamp, text in enumerate(texts, 1)
    ]
    parts = []
    for first in (0, 1):
        mine = documents[first::2]
        parts.append((build(tokenize, mine), np.array(alive[first::2][: len(mine)], np.bool_)))
    kept = [document for place, document in enumerate(documents) if alive[place // 2 * 2 + place % 2]]
    merged, fresh = merge(desk.connection, parts), build(tokenize, kept)
    assert (merged.keys == fresh.keys).all()
    assert (merged.starts == fresh.starts).all()
    assert merged.words == fresh.words
    for name in ("stamps", "lengths", "times", "expires"):
        assert (getattr(merged.columns, name) == getattr(fresh.columns, name)).all()
    for get in ("places", "counts"):
        ends = fresh.num_postings if get == "places" else fresh.num_word_postings
        got = [getattr(one.postings, get)(desk.connection, 0, ends) for one in (merged, fresh)]
        assert (got[0] == got[1]).all()


def test_segments_stay_few_and_keep_what_is_alive_only(desk, small):
    for number in range(200):
        desk.put("s", f"tea number{number}")
        if number % 3:
            desk.take("s", number + 1)
        desk.tend("s")
    kept = tables.segments_of(desk.connection, "s")
    assert len(kept) < 3 + 200 // 3 // 8
    num_gone = desk.connection.execute("SELECT count(*) FROM shelf_gone").get
    assert num_gone <= 16 * len(kept)
    assert len(desk.search("tea")) == 67
    num_chunks = desk.connection.execute("SELECT count(DISTINCT id >> 20) FROM shelf_chunks").get
    assert num_chunks <= len(kept)


def test_tending_comes_to_an_end_where_segments_are_too_large_to_merge(desk, small, monkeypatch):
    monkeypatch.setattr(tending, "MAX_POSTINGS", 5)
    for number in range(40):
        desk.put("s", f"some words about number{number}")
        desk.tend("s")
    assert len(desk.search("some")) == 40


def test_a_plan_that_came_too_late_is_left(desk, small):
    for number in range(5):
        desk.put("s", f"tea {number}")
    plan = tending.plan(desk.connection, desk, "s")
    assert tending.install(desk.connection, plan)
    assert not tending.install(desk.connection, plan)


def test_memory_is_bounded_by_what_is_asked(desk, small):
    for shelf in ("s", "t", "u"):
        for number in range(40):
            desk.put(shelf, f"tea number{number} {'words ' * 50}")
        desk.tend(shelf)
    shelves = Shelves(desk, 1)
    for shelf in ("s", "t", "u"):
        assert len(desk.search("tea", shelf, shelves=shelves)) == 40
    lone = Shelves(desk, 1 << 30)
    desk.search("tea", "u", shelves=lone)
    assert shelves.num_bytes < lone.num_bytes
    assert len(desk.search("tea", "u", shelves=shelves)) == 40


# ---- damage


@pytest.mark.parametrize("table", ["shelf_segments SET head", "shelf_chunks SET data"])
async def test_a_damaged_index_is_made_anew(tmp_path: Path, small, table: str):
    desk = Desk()
    for number in range(9):
        desk.put("s", f"tea number{number}")
    store = Store(tmp_path / "aios.db")
    await store.start()
    query = Query(places=(Place("s"),), text="tea", mode="both", limit=20, now=0.0)
    tender = Tender(store, desk, 1 << 30)
    await tender.start()
    tender.wake("s")
    await tender.idle()
    await store.write(lambda c: c.execute(f"UPDATE {table} = x'00'").get)
    tender = Tender(store, desk, 1 << 30)
    assert len(await tender.search(query, lambda c, hits: hits)) == 9
    await tender.idle()
    assert await store.read(lambda c: len(tables.segments_of(c, "s"))) > 0
    await tender.close()
    await store.close()
