"""What providers say of their rate limits, in each of the ways that they say it."""

import pytest
from aiohttp import hdrs
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from aios.drivers.limits import (
    Bucket,
    RateLimits,
    ignore_limits,
    is_any_told,
    rate_limits,
    reset_after,
    seconds_until,
)

NOW = 1_700_000_000.0
"""Tue, 14 Nov 2023 22:13:20 GMT."""


def three(form: str, limit: str, remaining: str, reset: str) -> dict[str, str]:
    """The headers of one bucket; `form` has a place for what each of them tells."""
    return {form.format("limit"): limit, form.format("remaining"): remaining, form.format("reset"): reset}


OPENAI = three("x-ratelimit-{}-requests", "60", "59", "1s") | three(
    "x-ratelimit-{}-tokens", "150000", "149984", "6m0s"
)
GROQ = three("x-ratelimit-{}-requests", "14400", "14370", "2m59.56s") | three(
    "x-ratelimit-{}-tokens", "18000", "17997", "7.66s"
)
ANTHROPIC = {
    name: value
    for kind, limit, remaining in [
        ("requests", "50", "49"),
        ("tokens", "48000", "40000"),
        ("input-tokens", "40000", "32000"),
        ("output-tokens", "8000", "8000"),
    ]
    for name, value in three(
        f"anthropic-ratelimit-{kind}-{{}}", limit, remaining, "2023-11-14T22:14:20Z"
    ).items()
}
FIREWORKS = three("x-ratelimit-{}-tokens-prompt", "60000", "59000", "1s") | three(
    "x-ratelimit-{}-tokens-generated", "600", "0", "30s"
)


@pytest.mark.parametrize(
    ("headers", "buckets"),
    [
        (OPENAI, {"requests": Bucket(60, 59, 1), "tokens": Bucket(150_000, 149_984, 360)}),
        (GROQ, {"requests": Bucket(14_400, 14_370, 179.56), "tokens": Bucket(18_000, 17_997, 7.66)}),
        (
            ANTHROPIC,
            {
                "requests": Bucket(50, 49, 60),
                "tokens": Bucket(48_000, 40_000, 60),
                "input_tokens": Bucket(40_000, 32_000, 60),
                "output_tokens": Bucket(8_000, 8_000, 60),
            },
        ),
        (FIREWORKS, {"input_tokens": Bucket(60_000, 59_000, 1), "output_tokens": Bucket(600, 0, 30)}),
        (three("x-ratelimit-{}", "20", "0", "1700000009000"), {"requests": Bucket(20, 0, 9)}),
        (three("ratelimit-{}", "100", "50", "30"), {"requests": Bucket(100, 50, 30)}),
        ({"ratelimit-limit": "100", "ratelimit-remaining": "50"}, {"requests": Bucket(100, 50, None)}),
        (three("ratelimit-{}", "100", "-3", "-5"), {"requests": Bucket(100, 0, 0)}),
        (three("ratelimit-{}", "100", "200", "soon"), {"requests": Bucket(100, 100, None)}),
    ],
)
def test_every_family_of_headers(headers: dict[str, str], buckets: dict[str, Bucket]) -> None:
    assert rate_limits(headers, NOW) == RateLimits(buckets)
    assert is_any_told(headers)


def test_the_more_exact_family_goes_first() -> None:
    headers = three("ratelimit-{}", "1", "1", "1") | OPENAI
    limits = rate_limits(headers, NOW)
    assert limits is not None
    assert limits.buckets["requests"].limit == 60


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-limit-requests": "60"},
        {"x-ratelimit-remaining-requests": "60"},
        {"x-ratelimit-reset-requests": "6s"},
        three("x-ratelimit-{}-requests", "0", "0", "1s"),
        three("x-ratelimit-{}-requests", "-1", "-1", "1s"),
        three("x-ratelimit-{}-requests", "many", "some", "1s"),
        three("x-ratelimit-{}-requests", "nan", "inf", "1s"),
        {"retry-after": "3"},
    ],
)
def test_what_tells_no_whole_bucket_tells_none(headers: dict[str, str]) -> None:
    assert rate_limits(headers, NOW) is None
    ignore_limits(RateLimits({}))


def test_case_is_ignored_where_the_headers_ignore_it() -> None:
    headers = CIMultiDict({name.title(): value for name, value in OPENAI.items()})
    assert rate_limits(headers, NOW) == rate_limits(OPENAI, NOW)
    assert hdrs.RETRY_AFTER not in headers


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("20ms", 0.02),
        ("1d2h", 93_600.0),
        ("1h2m3.5s", 3723.5),
        ("500us", 0.0005),
        ("7.66s", 7.66),
        ("12", 12.0),
        ("1700000009", 9.0),
        ("1700000009000", 9.0),
        ("1600000000", 0.0),
        ("2023-11-14T22:13:30Z", 10.0),
        ("2023-11-14T23:13:30.5+01:00", 10.5),
        ("2023-11-14T22:13:30", 10.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("5s or so", None),
        ("nan", None),
        ("1e400", None),
    ],
)
def test_every_way_to_write_a_time(text: str | None, seconds: float | None) -> None:
    assert seconds_until(text, NOW) == (None if seconds is None else pytest.approx(seconds))


def test_an_empty_bucket_is_waited_for_and_else_the_soonest() -> None:
    assert reset_after(OPENAI, NOW) == 1
    assert reset_after(OPENAI | {"x-ratelimit-remaining-tokens": "0"}, NOW) == 360
    assert reset_after({"x-ratelimit-reset": "12"}, NOW) == 12
    assert reset_after({}, NOW) is None


@given(headers=st.dictionaries(st.sampled_from(sorted(OPENAI | ANTHROPIC)), st.text(max_size=30)))
def test_whatever_comes_is_a_bucket_or_none(headers: dict[str, str]) -> None:
    limits = rate_limits(headers, NOW)
    for bucket in limits.buckets.values() if limits is not None else ():
        assert bucket.limit > 0
        assert 0 <= bucket.remaining <= bucket.limit
        assert bucket.reset_s is None or bucket.reset_s >= 0
