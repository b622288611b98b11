"""A damaged index of SQLite's: what it hides is told of as damaged, never as not there."""

from random import Random

import apsw
import pytest

from aios.abi import syscalls as sc
from aios.abi.errors import Corrupt, NotFound
from aios.abi.messages import Message
from aios.drivers.lookups import check_absent

KEYS = [(f"agent-{owner}", number) for owner in range(12) for number in range(30)]


def turned(content, pages, at):
    """The database with a bit turned in a byte of these pages."""
    page, offset = divmod(at, 4096)
    changed = bytearray(content)
    changed[(pages[page] - 1) * 4096 + offset] ^= 1
    return changed


def pages_of(connection, name):
    return [page for (page,) in connection.execute("SELECT pageno FROM dbstat WHERE name = ?", (name,))]


def change_name(path, index, name="alice"):
    """Change one letter of an owner's name where an index first has it."""
    connection = apsw.Connection(str(path))
    pages = pages_of(connection, index)
    connection.close()
    content = path.read_bytes()
    held = b"".join(content[(page - 1) * 4096 : page * 4096] for page in pages)
    path.write_bytes(turned(content, pages, held.rindex(name.encode()) + len(name) - 1))


def hidden(path):
    """Whether a key that is there was answered as one that is not, and whether one was told of as damaged."""
    connection = apsw.Connection(str(path))
    is_missed = is_told = False
    for key in KEYS:
        sql = "SELECT 1 FROM things WHERE owner = ? AND number = ?"
        if connection.execute(sql, key).fetchone() is None:
            try:
                check_absent(connection, "things", "owner, number", key)
                is_missed = True
            except Corrupt:
                is_told = True
    connection.close()
    return is_missed, is_told


def test_whatever_one_wrong_key_hides_is_told(tmp_path):
    path, copy = tmp_path / "whole.db", tmp_path / "turned.db"
    connection = apsw.Connection(str(path))
    connection.execute(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, owner TEXT, number INTEGER, UNIQUE (owner, number))"
    )
    with connection:
        for key in Random(0).sample(KEYS, len(KEYS)):
            connection.execute("INSERT INTO things (owner, number) VALUES (?, ?)", key)
    pages = pages_of(connection, "sqlite_autoindex_things_1")
    connection.close()
    content = path.read_bytes()
    held = b"".join(content[(page - 1) * 4096 : page * 4096] for page in pages)
    names = [at for at in range(len(held)) if held[at : at + 6] == b"agent-"]
    assert hidden(path) == (False, False)
    num_told = 0
    for at in Random(1).sample(names, 12):
        copy.write_bytes(turned(content, pages, at))
        is_missed, is_told = hidden(copy)
        assert not is_missed
        num_told += is_told  # What is left of a page that was split hides nothing.
    assert num_told >= 4


def said(text, history):
    return sc.MemoryAppend(messages=(Message("user", text),), history=history)


async def outcomes(calls, agent):
    """Of each call, whether it is answered or refused as damaged. `NotFound` is neither."""
    found = set()
    for call in calls:
        try:
            await agent(call)
            found.add("right")
        except Corrupt:
            found.add("told")
    return found


async def test_a_note_that_an_index_hides_is_damaged_and_not_gone(at, tmp_path):
    async with at(tmp_path) as managers:
        for number in range(9):
            await managers.agent()(sc.MemoryAdd(text=f"note {number}"))
    change_name(tmp_path / "aios.db", "sqlite_autoindex_notes_1")
    async with at(tmp_path) as managers:
        calls = [sc.MemoryGet(note_id=f"n{number}") for number in range(1, 10)]
        assert await outcomes(calls, managers.agent()) == {"right", "told"}
        with pytest.raises(NotFound):
            await managers.agent("zoe")(sc.MemoryGet(note_id="n1"))
        calls = [sc.MemoryRemove(note_id=f"n{number}") for number in range(1, 10)]
        assert "told" in await outcomes(calls, managers.agent())


async def test_a_file_that_an_index_hides_is_damaged_and_no_other_is_made(at, tmp_path):
    paths = [f"{number}.txt" for number in range(9)]
    async with at(tmp_path) as managers:
        for path in paths:
            await managers.agent()(sc.StorageWrite(path=path, content="tea"))
    change_name(tmp_path / "aios.db", "sqlite_autoindex_files_1")
    async with at(tmp_path) as managers:
        agent = managers.agent()
        assert await outcomes([sc.StorageRead(path=path) for path in paths], agent) == {"right", "told"}
        calls = [sc.StorageWrite(path=path, content="anew") for path in paths]
        assert "told" in await outcomes(calls, agent)


async def test_a_history_whose_key_is_damaged_is_not_begun_anew(at, tmp_path):
    names = [f"talk-{number}" for number in range(5)]
    async with at(tmp_path) as managers:
        agent = managers.agent()
        for name in names:
            await agent(said("hello", name))
    change_name(tmp_path / "aios.db", "histories")
    async with at(tmp_path) as managers:
        agent = managers.agent()
        assert await outcomes([sc.MemoryRead(history=name) for name in names], agent) == {"right", "told"}
        calls = [said("x", name) for name in names]
        assert "told" in await outcomes(calls, agent)


async def test_beside_a_damaged_history_others_are_begun(at, tmp_path):
    async with at(tmp_path) as managers:
        agent = managers.agent()
        await agent(said("hello", "b"))
        await managers.store.write(lambda c: c.execute("UPDATE histories SET num_messages = 9").get)
        for name in ("a", "c"):
            assert (await agent(said("x", name))).num_messages == 1
