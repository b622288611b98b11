"""Notes: ids, owners, tags, search, limits, damage, and being there after a restart."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.abi import syscalls as sc
from aios.abi.errors import Corrupt, InvalidArgument, NotFound, QuotaExceeded
from aios.kernel.config import MemoryConfig

NOTES = (
    "The wifi password at the office is blue-heron-42.",
    "Anna's favourite colour is green.",
    "Bob's favourite colour is red.",
    "The dentist appointment is on Tuesday at 15:30.",
    "My flight to Lisbon leaves at 06:45 from gate B12.",
    "The rent is 950 euros and is due on the first of the month.",
    "Our cat is called Whiskers and eats twice a day.",
    "The spare key is under the flower pot by the back door.",
    "Project Falcon's deadline is 14 March.",
    "Project Heron's budget is 12000 dollars.",
    "Carlos is allergic to peanuts.",
    "The gym opens at 7 and closes at 22.",
    "The recipe needs 250 grams of flour and three eggs.",
    "Dr. Novak's phone number is 555-0192.",
    "Lena prefers tea without sugar.",
    "The printer on the second floor is out of toner.",
    "Invoice 7731 has been paid.",
    "The company was founded in 1998 in Oslo.",
    "The parcel tracking id is ZX-88120.",
    "Ines works as an architect in Porto.",
)


async def found(agent, text, **fields):
    return [hit.note.text for hit in (await agent(sc.MemorySearch(text=text, **fields))).hits]


async def test_a_note_is_kept_and_changed_and_removed(managers, agent):
    note = await agent(sc.MemoryAdd(text="tea", tags=("a", "b", "a")))
    now = managers.clock.time()
    assert note == sc.Note("n1", "tea", ("a", "b"), "alice", now, now, author="alice")
    managers.clock.advance(5)
    changed = await agent(sc.MemoryUpdate(note_id="n1", text="coffee"))
    assert (changed.text, changed.tags, changed.updated - changed.created) == ("coffee", ("a", "b"), 5)
    assert await agent(sc.MemoryGet(note_id="n1")) == changed
    assert (await agent(sc.MemoryUpdate(note_id="n1", text="coffee", tags=()))).tags == ()
    await agent(sc.MemoryRemove(note_id="n1"))
    for call in (sc.MemoryGet, sc.MemoryRemove):
        with pytest.raises(NotFound, match="there is no note 'n1'"):
            await agent(call(note_id="n1"))


async def test_an_id_is_never_given_twice(agent):
    assert (await agent(sc.MemoryAdd(text="a"))).id == "n1"
    await agent(sc.MemoryRemove(note_id="n1"))
    assert (await agent(sc.MemoryAdd(text="b"))).id == "n2"
    assert await found(agent, "") == ["b"]


@pytest.mark.parametrize("note_id", ["n0", "n01", "1", "n", "n1x", "n-1", "N1", "n9" * 30, "n" + "9" * 30])
async def test_what_is_no_id_is_not_found(agent, note_id):
    await agent(sc.MemoryAdd(text="a"))
    with pytest.raises(NotFound, match="there is no note"):
        await agent(sc.MemoryGet(note_id=note_id))


async def test_owners_do_not_meet(managers, agent):
    bob = managers.agent("bob")
    await agent(sc.MemoryAdd(text="alice likes tea", tags=("t",)))
    await bob(sc.MemoryAdd(text="bob likes tea", tags=("t",)))
    assert (await bob(sc.MemoryGet(note_id="n1"))).text == "bob likes tea"
    for text, tags in (("tea", ()), ("", ()), ("tea", ("t",)), ("", ("t",))):
        assert await found(bob, text, tags=tags) == ["bob likes tea"]
    await bob(sc.MemoryRemove(note_id="n1"))
    assert await found(agent, "tea") == ["alice likes tea"]
    assert await found(bob, "tea") == []
    assert await found(bob, "tea", owner="alice") == []
    assert await found(managers.agent("operator"), "tea", owner="alice") == ["alice likes tea"]


SEARCHES = {
    "wifi": 0,
    "what is the wifi password?": 0,
    "favorite color of Anna": 1,
    "what colour does Bob like": 2,
    "when do I see the dentist": 3,
    "flights": 4,
    "how much is the rent": 5,
    "whiskers": 6,
    "where are the spare keys": 7,
    "falcon": 8,
    "budget for Heron": 9,
    "allergies of Carlos": 10,
    "gym opening hours": 11,
    "how many eggs does the recipe need": 12,
    "telephone of Novak": 13,
    "what does Lena drink? tea?": 14,
    "printers": 15,
    "was invoice 7731 paid": 16,
    "when was the company founded": 17,
    "tracking": 18,
    "architects": 19,
}


async def add_all(agent):
    await asyncio.gather(*(agent(sc.MemoryAdd(text=note)) for note in NOTES))


async def test_a_word_or_a_paraphrase_finds_the_right_note_first(agent):
    await add_all(agent)
    first = {text: (await found(agent, text))[0] for text in SEARCHES}
    assert first == {text: NOTES[number] for text, number in SEARCHES.items()}


async def test_scores_fall_and_the_limit_holds(agent):
    await add_all(agent)
    hits = (await agent(sc.MemorySearch(text="the project's deadline", limit=3))).hits
    assert len(hits) == 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


async def test_a_search_sees_every_change_before_it(agent):
    await agent(sc.MemoryAdd(text="the plumber comes on Monday"))
    await agent(sc.MemoryAdd(text="the gardener comes on Friday"))
    assert (await found(agent, "plumber"))[0] == "the plumber comes on Monday"
    await agent(sc.MemoryUpdate(note_id="n1", text="the painter comes on Monday"))
    assert (await found(agent, "painter"))[0] == "the painter comes on Monday"
    assert "the plumber comes on Monday" not in await found(agent, "plumber")
    await agent(sc.MemoryRemove(note_id="n1"))
    assert await found(agent, "painter Monday") == ["the gardener comes on Friday"]


async def test_an_empty_text_lists_the_newest_first(agent):
    for text in ("one", "two", "three"):
        await agent(sc.MemoryAdd(text=text, tags=("odd",) if text != "two" else ()))
    assert await found(agent, " ", limit=2) == ["three", "two"]
    assert await found(agent, "", tags=("odd",)) == ["three", "one"]


async def test_only_notes_with_all_tags_are_found_however_many_others_fit_better(agent):
    for number in range(60):
        await agent(sc.MemoryAdd(text="tea tea tea", tags=("drink",) if number % 2 else ("x",)))
    await agent(sc.MemoryAdd(text="some tea, less of it than in all the others", tags=("drink", "rare")))
    assert len(await found(agent, "tea", tags=("drink", "rare"), limit=1)) == 1
    assert await found(agent, "tea", tags=("drink", "x")) == []
    assert await found(agent, "tea", tags=("unknown",)) == []
    await agent(sc.MemoryUpdate(note_id="n61", text="some tea", tags=("drink",)))
    assert await found(agent, "tea", tags=("rare",)) == []


async def test_tags_are_words_to_be_found(agent):
    await agent(sc.MemoryAdd(text="milk, eggs, bread", tags=("shopping",)))
    await agent(sc.MemoryAdd(text="call the bank"))
    assert (await found(agent, "shopping"))[0] == "milk, eggs, bread"


@given(text=st.text(st.sampled_from('"*^():-+{}~ANDORNEAR abc\0;%_\n'), max_size=40))
async def test_what_is_typed_is_never_syntax(agent, text):
    await agent(sc.MemoryAdd(text="abc"))
    await found(agent, text)
    await agent(sc.StorageWrite(path="abc", content="abc"))
    await agent(sc.StorageSearch(text=text))


async def test_the_limit_of_notes_and_room_after_a_removal(tmp_path, at):
    async with at(tmp_path, MemoryConfig(max_notes=2)) as managers:
        agent = managers.agent()
        for text in ("a", "b"):
            await agent(sc.MemoryAdd(text=text))
        with pytest.raises(QuotaExceeded, match="2 notes"):
            await agent(sc.MemoryAdd(text="c"))
        await managers.agent("bob")(sc.MemoryAdd(text="c"))
        await agent(sc.MemoryRemove(note_id="n1"))
        assert (await agent(sc.MemoryAdd(text="c"))).id == "n3"


async def test_half_a_character_is_refused_and_changes_nothing(agent):
    with pytest.raises(InvalidArgument, match="half a character"):
        await agent(sc.MemoryAdd(text="\ud800"))
    assert await found(agent, "") == []


async def test_a_damaged_note_is_found_out_and_the_others_are_served(managers, agent):
    await agent(sc.MemoryAdd(text="good tea"))
    await agent(sc.MemoryAdd(text="bad tea"))
    await managers.store.write(
        lambda c: c.execute("UPDATE notes SET body = CAST(replace(body, 'bad', 'BAD') AS BLOB)").get
    )
    for call in (sc.MemoryGet(note_id="n2"), sc.MemoryUpdate(note_id="n2", text="x")):
        with pytest.raises(Corrupt, match="'n2'"):
            await agent(call)
    assert await found(agent, "tea") == await found(agent, "") == ["good tea"]
    await agent(sc.MemoryRemove(note_id="n2"))


async def test_a_note_moved_to_another_owner_is_found_out(managers, agent):
    await agent(sc.MemoryAdd(text="tea"))
    await managers.store.write(lambda c: c.execute("UPDATE notes SET owner = 'bob'").get)
    with pytest.raises(Corrupt):
        await managers.agent("bob")(sc.MemoryGet(note_id="n1"))


async def test_notes_are_there_after_a_restart_and_found(tmp_path, at):
    async with at(tmp_path) as managers:
        await managers.agent()(sc.MemoryAdd(text="the plumber comes on Monday"))
    async with at(tmp_path) as managers:
        assert await found(managers.agent(), "plumber") == ["the plumber comes on Monday"]
        assert (await managers.agent()(sc.MemoryAdd(text="b"))).id == "n2"


async def test_a_removed_note_is_not_missed_where_another_is_damaged(managers, agent):
    for text in ("bad tea", "good tea", "fine tea"):
        await agent(sc.MemoryAdd(text=text))
    await managers.store.write(
        lambda c: c.execute("UPDATE notes SET body = CAST(replace(body, 'bad', 'BAD') AS BLOB)").get
    )
    assert sorted(await found(agent, "tea")) == ["fine tea", "good tea"]
    await agent(sc.MemoryRemove(note_id="n2"))
    assert await found(agent, "tea") == ["fine tea"]
