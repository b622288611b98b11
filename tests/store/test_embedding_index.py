"""Vectors of an embedding beside the index: what is found by them, when, and what a failure leaves."""

from random import Random

import numpy as np
import pytest

from aios.abi import syscalls as sc
from aios.abi.errors import InvalidArgument, NotFound, Unavailable
from aios.kernel.checking.whole import check, repair
from aios.kernel.shelves import embedding as module

SENSES = {"lives": 0, "residence": 0, "tea": 1, "drink": 1, "roof": 2, "house": 2}


class Senses:
    """Gives a text the senses of its words. It can be made to fail, and tells what it was asked for."""

    def __init__(self, name="senses 4", size=4):
        self.name = name
        self.size = size
        self.asked = []
        self.failure = None
        self.refused = ""
        self.meanwhile = None

    async def start(self):
        pass

    async def close(self):
        pass

    async def vectors(self, texts, *, is_urgent):
        if self.failure is not None:
            raise self.failure
        if self.refused and any(self.refused in text for text in texts):
            raise InvalidArgument("a text that it cannot take")
        if not is_urgent:
            self.asked += texts
        found = np.full((len(texts), self.size), 0.01, np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                found[row, SENSES.get(word, 3)] += 1
        if self.meanwhile is not None and not is_urgent:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture
def senses():
    return Senses()


@pytest.fixture
async def managers(at, tmp_path, senses):
    async with at(tmp_path, embedder=senses) as managers:
        yield managers


async def keep(agent, *texts):
    for text in texts:
        await agent(sc.MemoryAdd(text=text))


async def found(agent, text, mode="meaning"):
    return [hit.note.text for hit in (await agent(sc.MemorySearch(text=text, mode=mode))).hits]


async def num_vectors(managers):
    return await managers.store.read(lambda c: c.execute("SELECT count(*) FROM shelf_vectors").get)


async def test_notes_and_files_are_found_in_other_words(managers, agent):
    await keep(agent, "Ada lives there", "Bob mends things")
    await agent(sc.StorageWrite(path="a.txt", content="the roof leaks"))
    await agent(sc.StorageWrite(path="page.html", content="<p>green tea"))
    await managers.extracting.idle()
    await managers.tender.idle()
    for mode in ("meaning", "both"):
        assert (await found(agent, "residence", mode))[0] == "Ada lives there"
        hits = (await agent(sc.StorageSearch(text="house", mode=mode))).hits
        assert hits[0].file.path == "a.txt"
        hits = (await agent(sc.StorageSearch(text="drink", mode=mode))).hits
        assert hits[0].file.path == "page.html"
    assert await found(agent, "residence", "keyword") == []
    assert managers.tender.statistics()["waiting"] == 0


async def test_what_waits_is_found_by_its_letters_and_made_once_the_embedder_works(managers, agent, senses):
    senses.failure = Unavailable("gone")
    await keep(agent, "Ada lives there")
    await managers.tender.idle()
    assert managers.tender.statistics()["failing"] == 1
    assert await found(agent, "livess") == ["Ada lives there"]
    assert await found(agent, "residence") == []
    senses.failure = None
    managers.clock.advance(module.FIRST_PAUSE_S)
    await managers.tender.idle()
    assert await found(agent, "residence") == ["Ada lives there"]
    assert managers.tender.statistics() == {"made": 1, "refused": 0, "waiting": 0, "failing": 0}


async def test_pauses_grow_and_nothing_is_asked_meanwhile(managers, agent, senses):
    senses.failure = Unavailable("gone")
    await keep(agent, "Ada lives there")
    await managers.tender.idle()
    for pause_s in (1, 2, 4, 8):
        managers.clock.advance(pause_s - 0.5)
        await found(agent, "residence")
        assert managers.clock.num_timers == 1
        managers.clock.advance(0.5)
        await managers.tender.idle()
    senses.failure = None
    await keep(agent, "Bob drinks tea")
    assert not senses.asked


async def test_a_query_that_fails_is_answered_by_letters_at_once(managers, agent, senses):
    await keep(agent, "Ada lives there")
    await managers.tender.idle()
    senses.failure = Unavailable("slow")
    assert await found(agent, "livess") == ["Ada lives there"]
    assert managers.tender.statistics()["failing"] == 1
    senses.failure = None
    assert await found(agent, "residence") == []
    managers.clock.advance(1)
    assert await found(agent, "residence") == ["Ada lives there"]


async def test_only_what_cannot_be_taken_is_left_out(managers, agent, senses):
    senses.refused = "bad"
    await keep(agent, "Ada lives there", "bad tea", "the roof")
    await managers.tender.idle()
    assert await num_vectors(managers) == 2
    assert managers.tender.statistics()["refused"] == 1
    assert await found(agent, "bad") == ["bad tea"]


async def test_what_changes_or_goes_has_no_vector_left(managers, agent, senses):
    await keep(agent, "Ada lives there", "the roof", "tea")
    await managers.tender.idle()
    await agent(sc.MemoryUpdate(note_id="n1", text="Ada likes tea"))
    await agent(sc.MemoryRemove(note_id="n2"))
    await managers.tender.idle()
    assert await found(agent, "residence") == []
    assert set(await found(agent, "drink")) == {"Ada likes tea", "tea"}
    assert await num_vectors(managers) == 2


async def test_what_changes_while_its_vector_is_made_keeps_none_of_before(managers, agent, senses):
    async def change():
        await agent(sc.MemoryUpdate(note_id="n1", text="Ada likes tea"))
        await agent(sc.MemoryAdd(text="the roof"))

    senses.meanwhile = change
    await keep(agent, "Ada lives there")
    await managers.tender.idle()
    assert await num_vectors(managers) == 2
    assert await found(agent, "residence") == []
    assert await found(agent, "drink") == ["Ada likes tea"]


async def test_another_embedding_makes_them_anew_and_a_stop_costs_nothing_made(at, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 2)
    async with at(tmp_path, embedder=Senses()) as managers:
        await keep(managers.agent(), *(f"note {number} on tea" for number in range(6)))
        await managers.tender.idle()
        assert await num_vectors(managers) == 6
    second = Senses("other 5", 5)

    async def stop():
        second.failure = Unavailable("stopped")

    second.meanwhile = stop
    async with at(tmp_path, embedder=second) as managers:
        await managers.tender.idle()
        assert await num_vectors(managers) == 2
        assert managers.tender.statistics()["waiting"] == 4
        assert await found(managers.agent(), "drink") == []
    third = Senses("other 5", 5)
    async with at(tmp_path, embedder=third) as managers:
        await managers.tender.idle()
        assert third.asked == [f"note {number} on tea" for number in range(2, 6)]
        assert len(await found(managers.agent(), "drink")) == 6
    async with at(tmp_path) as managers:
        assert await num_vectors(managers) == 6
        assert await found(managers.agent(), "drink") == []


async def test_an_embedder_that_finds_out_its_size_late_starts_over(managers, agent, senses):
    async def grow():
        senses.name, senses.size = "senses 9", 9

    senses.meanwhile = grow
    await keep(agent, "Ada lives there")
    await managers.tender.idle()
    assert await found(agent, "residence") == ["Ada lives there"]
    kept = await managers.store.read(lambda c: c.execute("SELECT embedding FROM shelf_embedded").get)
    assert kept == "senses 9"


async def test_each_shelf_has_the_vectors_of_what_is_on_it(managers, agent, senses):
    rng = Random(0)
    for number in range(60):
        scope = rng.choice(("private", "everyone"))
        kept = f"n{rng.randint(1, number + 1)}"
        try:
            match rng.randrange(4):
                case 0 | 1:
                    await agent(sc.MemoryAdd(text=f"tea {number}", scope=scope))
                case 2:
                    await agent(sc.MemoryUpdate(note_id=kept, text=f"roof {number}", scope=scope))
                case 3:
                    await agent(sc.MemoryRemove(note_id=kept))
        except NotFound:
            continue
    await managers.tender.idle()
    there, made = await managers.store.read(
        lambda c: tuple(
            set(c.execute(sql))
            for sql in (
                "SELECT 'notes/' || owner, stamp FROM notes UNION SELECT shelf, stamp FROM note_shares",
                "SELECT shelf, stamp FROM shelf_vectors",
            )
        )
    )
    assert made == there
    assert len(there) > 20
    shared = (await managers.agent("bob")(sc.MemorySearch(text="drink", scope="everyone"))).hits
    assert shared
    assert all("tea" in hit.note.text for hit in shared)


async def test_a_score_tells_nothing_of_others_secrets(at, tmp_path):
    worlds = []
    for secret in ("tea", "the roof of the house leaks"):
        async with at(tmp_path / secret[:3], embedder=Senses()) as managers:
            await keep(managers.agent("bob"), secret)
            await keep(managers.agent("alice"), "Ada lives there", "tea for two")
            await managers.tender.idle()
            hits = (await managers.agent("alice")(sc.MemorySearch(text="drink house"))).hits
            worlds.append([(hit.note.text, hit.score) for hit in hits])
    assert worlds[0] == worlds[1]
    assert worlds[0]


async def test_a_damaged_vector_is_found_out_and_only_that_is_made_again(managers, agent, senses, tmp_path):
    await keep(agent, "Ada lives there", "tea", "the roof")
    await managers.tender.idle()
    sql = "UPDATE shelf_vectors SET data = zeroblob(8) WHERE stamp = 1"
    await managers.store.write(lambda c: c.execute(sql).get)
    senses.asked.clear()
    assert len(await found(agent, "lives")) == 1
    await managers.tender.idle()
    assert senses.asked == ["Ada lives there"]
    assert await found(agent, "residence") == ["Ada lives there"]


async def test_fsck_sees_a_damaged_vector_and_mends_it(at, tmp_path):
    async with at(tmp_path, embedder=Senses()) as managers:
        await keep(managers.agent(), "Ada lives there")
        await managers.tender.idle()
        await managers.store.write(lambda c: c.execute("UPDATE shelf_vectors SET data = zeroblob(8)").get)
    assert [problem.table for problem in check(tmp_path / "aios.db")] == ["shelf_segments"]
    await repair(tmp_path / "aios.db")
    assert not check(tmp_path / "aios.db")
    async with at(tmp_path, embedder=Senses()) as managers:
        await managers.tender.idle()
        assert await found(managers.agent(), "residence") == ["Ada lives there"]
