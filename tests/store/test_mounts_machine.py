"""Random changes on both sides of a mount: they come to be the same, and nothing written here is lost."""

import asyncio
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from mounted import Faulty, Mounted, entries_of, faulty, files_of, lent

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError

NAMES = ["a", "b", "a/a", "a/b", "a/b/c", "c"]
paths = st.sampled_from(NAMES)
contents = st.sampled_from([b"", b"one", b"two", b"three\xff", b"x" * 40])


class Mounts(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.top = self.folder / "top"
        self.top.mkdir()
        self.written: dict[str, set[bytes]] = {}
        """What was acknowledged, by path."""
        self.begin(None)

    def begin(self, store) -> None:
        self.mounted = Mounted(lent(self.top), store=store, opened=faulty)
        self.runner.run(self.mounted.__aenter__())
        if store is None:
            self.runner.run(self.mounted.mount(write=True))

    def teardown(self) -> None:
        Faulty.fault = None
        try:
            self.settle()
        finally:
            self.runner.run(self.mounted.__aexit__())
            self.runner.close()
            shutil.rmtree(self.folder)

    def call(self, call):
        try:
            return self.runner.run(self.mounted.agent()(call))
        except AiosError:
            return None

    # ---- here

    @rule(path=paths, content=contents)
    def write_here(self, path, content):
        upload = self.call(sc.StorageUpload(path=f"m/{path}"))
        if content:
            self.call(sc.StoragePart(upload_id=upload.id, start=0, data=content))
        commit = sc.StorageCommit(upload_id=upload.id, path=f"m/{path}", size=len(content))
        if self.call(commit) is None:
            self.call(sc.StorageAbort(upload_id=upload.id))
        else:
            self.written.setdefault(path, set()).add(content)

    @rule(path=paths)
    def append_here(self, path):
        if (entry := self.call(sc.StorageAppend(path=f"m/{path}", content="+"))) is not None:
            read = sc.StorageRead(path=entry.path, version=entry.version, as_bytes=True)
            self.written.setdefault(path, set()).add(self.call(read).data)

    @rule(path=paths)
    def delete_here(self, path):
        self.call(sc.StorageDelete(path=f"m/{path}", deep=True))

    @rule(path=paths, to=paths)
    def move_here(self, path, to):
        self.call(sc.StorageMove(path=f"m/{path}", to=f"m/{to}"))

    @rule(path=paths)
    def roll_back_here(self, path):
        self.call(sc.StorageRollback(path=f"m/{path}", version=1))

    # ---- there

    @rule(path=paths, content=contents, keep=st.booleans())
    def write_there(self, path, content, keep):
        target = self.top / path
        with suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            if keep and target.is_file():
                target.write_bytes(content)  # The same file, with new content.
            else:
                (self.folder / "new").write_bytes(content)
                (self.folder / "new").replace(target)

    @rule(path=paths)
    def delete_there(self, path):
        target = self.top / path
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
            return
        with suppress(OSError):
            target.unlink()

    @rule(path=paths, to=paths)
    def move_there(self, path, to):
        with suppress(OSError):
            os.rename(self.top / path, self.top / to)

    @rule(path=paths)
    def link_there(self, path):
        with suppress(OSError):
            (self.top / path).symlink_to(self.folder)

    # ---- what may happen to the kernel

    @rule()
    def restart(self):
        """What was being written is not, as if it had been killed."""
        self.runner.run(self.mounted.__aexit__())
        self.begin(self.mounted.store)

    @rule()
    def full_disk(self):
        Faulty.fault = OSError(28, "full")

    @rule()
    def room_again(self):
        Faulty.fault = None

    @rule()
    def look(self):
        self.runner.run(self.mounted.storage.idle())

    @rule()
    def settle(self):
        """Both sides are the same, nothing waits, and each content that was acknowledged is in a history."""
        fault, Faulty.fault = Faulty.fault, None
        for folder, folders, names in os.walk(self.top):
            for name in (*folders, *names):
                if (Path(folder) / name).is_symlink():  # Nothing can be written where one is.
                    (Path(folder) / name).unlink()
        self.runner.run(self.scan())
        told = self.runner.run(self.mounted.entry())
        assert (told.waiting, told.unsaved, told.state) == (0, (), "following")
        there = files_of(self.top)
        assert self.runner.run(entries_of(self.mounted.agent())) == there
        assert told.files == len(there)
        for path, contents in self.written.items():
            assert contents <= self.history(path), path
        Faulty.fault = fault

    async def scan(self) -> None:
        """Twice, as what is written now may be looked at again."""
        for _ in range(2):
            self.mounted.rescan()
            await self.mounted.storage.idle()

    def history(self, path: str) -> set[bytes]:
        """What a file was, also where a folder is now."""
        rows = self.mounted.store.connection.execute(
            "SELECT v.version FROM file_versions v JOIN files USING (docid) "
            "WHERE path = ? AND verb <> 'delete'",
            (f"m/{path}",),
        ).fetchall()
        read = [sc.StorageRead(path=f"m/{path}", version=version, as_bytes=True) for (version,) in rows]
        return {self.call(one).data for one in read}


TestMounts = Mounts.TestCase
TestMounts.settings = settings(max_examples=8, stateful_step_count=15, deadline=None)
