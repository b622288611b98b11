"""The gate: what it lets in and when, and how it does against an upstream that it knows nothing of."""

import math
import random

import pytest
from closed_loop import Loop, Memory, Rate, Slots
from hypothesis import given
from hypothesis import strategies as st

from aios.abi import errors
from aios.drivers.limits import Bucket, RateLimits
from aios.kernel.cores.gate import DONE, NEUTRAL, Gate, Outcome, outcome_of

OVERLOADED = Outcome("overloaded")
FAILED = Outcome("failed")
RATE_LIMITED = Outcome("rate_limited")

# ---- what passes


def test_as_many_run_as_there_are_slots():
    gate = Gate(2)
    for _ in range(2):
        assert gate.opens_at(0.0, 10) <= 0.0
        gate.enter(0.0, 10)
    assert gate.opens_at(0.0, 10) == math.inf
    gate.leave(1.0, 10, 10, DONE)
    assert gate.opens_at(1.0, 10) <= 1.0


def test_slots_can_change_while_calls_run():
    gate = Gate(4)
    for _ in range(4):
        gate.enter(0.0, 1)
    gate.resize(2)
    gate.leave(1.0, 1, 1, DONE)
    gate.leave(1.0, 1, 1, DONE)
    assert gate.opens_at(1.0, 1) == math.inf
    gate.resize(3)
    assert gate.opens_at(1.0, 1) <= 1.0
    assert gate.statistics(1.0).slots == 3


def test_tokens_in_flight_leave_some_room():
    gate = Gate(10, tokens_in_flight=1000)
    gate.enter(0.0, 500)
    assert gate.opens_at(0.0, 450) <= 0.0
    assert gate.opens_at(0.0, 451) == math.inf
    gate.leave(1.0, 500, None, NEUTRAL)
    assert gate.opens_at(1.0, 5000) <= 1.0, "what never fits passes alone, and is refused there if it must"


def test_rates_that_are_given_hold():
    gate = Gate(10_000, requests_per_minute=600, tokens_per_minute=6000)
    now, num_entered = 0.0, 0
    while (opens_at := gate.opens_at(now, 20)) <= 60.0:
        now = max(now, opens_at)
        gate.enter(now, 20)
        num_entered += 1
    assert num_entered * 20 <= 0.95 * 6000 + 6000
    assert num_entered * 20 > 0.9 * (0.95 * 6000 + 6000)
    for _ in range(num_entered):
        gate.leave(60.0, 20, 0, DONE)
    assert gate.opens_at(60.0, 20) <= 60.0, "what was not used comes back"


def test_what_is_refused_took_no_tokens():
    gate = Gate(10, tokens_per_minute=6000)
    gate.enter(0.0, 5700)
    assert gate.opens_at(0.0, 100) > 0.0
    gate.leave(0.1, 5700, None, OVERLOADED)
    gate.enter(1.0, 1)
    gate.leave(1.0, 1, 1, DONE)
    assert gate.opens_at(1.0, 5000) <= 1.0


def num_let_in(gate: Gate, num_tokens: int) -> int:
    """How many calls enter at the same moment."""
    found = 0
    while gate.opens_at(0.0, num_tokens) <= 0.0:
        gate.enter(0.0, num_tokens)
        found += 1
    return found


@pytest.mark.parametrize(
    ("limits", "num_calls"),
    [
        ({}, 1),
        ({"requests_per_minute": 300}, 50),
        ({"tokens_per_minute": 60_000}, 25),
        ({"tokens_in_flight": 10_000}, 23),
        ({"requests_per_minute": 300, "tokens_per_minute": 60_000, "tokens_in_flight": 10_000}, 23),
        ({"requests_per_minute": 1}, 1),
        ({"requests_per_minute": 100_000}, 256),
    ],
)
def test_it_begins_with_the_calls_that_known_limits_bear(limits, num_calls):
    assert num_let_in(Gate(0, **limits), 400) == num_calls


def test_slots_that_are_given_are_not_exceeded_for_other_limits():
    assert num_let_in(Gate(4, requests_per_minute=600), 1) == 4


def test_it_opens_as_wide_when_headers_tell_the_limits():
    gate = Gate(0)
    assert num_let_in(gate, 400) == 1
    gate.observe(0.0, RateLimits({"requests": Bucket(300, 300, 0.0)}))
    assert gate.window == 50


