"""Files and notes held in memory, answering the same system calls as the kernel: where tasks are played."""

import re
from collections.abc import Iterable

from aios.abi import syscalls as sc
from aios.abi.errors import InvalidArgument, NotFound

_WORD = re.compile(r"\w+")


class World:
    """One owner's files, with versions, and notes. A deleted file's newest version is None."""

    def __init__(
        self, missing: str = "there is no file {path}", recall_all: bool = True, clock: float = 0.0
    ) -> None:
        self.versions: dict[str, list[tuple[str, str | None]]] = {}
        self.notes: dict[str, str] = {}
        self.tags: dict[str, tuple[str, ...]] = {}
        self.clock = clock
        """Seconds since the epoch; they do not pass."""
        self._missing = missing
        self._recall_all = recall_all
        self._num_notes = 0

    @property
    def files(self) -> dict[str, str]:
        """The files that there are now, by path."""
        found = {path: history[-1][1] for path, history in self.versions.items()}
        return {path: content for path, content in found.items() if content is not None}

    async def __call__(self, call: sc.SystemCall) -> sc.Reply:
        """Answer one system call. Raises as the kernel would."""
        match call:
            case sc.MemoryAdd(text=text, tags=tags):
                return self._add_note(text, tags)
            case sc.MemorySearch(text=text, limit=limit):
                return sc.NoteHits(tuple(self._search_notes(text, limit)))
            case sc.MemoryUpdate(note_id=note_id, text=str(text)):
                self._note(note_id)
                self.notes[note_id] = text
                return self._note(note_id)
            case sc.MemoryRemove(note_id=note_id):
                self._note(note_id)
                del self.notes[note_id]
                return sc.Done()
            case _:
                return self._storage(call)

    def _storage(self, call: sc.SystemCall) -> sc.Reply:
        match call:
            case sc.StorageWrite(path=path, content=content):
                return self._put(path, "write", content)
            case sc.StorageAppend(path=path, content=content):
                return self._put(path, "append", self.files.get(path, "") + content)
            case sc.StorageRead(path=path, version=version):
                content = self._content(path) if version is None else self._old(path, version)
                return sc.FileContent(path, version or len(self.versions[path]), content)
            case sc.StorageList(folder=folder):
                prefix = folder.strip("/") + "/" if folder.strip("/") else ""
                return sc.FileEntries(
                    tuple(self._entry(p) for p in sorted(self.files) if p.startswith(prefix))
                )
            case sc.StorageSearch(text=text):
                return sc.FileHits(tuple(sc.FileHit(self._entry(p), "", 1.0) for p in self._containing(text)))
            case sc.StorageHistory(path=path):
                return self._history(path)
            case sc.StorageRollback(path=path, version=int(version)):
                return self._put(path, "rollback", self._old(path, version))
            case sc.StorageDelete(path=path):
                self._content(path)
                self._put(path, "delete", None)
                return sc.Done()
            case _:
                raise InvalidArgument(f"{type(call).__name__} is not played here")

    def _add_note(self, text: str, tags: tuple[str, ...]) -> sc.Note:
        self._num_notes += 1
        note_id = f"n{self._num_notes}"
        self.notes[note_id], self.tags[note_id] = text, tuple(dict.fromkeys(tags))
        return self._note(note_id)

    def _note(self, note_id: str) -> sc.Note:
        if note_id not in self.notes:
            raise NotFound(f"there is no note {note_id}")
        return sc.Note(note_id, self.notes[note_id], self.tags[note_id], "agent", 0.0, 0.0)

    def _search_notes(self, text: str, limit: int) -> Iterable[sc.NoteHit]:
        wanted = set(_WORD.findall(text.lower()))
        scores = {i: len(wanted & set(_WORD.findall(note.lower()))) for i, note in self.notes.items()}
        best = sorted(scores, key=lambda i: -scores[i])[:limit]
        return [sc.NoteHit(self._note(i), scores[i]) for i in best if scores[i] or self._recall_all]

    def _put(self, path: str, verb: str, content: str | None) -> sc.FileEntry:
        self.versions.setdefault(path, []).append((verb, content))
        return self._entry(path)

    def _entry(self, path: str) -> sc.FileEntry:
        history = self.versions[path]
        return sc.FileEntry(path, "agent", len(history), len((history[-1][1] or "").encode()), 0.0, 0.0)

    def _content(self, path: str) -> str:
        if path not in self.files:
            raise NotFound(self._missing.format(path=path))
        return self.files[path]

    def _old(self, path: str, version: int) -> str:
        history = self.versions.get(path, [])
        content = history[version - 1][1] if version <= len(history) else None
        if content is None:
            if not history:
                raise NotFound(self._missing.format(path=path))
            plural = "version" if len(history) == 1 else "versions"
            raise NotFound(f"'{path}' has {len(history)} {plural}; there is no version {version}")
        return content

    def _history(self, path: str) -> sc.FileVersions:
        if path not in self.versions:
            raise NotFound(self._missing.format(path=path))
        rows = enumerate(self.versions[path], 1)
        return sc.FileVersions(
            tuple(sc.FileVersion(i, len((c or "").encode()), 0.0, "agent", v) for i, (v, c) in rows)  # type: ignore[arg-type]
        )

    def _containing(self, text: str) -> list[str]:
        """The files with any of the words, those with most first; if there are none, words that begin so."""
        wanted = set(_WORD.findall(text.lower()))
        held = {p: set(_WORD.findall(f"{p} {c}".lower())) for p, c in sorted(self.files.items())}
        scores = {path: len(wanted & words) for path, words in held.items()}
        if not any(scores.values()):
            begun = tuple(wanted)
            scores = {path: sum(w.startswith(begun) for w in words) for path, words in held.items()}
        return [path for path in sorted(scores, key=lambda path: -scores[path]) if scores[path]]
