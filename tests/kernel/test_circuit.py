"""The circuit by itself."""

import math

from aios.kernel.cores.circuit import MOST_FAILURES, Circuit


def opened(now: float = 0.0) -> Circuit:
    circuit = Circuit()
    for _ in range(MOST_FAILURES):
        circuit.failed(now, None)
    return circuit


def test_it_opens_after_five_failures_in_a_row():
    circuit = Circuit()
    for _ in range(2):
        for _ in range(MOST_FAILURES - 1):
            circuit.failed(0.0, None)
        assert circuit.state == "closed"
        circuit.succeeded()
    for _ in range(MOST_FAILURES):
        circuit.failed(0.0, None)
    assert circuit.state == "open"
    assert circuit.opens_at == 1.0


def test_those_who_ran_when_it_opened_do_not_count_again():
    circuit = opened()
    for _ in range(60):
        circuit.failed(0.5, None)
    assert circuit.opens_at == 1.0


def test_one_probes_after_a_while_that_doubles():
    circuit, rests, now = opened(), [], 0.0
    for _ in range(7):
        rests.append(circuit.opens_at - now)
        now = circuit.opens_at
        circuit.entered()
        assert circuit.state == "probing"
        assert circuit.opens_at == math.inf, "nobody beside the probe"
        circuit.failed(now, None)
    assert rests == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    circuit.entered()
    circuit.succeeded()
    assert circuit.state == "closed"
    assert circuit.opens_at == -math.inf


def test_a_success_of_an_older_call_closes_it_too():
    circuit = opened()
    circuit.succeeded()
    assert circuit.state == "closed"


def test_it_rests_for_as_long_as_was_asked():
    circuit = Circuit()
    for _ in range(MOST_FAILURES):
        circuit.failed(0.0, 20.0)
    assert circuit.opens_at == 20.0


def test_a_probe_that_shows_nothing_is_followed_by_another():
    circuit = opened()
    circuit.entered()
    circuit.left(3.0)
    assert circuit.opens_at == 3.0
    circuit.entered()
    assert circuit.state == "probing"


def test_an_exhausted_account_rests_a_minute_and_more():
    circuit = Circuit()
    circuit.exhausted(0.0, None)
    circuit.exhausted(1.0, None)
    assert circuit.stopped_for == "exhausted"
    assert circuit.opens_at == 60.0
    circuit.entered()
    circuit.exhausted(60.0, None)
    assert circuit.opens_at == 180.0
    circuit.entered()
    circuit.succeeded()
    assert circuit.stopped_for is None
    assert circuit.state == "closed"


def test_what_is_refused_from_the_begin_is_not_asked_again_for_a_minute():
    circuit = Circuit()
    circuit.misconfigured(0.0)
    assert (circuit.stopped_for, circuit.state, circuit.opens_at) == ("misconfigured", "open", 60.0)
    circuit.entered()
    circuit.misconfigured(60.0)
    assert circuit.opens_at == 180.0


def test_one_call_that_is_refused_does_not_stop_a_core_that_answers_others():
    circuit = Circuit()
    circuit.succeeded()
    for _ in range(MOST_FAILURES - 1):
        circuit.misconfigured(0.0)
    circuit.succeeded()
    for _ in range(MOST_FAILURES - 1):
        circuit.misconfigured(0.0)
    assert circuit.state == "closed"
    circuit.misconfigured(0.0)
    assert circuit.stopped_for == "misconfigured"