def test_known_limits_bring_no_refused_window_back():
    gate = Gate(0, requests_per_minute=600)
    assert num_let_in(gate, 1) == 100
    for _ in range(60):
        gate.leave(0.1, 1, None, OVERLOADED)
    gate.enter(0.2, 1)
    assert gate.window == 41


# ---- what is learned


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.Overloaded("x", retry_after=2.0), Outcome("overloaded", 2.0)),
        (errors.RateLimited("x", retry_after=3.0), Outcome("rate_limited", 3.0)),
        (errors.Exhausted("x"), Outcome("exhausted")),
        (errors.Misconfigured("x"), Outcome("misconfigured")),
        (errors.Unavailable("x", retry_after=1.0), Outcome("failed", 1.0)),
        (errors.ContextOverflow("x"), NEUTRAL),
        (errors.Cancelled("x"), NEUTRAL),
        (errors.DeadlineExceeded("x"), NEUTRAL),
    ],
)
def test_what_an_error_tells_of_a_core(error, outcome):
    assert outcome_of(error) == outcome


def test_a_rate_limit_leaves_the_window_alone():
    gate = Gate(4)
    gate.enter(0.0, 1)
    gate.leave(0.1, 1, None, Outcome("rate_limited", 7.0))
    assert gate.window == 4
    assert 7.1 <= gate.opens_at(0.1, 1) < 7.3


def test_who_entered_before_a_pause_does_not_count_again():
    gate = Gate(4)
    for _ in range(4):
        gate.enter(0.0, 1)
    for _ in range(4):
        gate.leave(0.1, 1, None, RATE_LIMITED)
    assert 0.6 <= gate.opens_at(0.1, 1) < 0.7


def test_a_silent_provider_s_rate_is_what_passed_between_two_refusals():
    gate, now = Gate(100), 0.0
    for call in range(40):
        now = call / 10
        gate.enter(now, 1)
        gate.leave(now, 1, 1, DONE)
    gate.enter(4.0, 1)
    gate.leave(4.0, 1, None, RATE_LIMITED)
    (bucket,) = gate.statistics(4.0).buckets
    assert 10 <= bucket.per_minute / 60 <= 40, "a first guess: over there it may have been full before"
    for outcome in (DONE, DONE, DONE, RATE_LIMITED):
        now = max(now, gate.opens_at(now, 1))
        gate.enter(now, 1)
        gate.leave(now, 1, None, outcome)
    (bucket,) = gate.statistics(now).buckets
    assert bucket.per_minute / 60 == pytest.approx(0.85 * 3 / (now - 4.0))


def test_health_says_what_is_wrong():
    gate = Gate(4)
    assert gate.health == "ready"
    gate.enter(0.0, 1)
    gate.leave(0.0, 1, None, OVERLOADED)
    assert gate.health == "overloaded"
    gate.enter(1.0, 1)
    gate.leave(1.0, 1, None, FAILED)
    assert gate.health == "failing"
    for _ in range(4):
        gate.enter(2.0, 1)
        gate.leave(2.0, 1, None, FAILED)
    assert gate.health == "open"
    gate.enter(3.0, 1)
    assert gate.health == "probing"
    gate.leave(3.0, 1, 1, DONE)
    assert gate.health == "ready"
    gate.enter(4.0, 1)
    gate.leave(4.0, 1, None, Outcome("exhausted"))
    assert gate.health == "exhausted"
    assert gate.opens_at(4.0, 1) == 64.0


def test_a_broken_core_is_tried_with_exactly_one_call():
    gate = Gate(64)
    for _ in range(64):
        gate.enter(0.0, 1)
    for _ in range(64):
        gate.leave(5.0, 1, None, FAILED)
    assert gate.opens_at(5.0, 1) == 6.0
    gate.enter(6.0, 1)
    assert gate.opens_at(6.0, 1) == math.inf
    assert gate.opens_at(1e9, 1) == math.inf
    gate.leave(7.0, 1, 1, DONE)
    assert gate.opens_at(7.0, 1) <= 7.0


