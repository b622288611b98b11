"""Migrations: each step once and never back, data moved in pieces, interrupted anywhere and gone on with."""

import pytest

from aios.abi.errors import Conflict, Internal
from aios.drivers.store import Store

TABLE = "CREATE TABLE t (a INTEGER PRIMARY KEY, b)"
FILL = "INSERT INTO t (b) VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)"
MOVED = "CREATE TABLE moved (a INTEGER PRIMARY KEY, b)"


class Interrupted(Exception):
    pass


class Move:
    """Moves rows of `t` to `moved`, three in a piece; `fail_at` is the number of the piece that fails after
    its rows were moved."""

    def __init__(self, fail_at=None):
        self.begun_from = []
        self._fail_at = fail_at

    def __call__(self, connection, cursor):
        self.begun_from.append(cursor)
        last = cursor[0] if cursor else 0
        rows = connection.execute("SELECT a, b FROM t WHERE a > ? ORDER BY a LIMIT 3", (last,)).fetchall()
        connection.executemany("INSERT INTO moved VALUES (?, ?)", rows)
        if len(self.begun_from) == self._fail_at:
            raise Interrupted
        return (rows[-1][0], "key", b"\xff", None) if rows else None


@pytest.fixture
async def store(tmp_path):
    store = Store(tmp_path / "aios.db")
    await store.start()
    yield store
    await store.close()


def numbers(table):
    return lambda connection: [b for (b,) in connection.execute(f"SELECT b FROM {table} ORDER BY a")]


def version(connection):
    return connection.execute("SELECT version FROM schemas WHERE name = 't'").get


async def test_tables_are_changed_once_and_never_back(store):
    steps = (TABLE, "INSERT INTO t (b) VALUES ('migrated')")
    await store.migrate("t", steps)
    await store.migrate("t", steps)
    assert await store.read(numbers("t")) == ["migrated"]
    with pytest.raises(Conflict, match="newer"):
        await store.migrate("t", (TABLE,))


async def test_a_step_happens_whole_or_not_at_all_and_those_before_it_stay(store):
    steps = (TABLE, "INSERT INTO t (b) VALUES ('whole')", "INSERT INTO t (b) VALUES ('half'); nonsense")
    with pytest.raises(Internal):
        await store.migrate("t", steps)
    assert await store.read(numbers("t")) == ["whole"]
    assert await store.read(version) == 2
    await store.migrate("t", (*steps[:2], "INSERT INTO t (b) VALUES ('mended')"))
    assert await store.read(numbers("t")) == ["whole", "mended"]


async def test_data_is_moved_in_pieces_each_a_transaction(store):
    move = Move()
    num_commits = store.num_commits
    await store.migrate("t", (TABLE, FILL, MOVED, move, "INSERT INTO moved (b) VALUES ('after')"))
    assert await store.read(numbers("moved")) == [*range(1, 11), "after"]
    last = [cursor and cursor[0] for cursor in move.begun_from]
    assert last == [None, 3, 6, 9, 10]
    assert move.begun_from[1] == (3, "key", b"\xff", None)
    assert store.num_commits - num_commits == 4 + len(move.begun_from)


@pytest.mark.parametrize("fail_at", [1, 2, 4, 5])
async def test_a_migration_that_was_interrupted_goes_on_where_it_was(tmp_path, fail_at):
    steps = (TABLE, FILL, MOVED)
    store = Store(tmp_path / "aios.db")
    await store.start()
    with pytest.raises(Interrupted):
        await store.migrate("t", (*steps, Move(fail_at)))
    assert await store.read(numbers("moved")) == list(range(1, min(11, 3 * (fail_at - 1) + 1)))
    await store.close()

    store = Store(tmp_path / "aios.db")
    await store.start()
    rest = Move()
    await store.migrate("t", (*steps, rest))
    assert len(rest.begun_from) == 5 - (fail_at - 1)
    assert await store.read(numbers("moved")) == list(range(1, 11))
    assert await store.read(version) == 4
    assert await store.read(lambda c: c.execute("SELECT count(*) FROM migrating").get) == 0
    await store.close()


async def test_tables_of_different_names_go_on_apart(store):
    with pytest.raises(Interrupted):
        await store.migrate("t", (TABLE, FILL, MOVED, Move(fail_at=2)))
    other = Move()
    await store.migrate("u", ("DELETE FROM moved", other))
    assert other.begun_from[0] is None
