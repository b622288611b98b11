"""When to come back, in each of the ways that providers say it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.abi.errors import (
    AiosError,
    ContextOverflow,
    Exhausted,
    InvalidArgument,
    Misconfigured,
    Overloaded,
    RateLimited,
    Unavailable,
)
from aios.drivers.refusals import MAX_RETRY_AFTER, failure, refusal, retry_after

NOW = 1_700_000_000.0
"""Tue, 14 Nov 2023 22:13:20 GMT."""


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "1e9"}, MAX_RETRY_AFTER),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 -0000"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:00:00 GMT"}, 0.0),
        ({"retry-after": "5", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "soon", "x-ratelimit-reset-requests": "20ms"}, 0.02),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-reset-tokens": "1.5s"}, 1.5),
        (
            {
                "x-ratelimit-reset-requests": "1h2m3s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "1s",
                "x-ratelimit-remaining-tokens": "17",
            },
            3600.0,
        ),
        ({"x-ratelimit-reset": "12"}, 12.0),
        ({"x-ratelimit-reset": "1700000009"}, 9.0),
        ({"x-ratelimit-reset": "1700000009000"}, 9.0),
        ({"x-ratelimit-reset": "in a while"}, None),
        ({"x-ratelimit-reset": "5s or so"}, None),
    ],
)
def test_every_way_to_say_later(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


@given(
    status=st.integers(100, 999),
    body=st.binary(max_size=200)
    | st.from_regex(r'\{"(error|message)": ?(\[1\]|"x"|\{"code": ?[0-9]+\})\}').map(str.encode),
    header=st.text(max_size=40),
)
def test_whatever_comes_is_one_error_of_the_tree(status: int, body: bytes, header: str) -> None:
    headers = {"retry-after": header, "x-ratelimit-reset": header, "retry-after-ms": header}
    error = refusal(status, headers, body, NOW)
    assert isinstance(error, AiosError)
    assert error.retry_after is None or 0 <= error.retry_after <= MAX_RETRY_AFTER


EMPTY = {"x-ratelimit-limit-tokens": "9", "x-ratelimit-remaining-tokens": "0"}
HALF = {"x-ratelimit-limit-tokens": "9", "x-ratelimit-remaining-tokens": "5"}


@pytest.mark.parametrize(
    ("headers", "body", "kind"),
    [
        ({}, b"", Overloaded),
        ({"retry-after": "3"}, b"", Overloaded),
        (EMPTY, b"", RateLimited),
        (HALF, b"", RateLimited),
        (HALF, b"too many concurrent requests", Overloaded),
        (EMPTY, b"too many concurrent requests", RateLimited),
        ({}, b"Rate limit reached for requests", RateLimited),
        ({}, b"slow down: 60 requests per minute", RateLimited),
        ({}, b'{"error": {"code": "rate_limit_exceeded"}}', RateLimited),
        ({}, b'{"error": {"type": "rate_limit_error", "message": "8 requests in flight"}}', Overloaded),
        ({}, b'{"error": {"type": "tokens", "message": "try again"}}', RateLimited),
        ({}, b'{"message": "the queue is full"}', Overloaded),
        (EMPTY, b'{"error": {"type": "insufficient_quota"}}', Exhausted),
        ({}, b'{"error": {"code": "billing_hard_limit_reached"}}', Exhausted),
        ({}, b'{"error": "insufficient balance"}', Exhausted),
    ],
)
def test_a_429_means_a_rate_or_too_many_at_once_or_no_money(headers: dict, body: bytes, kind: type) -> None:
    assert type(refusal(429, headers, body, NOW)) is kind


def test_no_money_is_told_by_its_own_status_too() -> None:
    assert type(refusal(402, {}, b"", NOW)) is Exhausted
    assert type(refusal(402, {"retry-after": "3"}, b"in-flight budget", NOW)) is Overloaded
    assert type(refusal(403, {}, b"out of credits", NOW)) is Exhausted
    assert type(refusal(403, {}, b"no", NOW)) is Misconfigured


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", Misconfigured),
        (400, b'{"error": {"message": "API key not valid."}}', Misconfigured),
        (307, b"", Misconfigured),
        (404, b'{"error": {"code": "model_not_found"}}', Misconfigured),
        (404, b'{"error": {"message": "model \'x\' not found, try pulling it first"}}', Misconfigured),
        (404, b'{"error": {"message": "models/x is not found for API version v1beta"}}', Misconfigured),
        (404, b'{"error": {"type": "not_found_error", "message": "model: x"}}', Misconfigured),
        (404, b'{"error": {"message": "no endpoint takes images"}}', InvalidArgument),
        (400, b'{"error": {"message": "the file was not found"}}', InvalidArgument),
        (403, b'{"error": {"message": "your input was flagged", "code": 403}}', InvalidArgument),
    ],
)
def test_what_only_the_operator_can_mend_is_told_from_what_the_caller_can(
    status: int, body: bytes, kind: type
) -> None:
    assert type(refusal(status, {}, body, NOW)) is kind


def test_the_wait_of_the_headers_goes_before_that_of_the_body() -> None:
    assert retry_after({}, NOW, "26s") == 26
    assert retry_after({"retry-after": "2"}, NOW, "26s") == 2
    assert retry_after({"x-ratelimit-reset": "9"}, NOW, "26s") == 26


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (b'{"error": {"type": "overloaded_error"}}', Overloaded),
        (b'{"error": {"code": 503}}', Overloaded),
        (b'{"error": {"status": "RESOURCE_EXHAUSTED", "message": "quota exceeded"}}', RateLimited),
        (b'{"error": {"code": "insufficient_quota"}}', Exhausted),
        (b'{"error": {"code": "context_length_exceeded"}}', ContextOverflow),
        (b'{"x_groq": {"error": "over_capacity"}}', Overloaded),
        (b'{"error": "the GPU is on fire"}', Unavailable),
        (b"{}", Unavailable),
    ],
)
def test_an_event_that_tells_a_failure_is_typed(event: bytes, kind: type) -> None:
    assert type(failure(event, NOW)) is kind
