"""Files of the first AIOS come over as they were: every version, in pieces, whatever interrupts it."""

import apsw
import pytest
from inline import InlineFiles, InlineStore, at_once

from aios.abi import syscalls as sc
from aios.abi.errors import Corrupt, NotFound
from aios.drivers import migrations
from aios.drivers.sqlite import checksum
from aios.kernel.files import migrating, pieces

OLD_TABLES = """
    CREATE TABLE blobs (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, content BLOB NOT NULL);
    CREATE TABLE file_owners (
        owner TEXT PRIMARY KEY, num_files INTEGER NOT NULL, num_bytes INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE files (
        docid INTEGER PRIMARY KEY, owner TEXT NOT NULL, path TEXT NOT NULL, version INTEGER NOT NULL,
        size INTEGER NOT NULL, depth INTEGER NOT NULL, created REAL NOT NULL, modified REAL NOT NULL,
        deleted INTEGER NOT NULL, UNIQUE (owner, path)
    );
    CREATE TABLE file_versions (
        id INTEGER PRIMARY KEY, docid INTEGER NOT NULL REFERENCES files, version INTEGER NOT NULL,
        verb TEXT NOT NULL, size INTEGER NOT NULL, depth INTEGER NOT NULL, blob INTEGER REFERENCES blobs,
        author TEXT NOT NULL, modified REAL NOT NULL, checksum BLOB NOT NULL, UNIQUE (docid, version)
    );
    CREATE VIRTUAL TABLE file_words USING fts5 (owner, body, content='', contentless_delete=1);
    CREATE TABLE files_pending (place INTEGER PRIMARY KEY, version_id INTEGER NOT NULL);
"""


class OldFiles:
    """Writes as the first AIOS did."""

    def __init__(self) -> None:
        self.store = InlineStore()
        at_once(self.store.migrate("files", (OLD_TABLES,)))
        self._execute = self.store.connection.execute
        self._now = 1_700_000_000.0
        self._files: dict[tuple[str, str], tuple[int, int, int, int]] = {}

    def write(self, owner: str, path: str, content: bytes | None, verb: str = "write") -> None:
        self._now += 1
        docid, version, size, depth = self._files.get((owner, path), (len(self._files) + 1, 0, 0, 0))
        blob = None if content is None else self._blob(content)
        is_append = verb == "append" and version > 0 and size > 0
        version, depth = version + 1, depth + 1 if is_append else 0
        size = len(content or b"") + (size if is_append else 0)
        self._execute(
            "INSERT INTO files VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8) ON CONFLICT DO UPDATE SET "
            "version = ?4, size = ?5, depth = ?6, modified = ?7, deleted = ?8",
            (docid, owner, path, version, size, depth, self._now, content is None),
        )
        fields = (version, verb, size, depth, blob, "author", self._now)
        self._execute(
            "INSERT INTO file_versions (docid, version, verb, size, depth, blob, author, modified, checksum) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (docid, *fields, checksum(repr((docid, *fields)).encode())),
        )
        self._files[owner, path] = (docid, version, size, depth)

    def _blob(self, content: bytes) -> int:
        digest = checksum(content)
        self._execute("INSERT OR IGNORE INTO blobs (hash, content) VALUES (?, ?)", (digest, content))
        return self._execute("SELECT id FROM blobs WHERE hash = ?", (digest,)).get


@pytest.fixture
def old():
    old = OldFiles()
    for line in range(5):
        old.write("alice", "log", b"line %d\n" % line, "append")
        old.write("bob", "log", b"his line %d\n" % line, "append")
    old.write("alice", "notes/a", b"first", "create")
    old.write("alice", "notes/a", b"second")
    old.write("alice", "gone", b"was here", "create")
    old.write("alice", "gone", None, "delete")
    old.write("alice", "empty", b"", "create")
    old.write("alice", "notes/a", b"first", "rollback")
    return old


def moved(old: OldFiles) -> InlineFiles:
    """A manager of today over what was written then."""
    return InlineFiles(store=old.store)


def read(files: InlineFiles, path: str, version: int | None = None, owner: str = "alice") -> str:
    return at_once(files.agent(owner)(sc.StorageRead(path=path, version=version))).content


