"""The one error tree. Each error has a code for machines, an HTTP status, and a sentence for people.

AiosError
├── InvalidArgument                        what was asked is malformed or impossible
│   ├── UnknownCall                        no such system call
│   ├── TooLarge                           over a stated limit
│   └── ContextOverflow                    prompt and answer do not fit the model's window
├── Unauthenticated                        no token, or one the kernel did not give
├── PermissionDenied                       the caller may not do this
│   └── ApprovalDenied                     a person said no, or nobody said yes in time
├── NotFound                               no such thing, or not the caller's to see
├── Conflict                               the thing is not in the state the call needs
├── QuotaExceeded                          a limit of the caller's is used up
├── Overloaded                             no room now; try again after `retry_after` seconds
│   └── RateLimited                        a provider's rate limit
├── Unavailable                            a core, tool or store can't be reached or has failed
│   ├── Exhausted                          an account at a provider has no quota left
│   └── Misconfigured                      a core's key, address or model is wrong; no trying again helps
├── ToolFailed                             a tool ran and failed
├── StorageFull                            the disk has no room; reads go on
├── Corrupt                                stored data does not match its checksum
├── OutcomeUnknown                         whether it took effect is not known; ask again
├── DeadlineExceeded                       not done in the time the call allowed
├── Cancelled                              the call or its process was ended
└── Internal                               a defect of the kernel
"""

from typing import ClassVar

from msgspec import Struct


class ErrorReply(Struct, frozen=True, omit_defaults=True):
    """An error as it crosses a wire."""

    code: str
    message: str
    retry_after: float | None = None
    """Seconds after which trying again may help; None where it would not or nobody knows."""


class AiosError(Exception):
    """The root of all the kernel answers with. The message says what was wrong and what would be right."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after

    def to_reply(self) -> ErrorReply:
        return ErrorReply(self.code, self.message, self.retry_after)


class InvalidArgument(AiosError):
    code = "invalid_argument"
    http_status = 400


class UnknownCall(InvalidArgument):
    code = "unknown_call"
    http_status = 404


class TooLarge(InvalidArgument):
    code = "too_large"
    http_status = 413


class ContextOverflow(InvalidArgument):
    code = "context_overflow"
    window = 0
    """Tokens of the window, where an endpoint told them; else 0."""
    num_tokens = 0
    """Tokens of the prompt, likewise."""


class Unauthenticated(AiosError):
    code = "unauthenticated"
    http_status = 401


class PermissionDenied(AiosError):
    code = "permission_denied"
    http_status = 403


class ApprovalDenied(PermissionDenied):
    code = "approval_denied"


class NotFound(AiosError):
    code = "not_found"
    http_status = 404


class Conflict(AiosError):
    code = "conflict"
    http_status = 409


class QuotaExceeded(AiosError):
    code = "quota_exceeded"
    http_status = 429


class Overloaded(AiosError):
    code = "overloaded"
    http_status = 503


class RateLimited(Overloaded):
    code = "rate_limited"
    http_status = 429


class Unavailable(AiosError):
    code = "unavailable"
    http_status = 503


class Exhausted(Unavailable):
    code = "exhausted"


class Misconfigured(Unavailable):
    code = "misconfigured"


class ToolFailed(AiosError):
    code = "tool_failed"
    http_status = 422


class StorageFull(AiosError):
    code = "storage_full"
    http_status = 507


class Corrupt(AiosError):
    code = "corrupt"
    http_status = 500


class OutcomeUnknown(AiosError):
    code = "outcome_unknown"
    http_status = 500
    key = ""
    """The idempotency key with which to ask again; empty where the call had none."""


class DeadlineExceeded(AiosError):
    code = "deadline_exceeded"
    http_status = 504


class Cancelled(AiosError):
    code = "cancelled"
    http_status = 499


class Internal(AiosError):
    code = "internal"
    http_status = 500


def _tree(root: type[AiosError]) -> dict[str, type[AiosError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


BY_CODE: dict[str, type[AiosError]] = _tree(AiosError)
"""Every error type by its code."""


def from_reply(reply: ErrorReply) -> AiosError:
    """The error that `reply` describes; a code this version does not know becomes a plain `AiosError`."""
    return BY_CODE.get(reply.code, AiosError)(reply.message, retry_after=reply.retry_after)
