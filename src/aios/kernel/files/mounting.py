"""Mounts: folders of an owner that follow a directory of this machine, and what is known of its files.

Owns `mounts`, `mount_files` and `mount_waiting`. `mount_files` says of each file of the directory which
version of its entry it is, and by which stamp it is known again; `mount_waiting` names the entries that were
changed here and are not in the directory yet. Both are written in the transaction of the change they tell of.
"""

from typing import Any

import apsw
from msgspec import Struct, structs

from aios.abi.errors import Conflict, PermissionDenied
from aios.drivers.mounts.beneath import Stamp, is_left_out
from aios.kernel.files.entries import IS_BELOW, find, span
from aios.kernel.files.folders import ancestors
from aios.kernel.files.tables import seal

TABLES = """
    CREATE TABLE mounts (
        id INTEGER PRIMARY KEY, owner TEXT NOT NULL, folder TEXT NOT NULL, name TEXT NOT NULL,
        writable INTEGER NOT NULL, hidden INTEGER NOT NULL, conflicts INTEGER NOT NULL, ending TEXT NOT NULL,
        checksum BLOB NOT NULL, UNIQUE (owner, folder)
    );
    CREATE TABLE mount_files (
        mount INTEGER NOT NULL REFERENCES mounts, folder TEXT NOT NULL, name TEXT NOT NULL,
        version INTEGER NOT NULL, hash BLOB NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
        mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, sure INTEGER NOT NULL, checksum BLOB NOT NULL,
        PRIMARY KEY (mount, folder, name)
    ) WITHOUT ROWID;
    CREATE TABLE mount_waiting (
        mount INTEGER NOT NULL REFERENCES mounts, path TEXT NOT NULL, checksum BLOB NOT NULL,
        PRIMARY KEY (mount, path)
    ) WITHOUT ROWID;
"""


class Mount(Struct, frozen=True):
    """A row of `mounts`. Paths of its files are relative to `folder`."""

    id: int
    owner: str
    folder: str
    name: str
    """Of the directory, as it is lent; empty where the row is damaged."""
    writable: int
    hidden: int
    """Whether names that begin with a dot are part of it."""
    conflicts: int = 0
    """Changes made here that a change in the directory has overtaken."""
    ending: str = ""
    """Not empty while it is being unmounted: `remove` or `keep`, which its entries do then."""

    def covers(self, path: str) -> bool:
        """Whether a path is in it."""
        return path.startswith(f"{self.folder}/")

    def meets(self, path: str) -> bool:
        """Whether it has something of what is at a path or below it, or that is in it."""
        return not path or path == self.folder or self.covers(path) or self.folder.startswith(f"{path}/")

    def inside(self, path: str) -> str:
        """A path as it is called in the directory: empty for all of it."""
        return path[len(self.folder) + 1 :] if self.covers(path) else ""

    def outside(self, path: str) -> str:
        """The other way round."""
        return f"{self.folder}/{path}" if path else self.folder


class Known(Struct, frozen=True):
    """A row of `mount_files`: a file of the directory as it was seen last."""

    mount: int
    path: str
    version: int
    """Of the entry: what the file is."""
    hash: bytes
    """Of its content."""
    stamp: Stamp


# ---- mounts


def all_of(connection: apsw.Connection, owner: str | None = None) -> list[Mount]:
    """An owner's mounts, or everybody's, by folder.

    One whose row is damaged is of no directory, and read only.
    """
    if owner is None:
        rows = connection.execute("SELECT * FROM mounts ORDER BY owner, folder")
    else:
        rows = connection.execute("SELECT * FROM mounts WHERE owner = ? ORDER BY folder", (owner,))
    return [_mount(row) for row in rows]


def save(connection: apsw.Connection, mount: Mount) -> Mount:
    """Keep a mount; one without an id is given its own."""
    if not mount.id:
        last = connection.execute("SELECT ifnull(max(id), 0) FROM mounts").get
        mount = structs.replace(mount, id=last + 1)
    fields = structs.astuple(mount)
    connection.execute(
        "INSERT INTO mounts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO UPDATE SET "
        "writable = ?5, hidden = ?6, conflicts = ?7, ending = ?8, checksum = ?9",
        (*fields, seal(*fields)),
    )
    return mount


