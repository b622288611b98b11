"""The calls `memory.*` about notes."""

from typing import Annotated

from msgspec import Meta, Struct

from aios.abi.calls.base import (
    Label,
    Limit,
    Moment,
    Name,
    NoteText,
    Reply,
    SearchMode,
    Source,
    SystemCall,
    Tags,
)

_GROUP = r"group:[A-Za-z0-9_.\-]{1,64}"

Scope = Annotated[str, Meta(max_length=70, pattern=rf"^(private|everyone|{_GROUP})$")]
"""Who may read a note besides its owner: nobody (`private`), a group's members (`group:NAME`), or all."""
SearchScope = Annotated[str, Meta(max_length=70, pattern=rf"^(own|visible|private|everyone|{_GROUP})$")]
"""Among which notes: `own` for all of one owner, `visible` for all that the caller may see, else a scope."""
Lifetime = Annotated[float, Meta(ge=0, le=315_360_000.0)]
"""Seconds; 0 for ever."""

MAX_PAGE = 1000
"""Notes of a page at most."""


class MemoryAdd(SystemCall, frozen=True):
    """Keep a note. It is on disk when the reply comes.

    `NotFound` where the scope is a group that the caller is not in, `QuotaExceeded` at the owner's limit.
    """

    text: NoteText
    tags: Tags = ()
    scope: Scope = "private"
    source: Source = ""
    label: Label = "trusted"
    ttl_s: Lifetime = 0.0
    """For how long it is there."""


class MemoryGet(SystemCall, frozen=True):
    """Read one note."""

    note_id: Name
    owner: Name | None = None
    """Whose note; None for the caller's own. Another's is there where it is shared with the caller."""


class MemoryUpdate(SystemCall, frozen=True):
    """Change what is given of a note; what it was before is kept in its history.

    `PermissionDenied` for calling an untrusted note trusted: only the operator may.
    """

    note_id: Name
    text: NoteText | None = None
    tags: Tags | None = None
    scope: Scope | None = None
    source: Source | None = None
    label: Label | None = None
    ttl_s: Lifetime | None = None
    """For how long it is there from now on; 0 for ever."""
    owner: Name | None = None


class MemoryRemove(SystemCall, frozen=True):
    """Remove a note and its history."""

    note_id: Name
    owner: Name | None = None


class MemoryHistory(SystemCall, frozen=True):
    """What a note has been, oldest first, and last what it is. The oldest are dropped beyond a limit."""

    note_id: Name
    limit: Limit = 1000
    """The newest so many."""
    owner: Name | None = None


class MemorySearch(SystemCall, frozen=True):
    """Find notes by keyword, by meaning, or by both, best first. An empty text lists those changed last.

    All conditions hold before anything is ranked, and the ranking knows nothing but notes that the caller may
    see.
    """

    text: Annotated[str, Meta(max_length=4096)] = ""
    limit: Limit = 10
    tags: Tags = ()
    """Only notes that carry all of these."""
    mode: SearchMode = "both"
    scope: SearchScope = "own"
    since: Moment | None = None
    """Only notes that were changed last at or after this moment,"""
    until: Moment | None = None
    """and before this one."""
    source: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    """Only notes from this very source."""
    label: Label | None = None
    owner: Name | None = None
    """Whose notes. None for the caller's own, or anybody's where the scope is a shared one or `visible`."""


class MemoryExport(SystemCall, frozen=True):
    """One page of all notes of an owner, oldest first, in the form that `memory.load` takes."""

    after: Annotated[str, Meta(max_length=32)] = ""
    """The `next` of the page before; empty for the first."""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE
    owner: Name | None = None


class NoteRecord(Struct, frozen=True):
    """A note to be kept as it is. A `Note` in JSON is one: what it says besides is passed over."""

    text: NoteText
    tags: Tags = ()
    scope: Scope = "private"
    source: Source = ""
    label: Label = "trusted"
    created: Moment | None = None
    """None for now; a moment to come counts as now."""
    updated: Moment | None = None
    expires: Moment | None = None


class MemoryLoad(SystemCall, frozen=True):
    """Keep notes that were exported, all or none, each under a new id. Those that have expired are left out.

    Raises what `memory.add` raises.
    """

    notes: Annotated[tuple[NoteRecord, ...], Meta(min_length=1, max_length=MAX_PAGE)]
    scope: Scope | None = None
    """Of all of them; None for each one's own."""
    owner: Name | None = None


class MemoryPurge(SystemCall, frozen=True):
    """Remove all notes from one source, with their histories."""

    source: Annotated[str, Meta(min_length=1, max_length=512)]
    owner: Name | None = None


class Note(Reply, frozen=True):
    """A note. `created` and `updated` are seconds since the epoch; ids are short and unique to the owner."""

    id: str
    text: str
    tags: tuple[str, ...]
    owner: str
    created: float
    updated: float
    scope: str = "private"
    source: str = ""
    label: Label = "trusted"
    author: str = ""
    """The principal that wrote this version."""
    version: int = 1
    expires: float | None = None
    """Seconds since the epoch; None for never."""


class NoteVersions(Reply, frozen=True):
    versions: tuple[Note, ...]


class NoteHit(Struct, frozen=True):
    """A note found, with its score: higher is better, comparable within one search only."""

    note: Note
    score: float


class NoteHits(Reply, frozen=True):
    hits: tuple[NoteHit, ...]


class NotePage(Reply, frozen=True):
    """`next` asks for the page after this one; empty where this is the last.

    `damaged` are the ids of notes that cannot be exported, because they are not what was kept.
    """

    notes: tuple[Note, ...]
    next: str = ""
    damaged: tuple[str, ...] = ()


class NoteIds(Reply, frozen=True):
    """The new ids, in the order of the notes; empty for one that was left out."""

    ids: tuple[str, ...]


class Purged(Reply, frozen=True):
    num_notes: int
