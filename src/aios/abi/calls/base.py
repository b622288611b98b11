"""What all system calls have in common: their bounds, and what every request and reply is."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:@/\-]+$")]
"""A name of an agent, principal, tool or model."""
Path = Annotated[str, Meta(min_length=1, max_length=1024)]
"""A file's path inside its owner's tree, such as `notes/today.md`; storage checks it further."""
Text = Annotated[str, Meta(max_length=8 * 1024 * 1024)]
NoteText = Annotated[str, Meta(min_length=1, max_length=64 * 1024)]
Tag = Annotated[str, Meta(min_length=1, max_length=64)]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=32)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400.0)]
Moment = Annotated[float, Meta(ge=0, le=1e11)]
"""Seconds since the epoch."""
SearchMode = Literal["both", "keyword", "meaning"]
Encoding = Literal["utf-8", "base64"]
Label = Literal["trusted", "untrusted"]
"""`untrusted`: what it says came from a tool, a file or a page that nobody vouches for."""
Source = Annotated[str, Meta(max_length=512)]
"""Where a text or a file came from, in the writer's words, such as `file:plan.md` or an address."""


class SystemCall(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What every request is."""


class Reply(Struct, frozen=True, omit_defaults=True):
    """What every answer is."""


class Done(Reply, frozen=True):
    """It took effect; there is nothing else to say."""
