"""A search for notes: which shelves it looks at, what is left out there, and the notes that it found."""

from collections.abc import Sequence

import apsw
from msgspec import Struct

from aios.abi.errors import Corrupt
from aios.abi.syscalls import MemorySearch
from aios.kernel.grants import GROUP
from aios.kernel.notes import shelving
from aios.kernel.notes.body import Body, decode
from aios.kernel.notes.rows import Kept
from aios.kernel.notes.sight import EVERYONE, PRIVATE, Sight
from aios.kernel.shelves.shelf import Hit, Place, Query


class Found(Struct, frozen=True):
    """A note of an owner, and how well it answers."""

    owner: str
    kept: Kept
    score: float


def query_of(call: MemorySearch, sight: Sight, now: float) -> Query:
    """The same as a query to shelves. `NotFound` for a group that the caller is not in.

    Another's notes are looked for on the shelves of what is shared, unless the caller may see all of them.
    """
    owner = call.owner or sight.principal
    marks = [shelving.tag_mark(tag) for tag in call.tags]
    without: list[str] = []
    if call.source:
        marks.append(shelving.source_mark(call.source))
    if call.label is not None:
        (marks if call.label == shelving.UNTRUSTED else without).append(shelving.UNTRUSTED)
    is_shared = call.scope == EVERYONE or call.scope.startswith(GROUP)
    if sight.scopes_of(owner, "", now) is not None:
        marks.append(shelving.owner_mark(owner))
        places = _shared_places(call.scope, sight)
    elif call.owner is None and (is_shared or call.scope == "visible"):
        places = _shared_places(call.scope, sight)
        if call.scope == "visible":
            places = [Place(place.shelf, shelving.owner_mark(owner)) for place in places]
            places.append(Place(shelving.own_shelf(owner)))
    else:
        places = [Place(shelving.own_shelf(owner))]
        if call.scope == PRIVATE:
            without.append(shelving.SHARED)
        elif is_shared:
            marks.append(shelving.scope_mark(sight.kept(call.scope)))
    return Query(
        places=tuple(places),
        text=call.text,
        mode=call.mode,
        limit=call.limit,
        now=now,
        marks=tuple(marks),
        without=tuple(without),
        since=float("-inf") if call.since is None else call.since,
        until=float("inf") if call.until is None else call.until,
    )


def _shared_places(scope: str, sight: Sight) -> list[Place]:
    """The shelves of what is shared with the caller, by this scope or by any."""
    if scope == PRIVATE:
        return []
    scopes = [EVERYONE, *sight.shared()] if scope in ("own", "visible") else [sight.kept(scope)]
    return [Place(shelving.shelf_of(one)) for one in scopes]


def found(connection: apsw.Connection, hits: Sequence[Hit], call: MemorySearch, now: float) -> list[Found]:
    """The notes themselves. Damaged ones, and those gone since, are left out; getting them says so."""
    notes: list[Found] = []
    for one in hits:
        if len(notes) == call.limit:
            break
        row = shelving.hit(connection, one.shelf, one.stamp)
        if row is None:
            continue
        owner, number, data, check = row
        try:
            body = decode(owner, number, data, check)
        except Corrupt:
            continue
        if _fits(body, call, now):
            notes.append(Found(owner, Kept(number, body), one.score))
    return notes


def _fits(body: Body, call: MemorySearch, now: float) -> bool:
    """Marks are hashed on a shelf: two that meet there do not here."""
    return (
        set(call.tags) <= set(body.tags)
        and (not call.source or call.source == body.source)
        and call.label in (None, body.label)
        and (body.expires is None or body.expires > now)
    )