def find_mount(connection: apsw.Connection, id: int) -> Mount | None:
    """The mount with this id, as `all_of` has it."""
    row = connection.execute("SELECT * FROM mounts WHERE id = ?", (id,)).fetchone()
    return None if row is None else _mount(row)


def _mount(row: tuple[Any, ...]) -> Mount:
    *fields, check = row
    if check != seal(*fields):
        return Mount(fields[0], str(fields[1]), str(fields[2]), "", 0, 0)
    return Mount(*fields)


def forget(connection: apsw.Connection, mount: Mount, most: int) -> bool:
    """Forget what is known of a mount, `most` rows at once and itself at last; whether there is more."""
    for table, key in (("mount_files", "folder, name"), ("mount_waiting", "path")):
        connection.execute(
            f"DELETE FROM {table} WHERE mount = ?1 AND ({key}) IN "
            f"(SELECT {key} FROM {table} WHERE mount = ?1 LIMIT ?2)",
            (mount.id, most),
        )
        if connection.changes():
            return True
    connection.execute("DELETE FROM mounts WHERE id = ?", (mount.id,))
    return False


# ---- what may be changed


def change(connection: apsw.Connection, mounts: list[Mount], path: str) -> None:
    """Note down that an entry is changed by somebody, where it is in one of these mounts.

    Raises `PermissionDenied` where nothing may be written.
    """
    for mount in mounts:
        if mount.covers(path):
            check_writable(mount, path)
            wait(connection, mount, mount.inside(path))


def check_writable(mount: Mount, path: str) -> None:
    """Raises `PermissionDenied`."""
    if not mount.writable or mount.ending:
        raise PermissionDenied(f"'{path}' is in a mounted directory, '{mount.folder}', that is read only")
    if is_left_out(mount.inside(path), hidden=bool(mount.hidden)):
        raise PermissionDenied(
            f"'{path}' has a name that begins with a dot, which the mount '{mount.folder}' leaves out"
        )


def check_holds_none(connection: apsw.Connection, owner: str, path: str, *, itself: bool = True) -> None:
    """`Conflict` where a mount is below a folder, or `itself` is one: that is not moved or deleted whole."""
    for mount in all_of(connection, owner):
        if (itself and mount.folder == path) or mount.folder.startswith(f"{path}/") or not path:
            raise Conflict(f"'{mount.folder}' is a mounted directory: unmount it first")


def check_free(connection: apsw.Connection, owner: str, folder: str) -> None:
    """`Conflict` where a mount may not be made: in another, around one, or over something."""
    for mount in all_of(connection, owner):
        if mount.meets(folder):
            raise Conflict(f"there is already a mounted directory at '{mount.folder}'")
    for path in (*ancestors(folder), folder):
        if not find(connection, owner, path).deleted:
            raise Conflict(f"there is already a file '{path}'")
    if is_used(connection, owner, folder):
        raise Conflict(f"there is something in '{folder}': a directory is mounted where nothing is")


def is_used(connection: apsw.Connection, owner: str, folder: str) -> bool:
    """Whether a file or a made folder is in a folder."""
    return bool(
        connection.execute(
            f"SELECT EXISTS (SELECT 1 FROM files WHERE owner = ?1 AND {IS_BELOW} AND NOT deleted) OR "
            f"EXISTS (SELECT 1 FROM file_folders WHERE owner = ?1 AND {IS_BELOW})",
            (owner, *span(folder)),
        ).get
    )


# ---- what waits to be written to the directory


def wait(connection: apsw.Connection, mount: Mount, path: str) -> None:
    """Have an entry wait."""
    connection.execute("REPLACE INTO mount_waiting VALUES (?, ?, ?)", (mount.id, path, seal(mount.id, path)))


def is_waiting(connection: apsw.Connection, mount: Mount, path: str) -> bool:
    sql = "SELECT EXISTS (SELECT 1 FROM mount_waiting WHERE mount = ? AND path = ?)"
    return bool(connection.execute(sql, (mount.id, path)).get)


def settle(connection: apsw.Connection, mount: Mount, path: str) -> bool:
    """Have an entry wait no more; whether it did."""
    connection.execute("DELETE FROM mount_waiting WHERE mount = ? AND path = ?", (mount.id, path))
    return bool(connection.changes())


