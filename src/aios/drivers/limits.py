"""What a provider says of its rate limits in the headers of each answer, as buckets.

Owns the header names in use and the ways to write a span or a moment. Knows nothing of what is done with it.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from msgspec import Struct

BucketName = Literal["requests", "tokens", "input_tokens", "output_tokens"]
"""What a bucket holds: requests, tokens of prompt and answer together, or those of one of them."""


class Bucket(Struct, frozen=True):
    """One rate limit, as its provider told it. All in requests or in tokens."""

    limit: float
    """The most that may be taken at once: its size."""
    remaining: float
    """What it holds now, from 0 to `limit`."""
    reset_s: float | None
    """Seconds until it is full again; None where that is not told. Providers refill steadily or by window."""


class RateLimits(Struct, frozen=True):
    """All that one answer's headers told; at least one bucket."""

    buckets: dict[BucketName, Bucket]


def ignore_limits(limits: RateLimits) -> None:
    """What a driver does with its provider's limits until somebody asks for them."""


OnLimits = Callable[[RateLimits], None]


class _Told(Struct, frozen=True):
    """The three headers of one bucket, as far as they are there and can be read."""

    name: BucketName
    limit: float | None
    remaining: float | None
    reset_s: float | None


_FAMILIES: tuple[tuple[str, str, tuple[tuple[BucketName, str], ...]], ...] = (
    # OpenAI, Azure, Groq and most that follow them: platform.openai.com/docs/guides/rate-limits,
    # console.groq.com/docs/rate-limits. Fireworks names the tokens of prompt and answer apart:
    # docs.fireworks.ai/guides/quotas_usage/rate-limits.
    (
        "x-ratelimit-",
        "{part}-{bucket}",
        (
            ("requests", "requests"),
            ("tokens", "tokens"),
            ("input_tokens", "tokens-prompt"),
            ("output_tokens", "tokens-generated"),
        ),
    ),
    # docs.anthropic.com/en/api/rate-limits#response-headers
    (
        "anthropic-ratelimit-",
        "{bucket}-{part}",
        (
            ("requests", "requests"),
            ("tokens", "tokens"),
            ("input_tokens", "input-tokens"),
            ("output_tokens", "output-tokens"),
        ),
    ),
    # Of requests, where nothing else is said: OpenRouter, and the IETF's draft of RateLimit header fields.
    ("x-ratelimit-", "{part}", (("requests", ""),)),
    ("ratelimit-", "{part}", (("requests", ""),)),
)


class _Headers(Struct, frozen=True):
    """What a bucket's three headers are called."""

    name: BucketName
    limit: str
    remaining: str
    reset: str

    def are_in(self, headers: Mapping[str, str]) -> bool:
        """Whether any of them is there."""
        return self.limit in headers or self.remaining in headers or self.reset in headers


_HEADERS = tuple(
    _Headers(
        name, *(prefix + form.format(part=part, bucket=bucket) for part in ("limit", "remaining", "reset"))
    )
    for prefix, form, buckets in _FAMILIES
    for name, bucket in buckets
)

_NAMES = frozenset(name for three in _HEADERS for name in (three.limit, three.remaining, three.reset))

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def rate_limits(headers: Mapping[str, str], now: float) -> RateLimits | None:
    """The buckets that these headers tell whole; None where they tell none.

    `headers` ignore case (or are in small letters); `now` is seconds since the epoch, for resets given as
    moments. What can't be read is passed over: a provider's headers never fail an answer.
    """
    buckets: dict[BucketName, Bucket] = {}
    for told in _told(headers, now):
        if told.limit and told.remaining is not None:
            bucket = Bucket(told.limit, min(told.remaining, told.limit), told.reset_s)
            buckets.setdefault(told.name, bucket)
    return RateLimits(buckets) if buckets else None


def reset_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until the last of the empty buckets is full; where none is empty, until the first of all is."""
    told = [bucket for bucket in _told(headers, now) if bucket.reset_s is not None]
    empty = [bucket.reset_s for bucket in told if bucket.remaining == 0 and bucket.reset_s is not None]
    every = (bucket.reset_s for bucket in told if bucket.reset_s is not None)
    return max(empty) if empty else min(every, default=None)


def is_any_told(headers: Mapping[str, str]) -> bool:
    """Whether there is any rate header at all, readable or not."""
    return not _NAMES.isdisjoint(map(str.lower, headers))


def _told(headers: Mapping[str, str], now: float) -> Iterator[_Told]:
    if not is_any_told(headers):
        return  # Most endpoints: the names are looked for in one pass.
    for three in _HEADERS:
        if three.are_in(headers):
            yield _Told(
                three.name,
                _amount(headers.get(three.limit)),
                _amount(headers.get(three.remaining)),
                seconds_until(headers.get(three.reset), now),
            )


def _amount(text: str | None) -> float | None:
    number = _number(text)
    return None if number is None else max(number, 0.0)


def seconds_until(text: str | None, now: float) -> float | None:
    """Seconds from `now` on, never less than 0; None where `text` says no time.

    Read are spans (`6m0s`, `20ms`, `1.5` for seconds) and moments: seconds or milliseconds since the epoch,
    RFC 3339, and the dates of HTTP.
    """
    if text is None:
        return None
    number = _number(text)
    seconds = _span_or_date(text.strip(), now) if number is None else _from_number(number, now)
    return None if seconds is None else max(seconds, 0.0)


def _number(text: str | None) -> float | None:
    try:
        number = math.nan if text is None else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _from_number(number: float, now: float) -> float:
    moment = number / 1000 if number > 1e11 else number
    return moment - now if moment > 1e9 else number


def _span_or_date(text: str, now: float) -> float | None:
    parts = _SPAN.findall(text)
    if parts and "".join(value + unit for value, unit in parts) == text:
        return sum(float(value) * _SECONDS[unit] for value, unit in parts)
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
            return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now
        except (ValueError, OverflowError):
            continue
    return None
