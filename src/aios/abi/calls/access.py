"""The calls `access.*`: who may do what."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from aios.abi.calls.base import Name, Reply, SystemCall

Resource = Literal["memory", "history", "storage"]
"""Notes, histories (paths are their names), files."""
GrantVerb = Literal["read", "write", "delete"]
GroupName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.\-]+$")]


class AccessCheck(SystemCall, frozen=True):
    """May the caller do this? Has no effect."""

    resource: Resource
    verb: GrantVerb
    owner: Name
    path: Annotated[str, Meta(max_length=1024)] = ""


class AccessGrant(SystemCall, frozen=True):
    """Let another principal reach the caller's own things under `prefix`, until it expires or is revoked."""

    to: Name
    """A principal, or all of a group that the caller is in: `group:NAME`."""
    resource: Resource
    verbs: Annotated[tuple[GrantVerb, ...], Meta(min_length=1, max_length=3)]
    prefix: Annotated[str, Meta(max_length=1024)] = ""
    expires_s: Annotated[float, Meta(gt=0, le=31_536_000.0)] | None = None


class AccessRevoke(SystemCall, frozen=True):
    """Take a grant back. It no longer counts from the next call on, calls already queued included."""

    grant_id: Name


class AccessGroups(SystemCall, frozen=True):
    """The groups that the caller is in; all of them for the operator."""


class AccessSetGroup(SystemCall, frozen=True):
    """Make a group of these principals, or make them all that is in it. Operator only.

    Who is taken out has lost what it reached by the group when the reply comes, for calls that wait too.
    """

    name: GroupName
    members: Annotated[tuple[Name, ...], Meta(max_length=10_000)]


class AccessDropGroup(SystemCall, frozen=True):
    """End a group, and the grants to it. What was shared with it is private again. Operator only."""

    name: GroupName


class AccessPending(SystemCall, frozen=True):
    """The operations that wait for a person. Operator only."""


class AccessApprove(SystemCall, frozen=True):
    """Let a waiting operation run, once. Operator only."""

    approval_id: Name


class AccessDeny(SystemCall, frozen=True):
    """Refuse a waiting operation. Operator only."""

    approval_id: Name


class Decision(Reply, frozen=True):
    """`allow`, `deny`, or `ask`: allowed once a person agrees."""

    decision: Literal["allow", "deny", "ask"]
    reason: str = ""


class Grant(Reply, frozen=True):
    id: str
    owner: str
    to: str
    resource: Resource
    verbs: tuple[GrantVerb, ...]
    prefix: str
    expires: float | None
    """Seconds since the epoch; None for never."""


class Group(Reply, frozen=True):
    """Principals that share things. `created` is seconds since the epoch."""

    name: str
    members: tuple[str, ...]
    created: float


class Groups(Reply, frozen=True):
    groups: tuple[Group, ...]


class Approval(Struct, frozen=True):
    """An operation that waits for a person: who wants what, in the kernel's words."""

    id: str
    pid: int
    principal: str
    call: str
    text: str
    created: float
    expires: float


class Approvals(Reply, frozen=True):
    approvals: tuple[Approval, ...]
