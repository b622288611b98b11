"""What a provider's refusal means: HTTP status, headers and body as one error of ours.

Owns the mapping and the reading of the many ways to say "come back later". Never repeats what could hold a
secret: of a refused key nothing of the provider's text is shown.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from aios.abi.errors import (
    AiosError,
    ContextOverflow,
    InvalidArgument,
    Overloaded,
    RateLimited,
    TooLarge,
    Unavailable,
)

MAX_RETRY_AFTER = 3600.0
"""Seconds; a provider that asks for more is asked again after this."""
MAX_SENTENCE = 400
"""Characters kept of a provider's own words."""

_OVERFLOW_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
_OVERFLOW = re.compile(
    r"context[ _-]?(length|window|size)|maximum context|(prompt|input) (is|was) too long|too many tokens",
    re.IGNORECASE,
)
_STATUS = re.compile(r"[45][0-9]{2}")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def refusal(status: int, headers: Mapping[str, str], body: bytes, now: float) -> AiosError:
    """The error for an answer that is no success. `headers` ignore case; `now` is seconds since the epoch."""
    code, sentence = _read(body)
    later = retry_after(headers, now)
    said = f"the endpoint answered {status}" + (f": {sentence}" if sentence else "")
    if status in (401, 403):
        return Unavailable(f"the endpoint refused this core's key ({status}); set the right one")
    if status == 429:
        if code == "insufficient_quota":
            return Unavailable("the account of this core has no quota left at its provider")
        return RateLimited(said, retry_after=later)
    if 400 <= status < 500:
        return _rejected(status, code, said, later)
    if status in (503, 529):
        return Overloaded(said, retry_after=later)
    if 300 <= status < 400:
        return Unavailable(f"the endpoint redirects ({status}), which is not followed; correct its base_url")
    return Unavailable(said, retry_after=later)


def _rejected(status: int, code: str, said: str, later: float | None) -> AiosError:
    if status in (402, 407, 408, 409, 423, 425, 499):
        return Unavailable(said, retry_after=later)
    if code in _OVERFLOW_CODES or _OVERFLOW.search(said):
        return ContextOverflow(said)
    return TooLarge(said) if status == 413 else InvalidArgument(said)


def failure(event: bytes, now: float) -> AiosError:
    """The error that a provider reports by an event, inside a stream that had begun with a success."""
    code, sentence = _read(event)
    if _STATUS.fullmatch(code):
        return refusal(int(code), {}, event, now)
    if code in _OVERFLOW_CODES or _OVERFLOW.search(sentence):
        return ContextOverflow(sentence)
    return Unavailable(f"the endpoint failed in the middle of its answer: {sentence or 'no reason given'}")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, of the most exact header there is; None where none says."""
    waits = (
        _scaled(headers.get("retry-after-ms"), 0.001),
        _seconds_or_date(headers.get("retry-after"), now),
        _bucket_reset(headers, now),
    )
    for wait in waits:
        if wait is not None and math.isfinite(wait):
            return min(max(wait, 0.0), MAX_RETRY_AFTER)
    return None


def _scaled(text: str | None, unit: float) -> float | None:
    try:
        return None if text is None else float(text) * unit
    except ValueError:
        return None


def _seconds_or_date(text: str | None, now: float) -> float | None:
    seconds = _scaled(text, 1.0)
    if text is None or seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now
    except (ValueError, OverflowError):
        return None


def _bucket_reset(headers: Mapping[str, str], now: float) -> float | None:
    """From the `x-ratelimit-…` headers: an empty bucket's reset counts, else the soonest of all."""
    resets = {}
    for bucket in ("-requests", "-tokens", ""):
        wait = _span(headers.get(f"x-ratelimit-reset{bucket}"), now)
        if wait is not None:
            resets[bucket] = wait
    empty = [resets[bucket] for bucket in resets if headers.get(f"x-ratelimit-remaining{bucket}") == "0"]
    return max(empty) if empty else min(resets.values(), default=None)


def _span(text: str | None, now: float) -> float | None:
    """`6m0s`, `20ms`, `1.5` (seconds), or a moment in seconds or milliseconds since the epoch."""
    if text is None:
        return None
    number = _scaled(text, 1.0)
    if number is not None:
        moment = number / 1000 if number > 1e11 else number
        return moment - now if moment > 1e9 else number
    parts = _SPAN.findall(text)
    if not parts or "".join(value + unit for value, unit in parts) != text.strip():
        return None
    return sum(float(value) * _SECONDS[unit] for value, unit in parts)


def _read(body: bytes) -> tuple[str, str]:
    """The code and the sentence of an error's body, in any of the shapes in use; empty where it has none."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", body.decode(errors="replace").strip()[:MAX_SENTENCE]
    if isinstance(found, list) and found:
        found = found[0]
    if isinstance(found, dict) and found.get("error"):
        found = found["error"]
    if not isinstance(found, dict):
        return "", str(found)[:MAX_SENTENCE]
    sentence = found.get("message") or found.get("detail") or ""
    return str(found.get("code") or found.get("type") or ""), str(sentence)[:MAX_SENTENCE]
