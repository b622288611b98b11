"""The window by itself: how it grows, falls, stays, probes and pauses."""

import math

from hypothesis import given
from hypothesis import strategies as st

from aios.kernel.cores.window import Window


class Endpoint:
    """Bears `slots` calls and refuses more after 10 ms; `fill` sends as many as the window lets in."""

    def __init__(self, window: Window, slots: int) -> None:
        self.window, self.slots = window, slots
        self.now = 0.0
        self.running = 0
        self.num_refused = 0

    def fill(self) -> None:
        while self.window.opens_at(self.running) <= self.now:
            self.running += 1
            self.window.entered(self.now, self.running)
        self.now += 0.01
        while self.running > self.slots:
            self.window.refused(self.now, self.running, None)
            self.running -= 1
            self.num_refused += 1

    def answer(self, num_calls: int = 1) -> None:
        for _ in range(num_calls):
            self.window.succeeded(self.running)
            self.running -= 1

    def turn(self, wait_s: float = 1.0) -> None:
        """One call is answered, time passes, and others come."""
        self.fill()
        self.answer()
        self.now += wait_s
        self.fill()

    def settle(self) -> None:
        for _ in range(40):
            self.turn()


def test_what_is_given_is_where_it_begins_and_ends():
    endpoint = Endpoint(Window(8), 100)
    endpoint.settle()
    assert endpoint.running == endpoint.window.size == 8


def test_it_doubles_until_the_first_refusal_and_falls_to_what_was_borne():
    endpoint = Endpoint(Window(0), 23)
    sizes = []
    for _ in range(7):
        endpoint.turn()
        sizes.append(endpoint.window.size)
    assert sizes == [2, 4, 8, 16, 23, 23, 23]
    assert endpoint.window.size == 23
    assert endpoint.num_refused == 32 - 23


def test_nothing_grows_before_a_success_nor_before_calls_are_let_in():
    window = Window(0)
    window.entered(0.0, 1)
    assert window.opens_at(1) == math.inf, "not even one was answered"
    window.succeeded(1)
    window.entered(1.0, 1)
    assert 0.0 < window.opens_at(1) < math.inf, "a call that is not refused for a while was let in"


def test_time_alone_takes_it_no_further_than_eight_times_what_was_answered():
    window = Window(0)
    window.entered(0.0, 1)
    window.succeeded(1)
    now, running = 1.0, 0
    while (opens_at := window.opens_at(running)) < math.inf:
        now = max(now, opens_at)
        running += 1
        window.entered(now, running)
    assert running == 8


def test_on_trust_it_begins_with_what_should_be_borne():
    endpoint = Endpoint(Window(0), 100)
    endpoint.window.trust(30)
    endpoint.fill()
    assert endpoint.running == 30
    endpoint.window.trust(20)
    assert endpoint.window.size == 30, "it is taken back by refusals only"
    endpoint.turn()
    assert endpoint.window.size == 60


def test_trust_that_was_mistaken_costs_one_flight_of_refusals():
    endpoint = Endpoint(Window(0), 23)
    endpoint.window.trust(60)
    endpoint.fill()
    assert endpoint.num_refused == 60 - 23
    for _ in range(20):
        endpoint.turn()
        endpoint.window.trust(60)
    assert endpoint.window.size == 23
    assert endpoint.num_refused == 60 - 23


def test_trust_goes_no_further_than_what_is_given_nor_than_a_flight_of_256():
    given, unknown = Window(8), Window(0)
    given.trust(60)
    unknown.trust(4000)
    assert (given.size, unknown.size) == (8, 256)


def test_it_stays_under_the_edge_and_probes_rarely():
    endpoint = Endpoint(Window(0), 10)
    endpoint.settle()
    endpoint.num_refused = 0
    for _ in range(1280):
        endpoint.turn(0.1)
    assert endpoint.window.size == 10
    assert 5 <= endpoint.num_refused <= 10


def test_a_probe_that_goes_well_takes_ever_larger_steps():
    endpoint = Endpoint(Window(0), 10)
    endpoint.settle()
    endpoint.slots = 40
    for _ in range(140):
        endpoint.turn(0.6)
        if endpoint.window.size > 10:
            break
    sizes = []
    for _ in range(5):
        endpoint.turn(0.6)
        sizes.append(endpoint.window.size)
    assert sizes == [13, 17, 25, 40, 40]


