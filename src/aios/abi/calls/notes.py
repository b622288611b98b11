"""The calls `memory.*` about notes."""

from typing import Annotated

from msgspec import Meta, Struct

from aios.abi.calls.base import Limit, Name, NoteText, Reply, SystemCall, Tags


class MemoryAdd(SystemCall, frozen=True):
    """Keep a note. It is on disk when the reply comes."""

    text: NoteText
    tags: Tags = ()


class MemoryGet(SystemCall, frozen=True):
    """Read one note."""

    note_id: Name
    owner: Name | None = None
    """Whose note; None for the caller's own."""


class MemoryUpdate(SystemCall, frozen=True):
    """Replace a note's text, and its tags where given."""

    note_id: Name
    text: NoteText
    tags: Tags | None = None
    owner: Name | None = None


class MemoryRemove(SystemCall, frozen=True):
    """Remove a note."""

    note_id: Name
    owner: Name | None = None


class MemorySearch(SystemCall, frozen=True):
    """Find notes by meaning and by keyword, best first. An empty text lists the newest."""

    text: Annotated[str, Meta(max_length=4096)] = ""
    limit: Limit = 10
    tags: Tags = ()
    """Only notes that carry all of these."""
    owner: Name | None = None


class Note(Reply, frozen=True):
    """A note. `created` and `updated` are seconds since the epoch; ids are short and unique to the owner."""

    id: str
    text: str
    tags: tuple[str, ...]
    owner: str
    created: float
    updated: float


class NoteHit(Struct, frozen=True):
    """A note found, with its score: higher is better, comparable within one search only."""

    note: Note
    score: float


class NoteHits(Reply, frozen=True):
    hits: tuple[NoteHit, ...]
