"""The rate bucket by itself: what it lets through, what it is told, what it finds out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.drivers.limits import Bucket
from aios.kernel.cores.bucket import RateBucket, RateFinder


@given(
    per_minute=st.integers(1, 100_000),
    calls=st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.1, 500.0)), min_size=1, max_size=60),
)
def test_never_more_passes_than_flows_in(per_minute, calls):
    bucket = RateBucket(per_minute)
    burst, rate = bucket.burst, bucket.rate
    now, passed = 0.0, []
    for wait_s, cost in calls:
        now += wait_s
        cost = min(cost, burst)
        opens_at = bucket.opens_at(cost)
        if opens_at <= now:
            bucket.take(now, cost)
            passed.append((now, cost))
        else:
            assert bucket.remaining(now) < cost * (1 + 1e-6), "it is shut for want of content only"
            just_before = opens_at - 1e-6
            assert bucket.remaining(just_before) < cost + 1e-6
            assert bucket.remaining(opens_at) == pytest.approx(cost, rel=1e-6, abs=1e-6)
        bucket.check()
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            cost = sum(cost for _, cost in passed[first : last + 1])
            assert cost <= burst + rate * (passed[last][0] - passed[first][0]) + 1e-6 * (1 + cost)


def test_what_is_not_known_lets_all_through():
    bucket = RateBucket()
    for _ in range(1000):
        assert bucket.opens_at(10**6) == -math.inf
        bucket.take(0.0, 10**6)


def test_it_opens_when_it_said_it_would():
    bucket = RateBucket(60)
    while bucket.opens_at(1) <= 0.0:
        bucket.take(0.0, 1)
    assert 0.0 < bucket.opens_at(1) <= 1.0
    assert bucket.opens_at(2) == pytest.approx(bucket.opens_at(1) + 1.0)
    now = bucket.opens_at(1)
    bucket.take(now, 1)
    assert bucket.opens_at(1) == pytest.approx(now + 1.0)


def test_what_is_more_than_it_holds_waits_for_a_full_one():
    bucket = RateBucket(600)
    assert bucket.opens_at(10_000) <= 0.0
    bucket.take(0.0, 10_000)
    assert bucket.opens_at(1) == pytest.approx((10_000 - bucket.burst + 1) / bucket.rate)


def test_what_was_not_used_comes_back():
    bucket = RateBucket(600)
    before = bucket.remaining(0.0)
    bucket.take(0.0, 100)
    bucket.give_back(60)
    assert bucket.remaining(0.0) == pytest.approx(before - 40)
    bucket.give_back(-10)
    assert bucket.remaining(0.0) == pytest.approx(before - 50)
    bucket.give_back(1000)
    assert bucket.remaining(0.0) == before, "never more than it holds"


def test_it_is_set_by_what_the_provider_says():
    bucket = RateBucket()
    bucket.observe(0.0, Bucket(600, 300, 30.0), 40)
    assert bucket.rate == 10.0
    assert bucket.remaining(0.0) == 300 - 40 - 0.05 * 600
    assert bucket.remaining(1e6) == 0.95 * 600
    bucket.observe(1.0, Bucket(1200, 600, 30.0), 0)
    assert bucket.rate == 20.0
    assert bucket.remaining(1.0) == 600 - 0.05 * 1200


def test_what_a_provider_told_holds_already_what_it_charged():
    bucket = RateBucket()
    bucket.observe(0.0, Bucket(600, 300, 30.0), 0)
    bucket.take(0.0, 50)
    bucket.give_back(40)
    assert bucket.remaining(0.0) == 300 - 30 - 50


def test_where_no_reset_is_told_the_limit_is_of_a_minute():
    bucket = RateBucket()
    bucket.observe(0.0, Bucket(600, 300, None), 0)
    assert bucket.rate == 10.0


def test_a_reset_that_is_near_says_little_of_the_rate():
    bucket = RateBucket()
    bucket.observe(0.0, Bucket(600, 0, 60.0), 0)
    bucket.observe(1.0, Bucket(600, 580, 1.0), 0)
    assert bucket.rate == pytest.approx(11.0)


def test_after_a_refusal_what_is_said_more_is_not_believed_for_a_while():
    bucket = RateBucket()
    bucket.observe(0.0, Bucket(600, 0, 60.0), 0)
    bucket.refused(0.0, 0.1)
    level = bucket.remaining(0.5)
    bucket.observe(0.5, Bucket(600, 500, 10.0), 0)
    assert bucket.remaining(0.5) == pytest.approx(level)
    bucket.observe(2.0, Bucket(600, 500, 10.0), 0)
    assert bucket.remaining(2.0) == 470


def test_a_rate_that_was_given_is_never_exceeded():
    bucket = RateBucket(600)
    for now in range(5):
        bucket.take(float(now), 1)
    bucket.refused(5.0, 5.5)
    for call in range(2000):
        bucket.take(6.0 + call, 1)
        assert bucket.rate <= 10.0


def drive(bucket: RateBucket, rate: float, burst: float, until: float) -> tuple[int, int]:
    """Calls sent as early as it opens, to a bucket over there; how many were let in and refused."""
    now, level, at, let_in, refused = 0.0, burst, 0.0, 0, 0
    while now < until:
        level, at = min(burst, level + rate * (now - at)), now
        bucket.take(now, 1)
        if level >= 1:
            level -= 1
            let_in += 1
            now = max(now + 0.01, bucket.opens_at(1))
        else:
            bucket.give_back(1)
            bucket.refused(now, now + 0.5)
            refused += 1
            now = max(now + 0.5, bucket.opens_at(1))
    return let_in, refused


@pytest.mark.parametrize(("rate", "burst"), [(10.0, 600.0), (10.0, 20.0), (2.0, 120.0), (50.0, 50.0)])
def test_a_silent_provider_s_rate_is_found_out(rate, burst):
    let_in, refused = drive(RateBucket(), rate, burst, 300.0)
    assert let_in >= 0.95 * (rate * 300 + burst)
    assert refused <= 6 + 0.01 * let_in


def test_standing_idle_does_not_look_like_a_low_rate():
    bucket = RateBucket()
    drive(bucket, 10.0, 20.0, 300.0)
    bucket.give_back(0)
    rate, now = bucket.rate, 3000.0
    for _ in range(40):
        now = max(now, bucket.opens_at(1))
        bucket.take(now, 1)
    bucket.refused(now, now + 0.5)
    assert bucket.rate > 0.7 * rate


def test_a_rate_that_fell_is_believed_at_once():
    bucket = RateBucket()
    drive(bucket, 10.0, 20.0, 300.0)
    bucket.refused(300.0, 300.5)
    for call in range(8):
        bucket.take(301.0 + call / 4, 1)
    bucket.refused(302.75, 303.25)
    assert bucket.rate < 3.5


@pytest.mark.parametrize(
    ("num_calls", "seconds", "flat"), [(3, 1.0, 10), (20, 2.0, 40), (200, 20.0, 80), (1000, 10.0, 500)]
)
def test_what_was_found_from_few_calls_is_soon_tried_anew(num_calls, seconds, flat):
    finder = RateFinder()
    for call in range(num_calls):
        finder.took(seconds * call / num_calls, 1, 0.0)
    finder.refused(seconds)
    for _ in range(flat - 1):
        finder.took(seconds, 1, 0.0)
    assert finder.rate_by_now() < finder.rate
    finder.took(seconds, 1, 0.0)
    assert finder.rate_by_now() == finder.rate
    finder.took(seconds, 1, 0.0)
    assert finder.rate_by_now() > finder.rate