def test_it_finds_less_by_ever_deeper_cuts_and_halving_what_is_between():
    endpoint = Endpoint(Window(0), 64)
    endpoint.settle()
    endpoint.slots = 32
    endpoint.num_refused = 0
    # Who runs is let finish; only new calls are turned away.
    for _ in range(60):
        endpoint.now += 0.05
        endpoint.answer()
        if endpoint.window.opens_at(endpoint.running) <= endpoint.now:
            endpoint.running += 1
            endpoint.window.entered(endpoint.now, endpoint.running)
            if endpoint.running > 32:
                endpoint.window.refused(endpoint.now, endpoint.running, None)
                endpoint.running -= 1
                endpoint.num_refused += 1
    assert endpoint.num_refused <= 8
    endpoint.settle()
    assert endpoint.window.size == 32


def test_one_refusal_by_chance_is_soon_made_good_and_a_second_one_believed():
    endpoint = Endpoint(Window(0), 20)
    endpoint.settle()
    for expected in (20, 17):
        endpoint.now += 10.0
        endpoint.answer(3)
        endpoint.window.entered(endpoint.now, 18)
        endpoint.now += 10.0
        endpoint.window.refused(endpoint.now, 18, None)
        endpoint.running = 17
        for _ in range(6):
            endpoint.turn()
        assert endpoint.window.size == expected


def test_refused_alone_it_pauses_ever_longer_and_comes_back_quickly():
    endpoint = Endpoint(Window(0), 20)
    endpoint.settle()
    endpoint.slots = 0
    pauses = []
    for _ in range(9):
        endpoint.fill()
        while endpoint.running:
            endpoint.window.refused(endpoint.now, endpoint.running, None)
            endpoint.running -= 1
        assert endpoint.window.is_paused
        pauses.append(round(endpoint.window.opens_at(0) - endpoint.now, 3))
        endpoint.now = endpoint.window.opens_at(0)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    endpoint.slots = 20
    endpoint.fill()
    assert endpoint.running == 1
    endpoint.turn()
    assert not endpoint.window.is_paused
    endpoint.turn()
    assert endpoint.window.size > 10, "one success brings half of it back"


def test_a_pause_is_as_long_as_was_asked():
    window = Window(4)
    window.entered(0.0, 1)
    window.refused(1.0, 1, 7.0)
    assert window.opens_at(0) == 8.0


def test_after_a_pause_nothing_grows_before_a_success():
    endpoint = Endpoint(Window(0), 20)
    endpoint.settle()
    while endpoint.running:
        endpoint.window.refused(endpoint.now, endpoint.running, None)
        endpoint.running -= 1
    endpoint.window.entered(endpoint.now + 1.0, 1)
    assert endpoint.window.opens_at(1) == math.inf


def test_with_others_in_flight_a_refusal_stops_nobody():
    window = Window(8)
    for running in range(1, 9):
        window.entered(0.0, running)
    window.succeeded(8)
    window.refused(10.0, 7, None)
    window.succeeded(6)
    window.entered(20.0, 6)
    window.refused(30.0, 6, 7.0)
    assert window.size == 5
    assert window.opens_at(4) <= 30.0
    window.succeeded(5)
    window.entered(30.0, 5)
    assert window.opens_at(5) == 37.0, "but it takes no step up before it may"


def test_a_window_that_fell_low_is_tried_sooner():
    endpoint = Endpoint(Window(0), 40)
    endpoint.settle()
    window = endpoint.window
    while endpoint.running > 4:
        if window.opens_at(endpoint.running - 1) <= endpoint.now:
            window.entered(endpoint.now, endpoint.running)
            window.refused(endpoint.now + 0.01, endpoint.running, None)
        endpoint.running -= 1
        endpoint.now += 0.02
    for _ in range(30):
        endpoint.turn()
    assert window.size == 40


def test_resized_it_is_what_is_given():
    window = Window(4)
    window.resize(9)
    assert window.size == 9
    window.resize(2)
    assert window.size == 2
    window.resize(0)
    assert window.size == 2
    window.check()


@given(
    st.lists(
        st.tuples(st.sampled_from(["enter", "enter", "done", "refuse", "trust"]), st.floats(0.0, 3.0)),
        max_size=80,
    )
)
def test_it_holds_under_any_events(events):
    window, now, running = Window(0), 0.0, 0
    for event, wait_s in events:
        now += wait_s
        if event == "enter" and window.opens_at(running) <= now:
            running += 1
            window.entered(now, running)
            assert running <= window.size
        elif event == "trust":
            window.trust(running + 5)
        elif running and event == "done":
            window.succeeded(running)
            running -= 1
        elif running and event == "refuse":
            size = window.size
            window.refused(now, running, None)
            running -= 1
            assert window.size <= size
            assert window.size <= max(1, running)
        window.check()
        assert running or window.opens_at(0) < math.inf, "somebody can always come in again"