def waiting(connection: apsw.Connection, mount: Mount) -> list[str]:
    """What waits: deletions first, as a file may stand where a folder is to be.

    A row that is damaged names what is as it should be, or nothing: that does no harm.
    """
    found = []
    for (path,) in connection.execute("SELECT path FROM mount_waiting WHERE mount = ?", (mount.id,)):
        found.append((not find(connection, mount.owner, mount.outside(str(path))).deleted, str(path)))
    return [path for _, path in sorted(found)]


# ---- what is known of the directory


def counted(connection: apsw.Connection, mount: Mount) -> tuple[int, int, int, int]:
    """Files of the directory that are known, their bytes, entries that wait, and changes overtaken."""
    found: tuple[int, int, int, int] = connection.execute(
        "SELECT count(*), ifnull(sum(size), 0), (SELECT count(*) FROM mount_waiting WHERE mount = ?1), "
        "ifnull((SELECT conflicts FROM mounts WHERE id = ?1), 0) FROM mount_files WHERE mount = ?1",
        (mount.id,),
    ).get
    return found


def known(connection: apsw.Connection, mount: Mount, path: str) -> Known | None:
    """A file as it was seen last. One whose row is damaged is as one that was never seen."""
    folder, _, name = path.rpartition("/")
    row = connection.execute(
        "SELECT * FROM mount_files WHERE mount = ? AND folder = ? AND name = ?", (mount.id, folder, name)
    ).fetchone()
    return None if row is None else _checked(row)


def known_in(connection: apsw.Connection, mount: Mount, folder: str) -> dict[str, Known | None]:
    """The files of a folder by name, not those of folders in it; None where the row is damaged."""
    rows = connection.execute("SELECT * FROM mount_files WHERE mount = ? AND folder = ?", (mount.id, folder))
    return {row[2]: _checked(row) for row in rows}


def known_below(connection: apsw.Connection, mount: Mount, folder: str, most: int) -> list[str]:
    """The paths of `most` files in a folder or below it."""
    rows: list[Any] = connection.execute(
        "SELECT folder, name FROM mount_files WHERE mount = ?1 AND folder = ?2 UNION ALL "
        "SELECT folder, name FROM mount_files WHERE mount = ?1 AND folder > ?3 AND folder < ?4 LIMIT ?5",
        (mount.id, folder, *span(folder), most),
    ).fetchall()
    return [f"{inner}/{name}" if inner else name for inner, name in rows]


def folders_in(connection: apsw.Connection, mount: Mount, folder: str) -> set[str]:
    """The names of the folders in a folder that have files below them: the files are leapt over."""
    first, end = span(folder)
    begin, bound = len(first), f"{first}\0"
    names: set[str] = set()
    sql = "SELECT min(folder) FROM mount_files WHERE mount = ? AND folder >= ? AND folder < ?"
    while (found := connection.execute(sql, (mount.id, bound, end)).get) is not None:
        name, slash, _ = found[begin:].partition("/")
        names.add(name)
        # After 'a' comes 'a-b', and only then what is in 'a'.
        bound = f"{found[:begin]}{name}0" if slash else f"{found}\0"
    return names


def keep(connection: apsw.Connection, one: Known) -> None:
    """Keep what a file of the directory is."""
    folder, _, name = one.path.rpartition("/")
    stamp = one.stamp
    fields = (one.mount, folder, name, one.version, one.hash, *stamp.fields, int(stamp.is_sure))
    connection.execute(
        "REPLACE INTO mount_files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*fields, seal(*fields))
    )


def drop(connection: apsw.Connection, mount: Mount, path: str) -> bool:
    """Forget a file that is no longer in the directory; whether it was known."""
    folder, _, name = path.rpartition("/")
    connection.execute(
        "DELETE FROM mount_files WHERE mount = ? AND folder = ? AND name = ?", (mount.id, folder, name)
    )
    return bool(connection.changes())


def _checked(row: tuple[Any, ...]) -> Known | None:
    *fields, check = row
    if check != seal(*fields):
        return None
    mount, folder, name, version, hash, inode, size, mtime, ctime, sure = fields
    stamp = Stamp(inode, size, mtime, ctime, is_sure=bool(sure))
    return Known(mount, f"{folder}/{name}" if folder else name, version, hash, stamp)
