"""Any calls in any order do to files what they do to a plain model of them."""

from typing import Any

import pytest
from files_model import MICROSECONDS, Model, is_below
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from inline import InlineFiles, at_once, tiny_chunks

from aios.abi import syscalls as sc
from aios.abi.errors import AiosError, NotFound
from aios.kernel.files.holdings import ROW_BYTES
from aios.kernel.process import Caller

paths = st.sampled_from(["a/b", "a/c", "e", "a/b/d", "a-b", "a"])
folders = st.sampled_from(["", "a", "a/b", "e"])
contents = st.binary(max_size=30) | st.sampled_from([b"abcdefgh" * 4, b"abcdefgh" * 3 + b"ABCDEFGH"])
labels = st.sampled_from(["trusted", "trusted", "untrusted"])
bindings = st.sampled_from([None] * 5 + ["right", "wrong"])
tokens = st.sampled_from([None] * 6 + ["newest", "older"])
OWNER = "alice"


class Files(RuleBasedStateMachine):
    """A manager and a model, which are asked the same."""

    @initialize()
    def begin(self) -> None:
        self.tiny = tiny_chunks()
        self.tiny.__enter__()
        files = InlineFiles()
        self.clock, self.store, self.manager = files.clock, files.store, files.storage
        self.model = Model(now=self.clock.time())
        self.moments: list[int] = []
        """Moments worth going back to."""
        self.tokens = [1]

    def teardown(self) -> None:
        if hasattr(self, "model"):
            try:
                self.look_at_all()
            finally:
                self.tiny.__exit__(None, None, None)

    def call(self, call: sc.SystemCall) -> sc.Reply:
        return at_once(self.manager.execute(Caller(7, OWNER), call))

    def both(self, call: sc.SystemCall, name: str, *arguments: Any) -> sc.Reply | None:
        """Do it to both. What fails must fail in the same way, and change nothing."""
        tried = self.model.copy()
        try:
            getattr(tried, name)(*arguments)
            expected = None
        except AiosError as error:
            expected = type(error)
        if expected is not None:
            with pytest.raises(expected):
                self.call(call)
            return None
        reply = self.call(call)
        self.model = tried
        self.moments.append(self.model.moment)
        return reply

    def bound(self, path: str, how: str | None) -> int | None:
        return None if how is None else self.model.version(path) + (how == "wrong")

    def token(self, which: str | None) -> int | None:
        return None if which is None else self.tokens[-1 if which == "newest" else 0]

    @rule(seconds=st.sampled_from([0.000001, 40.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)
        self.model.now = self.clock.time()

    @rule(path=paths, content=contents, label=labels, how=st.sampled_from(["create", "write", "append"]),
          binding=bindings, token=tokens)  # fmt: skip
    def write(self, path, content, label, how, binding, token):
        kinds = {"create": sc.StorageCreate, "write": sc.StorageWrite, "append": sc.StorageAppend}
        bound = 0 if how == "create" else self.bound(path, binding)
        fields = {} if how == "create" else {"if_version": bound}
        fields |= {"path": path, "encoding": "base64", "label": label, "lock": self.token(token)}
        self.both(
            kinds[how](content=encoded(content), **fields),
            "write", path, content, how, label, bound, self.token(token),
        )  # fmt: skip

    @rule(path=st.sampled_from(["e", "a/c"]), added=st.lists(contents, min_size=3, max_size=9), label=labels)
    def append_again_and_again(self, path, added, label):
        for content in added:
            call = sc.StorageAppend(path=path, content=encoded(content), encoding="base64", label=label)
            self.both(call, "write", path, content, "append", label, None, None)

    @rule(path=paths, parts=st.lists(contents.filter(bool), max_size=4), order=st.randoms(), binding=bindings)
    def upload(self, path, parts, order, binding):
        upload = self.call(sc.StorageUpload(path=path))
        starts = [sum(map(len, parts[:number])) for number in range(len(parts))]
        sent = list(zip(starts, parts, strict=True))
        order.shuffle(sent)
        for start, data in [*sent, *sent[:1]]:
            upload = self.call(sc.StoragePart(upload_id=upload.id, start=start, data=data))
        content = b"".join(parts)
        assert upload.received == len(content)
        bound = self.bound(path, binding)
        commit = sc.StorageCommit(upload_id=upload.id, path=path, size=len(content), if_version=bound)
        if self.both(commit, "write", path, content, "write", "trusted", bound, None) is None:
            self.call(sc.StorageAbort(upload_id=upload.id))

    @rule(path=paths)
    def mkdir(self, path):
        self.both(sc.StorageMkdir(path=path), "mkdir", path)

    @rule(path=paths, deep=st.booleans(), binding=bindings, token=tokens)
    def delete(self, path, deep, binding, token):
        bound, token = self.bound(path, binding), self.token(token)
        call = sc.StorageDelete(path=path, deep=deep, if_version=bound, lock=token)
        self.both(call, "delete", path, deep, bound, token)

    @rule(path=paths, to=paths, binding=bindings, token=tokens)
    def move(self, path, to, binding, token):
        bound, token = self.bound(path, binding), self.token(token)
        self.both(
            sc.StorageMove(path=path, to=to, if_version=bound, lock=token), "move", path, to, bound, token
        )

    @rule(path=paths | folders, version=st.integers(1, 8), binding=bindings, token=tokens)
    def rollback_to_version(self, path, version, binding, token):
        if not self.model.means_file(path):
            version = self.moments[-version] if version <= len(self.moments) else 1
        bound, token = self.bound(path, binding), self.token(token)
        call = sc.StorageRollback(path=path, version=version, if_version=bound, lock=token)
        self.both(call, "rollback", path, version, None, bound, token)

    @rule(path=paths | folders, back=st.integers(1, 12), off=st.sampled_from([-1, 0]), token=tokens)
    def rollback_to_time(self, path, back, off, token):
        moment = (self.moments[-back] if back <= len(self.moments) else 1) + off
        call = sc.StorageRollback(path=path, time=moment / MICROSECONDS, lock=self.token(token))
        self.both(call, "rollback", path, None, moment, None, self.token(token))

    @rule(path=paths | folders, keep=st.integers(0, 3), back=st.none() | st.integers(1, 6), binding=bindings)
    def prune(self, path, keep, back, binding):
        before = None
        if back is not None:
            before = self.moments[-back] if back <= len(self.moments) else 1
        bound = self.bound(path, binding)
        time = None if before is None else before / MICROSECONDS
        tried = self.model.copy()
        pruned = self.both(
            sc.StoragePrune(path=path, keep=keep, before=time, if_version=bound),
            "prune", path, keep, before, bound,
        )  # fmt: skip
        if pruned is not None:
            assert pruned.versions == tried.prune(path, keep, before, bound)

    @rule(path=paths, lease_s=st.sampled_from([0.000001, 0.000001, 30.0]), token=tokens)
    def lock(self, path, lease_s, token):
        token = self.token(token)
        call = sc.StorageLock(path=path, lease_s=lease_s, token=token)
        lock = self.both(call, "lock", path, lease_s, token)
        if lock is not None and token is None:
            assert lock.token > self.tokens[-1]
            self.tokens = [self.tokens[-1], lock.token]

    @rule(path=paths, token=st.sampled_from(["newest", "older"]))
    def unlock(self, path, token):
        token = self.token(token)
        self.both(sc.StorageUnlock(path=path, token=token), "unlock", path, token)

    @rule(path=paths, start=st.integers(0, 40), length=st.integers(1, 40), version=st.integers(1, 6))
    def read_a_part(self, path, start, length, version):
        versions = self.model.files.get(path, [])
        is_there = self.model.oldest.get(path, 1) <= version <= len(versions)
        content = versions[version - 1].content if is_there else None
        call = sc.StorageRead(path=path, version=version, start=start, length=length, as_bytes=True)
        try:
            found = self.call(call)
        except NotFound:
            assert content is None
            return
        assert content is not None
        assert found.data == content[start : start + length]
        assert (found.start, found.size) == (min(start, len(content)), len(content))
        assert found.end == found.start + len(found.data)

    @rule(folder=folders, limit=st.integers(1, 3), deep=st.booleans())
    def list_in_pages(self, folder, limit, deep):
        files, made, after = [], [], ""
        while True:
            page = self.call(sc.StorageList(folder=folder, limit=limit, deep=deep, after=after))
            assert len(page.files) + len(page.folders) <= limit
            files += [file.path for file in page.files]
            made += page.folders
            if not page.next:
                break
            after = page.next
        begin = len(folder) + 1 if folder else 0
        below = self.model.below(folder)
        inside = [one for one in self.model.made if is_below(one, folder)]
        if deep:
            assert (files, made) == (below, sorted(inside, key=lambda one: f"{one}/"))
            return
        names = {one[:begin] + one[begin:].split("/")[0] for one in inside}
        names |= {one[:begin] + one[begin:].split("/")[0] for one in below if "/" in one[begin:]}
        assert files == [one for one in below if "/" not in one[begin:]]
        assert made == sorted(names, key=lambda one: f"{one}/")

    @rule(path=paths, back=st.integers(1, 12), deep=st.booleans())
    def diff(self, path, back, deep):
        """Only whether it says that something changed: what it shows is another test's."""
        if not (self.model.is_folder(path) or path in self.model.files):
            return
        moment = self.moments[-back] if back <= len(self.moments) else 1
        changed = []
        try:
            for one in [path] if self.model.means_file(path) else self.model.all_below(path):
                old, new = self.model.at(one, moment), self.model.files[one][-1]
                changed.append((old.content if old else None) != new.content)
        except NotFound:
            return
        found = self.call(sc.StorageDiff(path=path, since=moment / MICROSECONDS))
        assert found.num_changed == sum(changed)

    @rule()
    def look_at_all(self):
        self.what_can_be_seen_is_as_the_model_has_it()
        self.what_is_counted_is_there_and_what_is_there_is_needed()

    def what_can_be_seen_is_as_the_model_has_it(self):
        for path, versions in self.model.files.items():
            oldest = self.model.oldest[path]
            told = self.call(sc.StorageHistory(path=path)).versions if self.model.means_file(path) else None
            kept = versions[oldest - 1 :]
            if told is not None:
                assert [one.version for one in told] == list(range(oldest, len(versions) + 1))
                assert [(one.verb, one.size, one.label) for one in told] == [
                    (one.verb, len(one.content or b""), one.label) for one in kept
                ]
                assert [round(one.modified * MICROSECONDS) for one in told] == [one.moment for one in kept]
            for number, version in enumerate(kept, oldest):
                if version.content is not None:
                    read = self.call(sc.StorageRead(path=path, version=number, as_bytes=True))
                    assert (read.data, read.label) == (version.content, version.label)
            if self.model.is_file(path):
                entry = self.call(sc.StorageStat(path=path))
                assert (entry.version, entry.size) == (len(versions), len(versions[-1].content))
                assert not entry.deleted
        for folder in ("a", "a/b"):
            if self.model.is_folder(folder) and not self.model.is_file(folder):
                entry = self.call(sc.StorageStat(path=folder))
                size = sum(len(self.model.newest(path)) for path in self.model.below(folder))
                assert (entry.kind, entry.version, entry.size) == (
                    "folder",
                    self.model.folder_version(folder),
                    size,
                )

    def what_is_counted_is_there_and_what_is_there_is_needed(self):
        count = self.store.connection.execute
        quota = self.call(sc.StorageQuota())
        files = sum(map(self.model.is_file, self.model.files)) + len(self.model.made)
        assert quota.files == files
        rows = sum(
            count(f"SELECT count(*) FROM {table}").get
            for table in ("file_versions", "file_folders", "uploads")
        )
        held = count(
            "SELECT ifnull(sum(size), 0) FROM (SELECT size FROM file_pieces UNION ALL "
            "SELECT size FROM upload_parts)"
        ).get
        assert quota.bytes == rows * ROW_BYTES + held
        unneeded = (
            "SELECT count(*) FROM file_pieces p WHERE NOT EXISTS (SELECT 1 FROM file_versions v WHERE "
            "v.docid = p.docid AND p.version BETWEEN base AND v.version AND ifnull(merged > v.version, 1))"
        )
        assert count(unneeded).get == 0
        unused = "SELECT count(*) FROM file_chunks WHERE id NOT IN (SELECT chunk FROM file_pieces)"
        assert count(unused).get == 0
        assert count("SELECT count(*) FROM upload_parts").get == 0


def encoded(content: bytes) -> str:
    from base64 import b64encode

    return b64encode(content).decode()


TestFiles = Files.TestCase
TestFiles.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