def test_what_was_sent_since_is_not_in_what_the_headers_say():
    gate = Gate(100)
    for _ in range(10):
        gate.enter(0.0, 200)
    told = {"requests": Bucket(1000, 500, 30.0), "tokens": Bucket(100_000, 50_000, 30.0)}
    gate.observe(0.1, RateLimits(told))
    requests, tokens = gate.statistics(0.1).buckets
    assert requests.per_minute == pytest.approx(1000)
    assert requests.remaining == pytest.approx(500 - 9 - 0.05 * 1000)
    assert tokens.remaining == pytest.approx(50_000 - 9 * 200 - 0.05 * 100_000)


def test_statistics_show_how_it_stands():
    gate = Gate(0, tokens_in_flight=1000, requests_per_minute=60)
    gate.enter(0.0, 30)
    status = gate.statistics(0.0)
    assert (status.running, status.window, status.slots, status.tokens) == (1, 10, 0, 30)
    assert (status.tokens_in_flight, status.health, status.opens_at) == (1000, "ready", -55.0)
    (bucket,) = status.buckets
    assert (bucket.name, bucket.per_minute, bucket.remaining, bucket.limit) == ("requests", 60.0, 56.0, 57.0)


OUTCOMES = [
    *(DONE, DONE, DONE, NEUTRAL, OVERLOADED, FAILED, RATE_LIMITED),
    *(Outcome("overloaded", 2.0), Outcome("exhausted"), Outcome("misconfigured")),
]
EVENTS = st.tuples(
    st.sampled_from(["enter", "enter", "leave", "headers"]),
    st.floats(0.0, 5.0),
    st.integers(0, 2000),
    st.sampled_from(OUTCOMES),
)


@given(
    events=st.lists(EVENTS, max_size=100),
    slots=st.sampled_from([0, 1, 5]),
    tokens=st.sampled_from([0, 3000]),
    rate=st.sampled_from([0, 600]),
)
def test_it_holds_under_any_events(events, slots, tokens, rate):
    gate = Gate(slots, tokens_in_flight=tokens, requests_per_minute=rate)
    now, running = 0.0, []
    for kind, wait_s, amount, outcome in events:
        now += wait_s
        if kind == "enter":
            opens_at = gate.opens_at(now, amount)
            if now < opens_at < math.inf:
                now = opens_at
            if gate.opens_at(now, amount) <= now:
                gate.enter(now, amount)
                running.append(amount)
                assert len(running) <= gate.window
                assert len(running) <= (slots or math.inf)
                assert not tokens or len(running) == 1 or sum(running) <= 0.95 * tokens
            else:
                assert opens_at == math.inf, "it opened at the time it had named"
        elif kind == "leave" and running:
            gate.leave(now, running.pop(0), amount if outcome is DONE else None, outcome)
        elif kind == "headers" and running:
            said = Bucket(600, amount % 600, 10.0)
            gate.observe(now, RateLimits({"requests": said}))
        assert gate.num_running == len(running)
        assert gate.num_tokens == sum(running)
        gate.check()
    while running:
        gate.leave(now, running.pop(), None, NEUTRAL)
    assert (gate.num_running, gate.num_tokens) == (0, 0)
    assert gate.opens_at(now, 100) < math.inf, "empty, it opens by itself"


# ---- in a closed loop: after 30 s, and 30 s after each change, all of the capacity and hardly a refusal

BREAKS = {"overloaded": OVERLOADED, "failed": FAILED}


def against_slots(gate: Gate, *stages: tuple[float, int], outage: str = "overloaded", until: float) -> Loop:
    loop = Loop(gate, Slots(*stages, outage=BREAKS[outage]), seed=len(stages))
    for at, slots in stages:
        if not slots:
            loop.at(at, lambda: loop.break_all(BREAKS[outage]))
    return loop.run(until)


def holds_slots(loop: Loop, slots: int, begin: float, end: float) -> None:
    assert loop.used(slots, begin, end) >= 0.95
    assert loop.rejections(begin, end) <= 0.01


@pytest.mark.parametrize("slots", [3, 40])
def test_told_nothing_it_finds_the_slots(slots):
    loop = against_slots(Gate(0), (0.0, slots), until=120.0)
    holds_slots(loop, slots, 30.0, 120.0)


@pytest.mark.parametrize("told", [0, 40])
def test_it_settles_when_the_slots_are_halved(told):
    loop = against_slots(Gate(told), (0.0, 40), (40.0, 20), until=110.0)
    holds_slots(loop, 20, 70.0, 110.0)


