"""What a row holds of a note besides its key, sealed by a checksum over both."""

import re

import msgspec
from msgspec import Struct

from aios.abi.errors import Corrupt, NotFound
from aios.abi.syscalls import Label, Note
from aios.drivers.sqlite import checksum

_ID = re.compile(r"n([1-9]\d{0,17})")
_encoder = msgspec.json.Encoder()


class Body(Struct, frozen=True, omit_defaults=True):
    """`scope` is `private`, `everyone`, or `g` and a group's number; `author` is empty for the owner."""

    text: str
    tags: tuple[str, ...]
    created: float
    updated: float
    scope: str = "private"
    source: str = ""
    label: Label = "trusted"
    author: str = ""
    version: int = 1
    expires: float | None = None

    @property
    def words(self) -> str:
        """What a search looks through."""
        return " ".join((self.text, *self.tags))


_decoder = msgspec.json.Decoder(Body)


def encode(body: Body) -> bytes:
    """The bytes to be kept."""
    return _encoder.encode(body)


def check_of(owner: str, number: int, data: bytes) -> bytes:
    """The checksum that ties them to their key."""
    return checksum(owner.encode(), str(number).encode(), data)


def decode(owner: str, number: int, data: object, check: object) -> Body:
    """Raises `Corrupt` where it is not what was kept."""
    if not isinstance(data, bytes) or check != check_of(owner, number, data):
        raise Corrupt(f"note 'n{number}' does not match its checksum")
    return _decoder.decode(data)


def number_of(note_id: str) -> int:
    """Raises `NotFound` for what is no id."""
    match = _ID.fullmatch(note_id)
    if match is None:
        raise absent(note_id)
    return int(match[1])


def absent(note_id: str) -> NotFound:
    """For a note that is not there, or not for the caller."""
    return NotFound(f"there is no note '{note_id}'")


def note_of(owner: str, number: int, body: Body, scope: str) -> Note:
    """The note as a caller reads it; `scope` is the name of the body's."""
    return Note(
        f"n{number}",
        body.text,
        body.tags,
        owner,
        body.created,
        body.updated,
        scope,
        body.source,
        body.label,
        body.author or owner,
        body.version,
        body.expires,
    )
