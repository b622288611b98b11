"""Struct ⇄ bytes: the JSON form of calls and answers, and the frames of the local socket. Knows no transport.

A frame is a length (4 bytes, big-endian, of what follows) and one JSON object. A client sends `Request`s; for
each the kernel answers any number of `Event`s (deltas of a streaming call) and one `Response`, in any order
between calls.
"""

import struct
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from aios.abi.errors import ErrorReply, InvalidArgument, TooLarge, UnknownCall
from aios.abi.messages import Delta
from aios.abi.syscalls import TABLE, Reply, Row, SystemCall

MAX_FRAME = 9 * 1024 * 1024
"""The most bytes a call may have, as a frame or as a request's body."""
MAX_REPLY = 512 * 1024 * 1024
"""The most bytes an answer may have: a thousand of the largest notes, each character escaped, are 400 MiB."""

MAX_KEY = 128
"""Characters of an idempotency key."""

_HEADER = struct.Struct(">I")
_READS = frozenset(
    {
        *("generate", "embed", "read", "get", "search", "list", "stat", "export"),
        *("history", "histories"),
        *("check", "pending", "groups", "usage", "wait", "explain"),
        *("diff", "quota", "shares", "open", "restore"),
    }
)
"""Verbs that change nothing."""


class Request(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A call on the wire. `token` says whose; a connection may carry calls of several processes."""

    call: str
    args: Raw = Raw(b"{}")
    id: int = 0
    token: str = ""
    stream: bool = False
    timeout_s: float | None = None
    key: str = ""
    """Its idempotency key: calls of one principal with the same key take effect once. Empty for none."""
    cancel: bool = False
    """Ends the call in flight with this id; all else is ignored and no `Response` of its own comes."""


class Event(Struct, frozen=True, omit_defaults=True):
    """A delta of the call `id`."""

    id: int
    delta: Delta


class Response(Struct, frozen=True, omit_defaults=True):
    """The one answer to the call `id`: a reply or an error."""

    id: int
    reply: Raw = Raw()
    """Empty where there is none."""
    error: ErrorReply | None = None
    delta: Delta | None = None
    """Set in the frames of a stream, where it makes this an `Event`; a client decodes both as this."""


# RecursionError is what nesting without end comes to.
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_encoder = msgspec.json.Encoder()
_requests = msgspec.json.Decoder(Request)
_responses = msgspec.json.Decoder(Response)
_calls = {name: msgspec.json.Decoder(row.request) for name, row in TABLE.items()}
_replies = {name: msgspec.json.Decoder(row.reply) for name, row in TABLE.items()}


def encode(value: Any) -> bytes:
    """Any struct of the contract as JSON."""
    return _encoder.encode(value)


def frame(value: Any, max_bytes: int = MAX_FRAME) -> bytes:
    """Any struct of the contract as one frame. `TooLarge` when it is over `max_bytes`."""
    body = _encoder.encode(value)
    if len(body) > max_bytes:
        raise TooLarge(f"a message may have {max_bytes} bytes, this one has {len(body)}")
    return _HEADER.pack(len(body)) + body


def may_have_effect(name: str) -> bool:
    """Whether the call `name`, cut off once it was sent, may have changed something."""
    return name.partition(".")[2] not in _READS


def takes_key(name: str) -> bool:
    """Whether the call `name`, made again with the key it had, is answered as it was.

    A generation has no effect, but it is dear: its answer is kept, and one that was cut off goes on.
    """
    return may_have_effect(name) or name == "llm.generate"


def check_key(key: str) -> str:
    """The idempotency key. `InvalidArgument` where it can't be one."""
    if not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable() and " " not in key):
        raise InvalidArgument(f"an idempotency key has 1 to {MAX_KEY} printable ASCII characters, no space")
    return key


def row_of(name: str) -> Row:
    """The table's row for a call's name. `UnknownCall` when there is none."""
    row = TABLE.get(name)
    if row is None:
        raise UnknownCall(f"there is no system call {name[:64]!r}; `aios call --list` names them all")
    return row


def decode_request(body: bytes) -> Request:
    """`InvalidArgument` when it is not a request."""
    try:
        return _requests.decode(body)
    except _MALFORMED as error:
        raise InvalidArgument(f"not a request: {error}") from None


def decode_response(body: bytes) -> Response:
    """`InvalidArgument` when it is not a response."""
    try:
        return _responses.decode(body)
    except _MALFORMED as error:
        raise InvalidArgument(f"not a response: {error}") from None


def decode_call(name: str, args: bytes | Raw) -> SystemCall:
    """The typed call. `UnknownCall`, or `InvalidArgument` naming the field that is wrong."""
    row_of(name)
    try:
        return _calls[name].decode(args)
    except _MALFORMED as error:
        raise InvalidArgument(f"{name}: {error}") from None


def decode_reply(name: str, reply: bytes | Raw) -> Reply:
    """The typed reply to the call `name`."""
    row_of(name)
    try:
        return _replies[name].decode(reply)
    except _MALFORMED as error:
        raise InvalidArgument(f"{name}: {error}") from None


class FrameReader:
    """Cuts a stream of bytes into frames, whatever the pieces it comes in."""

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._max_frame = max_frame

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies of the frames that `data` completes. `TooLarge` as soon as a header says so."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer)
            if length > self._max_frame:
                raise TooLarge(f"a message may have {self._max_frame} bytes, this one has {length}")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            yield body
