"""What a caller may see of notes, by what it is in and was granted at this moment."""

from collections.abc import Iterable

from msgspec import Struct

from aios.abi.errors import PermissionDenied
from aios.abi.syscalls import Label
from aios.kernel.grants import GROUP, Grants
from aios.kernel.groups import Groups, absent
from aios.kernel.notes.body import Body
from aios.kernel.notes.rows import Scopes
from aios.kernel.process import OPERATOR

PRIVATE, EVERYONE = "private", "everyone"


class Sight(Struct, frozen=True):
    """Of one principal. Scopes are as they are kept: `g` and a number for a group."""

    groups: Groups
    grants: Grants
    principal: str

    @property
    def is_operator(self) -> bool:
        return self.principal == OPERATOR

    def scopes_of(self, owner: str, note_id: str, now: float) -> Scopes:
        """Which of an owner's notes it may read; None for all. `note_id` is empty for more than one note."""
        if owner == self.principal or self.is_operator:
            return None
        names = self.groups.of(self.principal)
        if self.grants.covers(owner, self.principal, names, "memory", "read", note_id, now):
            return None
        return frozenset([EVERYONE, *self.shared()])

    def shared(self) -> Iterable[str]:
        """The scopes of its groups."""
        return [f"g{number}" for number in self.groups.of(self.principal).values()]

    def kept(self, scope: str) -> str:
        """A scope as it is kept. `NotFound` for a group that it is not in."""
        if not scope.startswith(GROUP):
            return scope
        name = scope.removeprefix(GROUP)
        number = self.groups.number(name)
        if number is None or not (self.is_operator or name in self.groups.of(self.principal)):
            raise absent(name)
        return f"g{number}"

    def shown(self, scope: str) -> str:
        """A scope as callers know it: what was shared with a group that is gone is private."""
        if scope in (PRIVATE, EVERYONE):
            return scope
        name = self.groups.name(int(scope[1:]))
        return PRIVATE if name is None else GROUP + name

    def check_change(self, owner: str, old: Body, scope: str | None, label: Label | None) -> None:
        """`PermissionDenied` for what only the owner, or only the operator, may do to a note."""
        if scope is not None and owner != self.principal and not self.is_operator:
            raise PermissionDenied("only its owner may say with whom a note is shared")
        if label == "trusted" and old.label != "trusted" and not self.is_operator:
            raise PermissionDenied("only the operator may call an untrusted note trusted")
