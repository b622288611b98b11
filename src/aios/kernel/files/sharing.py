"""Links to files: signed by the kernel, good for one version until they expire or are revoked.

A link is `id.expires.signature`. The signature says that the kernel made it and until when it is good, before
anything else is looked up; that it still stands, its row says. Owns the tables `file_shares` and `file_keys`.
"""

import hmac
import secrets
from base64 import urlsafe_b64encode

import apsw
from msgspec import Struct, structs

from aios.abi.errors import Corrupt, NotFound, QuotaExceeded
from aios.abi.syscalls import (
    Done,
    FileContent,
    ShareLink,
    ShareLinks,
    StorageOpen,
    StorageShare,
    StorageShares,
    StorageUnshare,
)
from aios.kernel.files import entries, reading, states
from aios.kernel.files.asking import Asking
from aios.kernel.files.entries import File
from aios.kernel.files.tables import MICROSECONDS, seal

_KEY_BYTES = 32
_ID_BYTES = 12
_SIGNATURE_BYTES = 16


class Share(Struct, frozen=True):
    """A row of the table; `expires` is in microseconds since the epoch."""

    id: str
    owner: str
    path: str
    version: int
    expires: int


def share(connection: apsw.Connection, asking: Asking, call: StorageShare) -> ShareLink:
    """Raises `NotFound`, `QuotaExceeded` or `Corrupt`."""
    file = entries.existing(connection, asking.owner, call.path)
    version = states.with_content(connection, file, call.version or file.version).version
    connection.execute(
        "DELETE FROM file_shares WHERE owner = ? AND expires <= ?", (asking.owner, asking.moment)
    )
    most = asking.limits.max_shares
    if connection.execute("SELECT count(*) FROM file_shares WHERE owner = ?", (asking.owner,)).get >= most:
        raise QuotaExceeded(f"{asking.owner} has {most} links; revoke one first")
    expires = asking.moment + round(call.expires_s * MICROSECONDS)
    new = Share(secrets.token_urlsafe(_ID_BYTES), asking.owner, call.path, version, expires)
    fields = structs.astuple(new)
    connection.execute("INSERT INTO file_shares VALUES (?, ?, ?, ?, ?, ?)", (*fields, seal(*fields)))
    return _link(_key(connection) or _new_key(connection), new)


def unshare(connection: apsw.Connection, asking: Asking, call: StorageUnshare) -> Done:
    """Raises `NotFound`."""
    connection.execute("DELETE FROM file_shares WHERE owner = ? AND id = ?", (asking.owner, call.share_id))
    if not connection.changes():
        raise NotFound(f"there is no link '{call.share_id}'")
    return Done()


def shares(connection: apsw.Connection, asking: Asking, call: StorageShares) -> ShareLinks:
    """Raises `Corrupt`."""
    rows = connection.execute(
        "SELECT * FROM file_shares WHERE owner = ? AND expires > ? ORDER BY path, expires",
        (asking.owner, asking.moment),
    ).fetchall()
    key = _key(connection)
    return ShareLinks(tuple(_link(key, _checked(row)) for row in rows) if key else ())


def open_link(connection: apsw.Connection, asking: Asking, call: StorageOpen) -> FileContent:
    """Raises `NotFound` for whatever opens nothing, or `Corrupt`."""
    id, expires = _verified(_key(connection), call.link)
    row = connection.execute("SELECT * FROM file_shares WHERE id = ?", (id,)).fetchone()
    if row is None or expires <= asking.moment:
        raise _opens_nothing()
    shared = _checked(row)
    state = _state(connection, shared)
    start = min(call.start, state.size)
    return reading.part(connection, shared.path, state, start, min(start + call.length, state.size))


def end_of(connection: apsw.Connection, file: File) -> None:
    """Revoke every link to a file."""
    connection.execute("DELETE FROM file_shares WHERE owner = ? AND path = ?", (file.owner, file.path))


def _verified(key: bytes | None, link: str) -> tuple[str, int]:
    """The id and the end of a link that was signed with this key."""
    id, _, rest = link.partition(".")
    expires, _, signature = rest.partition(".")
    if key is None or not (link.isascii() and hmac.compare_digest(_signature(key, id, expires), signature)):
        raise _opens_nothing()
    return id, int(expires)


def _state(connection: apsw.Connection, shared: Share) -> states.State:
    try:
        file = entries.existing(connection, shared.owner, shared.path)
        return states.with_content(connection, file, shared.version)
    except NotFound:  # It was pruned.
        raise _opens_nothing() from None


def _opens_nothing() -> NotFound:
    return NotFound("this link opens nothing: it has expired, was revoked, or was never given")


def _checked(row: "tuple[object, ...]") -> Share:
    *fields, check = row
    if check != seal(*fields):
        raise Corrupt("what a link stands for does not match its checksum")
    return Share(*fields)  # type: ignore[arg-type]


def _link(key: bytes, shared: Share) -> ShareLink:
    link = f"{shared.id}.{shared.expires}.{_signature(key, shared.id, str(shared.expires))}"
    return ShareLink(
        shared.id,
        shared.path,
        shared.version,
        link,
        f"/v1/shared/{link}",
        shared.expires / MICROSECONDS,
    )


def _signature(key: bytes, id: str, expires: str) -> str:
    digest = hmac.digest(key, f"{id}.{expires}".encode(), "sha256")
    return urlsafe_b64encode(digest[:_SIGNATURE_BYTES]).decode().rstrip("=")


def _key(connection: apsw.Connection) -> bytes | None:
    """What links are signed with; None where no link has been made. Raises `Corrupt`."""
    row = connection.execute("SELECT * FROM file_keys WHERE name = 'links'").fetchone()
    if row is None:
        return None
    *fields, check = row
    if check != seal(*fields):
        raise Corrupt("the key that links are signed with does not match its checksum")
    key: bytes = fields[1]
    return key


def _new_key(connection: apsw.Connection) -> bytes:
    fields = ("links", secrets.token_bytes(_KEY_BYTES))
    connection.execute("INSERT INTO file_keys VALUES (?, ?, ?)", (*fields, seal(*fields)))
    return fields[1]
