"""What a provider's refusal means: HTTP status, headers and body as one error of ours.

Owns the mapping, and the many shapes of an error's body. Never repeats what could hold a secret: of a refused
key nothing of the provider's text is shown.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from aios.abi.errors import (
    AiosError,
    ContextOverflow,
    Exhausted,
    InvalidArgument,
    Misconfigured,
    Overloaded,
    RateLimited,
    TooLarge,
    Unavailable,
)
from aios.drivers.limits import is_any_told, rate_limits, reset_after, seconds_until

MAX_RETRY_AFTER = 3600.0
"""Seconds; a provider that asks for more is asked again after this."""
MAX_SENTENCE = 400
"""Characters kept of a provider's own words."""

_OVERFLOW_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
_OVERFLOW = re.compile(
    r"context[ _-]?(length|window|size|limit)|maximum context|(prompt|input) (is|was) too long"
    r"|too many tokens|token count .{0,40}exceeds",
    re.IGNORECASE,
)
_WINDOW = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"> ?([\d,]{3,})",
        r"maximum context length (?:is|of) ([\d,]{3,})",
        r"tokens allowed \(?([\d,]{3,})",
        r"context (?:length|window|size|limit)\D{0,40}([\d,]{3,})",
    )
]
_PROMPT = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\(([\d,]+) in the messages",
        r"resulted in ([\d,]+)",
        r"too long: ([\d,]+)",
        r"token count \(?([\d,]+)",
        r"limit: ([\d,]+) \+",
        r"requested ([\d,]+)",
    )
]
"""How endpoints tell of their window, and of the prompt that was too long: the surest first."""
_EXHAUSTED_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"}
_EXHAUSTED = re.compile(
    r"credit balance|(insufficient|not enough|out of) (balance|credit|funds|quota)|billing hard limit"
    r"|no credits",
    re.IGNORECASE,
)
_AT_ONCE = re.compile(
    r"concurren|at (once|the same time)|simultaneous|in[ -]flight|parallel requests|pending requests"
    r"|overloaded|over.?capacity|too busy|queue is full|server is busy|shared capacity",
    re.IGNORECASE,
)
_RATE_CODES = {
    "rate_limit_exceeded",
    "rate_limit_error",
    "rate_limit_reached",
    "rate_limited",
    "tokens",
    "requests",
}
_RATE = re.compile(
    r"rate.?limit|requests? rate|per (second|minute|hour|day)|\b[rt]p[msd]\b|quota exceeded"
    r"|exceeded .{0,30}quota",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"api[ _]key[ _](is )?(not valid|invalid)|(invalid|incorrect) (x-)?api[ _-]key", re.IGNORECASE
)
_NO_MODEL_CODES = {"model_not_found", "model_not_available", "unsupported_model"}
_NO_MODEL = re.compile(
    r"^model: |\bmodels?\b.{0,120}\b(not found|does not exist|is not available)", re.IGNORECASE
)
_FLAGGED = re.compile(r"\bflagged\b|\bmoderation\b|content policy", re.IGNORECASE)
_DAILY = re.compile(r"per_?day", re.IGNORECASE)
_STATUS = re.compile(r"[45][0-9]{2}")
_STATUS_OF = {
    # Where an event names the kind of an error, and no status: Anthropic, Google, OpenAI and their like.
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "insufficient_quota": 429,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "over_capacity": 503,
    "INVALID_ARGUMENT": 400,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class _Told(Struct, frozen=True):
    """What an error's body holds, in any of the shapes in use; empty where it has none."""

    words: tuple[str, ...] = ()
    """Its code, its type, its status: whichever there are."""
    sentence: str = ""
    retry_after: str | None = None
    """A span, such as Google's `26s`."""
    quotas: tuple[str, ...] = ()
    """Names of the quotas that were exceeded, as Google gives them."""

    @property
    def status(self) -> int | None:
        """The HTTP status that its words mean."""
        for word in self.words:
            if _STATUS.fullmatch(word):
                return int(word)
        return next((_STATUS_OF[word] for word in self.words if word in _STATUS_OF), None)


def refusal(status: int, headers: Mapping[str, str], body: bytes, now: float) -> AiosError:
    """The error for an answer that is no success. `headers` ignore case; `now` is seconds since the epoch."""
    return _meaning(status, headers, _told(body), now)


def failure(event: bytes, now: float) -> AiosError:
    """The error that a provider reports by an event, inside a stream that had begun with a success."""
    told = _told(event)
    if told.status is not None:
        return _meaning(told.status, {}, told, now)
    if _is_overflow(told):
        return _overflow(told.sentence)
    return Unavailable(
        f"the endpoint failed in the middle of its answer: {told.sentence or 'no reason given'}"
    )


def _meaning(status: int, headers: Mapping[str, str], told: _Told, now: float) -> AiosError:
    later = retry_after(headers, now, told.retry_after)
    said = f"the endpoint answered {status}" + (f": {told.sentence}" if told.sentence else "")
    if status == 402 and "retry-after" in headers:
        return Overloaded(said, retry_after=later)  # OpenRouter: what is in flight has reserved all there is
    if status == 402 or (400 <= status < 500 and _is_exhausted(told)):
        return Exhausted(
            f"the account of this core has no quota left at its provider; {said}", retry_after=later
        )
    if status == 403 and _FLAGGED.search(told.sentence):
        return InvalidArgument(said)  # OpenRouter: of what the prompt says
    if status in (401, 403) or (status == 400 and _is_bad_key(told)):
        return Misconfigured(f"the endpoint refused this core's key ({status}); set the right one")
    if status == 429:
        kind = RateLimited if _is_rate(headers, told, now) else Overloaded
        return kind(said, retry_after=later)
    if 400 <= status < 500:
        return _rejected(status, told, said, later)
    if status in (503, 529):
        return Overloaded(said, retry_after=later)
    if 300 <= status < 400:
        return Misconfigured(
            f"the endpoint redirects ({status}), which is not followed; correct its base_url"
        )
    return Unavailable(said, retry_after=later)


def _rejected(status: int, told: _Told, said: str, later: float | None) -> AiosError:
    if status in (407, 408, 409, 423, 425, 499):
        return Unavailable(said, retry_after=later)
    if _is_overflow(told):
        return _overflow(said)
    if _is_no_model(status, told):
        return Misconfigured(f"{said}; correct the model of this core")
    return TooLarge(said) if status == 413 else InvalidArgument(said)


def _overflow(said: str) -> ContextOverflow:
    """With the numbers that its sentence holds, in the many ways there are."""
    error = ContextOverflow(said)
    error.window = _number(_WINDOW, said)
    error.num_tokens = _number(_PROMPT, said)
    return error


def _number(patterns: list[re.Pattern[str]], said: str) -> int:
    found = next(filter(None, (pattern.search(said) for pattern in patterns)), None)
    return 0 if found is None else int(found[1].replace(",", "") or 0)


def _is_overflow(told: _Told) -> bool:
    return not _OVERFLOW_CODES.isdisjoint(told.words) or bool(_OVERFLOW.search(told.sentence))


def _is_exhausted(told: _Told) -> bool:
    """Whether no waiting of minutes helps: the account is empty, or a day's quota used up."""
    if any(_DAILY.search(quota) for quota in told.quotas):
        return True
    return not _EXHAUSTED_CODES.isdisjoint(told.words) or bool(_EXHAUSTED.search(told.sentence))


def _is_bad_key(told: _Told) -> bool:
    return "API_KEY_INVALID" in told.words or bool(_BAD_KEY.search(told.sentence))


def _is_no_model(status: int, told: _Told) -> bool:
    """Whether it does not know the model of this core, which no caller has chosen."""
    by_code = not _NO_MODEL_CODES.isdisjoint(told.words)
    return by_code or (status == 404 and bool(_NO_MODEL.search(told.sentence)))


def _is_rate(headers: Mapping[str, str], told: _Told, now: float) -> bool:
    """Whether a 429 means a rate. If not, it means too many at once, which a pause alone does not mend."""
    limits = rate_limits(headers, now)
    if limits is not None and any(bucket.remaining == 0 for bucket in limits.buckets.values()):
        return True
    if _AT_ONCE.search(told.sentence):
        return False
    if is_any_told(headers) or told.quotas or told.retry_after is not None:
        return True
    return not _RATE_CODES.isdisjoint(told.words) or bool(_RATE.search(told.sentence))


def retry_after(headers: Mapping[str, str], now: float, told: str | None = None) -> float | None:
    """Seconds to wait, by the most exact there is: headers, then the span `told` by the body, then resets."""
    milliseconds = headers.get("retry-after-ms")
    waits = (
        seconds_until(f"{milliseconds}ms", now) if milliseconds is not None else None,
        seconds_until(headers.get("retry-after"), now),
        seconds_until(told, now),
        reset_after(headers, now),
    )
    wait = next((wait for wait in waits if wait is not None), None)
    return None if wait is None else min(wait, MAX_RETRY_AFTER)


def _told(body: bytes) -> _Told:
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Told(sentence=body.decode(errors="replace").strip()[:MAX_SENTENCE])
    if isinstance(found, list) and found:
        found = found[0]
    if isinstance(found, dict):
        groq = found.get("x_groq")
        found = found.get("error") or (groq.get("error") if isinstance(groq, dict) else None) or found
    if not isinstance(found, dict):
        return _Told((str(found)[:MAX_SENTENCE],), str(found)[:MAX_SENTENCE])
    sentence = str(found.get("message") or found.get("detail") or "")[:MAX_SENTENCE]
    details = [part for part in _list(found.get("details")) if isinstance(part, dict)]
    reasons = [part.get("reason") for part in details]
    words = [found.get("code"), found.get("type"), found.get("status"), *reasons]
    delays = [part["retryDelay"] for part in details if isinstance(part.get("retryDelay"), str)]
    return _Told(
        tuple(str(word) for word in words if word),
        sentence,
        delays[0] if delays else None,
        tuple(_quotas(details)),
    )


def _quotas(details: list[dict[str, Any]]) -> list[str]:
    """Of `google.rpc.QuotaFailure`."""
    violations = [one for part in details for one in _list(part.get("violations")) if isinstance(one, dict)]
    return [
        str(one.get("quotaId") or one.get("quotaMetric") or one.get("subject") or "") for one in violations
    ]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