@pytest.mark.parametrize("in_a_piece", [1, 4, 500])
def test_every_version_is_what_it_was(monkeypatch, old, in_a_piece):
    monkeypatch.setattr(migrating, "PIECE_VERSIONS", in_a_piece)
    files = moved(old)
    agent = files.agent("alice")
    for version in range(1, 6):
        assert read(files, "log", version) == "".join(f"line {line}\n" for line in range(version))
        assert read(files, "log", version, "bob") == "".join(f"his line {line}\n" for line in range(version))
    assert [read(files, "notes/a", version) for version in (1, 2, 3)] == ["first", "second", "first"]
    with pytest.raises(NotFound, match="there is no file 'gone'"):
        read(files, "gone")
    assert (read(files, "gone", 1), read(files, "empty")) == ("was here", "")
    told = at_once(agent(sc.StorageHistory(path="notes/a"))).versions
    assert [(one.verb, one.author) for one in told] == [
        *(("create", "author"), ("write", "author"), ("rollback", "author"))
    ]
    assert told[0].modified == 1_700_000_011.0
    assert [file.path for file in at_once(agent(sc.StorageList())).files] == ["empty", "log", "notes/a"]
    assert [hit.file.path for hit in at_once(agent(sc.StorageSearch(text="second first"))).hits] == [
        "notes/a"
    ]
    quota = at_once(agent(sc.StorageQuota()))
    assert (quota.files, quota.bytes) == (3, 11 * 256 + 5 * 7 + 5 + 6 + 5 + 8)


def test_it_goes_on_with_what_it_was(old):
    files = moved(old)
    agent = files.agent("alice")
    for line in range(5, 2 * pieces.MAX_TAIL):
        at_once(agent(sc.StorageAppend(path="log", content=f"line {line}\n")))
    assert read(files, "log") == "".join(f"line {line}\n" for line in range(2 * pieces.MAX_TAIL))
    at_once(agent(sc.StorageRollback(path="", time=1_700_000_011.5)))
    assert read(files, "notes/a") == "first"
    assert not files.store.connection.execute(
        "SELECT name FROM sqlite_master WHERE name LIKE 'old%'"
    ).fetchall()


def test_whatever_interrupts_it_it_is_gone_on_with(monkeypatch, old):
    monkeypatch.setattr(migrating, "PIECE_VERSIONS", 3)
    num_interruptions = 0
    while at_once(old.store.write(lambda c: migrations.advance(c, "files", migrating.SCHEMA))):

        def fails(connection: apsw.Connection) -> None:
            migrations.advance(connection, "files", migrating.SCHEMA)
            raise InterruptedError

        with pytest.raises(InterruptedError):
            at_once(old.store.write(fails))
        num_interruptions += 1
    assert num_interruptions > 5
    files = moved(old)
    assert read(files, "log") == "".join(f"line {line}\n" for line in range(5))
    assert read(files, "notes/a", 2) == "second"


@pytest.mark.parametrize(
    ("damage", "broken"),
    [
        ("UPDATE file_versions SET author = 'mallory' WHERE docid = 3 AND version = 2", [2]),
        ("UPDATE blobs SET content = x'00' WHERE content = CAST('second' AS BLOB)", [2]),
        ("DELETE FROM file_versions WHERE docid = 3 AND version = 2", [2]),
        ("DELETE FROM file_versions WHERE docid = 3 AND version = 3", [3]),
        ("DELETE FROM file_versions WHERE docid = 3", [1, 2, 3]),
    ],
)
def test_what_was_damaged_stays_so_and_nothing_else_is(old, damage, broken):
    old.store.connection.execute(damage)
    files = moved(old)
    for version in (1, 2, 3):
        if version in broken:
            with pytest.raises(Corrupt, match="'notes/a'"):
                read(files, "notes/a", version)
        else:
            assert read(files, "notes/a", version) == ("second" if version == 2 else "first")
    if 3 in broken:
        with pytest.raises(Corrupt, match="'notes/a'"):
            read(files, "notes/a")
    assert read(files, "log").startswith("line 0\n")


def test_a_new_database_has_nothing_to_move():
    files = InlineFiles()
    names = files.store.connection.execute("SELECT name FROM sqlite_master WHERE name = 'blobs'").fetchall()
    assert names == []