def test_it_settles_when_the_slots_are_doubled():
    loop = against_slots(Gate(0), (0.0, 20), (40.0, 40), until=110.0)
    holds_slots(loop, 40, 70.0, 110.0)


@pytest.mark.parametrize("outage", ["overloaded", "failed"])
@pytest.mark.parametrize("told", [0, 40])
def test_it_settles_after_an_outage(told, outage):
    loop = against_slots(Gate(told), (0.0, 40), (40.0, 0), (70.0, 40), outage=outage, until=140.0)
    holds_slots(loop, 40, 100.0, 140.0)
    assert sum(40.0 <= at < 70.0 for at in loop.refused_at) <= 60, "it hardly knocks while nobody is there"


@pytest.mark.parametrize("service_s", [0.7, 6.0])
def test_long_calls_are_no_hindrance(service_s):
    loop = Loop(Gate(0), Slots((0.0, 40), outage=OVERLOADED), service=lambda draw: service_s)
    loop.run(150.0)
    holds_slots(loop, 40, 30.0, 150.0)


def draw_tokens(draw: random.Random) -> int:
    return int(20 + 200 * draw.lognormvariate(-0.3, 0.8))


LIMITS = {"requests": (600, 0), "tokens": (0, 120_000)}


def against_rate(gate: Gate, limit: str, tells: bool, *shares: tuple[float, float]) -> Loop:
    rpm, tpm = LIMITS[limit]
    stages = [(at, int(share * rpm), int(share * tpm)) for at, share in shares]
    loop = Loop(
        gate,
        Rate(*stages, tells=tells),
        seed=1,
        tokens=draw_tokens,
        reserve=1.5,
    )
    for at, share in shares:
        if not share:
            loop.at(at, lambda: loop.break_all(FAILED))
    return loop.run(shares[-1][0] + 130.0)


def holds_rate(loop: Loop, limit: str, share: float, begin: float) -> None:
    calls, tokens = loop.per_second(begin, begin + 100.0)
    rpm, tpm = LIMITS[limit]
    assert calls >= 0.95 * share * rpm / 60
    assert tokens >= 0.95 * share * tpm / 60
    assert loop.rejections(begin, begin + 100.0) <= 0.01


@pytest.mark.parametrize("tells", [True, False], ids=["headers", "silent"])
@pytest.mark.parametrize("limit", ["requests", "tokens"])
class TestRateLimits:
    def test_told_nothing_it_finds_the_rate(self, limit, tells):
        loop = against_rate(Gate(0), limit, tells, (0.0, 1.0))
        holds_rate(loop, limit, 1.0, 30.0)

    def test_told_all_it_is_never_refused(self, limit, tells):
        rpm, tpm = LIMITS[limit]
        gate = Gate(0, requests_per_minute=rpm, tokens_per_minute=tpm)
        loop = against_rate(gate, limit, tells, (0.0, 1.0))
        holds_rate(loop, limit, 1.0, 30.0)
        assert not loop.refused_at

    @pytest.mark.parametrize("share", [0.5, 2.0])
    def test_it_settles_when_the_rate_changes(self, limit, tells, share):
        loop = against_rate(Gate(0), limit, tells, (0.0, 1.0), (60.0, share))
        holds_rate(loop, limit, share, 90.0)

    def test_it_settles_after_an_outage(self, limit, tells):
        loop = against_rate(Gate(0), limit, tells, (0.0, 1.0), (60.0, 0.0), (90.0, 1.0))
        holds_rate(loop, limit, 1.0, 120.0)


def test_a_limit_of_slots_behind_a_known_rate_is_found_at_once():
    gate = Gate(0, requests_per_minute=6000)
    loop = against_slots(gate, (0.0, 40), until=60.0)
    assert sum(at < 1.0 for at in loop.refused_at) <= 256
    holds_slots(loop, 40, 1.0, 60.0)


def in_memory(gate: Gate) -> Loop:
    return Loop(gate, Memory(20_000), tokens=draw_tokens).run(120.0)


def test_memory_that_is_known_never_overflows():
    loop = in_memory(Gate(0, tokens_in_flight=20_000))
    assert not loop.refused_at
    assert loop.per_second(30.0, 120.0)[1] >= 0.85 * 20_000


def test_memory_that_is_not_known_overflows_rarely():
    loop = in_memory(Gate(0))
    assert loop.rejections(30.0, 120.0) <= 0.01
