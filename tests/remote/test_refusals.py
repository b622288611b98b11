"""When to come back, in each of the ways that providers say it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.abi.errors import AiosError
from aios.drivers.refusals import MAX_RETRY_AFTER, refusal, retry_after

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
